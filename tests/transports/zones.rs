//! A server at a link-local address, which has a zone.

use std::net::{Ipv6Addr, SocketAddr};

use mgrok_lab::{Client, Peer::MgrokProgram as Mgrok, Proxy, Server, service, traffic};

use crate::network::{Network, PORT};

#[tokio::test]
async fn a_link_local_server_is_reached_over_every_transport() {
    let Some(network) = Network::new() else {
        return;
    };
    let host = &network.client;
    host.ip("link set lo up\naddress add fe80::1/64 dev lo nodad")
        .unwrap();
    let listen = SocketAddr::from((Ipv6Addr::UNSPECIFIED, PORT));
    let settings = "quicBindPort = 7000\nkcpBindPort = 7001";
    let _server = host.run(Server::start_at(Mgrok, listen, settings)).await;
    let echo = host.run(service::tcp_echo()).await;
    let transports = [
        ("tcp", 0),
        ("websocket", 0),
        ("wss", 0),
        ("quic", 0),
        ("kcp", 1),
    ];
    for (public, (transport, port)) in (6000..).zip(transports) {
        let addr = SocketAddr::from((Ipv6Addr::LOCALHOST, PORT + port));
        let proxies = [Proxy::tcp(transport, echo.addr()).at(public)];
        let settings = format!("serverAddr = \"fe80::1%lo\"\ntransport.protocol = \"{transport}\"");
        let client = async move { Client::start(Mgrok, addr, &settings, &proxies).await };
        let _client = host.run(client).await;
        let user = traffic::tcp_echo(([127, 0, 0, 1], public).into(), 1_000);
        host.run(user).await;
    }
}
