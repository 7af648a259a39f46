//! What a STUN server's answers are made into.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};

use mgrok_nat::discovery::{DiscoverError, discover, discover_at};
use mgrok_nat::nat::{Behavior, Kind};
use mgrok_nat::prepare::{PrepareError, Prepared, prepare};

use mgrok_net::resolver::Resolver;

use crate::stun::{Manners, Stun};

async fn server(manners: Manners) -> Stun {
    Stun::with([Ipv4Addr::LOCALHOST; 2], manners).await
}

/// A local address that is free now, and why it is not taken again: it is bound.
fn bound() -> (UdpSocket, SocketAddrV4) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    match socket.local_addr().unwrap() {
        SocketAddr::V4(addr) => (socket, addr),
        SocketAddr::V6(addr) => panic!("{addr}"),
    }
}

#[tokio::test]
async fn two_addresses_see_the_same_socket() {
    let server = Stun::start().await;
    let name = format!("localhost:{}", server.addr().port());
    let discovery = discover(&name, None, &Resolver::default()).await.unwrap();
    let port = discovery.socket.local_addr().unwrap().port();
    let mapped = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
    assert_eq!(discovery.mapped, [mapped, mapped]);
    let local = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port);
    assert_eq!(discovery.local, local);
}

#[tokio::test]
async fn the_local_address_can_be_chosen() {
    let server = Stun::start().await;
    let (socket, local) = bound();
    let error = discover_at(server.addr(), Some(local)).await.unwrap_err();
    assert!(matches!(error, DiscoverError::Bind { .. }), "{error}");
    drop(socket);
    let discovery = discover_at(server.addr(), Some(local)).await.unwrap();
    assert_eq!(discovery.mapped, [local, local]);
    assert_eq!(discovery.local, local);
}

#[tokio::test]
async fn a_lost_request_is_repeated() {
    let server = server(Manners {
        lost: 1,
        ..Manners::default()
    })
    .await;
    discover_at(server.addr(), None).await.unwrap();
}

#[tokio::test]
async fn a_server_with_one_address_is_of_no_use() {
    let server = server(Manners {
        hides_other: true,
        ..Manners::default()
    })
    .await;
    let error = discover_at(server.addr(), None).await.unwrap_err();
    assert!(
        error.to_string().starts_with("not enough addresses"),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_is_given_up() {
    let (_silent, addr) = bound();
    let started = tokio::time::Instant::now();
    let error = discover_at(addr, None).await.unwrap_err();
    assert!(
        matches!(error, DiscoverError::NoAnswer { server } if server == addr),
        "{error}"
    );
    assert_eq!(started.elapsed().as_secs(), 3);
}

#[tokio::test]
async fn a_name_without_port_is_no_server() {
    let error = discover("localhost", None, &Resolver::default())
        .await
        .unwrap_err();
    assert!(matches!(error, DiscoverError::Resolve { .. }), "{error}");
    let error = discover("[::1]:3478", None, &Resolver::default())
        .await
        .unwrap_err();
    assert!(matches!(error, DiscoverError::NoIpv4 { .. }), "{error}");
    assert!(matches!(
        prepare("localhost", None, &Resolver::default()).await,
        Err(PrepareError::Discover(_))
    ));
}

#[tokio::test]
async fn the_report_says_all_that_was_found() {
    let server = server(Manners {
        port_step: 3,
        ..Manners::default()
    })
    .await;
    let discovery = discover_at(server.addr(), None).await.unwrap();
    let prepared = Prepared::new(discovery).unwrap();
    assert_eq!(prepared.nat.kind(), Kind::Hard);
    assert_eq!(prepared.nat.behavior, Behavior::PortChanged);
    assert_eq!(prepared.nat.ports_difference, 3);
    assert!(prepared.nat.is_regular());

    let port = prepared.local.port();
    let seen = [
        format!("127.0.0.1:{port}"),
        format!("127.0.0.1:{}", port + 3),
    ];
    assert_eq!(prepared.mapped_addrs(), seen);
    for addr in prepared.assisted_addrs() {
        assert!(
            addr.ends_with(&format!(":{port}")) && !addr.starts_with("127."),
            "{addr}"
        );
    }
    assert_eq!(
        prepared.report("stun.example.com:3478"),
        format!(
            "STUN server: stun.example.com:3478\n\
             Your NAT type is: HardNAT\n\
             Behavior is: BehaviorPortChanged\n\
             External address is: [127.0.0.1:{port} 127.0.0.1:{}]\n\
             Local address is: 0.0.0.0:{port}\n\
             Public Network: false\n",
            port + 3
        )
    );
}
