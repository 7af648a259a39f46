//! `mgrokc --config-dir`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;
use tempfile::TempDir;

use crate::process::{Process, greeted_user, run};
use crate::reload::{proxy, service};
use crate::{EXE, free_port, start_server};

fn write(directory: &Path, name: &str, text: &str) {
    std::fs::write(directory.join(name), text).unwrap();
}

#[test]
fn each_file_has_a_client_and_a_wrong_one_ends_no_other() {
    let (server, local) = (start_server(), service());
    let ports = [free_port(), free_port()];
    let directory = TempDir::new().unwrap();
    let below = directory.path().join("below");
    std::fs::create_dir(&below).unwrap();
    let head = format!("serverAddr = \"127.0.0.1\"\nserverPort = {server}\n");
    write(
        directory.path(),
        "a.toml",
        &format!("{head}{}", proxy("a", local, ports[0])),
    );
    write(
        &below,
        "b.toml",
        &format!("{head}{}", proxy("b", local, ports[1])),
    );
    write(directory.path(), "wrong.toml", "serverPort = \"x\"\n");
    write(directory.path(), ".hidden", "serverPort = \"x\"\n");
    let mut clients = Process::start(Command::new(EXE).arg("--config_dir").arg(directory.path()));
    let line = clients.wait_for("frpc service error for config file [");
    assert!(
        line.contains("wrong.toml]: ") && line.contains("serverPort"),
        "{line}"
    );
    for port in ports {
        greeted_user(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    }
    clients.signal(Signal::TERM);
    let (code, text) = clients.ended();
    assert_eq!(code, Some(0), "{text}");
    assert!(!text.contains(".hidden"), "{text}");
}

#[test]
fn without_any_client_it_fails() {
    let directory = TempDir::new().unwrap();
    let words = ["--config-dir".as_ref(), directory.path().as_os_str()];
    let ended = run(EXE, words);
    assert!(ended.stdout.contains("no client starts"), "{ended:?}");
    assert_eq!(ended.code, Some(1));
    let missing = directory.path().join("missing");
    let ended = run(EXE, ["--config-dir".as_ref(), missing.as_os_str()]);
    assert!(ended.stdout.contains("cannot read"), "{ended:?}");
    assert_eq!(ended.code, Some(1));

    // A client that cannot log in is none.
    let text = format!("serverAddr = \"127.0.0.1\"\nserverPort = {}\n", free_port());
    write(directory.path(), "a.toml", &text);
    let ended = run(EXE, words);
    assert!(ended.stdout.contains("no client is left"), "{ended:?}");
    assert_eq!(ended.code, Some(1));
}
