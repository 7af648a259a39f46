//! Tests health checks.

use std::num::NonZeroU32;
use std::time::Duration;

use mgrok_client::ProxyPhase;
use mgrok_config::{HealthCheck, HealthCheckKind, ProxyConfig};
use mgrok_net::message::MessageConn;
use mgrok_proto::message::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::server::{Running, Server, accept_proxy, new_proxy, recv, tcp_proxy, within};

fn checked(mut proxy: ProxyConfig, kind: HealthCheckKind, interval: Duration) -> ProxyConfig {
    proxy.health_check = Some(HealthCheck {
        kind,
        timeout: Duration::from_secs(20),
        max_failed: NonZeroU32::new(2).unwrap(),
        interval,
    });
    proxy
}

async fn closed_proxy(control: &mut MessageConn) -> String {
    match recv(control).await {
        Message::CloseProxy(closed) => closed.proxy_name,
        other => panic!("{} instead of CloseProxy", other.name()),
    }
}

#[tokio::test]
async fn a_proxy_comes_and_goes_with_its_service() {
    let server = Server::bind().await;
    let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let local = service.local_addr().unwrap();
    drop(service);
    let mut config = server.config();
    config.user = "ada".to_owned();
    let watched = checked(
        tcp_proxy("watched", local),
        HealthCheckKind::Tcp,
        Duration::from_millis(10),
    );
    config.proxies = vec![watched, tcp_proxy("unwatched", local)];
    let mut client = Running::start(config);

    let (mut control, _) = server.control().await;
    assert_eq!(new_proxy(&mut control).await.proxy_name, "ada.unwatched");
    accept_proxy(&mut control, "ada.unwatched").await;
    client.wait_for("unwatched", ProxyPhase::Running).await;
    client.wait_for("watched", ProxyPhase::CheckFailed).await;
    for _ in 0..2 {
        let service = TcpListener::bind(local).await.unwrap();
        assert_eq!(new_proxy(&mut control).await.proxy_name, "ada.watched");
        accept_proxy(&mut control, "ada.watched").await;
        client.wait_for("watched", ProxyPhase::Running).await;
        drop(service);
        assert_eq!(closed_proxy(&mut control).await, "ada.watched");
        client.wait_for("watched", ProxyPhase::CheckFailed).await;
    }
    let phases = client.status.proxies();
    assert_eq!(phases["unwatched"].phase, ProxyPhase::Running);
}

#[tokio::test]
async fn health_is_known_when_the_client_comes_back() {
    let server = Server::bind().await;
    let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = server.config();
    // There is only one check.
    let never_again = Duration::from_secs(3600);
    let local = service.local_addr().unwrap();
    let watched = tcp_proxy("watched", local);
    config.proxies = vec![checked(watched, HealthCheckKind::Tcp, never_again)];
    let _client = Running::start(config);

    let (mut control, _) = server.control().await;
    assert_eq!(new_proxy(&mut control).await.proxy_name, "watched");
    drop(control);
    let (mut control, _) = server.control().await;
    assert_eq!(new_proxy(&mut control).await.proxy_name, "watched");
}

#[tokio::test]
async fn an_http_service_says_itself_how_it_is() {
    let server = Server::bind().await;
    let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = server.config();
    let web = tcp_proxy("web", service.local_addr().unwrap());
    let http = HealthCheckKind::Http {
        path: "/healthz".to_owned(),
        headers: vec![("Host".to_owned(), "example.com".to_owned())],
    };
    config.proxies = vec![checked(web, http, Duration::from_millis(1))];
    let mut client = Running::start(config);

    let (mut control, _) = server.control().await;
    let answer = async |status: &str| {
        let (mut stream, _) = within(service.accept()).await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            assert_ne!(within(stream.read_buf(&mut request)).await.unwrap(), 0);
        }
        let expect = b"GET /healthz HTTP/1.1\r\nHost: example.com\r\n";
        assert!(request.starts_with(expect), "{}", request.escape_ascii());
        let response = format!("HTTP/1.1 {status}\r\n\r\n");
        stream.write_all(response.as_bytes()).await.unwrap();
    };
    answer("503 Unwell").await;
    answer("200 OK").await;
    new_proxy(&mut control).await;
    accept_proxy(&mut control, "web").await;
    client.wait_for("web", ProxyPhase::Running).await;
    // Two failures in a row, as configured.
    answer("500 Internal Server Error").await;
    answer("204 No Content").await;
    answer("500 Internal Server Error").await;
    let status = client.status.proxy("web").unwrap();
    assert_eq!(status.phase, ProxyPhase::Running);
    answer("500 Internal Server Error").await;
    assert_eq!(closed_proxy(&mut control).await, "web");
    client.wait_for("web", ProxyPhase::CheckFailed).await;
}

#[tokio::test]
async fn a_client_that_stops_waits_for_no_check() {
    let server = Server::bind().await;
    let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = server.config();
    let interval = Duration::from_secs(3600);
    let local = service.local_addr().unwrap();
    config.proxies = vec![checked(
        tcp_proxy("watched", local),
        HealthCheckKind::Tcp,
        interval,
    )];
    let client = Running::start(config);
    let mut control = server.control_with_proxy().await;
    let ended = client.stop();
    assert_eq!(closed_proxy(&mut control).await, "watched");
    assert_eq!(within(ended).await.unwrap().unwrap().cut, 0);
}
