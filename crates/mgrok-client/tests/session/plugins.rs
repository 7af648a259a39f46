//! Tests plugins as users and local services see them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use mgrok_client::ProxyPhase;
use mgrok_config::{HttpsFront, LocalAddr, Plugin, ProxyConfig, ProxyKind, ProxyProtocol, Website};
use mgrok_net::conn::Conn;
use mgrok_net::message::MessageConn;
use mgrok_net::proxy_protocol;
use mgrok_net::tls::{ClientTls, ClientTlsOptions, ServerTls, ServerTlsOptions};
use mgrok_proto::message::{Pong, StartWorkConn};
use rustls::pki_types::{CertificateDer, ServerName};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};
use tokio_rustls::TlsConnector;

use crate::server::{Running, Server, echo, ended, new_proxy, recv, tcp_proxy, within};

/// The name in the certificate of HTTPS fronts.
const SHOP: &str = "shop.test";

/// A client with one proxy, `web`, and the server that a test plays.
pub(crate) struct Tunnel {
    server: Server,
    control: MessageConn,
    _client: Running,
}

impl Tunnel {
    pub(crate) async fn new(plugin: Plugin) -> Self {
        Self::with(ProxyConfig {
            plugin: Some(plugin),
            ..ProxyConfig::new("web", ProxyKind::Tcp { remote_port: 6000 }, 0)
        })
        .await
    }

    async fn with(proxy: ProxyConfig) -> Self {
        let server = Server::bind().await;
        let mut config = server.config();
        config.proxies = vec![proxy];
        let client = Running::start(config);
        let control = server.control_with_proxy().await;
        Self {
            server,
            control,
            _client: client,
        }
    }

    /// The connection of a user from 203.0.113.9.
    pub(crate) async fn user(&mut self) -> Conn {
        let start = StartWorkConn {
            proxy_name: "web".to_owned(),
            src_addr: "203.0.113.9".to_owned(),
            src_port: 4711,
            dst_addr: "192.0.2.1".to_owned(),
            dst_port: 443,
            ..StartWorkConn::default()
        };
        self.user_of(start).await
    }

    async fn user_of(&mut self, start: StartWorkConn) -> Conn {
        let (mut work, _) = self.server.work_conn(&mut self.control).await;
        work.send(&start.into()).await.unwrap();
        work.into_conn()
    }

    /// As [`Self::user`], within TLS for this server name.
    async fn tls_user(&mut self, server_name: &str) -> Conn {
        let user = self.user().await;
        tls(server_name, user).await
    }
}

/// Starts TLS on a user's connection, and accepts any certificate.
async fn tls(server_name: &str, user: Conn) -> Conn {
    let tls = ClientTls::new(ClientTlsOptions {
        server_name: server_name.to_owned(),
        ..ClientTlsOptions::default()
    });
    within(tls.unwrap().connect(user)).await.unwrap()
}

/// A website that answers with the head of the request; for a WebSocket it echoes the bytes that follow. Returns its
/// address.
pub(crate) async fn website(has_tls: bool) -> LocalAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let tls = ServerTls::new(ServerTlsOptions::default()).unwrap();
        while let Ok((stream, _)) = listener.accept().await {
            let tls = tls.clone();
            tokio::spawn(async move {
                let conn = Conn::from(stream);
                let conn = if has_tls {
                    tls.accept(conn).await.unwrap()
                } else {
                    conn
                };
                answer(conn).await;
            });
        }
    });
    local_addr(addr)
}

async fn answer(mut conn: Conn) {
    let head = read_head(&mut conn).await;
    if head.contains("Upgrade: websocket") {
        let switch =
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        conn.send(switch.into()).await.unwrap();
        let (mut read, mut write) = tokio::io::split(conn);
        let _ = tokio::io::copy(&mut read, &mut write).await;
        return;
    }
    let len = head.len();
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {len}\r\n\r\n{head}");
    let _ = conn.send(answer.into()).await;
    let _ = conn.close().await;
}

/// Reads up to the empty line.
pub(crate) async fn read_head(conn: &mut Conn) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(within(conn.read_u8()).await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

fn local_addr(addr: SocketAddr) -> LocalAddr {
    LocalAddr {
        host: addr.ip().to_string(),
        port: addr.port(),
    }
}

fn plain(local_addr: LocalAddr) -> Website {
    Website {
        local_addr,
        ..Website::default()
    }
}

async fn https2http() -> Plugin {
    Plugin::Https2Http {
        website: plain(website(false).await),
        front: HttpsFront::default(),
    }
}

/// Sends one request and reads to the end. Returns the answer's head, and its body, which is the head that the website
/// received.
pub(crate) async fn ask(conn: Conn, request: &str) -> (String, String) {
    let answer = talk(conn, &format!("{request}Connection: close\r\n\r\n")).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

pub(crate) async fn talk(mut conn: Conn, request: &str) -> String {
    let mut answer = String::new();
    conn.write_all(request.as_bytes()).await.unwrap();
    conn.flush().await.unwrap();
    within(conn.read_to_string(&mut answer)).await.unwrap();
    answer
}

/// The values of the headers `X-Forwarded-*` and `Forwarded` in a request.
fn forwarded(head: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = head
        .lines()
        .filter(|line| line.starts_with("X-Forwarded-") || line.starts_with("Forwarded"))
        .collect();
    lines.sort_unstable();
    lines
}

const REQUEST: &str = "GET /a?b HTTP/1.1\r\nHost: shop.test\r\nX-Forwarded-For: 198.51.100.1\r\n\
                       X-Forwarded-Host: old.test\r\nX-Forwarded-Proto: http\r\n";

#[tokio::test]
async fn http2http_removes_forwarded_headers() {
    let website = plain(website(false).await);
    let mut tunnel = Tunnel::new(Plugin::Http2Http(website)).await;
    let (answer, asked) = ask(tunnel.user().await, REQUEST).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert!(asked.starts_with("GET /a?b HTTP/1.1\r\n"), "{asked}");
    assert!(asked.contains("Host: shop.test\r\n"), "{asked}");
    assert_eq!(forwarded(&asked), Vec::<&str>::new());
}

#[tokio::test]
async fn http2https_keeps_forwarded_headers() {
    let website = plain(website(true).await);
    let mut tunnel = Tunnel::new(Plugin::Http2Https(website)).await;
    let (_, asked) = ask(tunnel.user().await, REQUEST).await;
    assert!(asked.contains("Host: shop.test\r\n"), "{asked}");
    assert_eq!(
        forwarded(&asked),
        [
            "X-Forwarded-For: 198.51.100.1",
            "X-Forwarded-Host: old.test",
            "X-Forwarded-Proto: http",
        ]
    );
}

#[tokio::test]
async fn https_plugins_set_forwarded_headers() {
    let with_tls = Plugin::Https2Https {
        website: plain(website(true).await),
        front: HttpsFront::default(),
    };
    for plugin in [https2http().await, with_tls] {
        let mut tunnel = Tunnel::new(plugin).await;
        let (_, asked) = ask(tunnel.tls_user(SHOP).await, REQUEST).await;
        assert_eq!(
            forwarded(&asked),
            [
                "X-Forwarded-For: 198.51.100.1, 203.0.113.9",
                "X-Forwarded-Host: shop.test",
                "X-Forwarded-Proto: https",
            ]
        );
    }
}

#[tokio::test]
async fn users_from_nowhere_are_unknown() {
    let mut tunnel = Tunnel::new(https2http().await).await;
    let start = StartWorkConn {
        proxy_name: "web".to_owned(),
        ..StartWorkConn::default()
    };
    let user = tunnel.user_of(start).await;
    let request = "GET / HTTP/1.1\r\nHost: shop.test\r\n";
    let (_, asked) = ask(tls(SHOP, user).await, request).await;
    assert_eq!(forwarded(&asked)[0], "X-Forwarded-For: unknown");
}

#[tokio::test]
async fn the_host_and_headers_are_rewritten() {
    let website = Website {
        local_addr: website(false).await,
        host_header_rewrite: "inner.test:8080".to_owned(),
        request_headers: [("X-From".to_owned(), "mgrok".to_owned())].into(),
    };
    let front = HttpsFront::default();
    let mut tunnel = Tunnel::new(Plugin::Https2Http { website, front }).await;
    let request = "GET / HTTP/1.1\r\nHost: shop.test\r\nX-From: me\r\n";
    let (_, asked) = ask(tunnel.tls_user(SHOP).await, request).await;
    assert!(asked.contains("\r\nHost: inner.test:8080\r\n"), "{asked}");
    assert!(asked.contains("\r\nX-From: mgrok\r\n"), "{asked}");
    assert!(!asked.contains("X-From: me"), "{asked}");
    assert!(asked.contains("X-Forwarded-Host: shop.test\r\n"), "{asked}");
}

#[tokio::test]
async fn a_website_is_asked_for_paths() {
    let website = plain(website(false).await);
    let mut tunnel = Tunnel::new(Plugin::Http2Http(website)).await;
    let request = "GET http://Shop.test:80/a?b HTTP/1.0\r\n";
    let (_, asked) = ask(tunnel.user().await, request).await;
    assert!(asked.starts_with("GET /a?b HTTP/1.1\r\n"), "{asked}");
    assert!(asked.contains("\r\nHost: Shop.test:80\r\n"), "{asked}");
}

#[tokio::test]
async fn requests_for_another_host_than_that_of_tls_are_misdirected() {
    let mut tunnel = Tunnel::new(https2http().await).await;
    for (server_name, host, expect) in [
        ("shop.test", "shop.test", 200),
        ("shop.test", "SHOP.test.:8443", 200),
        ("Shop.test", "shop.test", 200),
        ("shop.test", "www.shop.test", 421),
        // TLS clients do not send addresses as SNI.
        ("192.0.2.1", "shop.test", 200),
    ] {
        let user = tunnel.tls_user(server_name).await;
        let (answer, _) = ask(user, &format!("GET / HTTP/1.1\r\nHost: {host}\r\n")).await;
        let start = format!("HTTP/1.1 {expect} ");
        assert!(answer.starts_with(&start), "{server_name} {host}: {answer}");
    }
}

#[tokio::test]
async fn a_website_that_is_down_is_a_bad_gateway() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = local_addr(nobody.local_addr().unwrap());
    drop(nobody);
    let mut plain_tunnel = Tunnel::new(Plugin::Http2Http(plain(addr))).await;
    let (answer, body) = ask(plain_tunnel.user().await, REQUEST).await;
    assert!(answer.starts_with("HTTP/1.1 502 Bad Gateway"), "{answer}");
    assert_eq!(body, "");

    // The website does not speak TLS.
    let website = plain(website(false).await);
    let mut tls_tunnel = Tunnel::new(Plugin::Http2Https(website)).await;
    let (answer, _) = ask(tls_tunnel.user().await, REQUEST).await;
    assert!(answer.starts_with("HTTP/1.1 502 Bad Gateway"), "{answer}");
}

#[tokio::test]
async fn several_requests_use_one_connection() {
    let mut tunnel = Tunnel::new(https2http().await).await;
    let user = tunnel.tls_user(SHOP).await;
    let request = "GET / HTTP/1.1\r\nHost: shop.test\r\n";
    let both = format!("{request}\r\n{request}Connection: close\r\n\r\n");
    let answers = talk(user, &both).await;
    assert_eq!(answers.matches("HTTP/1.1 200 OK\r\n").count(), 2);
}

#[tokio::test]
async fn websockets_pass() {
    let mut tunnel = Tunnel::new(https2http().await).await;
    let mut user = tunnel.tls_user(SHOP).await;
    let request = "GET /chat HTTP/1.1\r\nHost: shop.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    user.send(request.into()).await.unwrap();
    let answer = read_head(&mut user).await;
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    echo(&mut user, &"frames ".repeat(10_000)).await;
}

/// A certificate for [`SHOP`]: its two files, and a connector that trusts it and offers `protocols`.
fn certificate(dir: &Path, protocols: &[&[u8]]) -> ((PathBuf, PathBuf), TlsConnector) {
    let made = rcgen::generate_simple_self_signed([SHOP.to_owned()]).unwrap();
    let files = (dir.join("shop.crt"), dir.join("shop.key"));
    std::fs::write(&files.0, made.cert.pem()).unwrap();
    std::fs::write(&files.1, made.signing_key.serialize_pem()).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from(made.cert)).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    (files, TlsConnector::from(Arc::new(config)))
}

fn shop() -> ServerName<'static> {
    ServerName::try_from(SHOP).unwrap()
}

#[tokio::test]
async fn users_choose_http2_and_find_the_configured_certificate() {
    let dir = TempDir::new().unwrap();
    let (files, connector) = certificate(dir.path(), &[b"h2", b"http/1.1"]);
    let mut tunnel = Tunnel::new(Plugin::Https2Http {
        website: plain(website(false).await),
        front: HttpsFront {
            certificate: Some(files),
            ..HttpsFront::default()
        },
    })
    .await;
    let user = tunnel.user().await;
    let user = within(connector.connect(shop(), user)).await.unwrap();
    assert_eq!(user.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));

    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(user));
    let (mut requests, connection) = within(handshake).await.unwrap();
    tokio::spawn(connection);
    for (host, expect) in [
        (SHOP, StatusCode::OK),
        ("www.shop.test", StatusCode::MISDIRECTED_REQUEST),
        (SHOP, StatusCode::OK),
    ] {
        let request = Request::get(format!("https://{host}/a")).body(Empty::<Bytes>::new());
        let answer = within(requests.send_request(request.unwrap()))
            .await
            .unwrap();
        assert_eq!(answer.status(), expect);
        let asked = within(answer.into_body().collect()).await.unwrap();
        let asked = String::from_utf8(asked.to_bytes().to_vec()).unwrap();
        if expect == StatusCode::OK {
            assert!(asked.starts_with("GET /a HTTP/1.1\r\n"), "{asked}");
            assert_eq!(
                forwarded(&asked),
                [
                    "X-Forwarded-For: 203.0.113.9",
                    "X-Forwarded-Host: shop.test",
                    "X-Forwarded-Proto: https",
                ]
            );
        }
    }
}

#[tokio::test]
async fn http2_can_be_switched_off() {
    let dir = TempDir::new().unwrap();
    let (files, connector) = certificate(dir.path(), &[b"h2", b"http/1.1"]);
    let plugin = Plugin::Https2Http {
        website: plain(website(false).await),
        front: HttpsFront {
            certificate: Some(files),
            enable_http2: false,
        },
    };
    let mut tunnel = Tunnel::new(plugin).await;
    let user = tunnel.user().await;
    let user = within(connector.connect(shop(), user)).await.unwrap();
    assert_eq!(user.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));

    // Nor is HTTP/2 spoken with clients that do not ask for it.
    let user = tunnel.tls_user(SHOP).await;
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(user));
    let (mut requests, connection) = within(handshake).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get("https://shop.test/").body(Empty::<Bytes>::new());
    let answer = within(requests.send_request(request.unwrap()))
        .await
        .unwrap();
    assert_eq!(answer.status(), StatusCode::HTTP_VERSION_NOT_SUPPORTED);
}

#[tokio::test]
async fn tls2raw_takes_tls_off_and_introduces_the_user() {
    let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut tunnel = Tunnel::with(ProxyConfig {
        plugin: Some(Plugin::Tls2Raw {
            local_addr: local_addr(service.local_addr().unwrap()),
            certificate: None,
        }),
        proxy_protocol: Some(ProxyProtocol::V1),
        // TLS is inside the layers.
        use_compression: true,
        ..ProxyConfig::new("web", ProxyKind::Tcp { remote_port: 6000 }, 0)
    })
    .await;
    let user = tunnel.user().await;
    let layers = mgrok_net::layers::Layers {
        compression: true,
        ..Default::default()
    };
    let mut user = tls("raw.test", layers.wrap(user)).await;
    let mut local = Conn::from(within(service.accept()).await.unwrap().0);
    let header = within(proxy_protocol::read(&mut local)).await.unwrap();
    assert_eq!(header.unwrap().source, "203.0.113.9:4711".parse().unwrap());
    user.send("from the user".into()).await.unwrap();
    assert_eq!(within(local.recv()).await.unwrap(), "from the user");
    local.send("for the user".into()).await.unwrap();
    assert_eq!(within(user.recv()).await.unwrap(), "for the user");
}

#[tokio::test]
async fn a_user_without_tls_does_not_reach_the_service() {
    let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut tunnel = Tunnel::new(Plugin::Tls2Raw {
        local_addr: local_addr(service.local_addr().unwrap()),
        certificate: None,
    })
    .await;
    let mut user = tunnel.user().await;
    user.send("GET / HTTP/1.1\r\n\r\n".into()).await.unwrap();
    let mut rest = Vec::new();
    let _ = within(user.read_to_end(&mut rest)).await;
    // The user receives at most a TLS alert.
    assert!(matches!(rest.first(), None | Some(0x15)), "{rest:?}");

    let mut proper = tunnel.tls_user(SHOP).await;
    proper.send("hello".into()).await.unwrap();
    // The first user to reach the service is the one that spoke TLS.
    let mut local = Conn::from(within(service.accept()).await.unwrap().0);
    assert_eq!(within(local.recv()).await.unwrap(), "hello");
}

#[tokio::test]
async fn a_unix_socket_is_reached_and_gets_the_users_address() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("app.sock");
    let service = UnixListener::bind(&path).unwrap();
    let mut tunnel = Tunnel::with(ProxyConfig {
        plugin: Some(Plugin::UnixDomainSocket { path }),
        proxy_protocol: Some(ProxyProtocol::V2),
        ..ProxyConfig::new("web", ProxyKind::Tcp { remote_port: 6000 }, 0)
    })
    .await;
    let mut user = tunnel.user().await;
    let mut local = Conn::from(within(service.accept()).await.unwrap().0);
    let header = within(proxy_protocol::read(&mut local)).await.unwrap();
    assert_eq!(
        header.unwrap().destination,
        "192.0.2.1:443".parse().unwrap()
    );
    tokio::spawn(async move {
        let (mut read, mut write) = tokio::io::split(local);
        let _ = tokio::io::copy(&mut read, &mut write).await;
    });
    echo(&mut user, &"text ".repeat(100_000)).await;

    // The service is gone: each user's connection is closed.
    drop(service);
    std::fs::remove_file(dir.path().join("app.sock")).unwrap();
    ended(&mut tunnel.user().await).await;
}

#[tokio::test]
async fn a_plugin_that_cannot_be_made_is_not_announced() {
    let server = Server::bind().await;
    let mut config = server.config();
    let missing = (
        PathBuf::from("/nowhere/a.crt"),
        PathBuf::from("/nowhere/a.key"),
    );
    let broken = ProxyConfig {
        plugin: Some(Plugin::Tls2Raw {
            local_addr: LocalAddr::default(),
            certificate: Some(missing),
        }),
        ..ProxyConfig::new("a", ProxyKind::Tcp { remote_port: 6000 }, 0)
    };
    config.proxies = vec![broken, tcp_proxy("b", "127.0.0.1:9".parse().unwrap())];
    let mut client = Running::start(config);
    let (mut control, _) = server.control().await;
    // The proxy before it in the order of names is skipped.
    assert_eq!(new_proxy(&mut control).await.proxy_name, "b");
    client.wait_for("a", ProxyPhase::StartError).await;
    let reason = client.status.proxy("a").unwrap().error.unwrap();
    assert!(reason.contains("/nowhere/a.crt"), "{reason}");
}

#[tokio::test]
async fn a_session_that_stops_lets_requests_finish_and_takes_no_more() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = local_addr(listener.local_addr().unwrap());
    let plugin = Plugin::Http2Http(plain(addr));
    let server = Server::bind().await;
    let mut config = server.config();
    config.proxies = vec![ProxyConfig {
        plugin: Some(plugin),
        ..ProxyConfig::new("web", ProxyKind::Tcp { remote_port: 6000 }, 0)
    }];
    let client = Running::start(config);
    let mut control = server.control_with_proxy().await;
    let mut busy = server.user(&mut control, "web").await;
    let request = "GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n";
    busy.send(request.into()).await.unwrap();
    let mut website = Conn::from(within(listener.accept()).await.unwrap().0);
    read_head(&mut website).await;

    let mut status = client.status.clone();
    let stopped = client.stop();
    assert_eq!(recv(&mut control).await.name(), "CloseProxy");
    assert_eq!(recv(&mut control).await.name(), "Ping");
    control.send(&Pong::default().into()).await.unwrap();
    // From here on the session accepts no more users.
    within(status.wait_for("web", |it| it.phase == ProxyPhase::Closed)).await;
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone";
    website.send(answer.into()).await.unwrap();
    let mut answer = String::new();
    within(busy.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.ends_with("done"), "{answer}");
    assert_eq!(within(stopped).await.unwrap().unwrap().cut, 0);
}
