//! `mgrokc doctor` as an operator meets it. Which layer it blames for what is in tests/doctor.

use std::path::Path;
use std::process::Command;

use crate::process::{Ended, run};
use crate::{EXE, config, free_port, start_server};

fn doctor(file: &Path, more: &[&str]) -> Ended {
    let args = ["doctor", "-c", file.to_str().unwrap()];
    run(EXE, args.iter().chain(more))
}

#[test]
fn a_file_that_is_missing_ends_with_2() {
    let ended = doctor(Path::new("/nowhere/client.toml"), &[]);
    assert!(
        ended.stdout.starts_with(
            "failed   file         /nowhere/client.toml: open /nowhere/client.toml: no such file"
        ),
        "{ended:?}"
    );
    assert!(
        ended
            .stdout
            .contains("skipped  login        needs \"file\""),
        "{ended:?}"
    );
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(2), ""));
}

#[test]
fn every_mistake_in_the_file_has_its_line() {
    let directory = config("serverPort = 70000\nserverAdr = \"x\"\n");
    let ended = doctor(&directory.path().join("client.toml"), &[]);
    assert_eq!(
        ended.stdout.matches("failed   file").count(),
        2,
        "{ended:?}"
    );
    assert!(
        ended.stdout.contains("client.toml:1:14: serverPort"),
        "{ended:?}"
    );
    assert_eq!(ended.code, Some(2));
}

#[test]
fn a_server_that_is_not_there_ends_with_1() {
    let port = free_port();
    let directory = config(&format!(
        "serverAddr = \"127.0.0.1\"\nserverPort = {port}\n"
    ));
    let ended = doctor(&directory.path().join("client.toml"), &[]);
    let row = format!("failed   tcp          127.0.0.1:{port} by tcp: cannot connect");
    assert!(ended.stdout.contains(&row), "{ended:?}");
    assert!(ended.stdout.contains("\n1 failed, "), "{ended:?}");
    assert!(!ended.stdout.contains('\x1b'), "{ended:?}");
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(1), ""));
}

#[test]
fn all_is_well_ends_with_0_and_programs_get_one_object() {
    let port = start_server();
    let directory = config(&format!(
        "serverAddr = \"127.0.0.1\"\nserverPort = {port}\n"
    ));
    let ended = doctor(&directory.path().join("client.toml"), &["--json"]);
    let start = format!(
        "{{\"program\":\"mgrokc\",\"version\":\"{}\",\"good\":true,\"failed\":0,",
        env!("CARGO_PKG_VERSION")
    );
    assert!(ended.stdout.starts_with(&start), "{ended:?}");
    let login = format!(
        "{{\"check\":\"login\",\"subject\":\"127.0.0.1:{port} by tcp\",\"outcome\":\"ok\",\"finding\":\"the server lets us in\"}}"
    );
    assert!(ended.stdout.contains(&login), "{ended:?}");
    assert_eq!(ended.stdout.lines().count(), 1, "{ended:?}");
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
}

#[test]
fn few_open_files_are_told() {
    let port = start_server();
    let directory = config(&format!(
        "serverAddr = \"127.0.0.1\"\nserverPort = {port}\n"
    ));
    let script = format!("ulimit -n 64 && exec {EXE} doctor -c client.toml");
    let output = Command::new("sh")
        .args(["-c", &script])
        .current_dir(directory.path())
        .output();
    let ended = Ended::from(output.unwrap());
    assert!(
        ended
            .stdout
            .contains("failed   files        at most 64 open files"),
        "{ended:?}"
    );
    assert_eq!(ended.code, Some(1));
}
