//! Work connections that wait for users.

use std::time::Duration;

use mgrok_lab::{Client, Peer, Proxy, Server, eventually, link::Link, service, traffic};
use tokio::task::JoinSet;

use crate::Tunnel;

#[tokio::test]
async fn more_users_than_pooled_connections_are_served() {
    let echo = service::tcp_echo().await;
    for mux in [true, false] {
        let for_server = format!("transport.tcpMux = {mux}");
        let for_client = format!("{for_server}\ntransport.poolCount = 5");
        let proxy = Proxy::tcp("tcp", echo.addr());
        let tunnel = Tunnel::with(&for_server, &for_client, proxy).await;
        let mut users = JoinSet::new();
        for _ in 0..50 {
            users.spawn(traffic::tcp_echo(tunnel.public, 10_000));
        }
        while let Some(user) = users.join_next().await {
            user.unwrap();
        }
        for _ in 0..20 {
            traffic::tcp_echo(tunnel.public, 100).await;
        }
    }
}

#[tokio::test]
async fn a_client_may_ask_for_more_than_the_server_keeps() {
    let echo = service::tcp_echo().await;
    let proxy = Proxy::tcp("tcp", echo.addr());
    let tunnel = Tunnel::with(
        "transport.maxPoolCount = 1",
        "transport.poolCount = 1000",
        proxy,
    )
    .await;
    for _ in 0..5 {
        traffic::tcp_echo(tunnel.public, 1_000).await;
    }
}

/// What a client says, at debug level, of a pooled connection that is lost while its session lives.
const LOST: &str = "waiting work connection lost";

#[tokio::test]
async fn pooled_connections_outlive_many_keepalives() {
    let echo = service::tcp_echo().await;
    for settings in [
        "transport.tcpMuxKeepaliveInterval = 1",
        "transport.tcpMux = false\ntransport.heartbeatTimeout = 2",
    ] {
        let more = match settings.contains("heartbeat") {
            true => "transport.heartbeatInterval = 1",
            false => "",
        };
        let for_client =
            format!("{settings}\n{more}\ntransport.poolCount = 3\nlog.level = \"debug\"");
        let proxy = Proxy::tcp("tcp", echo.addr());
        let tunnel = Tunnel::with(settings, &for_client, proxy).await;
        // What is tested is time passing, so there is no condition to wait for.
        tokio::time::sleep(Duration::from_millis(3_500)).await;
        assert_eq!(tunnel.client.log().count(LOST), 0);
        for _ in 0..5 {
            traffic::tcp_echo(tunnel.public, 1_000).await;
        }
        assert_eq!(tunnel.client.log().count("login to server success"), 1);
    }
}

#[tokio::test]
async fn pooled_connections_that_die_are_seen_and_replaced() {
    const POOL: usize = 3;
    let echo = service::tcp_echo().await;
    let proxies = [Proxy::tcp("tcp", echo.addr())];
    let no_mux = "transport.tcpMux = false";
    let server = Server::start(Peer::Mgrok, no_mux).await;
    let link = Link::to(server.addr()).await;
    let for_client = format!("{no_mux}\ntransport.poolCount = {POOL}\nlog.level = \"debug\"");
    let client = Client::start(Peer::Mgrok, link.addr(), &for_client, &proxies).await;
    // One has been through, so that others are under way.
    traffic::tcp_echo(proxies[0].public(), 1_000).await;
    eventually("all pooled connections have died", async || {
        link.reset_all_but_the_first();
        (client.log().count(LOST) >= POOL).then_some(())
    })
    .await;
    for _ in 0..5 {
        traffic::tcp_echo(proxies[0].public(), 1_000).await;
    }
    assert_eq!(client.log().count("login to server success"), 1);
}
