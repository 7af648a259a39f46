//! Limits on bandwidth.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use mgrok_lab::{Proxy, service, traffic};

use crate::Tunnel;

const MIB: u64 = 1 << 20;

async fn limited(local: SocketAddr, mode: &str) -> Tunnel {
    let proxy = Proxy::tcp("tcp", local).with(&format!(
        "transport.bandwidthLimit = \"1MB\"\ntransport.bandwidthLimitMode = \"{mode}\""
    ));
    Tunnel::with("", "", proxy).await
}

/// The first second's worth passes at once, then so much a second.
fn check(start: Instant, bytes: u64) {
    let elapsed = start.elapsed().as_secs_f64();
    let expected = (bytes - MIB) as f64 / MIB as f64;
    assert!(elapsed > expected * 0.9, "{elapsed} s, not {expected} s");
    assert!(
        elapsed < expected * 1.5 + 1.0,
        "{elapsed} s, not {expected} s"
    );
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
    let start = Instant::now();
    traffic::tcp_echo(tunnel.public, 1_000).await;
    // What the hog has sent ahead may still be under way.
    let elapsed = start.elapsed();
    assert!(elapsed < Duration::from_secs(10), "{elapsed:?}");
}
