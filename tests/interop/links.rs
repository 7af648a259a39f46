//! Sessions of mgrok's client with more connections than one, at frp's server.

use mgrok_lab::{Client, Peer, Proxy, Server, eventually, service, tap::Tap, traffic};
use tokio::net::TcpStream;

const LINKS: usize = 3;

/// Without TLS a connection says nothing until it has a stream.
const SETTINGS: &str = "transport.tcpMuxConnections = 3\ntransport.tls.enable = false";

#[cfg_attr(
    not(frp),
    ignore = "FRPS_BIN and FRPC_BIN do not name an frps and an frpc"
)]
#[tokio::test]
async fn frps_takes_streams_on_all_connections_of_a_session() {
    let echo = service::tcp_echo().await;
    let server = Server::start(Peer::Frp, "").await;
    let tap = Tap::on(server.addr()).await;
    let proxies = [Proxy::tcp("tcp", echo.addr())];
    let client = Client::start(Peer::Mgrok, tap.addr(), SETTINGS, &proxies).await;
    for number in 2..=LINKS {
        let line = format!("connection {number} of the session is there");
        client.log().wait_for(&line).await;
    }
    let mut users = Vec::new();
    eventually("all connections have streams", async || {
        let mut user = TcpStream::connect(proxies[0].public()).await.unwrap();
        traffic::echo(&mut user, 1_000).await.unwrap();
        users.push(user);
        (tap.openings().len() == LINKS).then_some(())
    })
    .await;
    for user in &mut users {
        traffic::echo(user, 1_000).await.unwrap();
    }
    assert!(!client.log().contains("StartWorkConn contains error"));
}
