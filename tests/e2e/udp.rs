//! udp proxies.

use std::{collections::HashSet, time::Duration};

use mgrok_lab::{Client, Peer, Proxy, Server, ports, service, traffic};
use tokio::{net::UdpSocket, task::JoinSet};

use crate::Tunnel;

/// What makes an end of mgrok frame datagrams as frp does.
const AS_FRP: &str = "transport.wireProtocol = \"v1\"";

#[tokio::test]
async fn datagrams_of_every_size_come_back() {
    let echo = service::udp_echo().await;
    let tunnel = Tunnel::udp(echo.addr()).await;
    traffic::udp_echo(tunnel.public, &[1, 0, 2, 511, 1_472, 1_500, 0]).await;
}

#[tokio::test]
async fn ends_of_mgrok_carry_the_longest_datagrams_whole() {
    let echo = service::udp_echo().await;
    let tunnel = Tunnel::udp(echo.addr()).await;
    traffic::udp_echo(tunnel.public, &[1_501, 9_000, 65_507, 1]).await;
}

#[tokio::test]
async fn datagrams_of_every_size_come_back_over_quic() {
    let echo = service::udp_echo().await;
    for settings in ["", AS_FRP] {
        let port = ports::free();
        let server = Server::start(Peer::Mgrok, &format!("quicBindPort = {port}")).await;
        let mut addr = server.addr();
        addr.set_port(port);
        let settings = format!("transport.protocol = \"quic\"\n{settings}");
        let proxies = [Proxy::udp("udp", echo.addr())];
        let _client = Client::start(Peer::Mgrok, addr, &settings, &proxies).await;
        // Some fit a packet, some do not.
        let sizes = [1, 0, 500, 1_100, 1_300, 1_500, 100];
        traffic::udp_echo(proxies[0].public(), &sizes).await;
    }
}

#[tokio::test]
async fn what_is_longer_than_the_packet_size_is_cut_in_frames_of_frp() {
    let echo = service::udp_echo().await;
    let tunnel = Tunnel::with("", AS_FRP, Proxy::udp("udp", echo.addr())).await;
    let mut user = traffic::UdpUser::of(tunnel.public).await;
    user.echo(1_501, 1_500).await;
    user.echo(9_000, 1_500).await;
}

#[tokio::test]
async fn the_packet_size_can_be_raised() {
    let echo = service::udp_echo().await;
    let settings = "udpPacketSize = 7000";
    let for_client = format!("{settings}\n{AS_FRP}");
    let tunnel = Tunnel::with(settings, &for_client, Proxy::udp("udp", echo.addr())).await;
    let mut user = traffic::UdpUser::of(tunnel.public).await;
    user.echo(7_000, 7_000).await;
    user.echo(7_001, 7_000).await;
}

#[tokio::test]
async fn every_user_gets_the_own_answers() {
    let echo = service::udp_echo().await;
    let tunnel = Tunnel::udp(echo.addr()).await;
    let mut users = JoinSet::new();
    for _ in 0..100 {
        // Contents are random, so an answer for another user would not match.
        users.spawn(traffic::udp_echo(tunnel.public, &[64, 700, 64]));
    }
    while let Some(user) = users.join_next().await {
        user.unwrap();
    }
}

#[tokio::test]
async fn a_steady_stream_loses_nothing() {
    const COUNT: u32 = 2_000;
    const IN_FLIGHT: u32 = 32;
    let echo = service::udp_echo().await;
    let tunnel = Tunnel::udp(echo.addr()).await;
    traffic::udp_echo(tunnel.public, &[1]).await;

    let user = UdpSocket::bind(("127.0.0.1", 0)).await.unwrap();
    user.connect(tunnel.public).await.unwrap();
    let mut back = HashSet::new();
    let mut buffer = [0; 64];
    let mut next = 0;
    while back.len() < COUNT as usize {
        while next < COUNT && next - (back.len() as u32) < IN_FLIGHT {
            user.send(&next.to_be_bytes()).await.unwrap();
            next += 1;
        }
        let answer = tokio::time::timeout(Duration::from_secs(5), user.recv(&mut buffer));
        let Ok(len) = answer.await else {
            panic!("{} of {next} came back", back.len());
        };
        let number = buffer[..len.unwrap()].try_into().unwrap();
        back.insert(u32::from_be_bytes(number));
    }
}

#[tokio::test]
async fn a_service_that_comes_later_is_found() {
    let port = ports::free();
    let tunnel = Tunnel::udp(([127, 0, 0, 1], port).into()).await;
    let user = UdpSocket::bind(("127.0.0.1", 0)).await.unwrap();
    user.connect(tunnel.public).await.unwrap();
    // Nobody is there: the client's socket learns of it by ICMP, and must survive.
    for _ in 0..5 {
        user.send(b"anyone?").await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let service = UdpSocket::bind(("127.0.0.1", port)).await.unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 2_000];
        loop {
            let (len, from) = service.recv_from(&mut buffer).await.unwrap();
            service.send_to(&buffer[..len], from).await.unwrap();
        }
    });
    traffic::udp_echo(tunnel.public, &[100]).await;
}

#[tokio::test]
async fn tcp_and_udp_share_a_port_number() {
    let (tcp, udp) = (service::tcp_echo().await, service::udp_echo().await);
    let first = Proxy::tcp("tcp", tcp.addr());
    let second = Proxy::udp("udp", udp.addr()).at(first.remote_port);
    let public = first.public();
    let server = Server::start(Peer::Mgrok, "").await;
    let proxies = [first, second];
    let _client = Client::start(Peer::Mgrok, server.addr(), "", &proxies).await;
    traffic::tcp_echo(public, 1_000).await;
    traffic::udp_echo(public, &[100]).await;
}

#[tokio::test]
async fn a_restarted_client_takes_the_users_over() {
    let echo = service::udp_echo().await;
    let proxies = [Proxy::udp("udp", echo.addr())];
    let server = Server::start(Peer::Mgrok, "").await;
    let client = Client::start(Peer::Mgrok, server.addr(), "", &proxies).await;
    let mut user = traffic::UdpUser::of(proxies[0].public()).await;
    user.echo(100, 100).await;
    drop(client);
    let _client = Client::start(Peer::Mgrok, server.addr(), "", &proxies).await;
    user.echo(100, 100).await;
}
