//! Work connections that wait for users.

use std::time::Duration;

use mgrok_lab::{Proxy, service, traffic};
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

#[tokio::test]
async fn pooled_connections_outlive_many_keepalives() {
    let echo = service::tcp_echo().await;
    let settings = "transport.tcpMuxKeepaliveInterval = 1";
    let for_client = format!("{settings}\ntransport.poolCount = 3\nlog.level = \"debug\"");
    let proxy = Proxy::tcp("tcp", echo.addr());
    let tunnel = Tunnel::with(settings, &for_client, proxy).await;
    let lost = "waiting work connection lost";
    // What is tested is time passing, so there is no condition to wait for.
    tokio::time::sleep(Duration::from_millis(3_500)).await;
    assert_eq!(tunnel.client.log().count(lost), 0);
    for _ in 0..5 {
        traffic::tcp_echo(tunnel.public, 1_000).await;
    }
    assert_eq!(tunnel.client.log().count("login to server success"), 1);
    // And those that do die are seen.
    tunnel.server.stop().await;
    let log = tunnel.client.log();
    log.wait_for_times(0, lost, 3).await;
}
