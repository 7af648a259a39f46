//! The admin port of both ends.

use std::net::SocketAddr;

use mgrok_config::{ServerConfig, WebServer};
use mgrok_lab::{Client, Ended, Peer, Proxy, Server, eventually, ports, service, traffic};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// `admin:secret` in the header that asks for it.
pub(crate) const CREDENTIALS: &str = "Authorization: Basic YWRtaW46c2VjcmV0\r\n";

/// An admin port on a port found free, and the settings that open it.
pub(crate) fn admin_port() -> (SocketAddr, String) {
    let port = ports::free();
    let settings = format!("webServer.port = {port}");
    (([127, 0, 0, 1], port).into(), settings)
}

/// The status and the body of what `GET path` gives.
pub(crate) async fn get(from: SocketAddr, path: &str, headers: &str) -> (u16, String) {
    let mut conn = TcpStream::connect(from).await.unwrap();
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n");
    conn.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    conn.read_to_string(&mut text).await.unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap();
    (status.parse().unwrap(), body.to_owned())
}

/// Checks what only the right credentials may see, which `path` is.
async fn check_doors(port: SocketAddr, path: &str, status: u16) {
    assert_eq!(get(port, "/healthz", "").await, (200, String::new()));
    let (refused, _) = get(port, path, "").await;
    assert_eq!(refused, 401);
    let (allowed, _) = get(port, path, CREDENTIALS).await;
    assert_eq!(allowed, status);
    let (unknown, _) = get(port, "/nosuch", "").await;
    assert_eq!(unknown, 404);
}

pub(crate) const WITH_CREDENTIALS: &str =
    "\nwebServer.user = \"admin\"\nwebServer.password = \"secret\"";

#[tokio::test]
async fn the_server_lets_in_who_has_its_credentials() {
    let (port, settings) = admin_port();
    let server = Server::start(Peer::Mgrok, &(settings + WITH_CREDENTIALS)).await;
    let line = format!("dashboard listen on {port}");
    server.log().wait_for(&line).await;
    check_doors(port, "/", 301).await;
    server.log().wait_for("http request: [/]").await;
    server.log().wait_for("http response [/]: code [301]").await;
    assert!(!server.log().contains("healthz"));
    assert_eq!(server.stop().await, Ended::Well);
    assert!(TcpStream::connect(port).await.is_err());
}

#[tokio::test]
async fn the_client_lets_in_who_has_its_credentials() {
    let server = Server::start(Peer::Mgrok, "").await;
    let (port, settings) = admin_port();
    let settings = settings + WITH_CREDENTIALS;
    let client = Client::launch(Peer::Mgrok, server.addr(), &settings, &[]);
    let line = format!("admin server listen on {port}");
    client.log().wait_for(&line).await;
    check_doors(port, "/api/status", 200).await;
    client.log().wait_for("http request: [/api/status]").await;
    let response = "http response [/api/status]: code [200]";
    client.log().wait_for(response).await;
    assert_eq!(client.stop().await, Ended::Well);
    assert!(TcpStream::connect(port).await.is_err());
}

#[tokio::test]
async fn the_client_tells_where_its_proxies_are() {
    let (tcp, udp) = (service::tcp_echo().await, service::udp_echo().await);
    let server = Server::start(Peer::Mgrok, "").await;
    let proxies = [
        Proxy::tcp("web", tcp.addr()),
        Proxy::tcp("any", tcp.addr()).at(0),
        Proxy::udp("dns", udp.addr()),
    ];
    let (port, settings) = admin_port();
    let settings = settings + "\nuser = \"ada\"";
    let _client = Client::start(Peer::Mgrok, server.addr(), &settings, &proxies).await;

    let (status, body) = get(port, "/api/status", "").await;
    assert_eq!(status, 200);
    let chosen = body.split("\"remote_addr\":\"127.0.0.1:").nth(1).unwrap();
    let chosen: u16 = chosen.split('"').next().unwrap().parse().unwrap();
    let row = |proxy: &Proxy, remote_port| {
        let Proxy {
            name, kind, local, ..
        } = proxy;
        format!(
            "{{\"name\":\"{name}\",\"type\":\"{kind}\",\"status\":\"running\",\"err\":\"\",\
             \"local_addr\":\"{local}\",\"plugin\":\"\",\"remote_addr\":\"127.0.0.1:{remote_port}\"}}"
        )
    };
    let [web, any, dns] = &proxies;
    assert_eq!(
        body,
        format!(
            "{{\"tcp\":[{},{}],\"udp\":[{}]}}\n",
            row(any, chosen),
            row(web, web.remote_port),
            row(dns, dns.remote_port),
        )
    );
    traffic::tcp_echo(any.clone().at(chosen).public(), 1_000).await;
}

#[tokio::test]
async fn the_client_tells_why_a_proxy_does_not_run() {
    let echo = service::tcp_echo().await;
    let server = Server::start(Peer::Mgrok, "allowPorts = [{ single = 1 }]").await;
    let (port, settings) = admin_port();
    let proxy = Proxy::tcp("web", echo.addr());
    let remote_port = proxy.remote_port;
    let client = Client::launch(Peer::Mgrok, server.addr(), &settings, &[proxy]);
    client.log().wait_for("[web] start error: ").await;
    let (_, body) = get(port, "/api/status", "").await;
    let expect = format!(
        "{{\"tcp\":[{{\"name\":\"web\",\"type\":\"tcp\",\"status\":\"start error\",\
         \"err\":\"port not allowed: allowPorts of the server does not list port {remote_port}\",\"local_addr\":\"{}\",\"plugin\":\"\",\"remote_addr\":\"\"}}]}}\n",
        echo.addr()
    );
    assert_eq!(body, expect);
}

#[tokio::test]
async fn without_a_server_proxies_stay_listed_and_the_client_is_not_ready() {
    let echo = service::tcp_echo().await;
    let (port, settings) = admin_port();
    let settings = settings + "\nloginFailExit = false";
    let server = Server::start(Peer::Mgrok, "").await;
    let proxies = [Proxy::tcp("web", echo.addr())];
    let client = Client::start(Peer::Mgrok, server.addr(), &settings, &proxies).await;
    assert_eq!(get(port, "/readyz", "").await.0, 200);
    server.stop().await;
    eventually("the session is over", async || {
        let (_, body) = get(port, "/api/status", "").await;
        body.contains(r#""name":"web","type":"tcp","status":"new""#)
            .then_some(())
    })
    .await;
    let (status, body) = get(port, "/readyz", "").await;
    assert_eq!(status, 503);
    assert!(body.contains("not logged in to a server: "), "{body}");
    drop(client);

    // Nobody is there from the start.
    let (port, settings) = admin_port();
    let settings = settings + "\nloginFailExit = false";
    let nowhere = ([127, 0, 0, 1], ports::free()).into();
    let client = Client::launch(Peer::Mgrok, nowhere, &settings, &proxies);
    client.log().wait_for("connect to server error").await;
    assert_eq!(get(port, "/api/status", "").await, (200, "{}\n".to_owned()));
}

#[tokio::test]
async fn a_taken_admin_port_is_named_at_the_start() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let settings = format!("webServer.port = {port}");
    let reason = format!("cannot listen on 127.0.0.1:{port}; choose another webServer.addr");

    let server = mgrok_server::Server::bind(ServerConfig {
        bind_addr: "127.0.0.1".to_owned(),
        bind_port: 0,
        web_server: Some(WebServer {
            port,
            ..WebServer::default()
        }),
        ..ServerConfig::default()
    });
    let error = server.await.unwrap_err();
    assert!(error.to_string().contains(&reason), "{error}");

    let nowhere = ([127, 0, 0, 1], ports::free()).into();
    for peer in [Peer::Mgrok, Peer::MgrokProgram] {
        let mut client = Client::launch(peer, nowhere, &settings, &[]);
        assert_eq!(client.ended().await, Ended::Badly);
        client.log().wait_for(&reason).await;
        assert!(!client.log().contains("try to connect"));
    }
}
