//! `transport.protocol = "auto"` on transports that are closed and opened again.

use std::time::Instant;

use mgrok_lab::{
    Client, PATIENCE, Peer::MgrokProgram as Mgrok, Proxy, Server, service, traffic, within,
};
use tokio::net::TcpStream;

use crate::network::{Network, PORT, SERVER, server_addr};

const SERVER_SETTINGS: &str = "quicBindPort = 7000\nlog.level = \"debug\"";
const CLIENT_SETTINGS: &str = "transport.protocol = \"auto\"\n\
     transport.quic.keepalivePeriod = 1\n\
     transport.quic.maxIdleTimeout = 3\n\
     loginFailExit = false\n\
     log.level = \"debug\"";

/// A server and a client that publishes an echo at port 6000.
async fn start(network: &Network) -> (Server, Client, service::Service) {
    let server = Server::start_at(Mgrok, server_addr(), SERVER_SETTINGS);
    let server = network.server.run(server).await;
    let echo = network.client.run(service::tcp_echo()).await;
    let proxies = [Proxy::tcp("echo", echo.addr()).at(6000)];
    let client =
        async move { Client::start(Mgrok, server_addr(), CLIENT_SETTINGS, &proxies).await };
    let client = network.client.run(client).await;
    (server, client, echo)
}

#[tokio::test]
async fn a_client_takes_the_best_transport_that_is_open_and_returns_to_it() {
    let Some(network) = Network::new() else {
        return;
    };
    network.block_udp();
    let (_server, client, _echo) = start(&network).await;
    client
        .log()
        .wait_for(&format!("with {SERVER}:{PORT} by tcp"))
        .await;

    // Somebody who is there all the time.
    let (halfway, wait) = tokio::sync::oneshot::channel::<()>();
    let user = network.server.spawn(async move {
        let mut stream = TcpStream::connect((SERVER, 6000)).await.unwrap();
        traffic::echo(&mut stream, 100_000).await.unwrap();
        wait.await.unwrap();
        traffic::echo(&mut stream, 100_000).await.unwrap();
    });

    let opened = Instant::now();
    network.unblock();
    let mark = client.log().mark();
    client
        .log()
        .wait_after(mark, &format!("with {SERVER}:{PORT} by quic"))
        .await;
    println!("back on QUIC {:.1?} after it came back", opened.elapsed());
    client.ready(mark).await;
    // The old transport still carries who was there, the new one whoever comes.
    halfway.send(()).unwrap();
    within(PATIENCE, "a user from before", user).await.unwrap();
    network
        .server
        .run(traffic::tcp_echo((SERVER, 6000).into(), 100_000))
        .await;

    let closed = Instant::now();
    network.block_udp();
    let mark = client.log().mark();
    client
        .log()
        .wait_after(mark, &format!("with {SERVER}:{PORT} by tcp"))
        .await;
    client.ready(mark).await;
    network
        .server
        .run(traffic::tcp_echo((SERVER, 6000).into(), 100_000))
        .await;
    println!("on TCP {:.1?} after UDP was blocked", closed.elapsed());
}

#[tokio::test]
async fn a_path_whose_packets_must_become_smaller_goes_on() {
    let Some(network) = Network::new() else {
        return;
    };
    let (_server, client, _echo) = start(&network).await;
    client
        .log()
        .wait_for(&format!("with {SERVER}:{PORT} by quic"))
        .await;
    // On a busy machine it may have come by another transport first, and published again.
    let logins = client.log().count("login to server success");
    let published = "[echo] start proxy success";
    client.log().wait_for_times(0, published, logins).await;
    let echo = || {
        network
            .server
            .run(traffic::tcp_echo((SERVER, 6000).into(), 2_000_000))
    };
    echo().await;
    network.shrink(1280);
    echo().await;
    assert_eq!(client.log().count("login to server success"), logins);
}
