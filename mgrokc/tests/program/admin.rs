//! `mgrokc reload`, `status` and `stop`, and the routes that they need.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Output;
use std::time::{Duration, Instant};

use mgrok_lab::admin_log;
use mgrok_lab::certs::Authority;
use tempfile::TempDir;

use crate::process::{Process, greeted_user};
use crate::reload::{proxy, rewrite, service};
use crate::{client_in, config, free_port, start_server};

/// A client with an admin port that asks for credentials.
struct Running {
    client: Process,
    directory: TempDir,
    admin: u16,
    head: String,
    kept: String,
}

impl Running {
    fn new() -> Self {
        Self::with("")
    }

    fn with(more: &str) -> Self {
        let (server, admin, remote) = (start_server(), free_port(), free_port());
        let head = format!(
            "serverAddr = \"127.0.0.1\"\nserverPort = {server}\n\
             webServer.port = {admin}\nwebServer.user = \"ann\"\nwebServer.password = \"pw\"\n{more}"
        );
        let kept = proxy("kept", service(), remote);
        let directory = config(&format!("{head}{kept}"));
        let mut client = Process::start(&mut client_in(directory.path()));
        client.wait_for("] [kept] start proxy success");
        Self {
            client,
            directory,
            admin,
            head,
            kept,
        }
    }

    /// Runs a command beside it, where its file is.
    fn command(&self, words: &[&str]) -> (Option<i32>, String) {
        let Output { status, stdout, .. } = client_in(self.directory.path())
            .args(words)
            .output()
            .unwrap();
        (status.code(), String::from_utf8(stdout).unwrap())
    }

    /// Asks its admin port; returns the answer.
    fn ask(&self, request: &str, headers: &str, body: &str) -> String {
        let mut conn = TcpStream::connect((Ipv4Addr::LOCALHOST, self.admin)).unwrap();
        let length = body.len();
        // ann:pw
        let text = format!(
            "{request} HTTP/1.1\r\nHost: x\r\nAuthorization: Basic YW5uOnB3\r\n{headers}\
             Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        );
        conn.write_all(text.as_bytes()).unwrap();
        let mut answer = String::new();
        conn.read_to_string(&mut answer).unwrap();
        answer
    }
}

#[test]
fn status_prints_the_table_of_frpc() {
    let running = Running::new();
    let (code, text) = running.command(&["status"]);
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(&lines[..3], ["Proxy Status...", "", "TCP"], "{text}");
    assert!(lines[3].starts_with("Name  Status   LocalAddr"), "{text}");
    assert!(lines[4].starts_with("kept  running  127.0.0.1:"), "{text}");
    assert!(text.ends_with("  \n\n"), "{text:?}");
    assert_eq!(code, Some(0));
}

#[test]
fn reload_and_stop_reach_the_client() {
    let mut running = Running::new();
    let added = free_port();
    let text = format!(
        "{}{}{}",
        running.head,
        running.kept,
        proxy("added", service(), added)
    );
    rewrite(running.directory.path(), &text);
    let done = (Some(0), "reload success\n".to_owned());
    assert_eq!(running.command(&["reload"]), done);
    running.client.wait_for("success reload conf");
    greeted_user(SocketAddr::from((Ipv4Addr::LOCALHOST, added)));

    let done = (Some(0), "stop success\n".to_owned());
    assert_eq!(running.command(&["stop"]), done);
    let (code, text) = running.client.ended();
    assert_eq!(code, Some(0), "{text}");
}

#[test]
fn a_reload_that_fails_says_why() {
    let running = Running::new();
    let wrong = format!("{}{}", running.head, "noSuchKey = 1\n");
    rewrite(
        running.directory.path(),
        &format!("{wrong}{}", running.kept),
    );
    let answer = running.ask("GET /api/reload?strictConfig=true", "", "");
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    let body = r#"{"Code":400,"Msg":"invalid argument: "#;
    assert!(
        answer.contains(body) && answer.contains("noSuchKey"),
        "{answer}"
    );
    let answer = running.ask("GET /api/reload", "", "");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");

    let other = running
        .head
        .replace("serverAddr", "user = \"ann\"\nserverAddr");
    rewrite(
        running.directory.path(),
        &format!("{other}{}", running.kept),
    );
    let (code, text) = running.command(&["reload"]);
    assert!(text.starts_with("api status code [500]: "), "{text}");
    assert!(text.contains("user cannot change"), "{text}");
    assert_eq!(code, Some(1));
}

#[test]
fn the_log_is_followed_and_its_level_set() {
    let running = Running::new();
    let reload = || assert_eq!(running.command(&["reload"]).0, Some(0));
    admin_log::is_followed_and_its_level_set(running.admin, "[kept] start proxy success", reload);
}

#[test]
fn the_file_is_read_and_replaced() {
    let running = Running::new();
    let file = running.directory.path().join("client.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let answer = running.ask("GET /api/config", "", "");
    assert!(answer.ends_with(&text), "{answer}");
    assert!(answer.contains("text/plain"), "{answer}");
    let answer = running.ask("PUT /api/config", "", "user = \"bob\"\n");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "user = \"bob\"\n");
    let answer = running.ask("PUT /api/config", "", "");
    assert!(
        answer.contains(r#"{"Code":400,"Msg":"body can't be empty"}"#),
        "{answer}"
    );
}

#[test]
fn pages_of_other_sites_cannot_stop_the_client() {
    let running = Running::new();
    let answer = running.ask("POST /api/stop", "Sec-Fetch-Site: cross-site\r\n", "");
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    assert_eq!(running.command(&["status"]).0, Some(0));
}

#[test]
fn what_cannot_be_asked_is_told() {
    let directory = config("serverPort = 7000\n");
    let run = |words: &[&str]| {
        let output = client_in(directory.path()).args(words).output().unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
        )
    };
    let expect = "web server port should be set if you want to use this feature\n";
    assert_eq!(run(&["status"]), (Some(1), expect.to_owned()));

    rewrite(
        directory.path(),
        &format!("webServer.port = {}\n", free_port()),
    );
    let (code, text) = run(&["stop"]);
    assert!(
        text.starts_with("no client answers at 127.0.0.1:"),
        "{text}"
    );
    assert_eq!(code, Some(1));

    // Somebody who never answers.
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = silent.local_addr().unwrap().port();
    rewrite(directory.path(), &format!("webServer.port = {port}\n"));
    let started = Instant::now();
    let (code, text) = run(&["reload", "--api-timeout", "100ms"]);
    assert!(text.contains("did not answer at 127.0.0.1:"), "{text}");
    assert_eq!(code, Some(1));
    assert!(started.elapsed() < Duration::from_secs(20));
}

#[test]
fn a_wrong_password_is_told_as_frpc_does() {
    let running = Running::new();
    let wrong = running.head.replace("\"pw\"", "\"wrong\"");
    rewrite(running.directory.path(), &wrong);
    let (code, text) = running.command(&["status"]);
    assert!(text.starts_with("api status code [401]"), "{text}");
    assert_eq!(code, Some(1));
}

#[test]
fn commands_speak_tls_where_the_admin_port_does() {
    let authority = Authority::new();
    let certificate = authority.sign("admin.test");
    let tls = format!(
        "webServer.tls.certFile = {:?}\nwebServer.tls.keyFile = {:?}\n",
        certificate.cert, certificate.key
    );
    let running = Running::with(&tls);
    let (code, text) = running.command(&["status"]);
    assert!(text.contains("kept  running  127.0.0.1:"), "{text}");
    assert_eq!(code, Some(0));
    let (code, text) = running.command(&["health"]);
    assert!(text.ends_with(" says that users can be served\n"), "{text}");
    assert_eq!(code, Some(0));
    let done = (Some(0), "reload success\n".to_owned());
    assert_eq!(running.command(&["reload"]), done);

    // One that the same authority has signed is another's all the same.
    let other = authority.sign("other.test");
    let text = std::fs::read_to_string(running.directory.path().join("client.toml")).unwrap();
    let wrong = text.replace("admin.test", "other.test");
    assert!(wrong.contains(other.cert.to_str().unwrap()));
    rewrite(running.directory.path(), &wrong);
    let (code, text) = running.command(&["stop"]);
    assert!(text.contains("with the certificate of "), "{text}");
    assert_eq!(code, Some(1));

    rewrite(
        running.directory.path(),
        &format!("{}{}", running.head, running.kept),
    );
    let done = (Some(0), "stop success\n".to_owned());
    assert_eq!(running.command(&["stop"]), done);
    assert_eq!(running.client.ended().0, Some(0));
}
