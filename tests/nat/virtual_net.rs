//! Virtual networks: two clients behind their routers, each with a device, and packets between the two.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use mgrok_lab::{
    Client, Ended, Need,
    Peer::{self, Frp, MgrokProgram as Mgrok},
    Proxy, Server, Visitor,
    namespace::Namespace,
    skipped,
    stun::{Manners, Stun},
    traffic, within,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
    task::JoinHandle,
};

use crate::{
    Ends,
    network::{Nat, Network, PUBLIC, SERVER_PORT},
};

/// How long it may take until a network is there, or there again: longer than frp waits before it tries anew.
const LIMIT: Duration = Duration::from_secs(90);

/// How often to look, and how often a user tries anew.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// What the server may receive for its own needs while much passes it by.
const SMALL_TALK: u64 = 50_000;

/// Addresses of the two members.
#[derive(Clone, Copy)]
struct Members {
    owner: &'static str,
    guest: &'static str,
    prefix: u8,
}

const IPV4: Members = Members {
    owner: "100.86.0.1",
    guest: "100.86.0.2",
    prefix: 24,
};
const IPV6: Members = Members {
    owner: "fd00:86::1",
    guest: "fd00:86::2",
    prefix: 64,
};

/// A virtual network that runs.
struct VirtualNetwork {
    members: Members,
    // In the order in which they are dropped: who needs others goes first.
    _guest: Client,
    owner: Client,
    server: Option<Server>,
    _stun: Stun,
    network: Network,
    /// A listener that leads to the owner's device without a network at this end.
    raw: SocketAddr,
}

fn is_possible(ends: Ends) -> bool {
    let Ends {
        server,
        owner,
        guest,
    } = ends;
    if !std::path::Path::new("/dev/net/tun").exists() {
        skipped(
            Need::Namespaces,
            "virtual networks",
            "there is no /dev/net/tun",
        );
        return false;
    }
    let needs_frp = [server, owner, guest].contains(&Frp);
    Network::is_possible() && (!needs_frp || mgrok_lab::frp_is_here())
}

fn server_addr() -> SocketAddr {
    (PUBLIC[0], SERVER_PORT).into()
}

async fn start_server(network: &Network, peer: Peer) -> Server {
    let server = Server::start_at(peer, server_addr(), "log.level = \"debug\"");
    network.public.run(server).await
}

impl VirtualNetwork {
    async fn new(ends: Ends, members: Members, kind: &'static str) -> Self {
        let network = Network::new([Nat::FullCone, Nat::PortRestricted]).unwrap();
        let stun = network
            .public
            .run(Stun::with(PUBLIC, Manners::default()))
            .await;
        let server = start_server(&network, ends.server).await;
        let settings = |addr: &str| {
            format!(
                "natHoleStunServer = \"{}\"\nlog.level = \"debug\"\nfeatureGates = {{ VirtualNet = true }}\n\
                 virtualNet.address = \"{addr}/{}\"\n",
                stun.addr(),
                members.prefix
            )
        };
        let addr = server_addr();
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 9));
        let secret = "secretKey = \"abc\"\n";
        let proxy = Proxy::new(kind, "net", nowhere)
            .with(secret)
            .with("plugin.type = \"virtual_net\"");
        let (owner, of_owner) = (ends.owner, settings(members.owner));
        let owner = network
            .owner
            .run(async move { Client::start(owner, addr, &of_owner, &[proxy]).await })
            .await;
        let visitor = Visitor {
            bind_port: -1,
            ..Visitor::new(kind, "guest", "net")
                .with(secret)
                .with("plugin.type = \"virtual_net\"")
                .with(&format!("plugin.destinationIP = \"{}\"", members.owner))
        };
        let raw = Visitor::new(kind, "raw", "net").with(secret);
        let raw_addr = SocketAddr::from((Ipv4Addr::LOCALHOST, raw.listener().port()));
        let (guest, of_guest) = (ends.guest, settings(members.guest));
        let guest = network
            .guest
            .run(async move {
                Client::start_with_visitors(guest, addr, &of_guest, &[], &[visitor, raw]).await
            })
            .await;
        Self {
            members,
            _guest: guest,
            owner,
            server: Some(server),
            _stun: stun,
            network,
            raw: raw_addr,
        }
    }

    /// Datagrams and connections of the guest reach a service of the owner, and come back.
    async fn leads_to_the_owner(&self, len: u64) {
        let owner = self.members.owner.parse().unwrap();
        pass(&self.network.guest, &self.network.owner, owner, len).await;
    }

    /// The other way round, which works once the owner has heard of the guest.
    async fn leads_to_the_guest(&self, len: u64) {
        let guest = self.members.guest.parse().unwrap();
        pass(&self.network.owner, &self.network.guest, guest, len).await;
    }

    /// Sends bytes to the owner's network as a visitor that knows no rules, and waits to be cut off.
    async fn is_cut_off_after(&self, bytes: Vec<u8>) {
        let raw = self.raw;
        let cut = self.network.guest.run(async move {
            let mut stream = TcpStream::connect(raw).await.unwrap();
            // It may be cut off before the end.
            let _ = stream.write_all(&bytes).await;
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
        });
        within(LIMIT, "an end of the connection", cut).await;
    }
}

/// Has `to`, which has the address `addr`, serve by TCP and UDP, and `from` use it.
async fn pass(from: &Namespace, to: &Namespace, addr: IpAddr, len: u64) {
    let service = to.run(echo(addr)).await;
    let (addr, tasks) = service;
    let user = from.run(async move {
        for len in [1, 100, 1300] {
            // The connection to the other client may be yet to come, and later a datagram may get lost.
            while !datagram_returns(addr, len).await {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        }
        traffic::tcp_echo(addr, len).await;
    });
    within(LIMIT, "a way through the virtual network", user).await;
    for task in tasks {
        task.abort();
    }
}

async fn datagram_returns(addr: SocketAddr, len: usize) -> bool {
    let any: SocketAddr = match addr {
        SocketAddr::V4(_) => ([0; 4], 0).into(),
        SocketAddr::V6(_) => ([0_u16; 8], 0).into(),
    };
    let socket = UdpSocket::bind(any).await.unwrap();
    let datagram: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..))
        .take(len)
        .collect();
    let mut answer = vec![0; len + 1];
    let exchange = async {
        socket.send_to(&datagram, addr).await?;
        socket.recv_from(&mut answer).await
    };
    let answered = tokio::time::timeout(Duration::from_millis(500), exchange).await;
    matches!(answered, Ok(Ok((read, _))) if answer[..read] == datagram)
}

/// A service that sends everything back, on one port of TCP and UDP.
async fn echo(addr: IpAddr) -> (SocketAddr, [JoinHandle<()>; 2]) {
    let listener = TcpListener::bind((addr, 0)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let socket = UdpSocket::bind(addr).await.unwrap();
    let tcp = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                let _ = tokio::io::copy(&mut from, &mut to).await;
            });
        }
    });
    let udp = tokio::spawn(async move {
        let mut buffer = vec![0; 65_536];
        loop {
            if let Ok((len, from)) = socket.recv_from(&mut buffer).await {
                let _ = socket.send_to(&buffer[..len], from).await;
            }
        }
    });
    (addr, [tcp, udp])
}

#[tokio::test]
async fn stcp_connects_two_networks() {
    if is_possible(Ends::MGROK) {
        let net = VirtualNetwork::new(Ends::MGROK, IPV4, "stcp").await;
        net.leads_to_the_owner(1_000_000).await;
        net.leads_to_the_guest(1_000_000).await;
    }
}

#[tokio::test]
async fn xtcp_connects_two_networks_past_the_server() {
    if is_possible(Ends::MGROK) {
        let net = VirtualNetwork::new(Ends::MGROK, IPV6, "xtcp").await;
        net.leads_to_the_owner(1000).await;
        let before = net.network.server_bytes();
        net.leads_to_the_owner(1_000_000).await;
        net.leads_to_the_guest(1_000_000).await;
        let seen = net.network.server_bytes() - before;
        assert!(seen < SMALL_TALK, "the server received {seen} bytes");
    }
}

#[tokio::test]
async fn the_network_is_back_when_the_server_is() {
    if is_possible(Ends::MGROK) {
        let mut net = VirtualNetwork::new(Ends::MGROK, IPV4, "stcp").await;
        net.leads_to_the_owner(1000).await;
        let mark = net.owner.log().mark();
        let server = net.server.take().unwrap();
        assert_eq!(server.stop().await, Ended::Well);
        net.server = Some(start_server(&net.network, Mgrok).await);
        net.owner.ready(mark).await;
        net.leads_to_the_owner(1000).await;
        net.leads_to_the_guest(1000).await;
    }
}

#[tokio::test]
async fn an_address_that_is_taken_is_told_of() {
    if is_possible(Ends::MGROK) {
        let net = VirtualNetwork::new(Ends::MGROK, IPV4, "stcp").await;
        let settings =
            "featureGates = { VirtualNet = true }\nvirtualNet.address = \"100.86.0.2/24\"";
        let second = async move { Client::launch(Mgrok, server_addr(), settings, &[]) };
        let mut second = net.network.guest.run(second).await;
        assert_eq!(second.ended().await, Ended::Badly);
        let why = "100.86.0.2 is the address of the device utun0 already: stop the other client, or choose another `virtualNet.address`";
        second.log().wait_for(why).await;
        // The first has noticed nothing.
        net.leads_to_the_owner(1000).await;
    }
}

#[tokio::test]
async fn a_hostile_visitor_ends_and_disturbs_nobody() {
    if is_possible(Ends::MGROK) {
        let net = VirtualNetwork::new(Ends::MGROK, IPV4, "stcp").await;
        net.leads_to_the_owner(1000).await;
        net.is_cut_off_after(vec![0; 4]).await;
        net.is_cut_off_after(vec![1, 0, 16, 0]).await;
        // A megabyte that is no packet, 100,000 that nothing leads to, each from another address, and then no length.
        let mut flood = 0x0010_0000_u32.to_le_bytes().to_vec();
        flood.resize(4 + 0x0010_0000, 7);
        for number in 0..100_000_u32 {
            let mut packet = [0; 24];
            packet[0] = 20;
            packet[4] = 0x45;
            packet[16..20].copy_from_slice(&(0x0a00_0000 + number).to_be_bytes());
            packet[20..24].copy_from_slice(&[192, 0, 2, 1]);
            flood.extend(packet);
        }
        flood.extend([0; 4]);
        tokio::join!(net.is_cut_off_after(flood), net.leads_to_the_owner(100_000));
        net.leads_to_the_guest(1000).await;
    }
}

#[tokio::test]
async fn frp_owns() {
    let ends = Ends::new(Mgrok, Frp, Mgrok);
    if is_possible(ends) {
        let net = VirtualNetwork::new(ends, IPV4, "stcp").await;
        net.leads_to_the_owner(100_000).await;
        net.leads_to_the_guest(100_000).await;
    }
}

#[tokio::test]
async fn frp_visits_by_frp() {
    let ends = Ends::new(Frp, Mgrok, Frp);
    if is_possible(ends) {
        let net = VirtualNetwork::new(ends, IPV4, "stcp").await;
        net.leads_to_the_owner(100_000).await;
        net.leads_to_the_guest(100_000).await;
    }
}
