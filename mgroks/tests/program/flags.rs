//! Settings without a file.

use std::process::Command;

use crate::process::{Process, run};
use crate::{Config, EXE, free_port};

/// A server that keeps its state in a directory of its own.
fn server(directory: &Config) -> Command {
    let mut command = Command::new(EXE);
    command.env("STATE_DIRECTORY", directory.directory.path());
    command
}

#[test]
fn flags_are_the_settings() {
    let directory = Config::new("");
    let port = free_port().to_string();
    let admin_port = free_port().to_string();
    let mut command = server(&directory);
    command.args(["-p", &port, "-t", "123", "--bind_addr=127.0.0.1"]);
    command.args([
        "--dashboard_port",
        &admin_port,
        "--dashboard-addr=127.0.0.1",
    ]);
    let mut server = Process::start(&mut command);
    server.wait_for("WARNING: --dashboard-pwd is not given");
    server.wait_for("] frps uses command line arguments for config");
    server.wait_for(&format!("frps tcp listen on 127.0.0.1:{port}"));
    server.wait_for("] frps started successfully");
}

#[test]
fn a_mistake_in_a_flag_is_told_with_its_name() {
    for (arguments, expect) in [
        (
            ["-p", "70000"],
            "--bind-port: port number 70000 must be in the range 0..65535\n",
        ),
        (["--log-level", "lout"], "--log-level: "),
    ] {
        let ended = run(EXE, arguments);
        assert!(ended.stdout.contains(expect), "{ended:?}");
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(1), ""));
    }
}

#[test]
fn without_file_and_flags_only_this_host_gets_in() {
    let directory = Config::new("");
    let mut server = Process::start(&mut server(&directory));
    server.wait_for("] frps uses command line arguments for config");
    // Whether the default port is free here is not the question.
    server.wait_for("neither a file nor a flag, so that only this host gets in: `mgroks init`");
}

#[test]
fn flags_beside_a_file_are_named() {
    let config = Config::of_server("");
    let mut server = Process::start(config.command().args(["--token=x", "-p", "1"]));
    server.wait_for("WARNING: --bind-port does nothing beside --config");
    server.wait_for("WARNING: --token does nothing beside --config");
    server.wait_for("] frps started successfully");
}

#[test]
fn an_open_server_says_which_line_to_add() {
    let line = "auth.token = \"a long random text\"";
    let config = Config::of_server("");
    let mut server = Process::start(&mut config.command());
    let told = server.wait_for("whoever reaches the control port may publish services here");
    assert!(told.contains("[W]") && told.contains(line), "{told}");
    let ended = run(EXE, ["verify", "-c", config.path()]);
    assert!(ended.stdout.starts_with("WARNING: whoever"), "{ended:?}");
    assert!(
        ended.stdout.contains(line) && ended.stdout.ends_with(" syntax is ok\n"),
        "{ended:?}"
    );
    assert_eq!(ended.code, Some(0));
}
