//! Plugins that connect users to whichever host they name: `http_proxy` and `socks5`.

use std::net::SocketAddr;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mgrok_config::{Plugin, PluginCredentials};
use mgrok_net::conn::Conn;
use mgrok_proto::auth::Secret;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;

use crate::plugins::{Tunnel, ask, read_head, talk, website};
use crate::server::{echo, echo_service, ended, within};

fn ada() -> PluginCredentials {
    PluginCredentials {
        user: "ada".to_owned(),
        password: Secret::new("s3cret"),
    }
}

fn basic(credentials: &str) -> String {
    format!("Basic {}", STANDARD.encode(credentials))
}

async fn http_proxy(credentials: PluginCredentials) -> Tunnel {
    Tunnel::new(Plugin::HttpProxy(credentials)).await
}

/// Where nobody listens.
async fn nowhere() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

#[tokio::test]
async fn requests_go_to_the_website_that_they_name() {
    let [one, other] = [website(false).await, website(false).await];
    let mut tunnel = http_proxy(PluginCredentials::default()).await;
    for site in [&one, &other, &one] {
        let request = format!(
            "GET http://{site}/a?b HTTP/1.1\r\nHost: {site}\r\nProxy-Connection: keep-alive\r\nUpgrade: websocket\r\n\
             Proxy-Authorization: Basic x\r\nX-Forwarded-For: 198.51.100.1\r\n"
        );
        let (answer, asked) = ask(tunnel.user().await, &request).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        let expect =
            format!("GET /a?b HTTP/1.1\r\nHost: {site}\r\nX-Forwarded-For: 198.51.100.1\r\n\r\n");
        assert_eq!(asked, expect);
    }
}

#[tokio::test]
async fn connect_leads_to_any_host() {
    let service = echo_service().await;
    let mut tunnel = http_proxy(PluginCredentials::default()).await;
    // By name, which is looked up here.
    for host in ["127.0.0.1", "localhost"] {
        let mut user = tunnel.user().await;
        let port = service.port();
        let request = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n");
        user.send(request.into()).await.unwrap();
        let head = read_head(&mut user).await;
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert!(
            !head.to_ascii_lowercase().contains("content-length"),
            "{head}"
        );
        echo(&mut user, &"bytes ".repeat(100_000)).await;
    }
}

#[tokio::test]
async fn a_host_that_is_down_is_told() {
    let nowhere = nowhere().await;
    let mut tunnel = http_proxy(PluginCredentials::default()).await;
    let (answer, body) = ask(
        tunnel.user().await,
        &format!("GET http://{nowhere}/ HTTP/1.1\r\nHost: {nowhere}\r\n"),
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 500 "), "{answer}");
    let expect = format!("cannot connect to the backend: cannot connect to {nowhere}: ");
    assert!(body.starts_with(&expect), "{body}");
    let (answer, body) = ask(
        tunnel.user().await,
        &format!("CONNECT {nowhere} HTTP/1.1\r\nHost: {nowhere}\r\n"),
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert_eq!(body, "");
}

#[tokio::test]
async fn what_is_no_request_to_a_proxy_is_refused() {
    let mut tunnel = http_proxy(PluginCredentials::default()).await;
    for (request, expect) in [
        ("GET / HTTP/1.1\r\nHost: a.test\r\n", "HTTP/1.1 500 "),
        (
            "GET https://a.test/ HTTP/1.1\r\nHost: a.test\r\n",
            "HTTP/1.1 500 ",
        ),
        (
            "GET ftp://a.test/ HTTP/1.1\r\nHost: a.test\r\n",
            "HTTP/1.1 500 ",
        ),
        (
            "GET http://a.test:0/ HTTP/1.1\r\nHost: a.test:0\r\n",
            "HTTP/1.1 400 ",
        ),
        (
            "GET http://a.test/ HTTP/1.1\r\nHost: b.test\r\n",
            "HTTP/1.1 400 ",
        ),
        (
            "CONNECT a.test HTTP/1.1\r\nHost: a.test\r\n",
            "HTTP/1.1 400 ",
        ),
        (
            "CONNECT a.test:0 HTTP/1.1\r\nHost: a.test:0\r\n",
            "HTTP/1.1 400 ",
        ),
        (
            "CONNECT a.test:99999 HTTP/1.1\r\nHost: a.test:99999\r\n",
            "HTTP/1.1 400 ",
        ),
        ("CONNECT /etc HTTP/1.1\r\nHost: a.test\r\n", "HTTP/1.1 400 "),
    ] {
        let (answer, _) = ask(tunnel.user().await, request).await;
        assert!(answer.starts_with(expect), "{request} {answer}");
    }
}

#[tokio::test]
async fn a_proxy_with_a_password_asks_for_it() {
    let site = website(false).await;
    let mut tunnel = http_proxy(ada()).await;
    let get = format!("GET http://{site}/ HTTP/1.1\r\nHost: {site}\r\n");
    let connect = format!("CONNECT {site} HTTP/1.1\r\nHost: {site}\r\n");
    for shown in [
        None,
        Some(basic("ada:wrong")),
        Some(basic("eve:s3cret")),
        Some("Bearer x".to_owned()),
    ] {
        let header = shown.map_or(String::new(), |it| format!("Proxy-Authorization: {it}\r\n"));
        let is_wrong = header.contains("Basic");
        let began = Instant::now();
        let (answer, body) = ask(tunnel.user().await, &(get.clone() + &header)).await;
        let expect = "HTTP/1.1 407 Proxy Authentication Required\r\n";
        assert!(answer.starts_with(expect), "{answer}");
        assert!(answer.contains("Proxy-Authenticate: Basic\r\n"), "{answer}");
        assert_eq!(body, "");
        let (answer, _) = ask(tunnel.user().await, &(connect.clone() + &header)).await;
        assert!(
            answer.starts_with("HTTP/1.1 407 Not authorized\r\n"),
            "{answer}"
        );
        if is_wrong {
            assert!(began.elapsed().as_millis() >= 400, "two of them wait");
        }
    }
    let header = format!("Proxy-Authorization: {}\r\n", basic("ada:s3cret"));
    let (answer, asked) = ask(tunnel.user().await, &(get + &header)).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(
        !asked.contains("Proxy-"),
        "it is not for the website: {asked}"
    );
}

#[tokio::test]
async fn one_connection_of_a_user_leads_to_many_websites() {
    let [one, other] = [website(false).await, website(false).await];
    let mut tunnel = http_proxy(PluginCredentials::default()).await;
    let get = |site| format!("GET http://{site}/ HTTP/1.1\r\nHost: {site}\r\n");
    let requests = format!("{}\r\n{}Connection: close\r\n\r\n", get(&one), get(&other));
    let answers = talk(tunnel.user().await, &requests).await;
    for site in [one, other] {
        let expect = format!("GET / HTTP/1.1\r\nHost: {site}\r\n");
        assert!(answers.contains(&expect), "{answers}");
    }
}

async fn socks5(credentials: PluginCredentials) -> Tunnel {
    Tunnel::new(Plugin::Socks5(credentials)).await
}

/// Sends `message`, and reads an answer of so many bytes.
async fn say(user: &mut Conn, message: &[u8], len: usize) -> Vec<u8> {
    user.send(bytes::Bytes::copy_from_slice(message))
        .await
        .unwrap();
    let mut answer = vec![0; len];
    within(user.read_exact(&mut answer)).await.unwrap();
    answer
}

fn connect_to(addr: SocketAddr) -> Vec<u8> {
    let SocketAddr::V4(addr) = addr else {
        panic!("{addr}")
    };
    let port = addr.port().to_be_bytes();
    [&[5, 1, 0, 1][..], &addr.ip().octets(), &port].concat()
}

const CONNECTED: [u8; 10] = [5, 0, 0, 1, 0, 0, 0, 0, 0, 0];

#[tokio::test]
async fn socks_leads_to_any_host() {
    let service = echo_service().await;
    let mut tunnel = socks5(PluginCredentials::default()).await;
    let by_name = [
        &b"\x05\x01\0\x03\x09localhost"[..],
        &service.port().to_be_bytes(),
    ]
    .concat();
    for request in [connect_to(service), by_name] {
        let mut user = tunnel.user().await;
        assert_eq!(say(&mut user, &[5, 1, 0], 2).await, [5, 0]);
        assert_eq!(say(&mut user, &request, 10).await, CONNECTED);
        echo(&mut user, &"bytes ".repeat(100_000)).await;
    }
    // All at once, with bytes for the host.
    let mut user = tunnel.user().await;
    let sent = [&[5, 1, 0][..], &connect_to(service), b"early"].concat();
    let answer = say(&mut user, &sent, 17).await;
    assert_eq!(answer, [&[5, 0][..], &CONNECTED, b"early"].concat());
}

#[tokio::test]
async fn socks_says_why_a_host_is_not_connected() {
    let mut tunnel = socks5(PluginCredentials::default()).await;
    let no_such_name = b"\x05\x01\0\x03\x0cname.invalid\0\x50";
    for (request, code) in [
        (connect_to(nowhere().await), 5),
        (no_such_name.to_vec(), 4),
        (vec![5, 2, 0, 1, 0, 0, 0, 0, 0, 0], 7),
        (vec![5, 3, 0, 1, 0, 0, 0, 0, 0, 0], 7),
        (vec![5, 1, 0, 9], 8),
    ] {
        let mut user = tunnel.user().await;
        assert_eq!(say(&mut user, &[5, 1, 0], 2).await, [5, 0]);
        let answer = say(&mut user, &request, 10).await;
        assert_eq!(answer[..2], [5, code], "{request:?}");
        ended(&mut user).await;
    }
}

#[tokio::test]
async fn socks_with_a_password_asks_for_it() {
    let service = echo_service().await;
    let mut tunnel = socks5(ada()).await;
    let mut user = tunnel.user().await;
    assert_eq!(say(&mut user, &[5, 1, 0], 2).await, [5, 0xff]);
    ended(&mut user).await;

    let mut user = tunnel.user().await;
    assert_eq!(say(&mut user, &[5, 2, 0, 2], 2).await, [5, 2]);
    let began = Instant::now();
    assert_eq!(say(&mut user, b"\x01\x03ada\x05wrong", 2).await, [1, 1]);
    assert!(began.elapsed().as_millis() >= 200);
    ended(&mut user).await;

    let mut user = tunnel.user().await;
    assert_eq!(say(&mut user, &[5, 1, 2], 2).await, [5, 2]);
    assert_eq!(say(&mut user, b"\x01\x03ada\x06s3cret", 2).await, [1, 0]);
    assert_eq!(say(&mut user, &connect_to(service), 10).await, CONNECTED);
    echo(&mut user, "bytes").await;
}

#[tokio::test]
async fn what_is_no_socks_is_closed() {
    let mut tunnel = socks5(PluginCredentials::default()).await;
    for sent in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"\x04\x01\0\x50\x7f\0\0\x01\0",
    ] {
        let mut user = tunnel.user().await;
        user.send(bytes::Bytes::from_static(sent)).await.unwrap();
        ended(&mut user).await;
    }
}
