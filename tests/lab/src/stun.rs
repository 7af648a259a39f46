//! A STUN server with two addresses, and behaviour to choose.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};

use mgrok_nat::stun::{self, Response};
use tokio::{net::UdpSocket, task::JoinSet};

/// A STUN server that ends when dropped.
pub struct Stun {
    addr: SocketAddrV4,
    other: SocketAddrV4,
    _tasks: JoinSet<()>,
}

/// What a server does otherwise than it should.
#[derive(Clone, Copy, Debug, Default)]
pub struct Manners {
    /// By how much the second address sees a higher port than the first, as behind a NAT that gives each destination its own.
    pub port_step: u16,
    /// How many requests each address leaves unanswered at first.
    pub lost: usize,
    /// Says nothing of its second address.
    pub hides_other: bool,
}

impl Stun {
    /// On two ports of 127.0.0.1.
    ///
    /// # Panics
    /// When no port can be bound.
    pub async fn start() -> Self {
        Self::with([Ipv4Addr::LOCALHOST; 2], Manners::default()).await
    }

    /// On a port of each of these addresses, which may be the same.
    ///
    /// # Panics
    /// When no port can be bound.
    pub async fn with([ip, other_ip]: [Ipv4Addr; 2], manners: Manners) -> Self {
        let (first, addr) = bind(ip).await;
        let (second, other) = bind(other_ip).await;
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(first, other, 0, manners));
        tasks.spawn(serve(second, addr, manners.port_step, manners));
        Self {
            addr,
            other,
            _tasks: tasks,
        }
    }

    /// Where to ask.
    pub fn addr(&self) -> SocketAddrV4 {
        self.addr
    }

    /// Where it sends those who asked.
    pub fn other(&self) -> SocketAddrV4 {
        self.other
    }
}

async fn bind(ip: Ipv4Addr) -> (UdpSocket, SocketAddrV4) {
    let socket = UdpSocket::bind((ip, 0)).await.unwrap();
    let addr = v4(socket.local_addr().unwrap());
    (socket, addr)
}

fn v4(addr: SocketAddr) -> SocketAddrV4 {
    match addr {
        SocketAddr::V4(addr) => addr,
        SocketAddr::V6(addr) => panic!("{addr} on an IPv4 socket"),
    }
}

async fn serve(socket: UdpSocket, other: SocketAddrV4, port_step: u16, manners: Manners) {
    let mut buffer = [0; 1_500];
    let mut lost = 0;
    loop {
        // An error is about an earlier answer that nobody wanted.
        let Ok((len, from)) = socket.recv_from(&mut buffer).await else {
            continue;
        };
        let Some(id) = stun::parse_request(&buffer[..len]) else {
            continue;
        };
        if lost < manners.lost {
            lost += 1;
            continue;
        }
        let mut mapped = v4(from);
        mapped.set_port(mapped.port().wrapping_add(port_step));
        let response = Response {
            mapped: Some(mapped),
            other: (!manners.hides_other).then_some(other),
        };
        let _ = socket
            .send_to(&stun::binding_response(id, &response), from)
            .await;
    }
}
