//! `mgroks health`: whether the server that runs serves users.

use rustix::process::Signal;

use crate::process::{Process, run};
use crate::{Config, EXE, Tunnel, free_port};

/// The exit code and what is printed.
fn health(config: &Config) -> (Option<i32>, String) {
    let ended = run(EXE, ["health", "-c", config.path()]);
    (ended.code, ended.stdout)
}

#[test]
fn without_an_admin_port_it_is_whether_clients_can_come() {
    let config = Config::of_server("");
    let (code, text) = health(&config);
    assert!(text.contains("nothing listens at 127.0.0.1:"), "{text}");
    assert_eq!(code, Some(1));
    let mut server = Process::start(&mut config.command());
    server.wait_for("frps started successfully");
    let (code, text) = health(&config);
    assert!(text.ends_with(" accepts connections\n"), "{text}");
    assert_eq!(code, Some(0));
}

#[test]
fn the_admin_port_says_when_users_are_not_served_any_more() {
    let admin = free_port();
    let settings = format!(
        "gracePeriod = 3600\nwebServer.port = {admin}\nwebServer.user = \"a\"\nwebServer.password = \"b\"\n"
    );
    let mut tunnel = Tunnel::new(&settings);
    let (code, text) = health(&tunnel.config);
    assert!(text.ends_with(" says that users can be served\n"), "{text}");
    assert_eq!(code, Some(0));
    tunnel.server.signal(Signal::TERM);
    tunnel.server.wait_for("stopping: no new connections");
    let (code, text) = health(&tunnel.config);
    assert!(text.contains("users cannot be served: "), "{text}");
    assert!(text.contains("stopping"), "{text}");
    assert_eq!(code, Some(1));
}
