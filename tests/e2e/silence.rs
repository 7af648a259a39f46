//! A side that vanishes without a word.

use std::{
    io::ErrorKind,
    time::{Duration, Instant},
};

use mgrok_lab::{Client, Peer, Proxy, Server, eventually, link::Link, service, traffic};
use tokio::{io::AsyncReadExt, net::TcpStream};

const QUICK: &str = "transport.tcpMuxKeepaliveInterval = 1";

#[tokio::test]
async fn the_port_of_a_vanished_client_is_closed() {
    let echo = service::tcp_echo().await;
    let proxies = [Proxy::tcp("tcp", echo.addr())];
    let server = Server::start(Peer::Mgrok, QUICK).await;
    let link = Link::to(server.addr()).await;
    let _client = Client::start(Peer::Mgrok, link.addr(), "", &proxies).await;
    let mut user = TcpStream::connect(proxies[0].public()).await.unwrap();
    traffic::echo(&mut user, 1_000).await.unwrap();
    link.break_silently();
    eventually("the port is closed", async || {
        let refused = TcpStream::connect(proxies[0].public()).await.err()?;
        (refused.kind() == ErrorKind::ConnectionRefused).then_some(())
    })
    .await;
    // Who was connected is told.
    let end = tokio::time::timeout(Duration::from_secs(5), user.read(&mut [0])).await;
    assert!(matches!(end, Ok(Ok(0) | Err(_))), "{end:?}");
}

#[tokio::test]
async fn a_vanished_server_is_noticed_and_found_again() {
    let echo = service::tcp_echo().await;
    let proxies = [Proxy::tcp("tcp", echo.addr())];
    let server = Server::start(Peer::Mgrok, "").await;
    let link = Link::to(server.addr()).await;
    let client = Client::start(Peer::Mgrok, link.addr(), QUICK, &proxies).await;
    let mark = client.log().mark();
    link.break_silently();
    client
        .log()
        .wait_after(mark, "try to connect to server...")
        .await;
    link.mend();
    client.ready(mark).await;
    traffic::tcp_echo(proxies[0].public(), 1_000).await;
}

/// With the times that two ends of mgrok agree on, on transports that find out in different ways.
#[tokio::test]
async fn both_ends_notice_a_silent_link_within_seconds_by_default() {
    let noticed = [
        "",
        "transport.tcpMux = false",
        "transport.protocol = \"websocket\"",
    ]
    .map(async |settings| {
        let echo = service::tcp_echo().await;
        let proxies = [Proxy::tcp("tcp", echo.addr())];
        let for_server = match settings.contains("tcpMux") {
            true => settings,
            false => "",
        };
        let server = Server::start(Peer::Mgrok, for_server).await;
        let link = Link::to(server.addr()).await;
        let client = Client::start(Peer::Mgrok, link.addr(), settings, &proxies).await;
        let mut user = TcpStream::connect(proxies[0].public()).await.unwrap();
        traffic::echo(&mut user, 1_000).await.unwrap();
        let mark = client.log().mark();
        let broken = Instant::now();
        link.break_silently();
        let at_client = async {
            client.log().wait_after(mark, "this ends the session").await;
            broken.elapsed()
        };
        let at_server = async {
            while TcpStream::connect(proxies[0].public()).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            broken.elapsed()
        };
        let (at_client, at_server) = tokio::join!(at_client, at_server);
        println!("{settings:?}: client {at_client:.1?}, server {at_server:.1?}");
        // Twelve on an idle machine; frp's defaults make 39, or 90.
        let limit = Duration::from_secs(25);
        assert!(
            at_client < limit && at_server < limit,
            "{at_client:?} {at_server:?}"
        );
        // A connection of its own is the system's to watch, to which the link's end of it looks alive.
        if !settings.contains("tcpMux") {
            let end = tokio::time::timeout(Duration::from_secs(5), user.read(&mut [0])).await;
            assert!(matches!(end, Ok(Ok(0) | Err(_))), "{end:?}");
        }
    });
    let [mux, no_mux, websocket] = noticed;
    tokio::join!(mux, no_mux, websocket);
}

#[tokio::test]
async fn a_quiet_tunnel_is_not_taken_for_a_dead_one() {
    let echo = service::tcp_echo().await;
    let mux = "transport.tcpMuxKeepaliveInterval = 1";
    let no_mux = "transport.tcpMux = false\ntransport.heartbeatTimeout = 2";
    for settings in [mux, no_mux] {
        let server = Server::start(Peer::Mgrok, settings).await;
        let proxies = [Proxy::tcp("tcp", echo.addr())];
        let for_client = match settings == mux {
            true => mux.to_owned(),
            false => format!("{no_mux}\ntransport.heartbeatInterval = 1"),
        };
        let client = Client::start(Peer::Mgrok, server.addr(), &for_client, &proxies).await;
        let mut user = TcpStream::connect(proxies[0].public()).await.unwrap();
        traffic::echo(&mut user, 1).await.unwrap();
        // What is tested is time passing, so there is no condition to wait for.
        tokio::time::sleep(Duration::from_secs(4)).await;
        traffic::echo(&mut user, 1_000).await.unwrap();
        assert_eq!(client.log().count("login to server success"), 1);
    }
}
