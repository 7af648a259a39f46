//! `mgroks reload`, `status` and `stop`, and the routes that they need.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};

use mgrok_lab::admin_log;

use crate::process::{LIMIT, Process, run};
use crate::{Config, EXE, free_port, start_client};

/// A server with an admin port that asks for credentials.
struct Running {
    server: Process,
    config: Config,
    admin: u16,
    base: String,
}

impl Running {
    fn new() -> Self {
        let admin = free_port();
        let config = Config::of_server(&format!(
            "webServer.port = {admin}\nwebServer.user = \"ann\"\nwebServer.password = \"pw\"\n"
        ));
        let base = std::fs::read_to_string(&config.file).unwrap();
        let mut server = Process::start(&mut config.command());
        server.wait_for("frps started successfully");
        Self {
            server,
            config,
            admin,
            base,
        }
    }

    fn rewrite(&self, more: &str) {
        std::fs::write(&self.config.file, format!("{}{more}", self.base)).unwrap();
    }

    /// Runs a command beside it, with its file.
    fn command(&self, word: &str) -> (Option<i32>, String) {
        let ended = run(EXE, [word, "-c", self.config.path()]);
        (ended.code, ended.stdout)
    }

    /// Posts nothing to its admin port; returns the answer.
    fn post(&self, path: &str) -> String {
        let mut conn = TcpStream::connect((Ipv4Addr::LOCALHOST, self.admin)).unwrap();
        conn.set_read_timeout(Some(LIMIT)).unwrap();
        // ann:pw
        let text = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Basic YW5uOnB3\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        conn.write_all(text.as_bytes()).unwrap();
        let mut answer = String::new();
        conn.read_to_string(&mut answer).unwrap();
        answer
    }
}

#[test]
fn reload_says_what_has_changed_and_stop_ends_the_server() {
    let mut running = Running::new();
    let same = (
        Some(0),
        "reload success: all ports are as they were\n".to_owned(),
    );
    assert_eq!(running.command("reload"), same);
    let port = free_port();
    running.rewrite(&format!("vhostHTTPPort = {port}\n"));
    let (code, text) = running.command("reload");
    let expect = format!("reload success: opened vhostHTTPPort at 127.0.0.1:{port}\n");
    assert_eq!((code, text), (Some(0), expect));
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    running
        .server
        .wait_for("success reload conf: opened vhostHTTPPort");

    let done = (Some(0), "stop success\n".to_owned());
    assert_eq!(running.command("stop"), done);
    let (code, text) = running.server.ended();
    assert_eq!(code, Some(0), "{text}");
}

#[test]
fn status_lists_clients_and_proxies() {
    let mut running = Running::new();
    let (code, text) = running.command("status");
    assert!(text.starts_with("mgroks 0.1.0, up "), "{text}");
    assert!(
        text.contains(": 0 clients, 0 proxies, 0 user connections; 0 B in, 0 B out\n"),
        "{text}"
    );
    assert_eq!((code, text.lines().count()), (Some(0), 1));

    let port = running.base.split("bindPort = ").nth(1).unwrap();
    let port = port.lines().next().unwrap().parse().unwrap();
    start_client(port, "tcp", 1);
    running
        .server
        .wait_for("new proxy [greet] type [tcp] success");
    let (code, text) = running.command("status");
    assert!(text.contains(": 1 client, 1 proxy, 0 user"), "{text}");
    assert!(text.contains("\n\nCLIENTS\nUser  Client "), "{text}");
    assert!(text.contains("\n\nTCP\nName   Status   Public"), "{text}");
    assert!(text.contains("\ngreet  running  :"), "{text}");
    assert_eq!(code, Some(0));
}

#[test]
fn a_reload_that_fails_says_all_that_is_wrong_and_changes_nothing() {
    let mut running = Running::new();
    let port = free_port();
    running.rewrite(&format!(
        "vhostHTTPPort = {port}\nnoSuchKey = 1\nquicBindPort = 70000\n"
    ));
    let answer = running.post("/api/v2/system/reload");
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(
        answer.contains(r#"{"code":400,"msg":"invalid argument: "#),
        "{answer}"
    );
    assert!(
        answer.contains("noSuchKey") && answer.contains("quicBindPort"),
        "{answer}"
    );
    running
        .server
        .wait_for("not reloaded, nothing has changed: ");
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap_err();
    let (code, text) = running.command("reload");
    assert!(text.contains("noSuchKey"), "{text}");
    assert_eq!(code, Some(1));

    running.rewrite(&format!("vhostHTTPPort = {port}\nnoSuchKey = 1\n"));
    let answer = running.post("/api/v2/system/reload?strictConfig=false");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();

    // A port that somebody has.
    let taken = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    running.rewrite(&format!("vhostHTTPSPort = {port}\n"));
    let (code, text) = running.command("reload");
    assert!(text.starts_with("api status code [500]: "), "{text}");
    assert!(text.contains("vhostHTTPSPort"), "{text}");
    assert_eq!(code, Some(1));
}

#[test]
fn the_log_is_followed_and_its_level_set() {
    let running = Running::new();
    let reload = || assert_eq!(running.command("reload").0, Some(0));
    admin_log::is_followed_and_its_level_set(running.admin, "frps started successfully", reload);
}

#[test]
fn commands_speak_tls_with_the_holder_of_the_certificate_alone() {
    let directory = tempfile::TempDir::new().unwrap();
    // Certificates with their keys.
    let [own, other] = ["own", "other"].map(|name| {
        let state = directory.path().join(name);
        let file = directory.path().join(format!("{name}.toml"));
        let made = std::process::Command::new(EXE)
            .args(["init", "--file"])
            .arg(file)
            .env("STATE_DIRECTORY", &state)
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        state.join("certificate.pem")
    });
    let admin = free_port();
    let tls = |file: &std::path::Path| {
        format!(
            "webServer.port = {admin}\nwebServer.tls.certFile = {file:?}\nwebServer.tls.keyFile = {file:?}\n"
        )
    };
    let config = Config::of_server(&tls(&own));
    let mut server = Process::start(&mut config.command());
    server.wait_for("frps started successfully");
    let command = |word: &str, config: &Config| {
        let ended = run(EXE, [word, "-c", config.path()]);
        (ended.code, ended.stdout)
    };
    let (code, text) = command("health", &config);
    assert!(text.ends_with(" says that users can be served\n"), "{text}");
    assert_eq!(code, Some(0));
    let (code, text) = command("reload", &config);
    assert!(text.starts_with("reload success: "), "{text}");
    assert_eq!(code, Some(0));

    // Whoever has another certificate is not told the password.
    let wrong = Config::of_server(&tls(&other));
    for word in ["stop", "health"] {
        let (code, text) = command(word, &wrong);
        assert!(text.contains("with the certificate of "), "{text}");
        assert_eq!(code, Some(1));
    }
    let (code, text) = command("stop", &config);
    assert_eq!((code, text.as_str()), (Some(0), "stop success\n"));
    assert_eq!(server.ended().0, Some(0));
}
