//! `mgroks doctor` as an operator meets it. What it finds is in tests/doctor.

use crate::process::{Process, run};
use crate::{Config, EXE};

#[test]
fn the_port_of_a_server_that_runs_is_well_and_is_left_alone() {
    let config = Config::of_server("auth.token = \"t0p-s3cret\"\n");
    let mut server = Process::start(&mut config.command());
    server.wait_for("frps tcp listen on");
    let ended = run(EXE, ["doctor", "-c", config.path()]);
    let found = format!(
        "a server has it that runs already: mgroks (process {})",
        server.pid()
    );
    assert!(ended.stdout.contains(&found), "{ended:?}");
    assert!(!ended.stdout.contains("s3cret"), "{ended:?}");
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
}

#[test]
fn a_file_that_is_missing_ends_with_2() {
    let ended = run(EXE, ["doctor", "-c", "/nowhere/server.toml", "--json"]);
    assert!(
        ended.stdout.contains("{\"check\":\"port\",\"subject\":\"\",\"outcome\":\"skipped\",\"because\":\"needs \\\"file\\\"\"}"),
        "{ended:?}"
    );
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(2), ""));
}

#[test]
fn a_port_that_cannot_be_had_ends_with_1() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let config = Config::new(&format!("bindAddr = \"127.0.0.1\"\nbindPort = {port}\n"));
    let ended = run(EXE, ["doctor", "-c", config.path()]);
    assert!(
        ended.stdout.contains("failed   port         bindPort"),
        "{ended:?}"
    );
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(1), ""));
}
