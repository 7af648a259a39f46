//! Work connections that wait for users.

use std::{net::SocketAddr, time::Duration};

use mgrok_lab::{Client, Peer, Proxy, Server, eventually, link::Link, ports, service, traffic};
use tokio::task::JoinSet;

use crate::{Tunnel, metrics::Told};

#[tokio::test]
async fn more_users_than_pooled_connections_are_served() {
    let echo = service::tcp_echo().await;
    // With v2 and the multiplexer the server opens what users need, and there is no pool.
    for (mux, wire) in [(true, "v2"), (true, "v1"), (false, "v2")] {
        let for_server = format!("transport.tcpMux = {mux}");
        let for_client =
            format!("{for_server}\ntransport.poolCount = 5\ntransport.wireProtocol = \"{wire}\"");
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
async fn a_server_that_opens_work_connections_itself_keeps_none() {
    let echo = service::tcp_echo().await;
    for (wire, kept) in [("v1", 3.0), ("v2", 0.0)] {
        let port = ports::free();
        let for_server = format!("webServer.port = {port}\nenablePrometheus = true");
        let for_client = format!("transport.poolCount = 3\ntransport.wireProtocol = \"{wire}\"");
        let proxy = Proxy::tcp("tcp", echo.addr());
        let tunnel = Tunnel::with(&for_server, &for_client, proxy).await;
        for _ in 0..5 {
            traffic::tcp_echo(tunnel.public, 1_000).await;
        }
        let admin = SocketAddr::from(([127, 0, 0, 1], port));
        eventually(&format!("{kept} are kept with {wire}"), async || {
            let told = Told::by(admin).await;
            assert!(told.value("mgrok_server_work_connections_total{result=\"ok\"}") >= 5.0);
            let idle = told.value("mgrok_server_idle_work_connections");
            // A rush may have brought some more.
            (idle >= kept && (kept > 0.0 || idle == 0.0)).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_client_may_ask_for_more_than_the_server_keeps() {
    let echo = service::tcp_echo().await;
    let proxy = Proxy::tcp("tcp", echo.addr());
    let tunnel = Tunnel::with(
        "transport.maxPoolCount = 1",
        "transport.poolCount = 1000\ntransport.wireProtocol = \"v1\"",
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
            false => "transport.wireProtocol = \"v1\"",
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
