//! `mgroks init`.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::process::{Ended, Process};
use crate::{EXE, free_port};

fn init(directory: &Path, arguments: &[&str]) -> Ended {
    let mut command = Command::new(EXE);
    command.arg("init").args(arguments).current_dir(directory);
    command.env("STATE_DIRECTORY", directory.join("state"));
    Ended::from(command.output().unwrap())
}

#[test]
fn the_file_has_a_secret_of_its_own_and_a_certificate_that_stays() {
    let directory = TempDir::new().unwrap();
    let ended = init(directory.path(), &["--host", "tunnel.example.com"]);
    assert_eq!(
        (ended.code, ended.stderr.as_str()),
        (Some(0), ""),
        "{ended:?}"
    );
    let file = directory.path().join("server.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let token = text.split("auth.token = \"").nth(1).unwrap();
    let token = token.split('"').next().unwrap();
    assert_eq!(token.len(), 32, "{text}");
    for part in [
        "mgroks -c server.toml",
        "mgrokc init --server tunnel.example.com:7000",
        &format!("--token {token}"),
    ] {
        assert!(ended.stdout.contains(part), "{ended:?}");
    }
    let pin = ended.stdout.split("--pin ").nth(1).unwrap();
    let pin = pin.split_whitespace().next().unwrap();

    // The server that runs with it shows the certificate that clients were told of.
    let port = free_port();
    let text = text.replace(
        "bindPort = 7000",
        &format!("bindPort = {port}\nbindAddr = \"127.0.0.1\""),
    );
    let text = text.replace(
        "vhostHTTPPort = 8080",
        &format!("vhostHTTPPort = {}", free_port()),
    );
    std::fs::write(&file, text).unwrap();
    let mut server = Process::start(Command::new(EXE).arg("-c").arg(&file));
    server.wait_for(&format!("transport.tls.pinnedSha256 = \"{pin}\""));
    server.wait_for("] frps started successfully");
}

#[test]
fn the_lines_to_paste_are_for_what_the_server_can_do() {
    let (by_name, by_port) = ("mgrokc http 3000 --server ", "mgrokc tcp 3000 --server ");
    for (argument, there, not_there) in
        [("--host", by_port, by_name), ("--domain", by_name, by_port)]
    {
        let directory = TempDir::new().unwrap();
        let ended = init(directory.path(), &[argument, "tunnel.example.com"]);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let line = format!("{there}tunnel.example.com:7000 --token ");
        assert!(ended.stdout.contains(&line), "{ended:?}");
        assert!(!ended.stdout.contains(not_there), "{ended:?}");
    }
}

#[test]
fn a_file_that_is_there_is_left_alone() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("mine.toml");
    std::fs::write(&file, "mine").unwrap();
    let ended = init(directory.path(), &["--file", "mine.toml"]);
    assert!(ended.stdout.contains("is left alone"), "{ended:?}");
    assert_eq!(ended.code, Some(1));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine");
}

#[test]
fn what_was_typed_is_checked() {
    let directory = TempDir::new().unwrap();
    let ended = init(directory.path(), &["--domain", "not a domain"]);
    assert!(ended.stdout.contains("subDomainHost"), "{ended:?}");
    assert_eq!(ended.code, Some(1));
    assert!(!directory.path().join("server.toml").exists());
}
