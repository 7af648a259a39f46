//! Quick tunnels.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::thread;

use rustix::process::Signal;

use crate::process::{Process, greeted_user, run};
use crate::reload::service;
use crate::{EXE, free_port, start_server, start_server_with};

fn tunnel(server: u16, words: &[&str]) -> Process {
    let mut command = Command::new(EXE);
    command.args(words);
    command.arg(format!("--server=127.0.0.1:{server}"));
    for variable in ["MGROK_SERVER", "MGROK_TOKEN", "MGROK_PIN"] {
        command.env_remove(variable);
    }
    Process::start(&mut command)
}

/// A web service that answers each connection's first request, and tells what `X-Forwarded-For` it saw.
fn web() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                head.push(byte[0]);
            }
            let head = String::from_utf8(head).unwrap();
            let mut lines = head.lines();
            let seen = lines.find(|it| it.to_ascii_lowercase().starts_with("x-forwarded-for"));
            let body = seen.unwrap_or_default();
            let status = if head.starts_with("GET /missing") {
                "404 Not Found"
            } else {
                "200 OK"
            };
            let length = body.len();
            write!(
                stream,
                "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            )
            .unwrap();
        }
    });
    port
}

fn get(port: u16, host: &str, path: &str) -> String {
    let mut user = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    write!(
        user,
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    user.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_web_service_gets_a_name_and_a_line_per_request() {
    let port = free_port();
    let server = start_server_with(
        0,
        &format!("vhostHTTPPort = {port}\nsubDomainHost = \"example.com\"\n"),
    );
    let mut client = tunnel(server, &["http", &web().to_string()]);
    let url = client.wait_for("http://");
    let host = url.strip_prefix("http://").unwrap();
    let host = host.strip_suffix(&format!(":{port}")).unwrap();
    assert!(host.ends_with(".example.com"), "{url}");

    let answer = get(port, host, "/hello?to=you");
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert!(answer.ends_with(": 127.0.0.1"), "{answer}");
    let line = client.wait_for("GET /hello?to=you  200  ");
    assert!(line.ends_with("  127.0.0.1"), "{line}");
    get(port, host, "/missing");
    client.wait_for("GET /missing  404  ");
    client.signal(Signal::INT);
    assert_eq!(client.ended().0, Some(0));
}

#[test]
fn requests_are_kept_for_a_page_on_this_host() {
    let (port, page) = (free_port(), free_port());
    let server = start_server_with(0, &format!("vhostHTTPPort = {port}\n"));
    let (web, page_text) = (web().to_string(), page.to_string());
    let words = ["http", &web, "-d", "www.test", "--inspect", &page_text];
    let mut client = tunnel(server, &words);
    client.wait_for(&format!("requests: http://127.0.0.1:{page}/#/requests"));
    get(port, "www.test", "/hello");
    client.wait_for("GET /hello  200  ");
    let own = format!("127.0.0.1:{page}");
    let answer = get(page, &own, "/api/v2/requests");
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert!(answer.contains("\"path\":\"/hello\""), "{answer}");
    let answer = get(page, &own, "/static/");
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert!(answer.contains("<html"), "{answer}");
}

#[test]
fn headers_and_bodies_are_shown_below_their_request() {
    let port = free_port();
    let server = start_server_with(0, &format!("vhostHTTPPort = {port}\n"));
    let words = ["http", &web().to_string(), "-d", "www.test", "--show"];
    for (what, has_body) in [("headers", false), ("bodies", true)] {
        let mut client = tunnel(server, &[&words[..], &[what]].concat());
        client.wait_for("http://www.test:");
        get(port, "www.test", "/hello");
        client.wait_for("GET /hello  200  ");
        client.wait_for("    > host: www.test");
        client.wait_for("    < content-length: ");
        get(port, "www.test", "/next");
        client.wait_for("GET /next  200  ");
        client.signal(Signal::INT);
        let (_, text) = client.ended();
        let body = text.contains("\n    <\n    < ");
        assert_eq!(body, has_body, "{text}");
    }
}

#[test]
fn a_web_service_that_is_not_there_is_told() {
    let port = free_port();
    let server = start_server_with(0, &format!("vhostHTTPPort = {port}\n"));
    let words = ["http", &free_port().to_string(), "-d", "www.test"];
    let mut client = tunnel(server, &words);
    client.wait_for("http://www.test:");
    let answer = get(port, "www.test", "/");
    assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
    client.wait_for("GET /  502  ");
}

#[test]
fn a_port_is_chosen_for_a_tcp_service() {
    let server = start_server();
    let mut client = tunnel(server, &["tcp", &format!("127.0.0.1:{}", service())]);
    let url = client.wait_for("tcp://127.0.0.1:");
    let port: u16 = url.rsplit_once(':').unwrap().1.parse().unwrap();
    let mut user = greeted_user(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    client.wait_for(" connected");
    user.write_all(b"hello").unwrap();
    user.read_exact(&mut [0; 5]).unwrap();
    drop(user);
    let line = client.wait_for(" closed after ");
    assert!(line.ends_with(", 5 B in, 6 B out"), "{line}");
}

#[test]
fn a_udp_service_has_its_address_shown() {
    let mut client = tunnel(start_server(), &["udp", "53"]);
    client.wait_for("udp://127.0.0.1:");
}

#[test]
fn a_server_without_names_says_what_to_do() {
    let port = free_port();
    let server = start_server_with(0, &format!("vhostHTTPPort = {port}\n"));
    let (code, text) = tunnel(server, &["http", "3000"]).ended();
    assert!(
        text.contains("subDomainHost") && text.contains("mgrokc tcp"),
        "{text}"
    );
    assert_eq!(code, Some(1));
    let (code, text) = tunnel(start_server(), &["http", "3000"]).ended();
    assert!(text.contains("vhostHTTPPort"), "{text}");
    assert_eq!(code, Some(1));
}

#[test]
fn the_environment_names_server_and_token() {
    let server = start_server_with(0, "auth.token = \"secret\"\n");
    let mut command = Command::new(EXE);
    command.args(["tcp", &service().to_string()]);
    command.env("MGROK_SERVER", format!("127.0.0.1:{server}"));
    command.env("MGROK_TOKEN", "secret");
    Process::start(&mut command).wait_for("tcp://127.0.0.1:");
}

#[test]
fn without_a_server_it_is_looked_for_here() {
    let mut command = Command::new(EXE);
    // Whether the default port is free here is not the question.
    command
        .args(["tcp", "22", "-p", "quic"])
        .env_remove("MGROK_SERVER");
    command.env("MGROK_PIN", "00".repeat(32));
    let (code, text) = Process::start(&mut command).ended();
    assert!(text.contains("--server example.com"), "{text}");
    assert_eq!(code, Some(1));
}

#[test]
fn what_contradicts_itself_is_refused() {
    for words in [
        &["tcp", "22", "--server", "a.test", "-s", "b.test"][..],
        &["tcp", "22", "--server", ":7000"],
        &["tcp", "22", "-l", "23"],
        &["tcp", "22", "--inspect", "4040"],
        &["http", "--show", "headers", "-l", "80"],
    ] {
        assert_eq!(run(EXE, words).code, Some(1), "{words:?}");
    }
}
