//! Limits on bandwidth.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use mgrok_lab::{
    Client, PATIENCE, Peer, Proxy, Server, Visitor, service, traffic,
    web::{User, Web},
    within,
};
use tokio::{
    io::AsyncReadExt,
    net::{TcpStream, UdpSocket},
};

use crate::{Shared, Tunnel, named};

const MIB: u64 = 1 << 20;

fn limit(proxy: Proxy, mode: &str) -> Proxy {
    proxy.with(&format!(
        "transport.bandwidthLimit = \"1MB\"\ntransport.bandwidthLimitMode = \"{mode}\""
    ))
}

async fn limited(local: SocketAddr, mode: &str) -> Tunnel {
    Tunnel::with("", "", limit(Proxy::tcp("tcp", local), mode)).await
}

/// The first second's worth passes at once, then no more than so much a second. That it is no less either is tested where the
/// limiter is, on a clock that the test moves: here a busy machine would fail it.
fn check(start: Instant, bytes: u64) {
    let elapsed = start.elapsed().as_secs_f64();
    let expected = (bytes - MIB) as f64 / MIB as f64;
    assert!(elapsed > expected * 0.9, "{elapsed} s, not {expected} s");
}

#[tokio::test]
async fn a_limit_of_the_client_is_kept() {
    let echo = service::tcp_echo().await;
    let tunnel = limited(echo.addr(), "client").await;
    let start = Instant::now();
    // Both directions count.
    traffic::tcp_echo(tunnel.public, 3 * MIB / 2).await;
    check(start, 3 * MIB);
}

#[tokio::test]
async fn a_limit_of_the_server_is_kept() {
    let echo = service::tcp_echo().await;
    let tunnel = limited(echo.addr(), "server").await;
    let start = Instant::now();
    traffic::tcp_echo(tunnel.public, 3 * MIB / 2).await;
    check(start, 3 * MIB);
}

#[tokio::test]
async fn all_connections_of_a_proxy_share_its_limit() {
    let echo = service::tcp_echo().await;
    let tunnel = limited(echo.addr(), "client").await;
    let start = Instant::now();
    let one = || traffic::tcp_echo(tunnel.public, MIB / 2);
    tokio::join!(one(), one(), one());
    check(start, 3 * MIB);
}

#[tokio::test]
async fn a_limit_does_not_hold_a_closed_connection() {
    let echo = service::tcp_echo().await;
    let tunnel = limited(echo.addr(), "server").await;
    let hog = async {
        // Takes the whole limit for far longer than the test.
        let _ = traffic::try_tcp_echo(tunnel.public, 500 * MIB).await;
    };
    let _ = tokio::time::timeout(Duration::from_secs(1), hog).await;
    // What the hog has sent ahead may still be under way; all of it would take minutes.
    let echo = traffic::tcp_echo(tunnel.public, 1_000);
    within(PATIENCE, "an answer", echo).await;
}

#[tokio::test]
async fn requests_and_answers_of_an_http_proxy_are_limited() {
    let web = Web::start("web").await;
    let body = "x".repeat(MIB as usize / 2);
    let post = format!(
        "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    for mode in ["client", "server"] {
        let proxy = limit(named("http", "web", web.addr(), "a.test"), mode);
        let shared = Shared::with("vhostHTTPPort", "", &[proxy]).await;
        let start = Instant::now();
        // Half a MiB there and back each time, by several users at once.
        let one = async || {
            let mut user = User::of(shared.at).await;
            assert!(user.ask(&post).await.body.ends_with(&body));
        };
        tokio::join!(one(), one(), one());
        check(start, 3 * MIB);
    }
}

#[tokio::test]
async fn a_private_service_is_limited_for_all_its_visitors_together() {
    let echo = service::tcp_echo().await;
    for mode in ["client", "server"] {
        let server = Server::start(Peer::Mgrok, "").await;
        let key = "secretKey = \"k\"";
        let proxies = [limit(Proxy::new("stcp", "s", echo.addr()), mode).with(key)];
        let _host = Client::start(Peer::Mgrok, server.addr(), "", &proxies).await;
        let visitors = ["v", "w"].map(|name| Visitor::new("stcp", name, "s").with(key));
        let addr = server.addr();
        let _guest = Client::start_with_visitors(Peer::Mgrok, addr, "", &[], &visitors).await;
        let start = Instant::now();
        let one = |visitor: &Visitor| traffic::tcp_echo(visitor.listener(), 3 * MIB / 4);
        tokio::join!(one(&visitors[0]), one(&visitors[1]));
        check(start, 3 * MIB);
    }
}

#[tokio::test]
async fn datagrams_are_limited_in_both_directions_together() {
    let echo = service::udp_echo().await;
    for mode in ["client", "server"] {
        let tunnel = Tunnel::with("", "", limit(Proxy::udp("udp", echo.addr()), mode)).await;
        traffic::udp_echo(tunnel.public, &[1]).await;
        let user = UdpSocket::bind(("127.0.0.1", 0)).await.unwrap();
        user.connect(tunnel.public).await.unwrap();
        let start = Instant::now();
        let (mut back, mut buffer) = (0, vec![0; 2_000]);
        // Far more than may pass, for as long as it takes.
        let flood = async {
            loop {
                let _ = user.send(&[7; 1_400]).await;
                tokio::time::sleep(Duration::from_micros(200)).await;
            }
        };
        let count = async {
            while back < MIB {
                back += user.recv(&mut buffer).await.unwrap() as u64;
            }
        };
        let all = async {
            tokio::select! {
                () = flood => {}
                () = count => {}
            }
        };
        within(PATIENCE, "a MiB of answers", all).await;
        // What came back went there, too; what is dropped on its way counts as well, so it may take longer.
        let elapsed = start.elapsed().as_secs_f64();
        assert!(elapsed > 0.9, "{mode}: {elapsed} s");
    }
}

#[tokio::test]
async fn a_limit_does_not_hold_what_one_side_has_left() {
    let (seen, mut ends) = tokio::sync::mpsc::channel(4);
    let source = service::tcp(move |mut stream: TcpStream| {
        let seen = seen.clone();
        async move {
            let _ = traffic::send(&mut stream, 1, u64::MAX).await;
            let _ = seen.send(()).await;
        }
    })
    .await;
    // Reads a byte and leaves.
    let brief = service::tcp(async |mut stream: TcpStream| {
        let _ = stream.read(&mut [0]).await;
    })
    .await;
    for mode in ["client", "server"] {
        let slow = |local| {
            Proxy::tcp("tcp", local).with(&format!(
                "transport.bandwidthLimit = \"1KB\"\ntransport.bandwidthLimitMode = \"{mode}\""
            ))
        };
        let tunnel = Tunnel::with("", "", slow(source.addr())).await;
        let mut user = TcpStream::connect(tunnel.public).await.unwrap();
        traffic::receive(&mut user, 1, 100).await.unwrap();
        user.set_zero_linger().unwrap();
        drop(user);
        let end = tokio::time::timeout(PATIENCE, ends.recv()).await;
        assert!(
            end.is_ok(),
            "{mode}: the service's connection is still open"
        );

        let tunnel = Tunnel::with("", "", slow(brief.addr())).await;
        let mut user = TcpStream::connect(tunnel.public).await.unwrap();
        let (mut from, mut to) = user.split();
        // It would take minutes, if all of it were to pass.
        let upload = traffic::send(&mut to, 1, 10_000_000);
        let mut byte = [0];
        let end = async {
            tokio::select! {
                end = from.read(&mut byte) => drop(end),
                end = upload => drop(end),
            }
        };
        let end = tokio::time::timeout(PATIENCE, end).await;
        assert!(end.is_ok(), "{mode}: the user's connection is still open");
    }
}
