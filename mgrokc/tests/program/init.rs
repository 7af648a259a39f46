//! `mgrokc init`.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tempfile::TempDir;

use crate::client_in;
use crate::process::Ended;

fn init(directory: &Path, arguments: &[&str]) -> Ended {
    let mut command = client_in(directory);
    command
        .arg("init")
        .args(arguments)
        .env_remove("MGROK_TOKEN");
    Ended::from(command.output().unwrap())
}

#[test]
fn the_file_is_one_that_can_be_used() {
    let directory = TempDir::new().unwrap();
    let pin = "ab".repeat(32);
    let server = ["--server", "tunnel.example.com:7001"];
    let token = "-a\"long\\token";
    let arguments = [&server[..], &["--token", token, "--pin", &pin]].concat();
    let ended = init(directory.path(), &arguments);
    assert_eq!(
        (ended.code, ended.stderr.as_str()),
        (Some(0), ""),
        "{ended:?}"
    );
    let file = directory.path().join("client.toml");
    let loaded = mgrok_config::load_client(&file, mgrok_config::Strictness::Strict).unwrap();
    let config = loaded.config;
    assert_eq!(config.servers[0].to_string(), "tunnel.example.com:7001");
    assert_eq!(config.auth.token.expose(), token);
    assert_eq!(
        config.transport.tls.unwrap().pinned_sha256,
        Some([0xab; 32])
    );
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let ended = init(directory.path(), &arguments);
    assert!(ended.stdout.contains("is left alone"), "{ended:?}");
    assert_eq!(ended.code, Some(1));
}

#[test]
fn without_a_token_there_is_a_fresh_one() {
    let directory = TempDir::new().unwrap();
    let ended = init(directory.path(), &["--server", "tunnel.example.com"]);
    let text = std::fs::read_to_string(directory.path().join("client.toml")).unwrap();
    let line = text
        .lines()
        .find(|it| it.starts_with("auth.token"))
        .unwrap();
    assert!(ended.stdout.contains(line), "{ended:?}");
    assert!(ended.stdout.contains("pinnedSha256"), "{ended:?}");
}

#[test]
fn what_was_typed_is_checked() {
    let directory = TempDir::new().unwrap();
    let ended = init(directory.path(), &["--server", "a.test", "--pin", "x"]);
    assert!(ended.stdout.contains("pinnedSha256"), "{ended:?}");
    assert_eq!(ended.code, Some(1));
    assert!(!directory.path().join("client.toml").exists());
}
