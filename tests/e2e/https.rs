//! https proxies.

use std::net::SocketAddr;

use mgrok_lab::{
    Client, PATIENCE, Peer, Proxy, Server, certs::Authority, ports, service, service::Service, tls,
    traffic, within,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};

use crate::{Shared, named, refuses};

async fn published(for_server: &str, proxies: &[Proxy]) -> Shared {
    Shared::with("vhostHTTPSPort", for_server, proxies).await
}

/// A service whose certificate is for `name`, and which greets with it.
async fn site(authority: &Authority, name: &'static str) -> Service {
    tls::echo(&authority.sign(name), name).await
}

/// The name that the service greets with; then bytes come back.
async fn greeting(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> String {
    let mut greeting = Vec::new();
    let exchange = async {
        while !greeting.ends_with(b"\n") {
            greeting.push(stream.read_u8().await.unwrap());
        }
        let (mut from, mut to) = tokio::io::split(&mut stream);
        tokio::try_join!(
            traffic::send(&mut to, 3, 100_000),
            traffic::receive(&mut from, 3, 100_000)
        )
        .unwrap();
    };
    within(PATIENCE, "a greeting and an echo", exchange).await;
    String::from_utf8(greeting).unwrap().trim_end().to_owned()
}

/// Who answers a user that asks for `name`, and proves to be it.
async fn reached(at: SocketAddr, authority: &Authority, name: &str) -> String {
    let stream = within(PATIENCE, "a handshake", tls::connect(at, authority, name)).await;
    greeting(stream.unwrap()).await
}

/// Why a user who asks for `name` is turned away.
async fn turned_away(at: SocketAddr, authority: &Authority, name: &str) -> String {
    let attempt = within(PATIENCE, "a refusal", tls::connect(at, authority, name)).await;
    attempt.unwrap_err().to_string()
}

#[tokio::test]
async fn the_name_in_the_hello_leads_to_the_service() {
    let authority = Authority::new();
    let sites = [
        "a.test",
        "*.w.test",
        "x.w.test",
        "127.0.0.1",
        "sub.tunnel.test",
    ];
    let [a, wild, exact, any, sub] = [
        site(&authority, sites[0]).await,
        site(&authority, sites[1]).await,
        site(&authority, sites[2]).await,
        site(&authority, sites[3]).await,
        site(&authority, sites[4]).await,
    ];
    let proxies = [
        named("https", "a", a.addr(), "A.test"),
        named("https", "wild", wild.addr(), "*.w.test"),
        named("https", "exact", exact.addr(), "x.w.test")
            .with("transport.useEncryption = true\ntransport.useCompression = true"),
        named("https", "any", any.addr(), "*"),
        Proxy::new("https", "sub", sub.addr()).with("subdomain = \"sub\""),
    ];
    let shared = published("subDomainHost = \"tunnel.test\"", &proxies).await;
    for (name, expect) in [
        ("a.test", "a.test"),
        ("A.TEST", "a.test"),
        ("y.w.test", "*.w.test"),
        ("x.w.test", "x.w.test"),
        ("sub.tunnel.test", "sub.tunnel.test"),
        // Whoever asks for an address does not name it in the hello.
        ("127.0.0.1", "127.0.0.1"),
    ] {
        assert_eq!(reached(shared.at, &authority, name).await, expect, "{name}");
    }
}

#[tokio::test]
async fn a_hello_may_come_in_many_pieces() {
    let authority = Authority::new();
    let site = site(&authority, "a.test").await;
    let shared = published("", &[named("https", "a", site.addr(), "a.test")]).await;
    for piece in [1, 7, 100] {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let stream = TcpStream::connect(shared.at).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (mut from, mut to) = stream.into_split();
        let (mut far_from, mut far_to) = tokio::io::split(far);
        let back = tokio::spawn(async move { tokio::io::copy(&mut from, &mut far_to).await });
        let there = tokio::spawn(async move {
            let mut buffer = vec![0; piece];
            let mut in_pieces = 4_000;
            while let Ok(read @ 1..) = far_from.read(&mut buffer).await {
                to.write_all(&buffer[..read]).await.unwrap();
                // The handshake is through.
                in_pieces -= read.min(in_pieces);
                if in_pieces == 0 {
                    buffer.resize(16 * 1024, 0);
                }
            }
        });
        let stream = tls::connect_on(near, &authority, "a.test");
        let stream = within(PATIENCE, "a handshake in pieces", stream).await;
        assert_eq!(greeting(stream.unwrap()).await, "a.test");
        back.abort();
        there.abort();
    }
}

#[tokio::test]
async fn who_asks_for_an_unknown_name_is_told_so_by_an_alert() {
    let authority = Authority::new();
    let site = site(&authority, "a.test").await;
    let shared = published("", &[named("https", "a", site.addr(), "a.test")]).await;
    for name in ["b.test", "x.a.test", "127.0.0.1"] {
        let why = turned_away(shared.at, &authority, name).await;
        assert!(why.contains("UnrecognisedName"), "{name}: {why}");
    }
    assert_eq!(reached(shared.at, &authority, "a.test").await, "a.test");
}

#[tokio::test]
async fn what_is_no_hello_is_closed_without_a_word() {
    let authority = Authority::new();
    let site = site(&authority, "a.test").await;
    let shared = published("", &[named("https", "a", site.addr(), "a.test")]).await;
    for bytes in [
        &b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"[..],
        &[0x16, 3, 1, 0xff, 0xff, 1, 0, 0xff],
        &[0x16, 3, 1, 0, 5, 1, 0, 0, 1, 0],
        &[0x17, 3, 3, 0, 1, 0],
        &[0xff; 70_000],
    ] {
        let mut stream = TcpStream::connect(shared.at).await.unwrap();
        let end = async {
            let _ = stream.write_all(bytes).await;
            let _ = stream.shutdown().await;
            let mut got = Vec::new();
            let _ = stream.read_to_end(&mut got).await;
            got
        };
        let got = within(PATIENCE, "the end of a connection", end).await;
        assert_eq!(got, b"", "{:?}", &bytes[..5]);
    }
    assert_eq!(reached(shared.at, &authority, "a.test").await, "a.test");
}

#[tokio::test]
async fn users_and_clients_may_share_a_port() {
    let authority = Authority::new();
    let site = site(&authority, "a.test").await;
    let echo = service::tcp_echo().await;
    let at = SocketAddr::from(([127, 0, 0, 1], ports::free()));
    let settings = format!("vhostHTTPSPort = {}", at.port());
    let server = Server::start_at(Peer::Mgrok, at, &settings).await;
    let proxies = [
        named("https", "a", site.addr(), "a.test"),
        Proxy::tcp("tcp", echo.addr()),
    ];
    for for_client in [
        "transport.tls.disableCustomTLSFirstByte = false",
        "transport.tls.enable = false",
    ] {
        let mark = server.log().mark();
        let client = Client::start(Peer::Mgrok, at, for_client, &proxies).await;
        assert_eq!(reached(at, &authority, "a.test").await, "a.test");
        let why = turned_away(at, &authority, "b.test").await;
        assert!(why.contains("UnrecognisedName"), "{why}");
        traffic::tcp_echo(proxies[1].public(), 10_000).await;
        client.stop().await;
        server.log().wait_after(mark, "client exit success").await;
    }
}

#[tokio::test]
async fn a_name_belongs_to_one_proxy_at_a_time() {
    let echo = service::tcp_echo().await;
    let proxy = |name, domain| named("https", name, echo.addr(), domain);
    let shared = published("subDomainHost = \"t.test\"", &[proxy("one", "a.test")]).await;
    shared
        .refuses(proxy("two", "A.test"), "router config conflict")
        .await;
    let why = "custom domain [x.t.test] should not belong to subdomain host [t.test]";
    shared.refuses(proxy("below", "x.t.test"), why).await;

    let server = Server::start(Peer::Mgrok, "").await;
    let why = "type [https] not supported when vhost https port is not set";
    refuses(&server, proxy("off", "a.test"), why).await;
}
