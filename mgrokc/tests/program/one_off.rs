//! Proxies and visitors without a file, as frpc has them.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;

use mgrok_lab::certs::Authority;

use crate::process::{Process, greeted_user, run};
use crate::reload::service;
use crate::{EXE, free_port, start_server, start_server_with};

/// A client at the server in this process.
fn client(server_port: u16, words: &[&str]) -> Command {
    let mut command = Command::new(EXE);
    command.args(words).args(["-s", "127.0.0.1", "-P"]);
    command.arg(server_port.to_string());
    command
}

#[test]
fn a_proxy_is_what_its_flags_say() {
    let (server, remote) = (start_server(), free_port());
    let words = [
        "tcp",
        "-u",
        "test",
        "-n",
        "tcp_test",
        "-l",
        &service().to_string(),
        "-r",
        &remote.to_string(),
        "--ue",
        "--uc=true",
        "--bandwidth_limit",
        "10MB",
    ];
    let mut client = Process::start(&mut client(server, &words));
    client.wait_for("] [tcp_test] start proxy success");
    greeted_user(SocketAddr::from((Ipv4Addr::LOCALHOST, remote)));
}

#[test]
fn a_visitor_finds_its_service() {
    let (server, bind) = (start_server(), free_port());
    let words = [
        "stcp",
        "-n",
        "secret",
        "--sk",
        "abc",
        "-l",
        &service().to_string(),
    ];
    let mut proxy = Process::start(&mut client(server, &words));
    proxy.wait_for("] [secret] start proxy success");
    let mut command = Command::new(EXE);
    // The server is named before `visitor`, as frp has it, and the rest behind.
    command.args([
        "stcp",
        "-P",
        &server.to_string(),
        "visitor",
        "-n",
        "v",
        "--sk=abc",
    ]);
    command.args(["--server-name", "secret", "--bind_port", &bind.to_string()]);
    let _visitor = Process::start(&mut command);
    greeted_user(SocketAddr::from((Ipv4Addr::LOCALHOST, bind)));
}

#[test]
fn a_server_is_verified_by_the_authorities_of_the_system() {
    let authority = Authority::new();
    let certificate = authority.sign("tunnel.test");
    let server = start_server_with(0, &certificate.settings());
    for (name, expect) in [
        ("tunnel.test", "] [a] start proxy success"),
        ("other.test", "login to the server failed: "),
    ] {
        let words = [
            "tcp",
            "-n",
            "a",
            "-l",
            "1",
            "--trust-system-roots",
            "--tls-server-name",
            name,
        ];
        let mut command = client(server, &words);
        command
            .env("SSL_CERT_FILE", authority.file())
            .env_remove("SSL_CERT_DIR");
        Process::start(&mut command).wait_for(expect);
    }
    // The system trusts somebody else.
    let other = Authority::new();
    let words = [
        "tcp",
        "-n",
        "a",
        "-l",
        "1",
        "--trust-system-roots",
        "--tls-server-name=tunnel.test",
    ];
    let mut command = client(server, &words);
    command
        .env("SSL_CERT_FILE", other.file())
        .env_remove("SSL_CERT_DIR");
    Process::start(&mut command).wait_for("login to the server failed: ");
}

#[test]
fn what_is_missing_is_told_as_a_flag() {
    for (words, expect) in [
        (
            &["tcp", "-l", "22"][..],
            "--proxy-name: name should not be empty",
        ),
        (
            &["tcp", "-n", "a", "-l", "70000"],
            "--local-port: port number 70000",
        ),
        (&["http", "-n", "a", "-l", "1"], "should not be both empty"),
        (
            &["tcpmux", "-n", "a", "-l", "1", "--sd", "x"],
            "--mux: not support multiplexer",
        ),
        (
            &["tcp", "-n", "a", "-l", "1", "--bandwidth-limit", "fast"],
            "--bandwidth-limit: ",
        ),
        (
            &["udp", "-n", "a", "-l", "1", "-p", "smoke"],
            "--protocol: must be one of",
        ),
        (&["stcp", "visitor", "-n", "a", "--sk", "x"], "bind"),
        (
            &["tcp", "-n", "a", "-l", "1", "--pin", "x"],
            "--pin: must be the SHA-256",
        ),
    ] {
        let ended = run(EXE, words);
        assert!(ended.stdout.contains(expect), "{words:?}: {ended:?}");
        assert_eq!(
            (ended.code, ended.stderr.as_str()),
            (Some(1), ""),
            "{words:?}"
        );
    }
}

#[test]
fn every_kind_has_a_command() {
    for kind in [
        "tcp", "udp", "http", "https", "tcpmux", "stcp", "sudp", "xtcp",
    ] {
        let ended = run(EXE, [kind, "--help"]);
        assert!(ended.stdout.contains("--proxy-name"), "{ended:?}");
        assert_eq!(ended.code, Some(0));
    }
}
