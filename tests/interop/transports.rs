//! Every transport to the server, in both wire protocols.

use std::net::{Ipv4Addr, SocketAddr};

use mgrok_lab::{
    Client, Peer, Proxy, Server,
    certs::Authority,
    ports,
    service::{self, Service},
    tap::Tap,
    tls, traffic,
};
use tokio::task::JoinSet;

use crate::Pair;

for_each_pair!(
    tcp_in_v1,
    tcp_in_v2,
    kcp_in_v1,
    kcp_in_v2,
    quic_in_v1,
    quic_in_v2,
    websocket_in_v1,
    websocket_in_v2,
    wss_in_v1,
    wss_in_v2,
);

async fn tcp_in_v1(pair: Pair) {
    travel(pair, Transport::Tcp, V1).await;
}

async fn tcp_in_v2(pair: Pair) {
    travel(pair, Transport::Tcp, V2).await;
}

async fn kcp_in_v1(pair: Pair) {
    travel(pair, Transport::Kcp, V1).await;
}

async fn kcp_in_v2(pair: Pair) {
    travel(pair, Transport::Kcp, V2).await;
}

async fn quic_in_v1(pair: Pair) {
    travel(pair, Transport::Quic, V1).await;
}

async fn quic_in_v2(pair: Pair) {
    travel(pair, Transport::Quic, V2).await;
}

async fn websocket_in_v1(pair: Pair) {
    travel(pair, Transport::WebSocket, V1).await;
}

async fn websocket_in_v2(pair: Pair) {
    travel(pair, Transport::WebSocket, V2).await;
}

async fn wss_in_v1(pair: Pair) {
    travel(pair, Transport::Wss, V1).await;
}

async fn wss_in_v2(pair: Pair) {
    travel(pair, Transport::Wss, V2).await;
}

pub(crate) const V1: &str = "transport.wireProtocol = \"v1\"";
const V2: &str = "transport.wireProtocol = \"v2\"";

/// What carries a client to its server.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Transport {
    Kcp,
    Quic,
    Tcp,
    WebSocket,
    Wss,
}

impl Transport {
    fn protocol(self) -> &'static str {
        match self {
            Self::Kcp => "kcp",
            Self::Quic => "quic",
            Self::Tcp => "tcp",
            Self::WebSocket => "websocket",
            Self::Wss => "wss",
        }
    }

    /// The values of `transport.tcpMux` that make a difference.
    fn muxes(self) -> &'static [bool] {
        match self {
            Self::Quic => &[true],
            Self::Kcp | Self::Tcp | Self::WebSocket | Self::Wss => &[true, false],
        }
    }

    /// The settings of `transport.tls` that make one.
    fn tls(self) -> &'static [&'static str] {
        match self {
            Self::Kcp | Self::Tcp | Self::WebSocket => &[
                "transport.tls.enable = false",
                "transport.tls.enable = true",
                "transport.tls.disableCustomTLSFirstByte = false",
            ],
            Self::Quic | Self::Wss => &[""],
        }
    }
}

/// What every stream of the second wire protocol begins with.
pub(crate) const MAGIC: &[u8] = b"FRP\0\x02\r\n";

/// What every connection that carries WebSocket begins with.
const WEBSOCKET: &[u8] = b"GET /~!frp ";

/// Goes there in every way, with `wire` among the client's settings.
pub(crate) async fn travel(pair: Pair, transport: Transport, wire: &str) {
    let (tcp, udp) = (service::tcp_echo().await, service::udp_echo().await);
    for &mux in transport.muxes() {
        for tls in transport.tls() {
            let both = format!("transport.tcpMux = {mux}\nauth.token = \"transports\"");
            // Another server each time. An frps goes on for a while to wait for what a client that is gone might say over KCP,
            // and lets nobody else in meanwhile.
            let there = Destination::start(pair.server, transport, &both).await;
            let protocol = transport.protocol();
            let settings = format!("{both}\ntransport.protocol = {protocol:?}\n{wire}\n{tls}");
            for entrance in there.entrances() {
                let name = |kind| format!("{kind}-{}", entrance.port());
                let proxies = [
                    Proxy::tcp(name("tcp"), tcp.addr()),
                    Proxy::udp(name("udp"), udp.addr()),
                ];
                let _client = Client::start(pair.client, entrance, &settings, &proxies).await;
                use_both(proxies.map(|proxy| proxy.public())).await;
            }
            let readable = !mux && tls.contains("enable = false");
            for opening in there.tap.openings() {
                match transport {
                    Transport::WebSocket | Transport::Wss => {
                        assert!(opening.starts_with(WEBSOCKET))
                    }
                    Transport::Tcp if readable && wire == V1 => {
                        assert!(!opening.starts_with(MAGIC))
                    }
                    Transport::Tcp if readable && wire == V2 => assert!(opening.starts_with(MAGIC)),
                    Transport::Kcp | Transport::Quic | Transport::Tcp => {}
                }
            }
        }
    }
}

/// A server, and the ways in at the end of one transport.
struct Destination {
    peer: Peer,
    server: Server,
    udp_port: Option<u16>,
    /// In front of the server's control port.
    tap: Tap,
    terminator: Option<Service>,
}

impl Destination {
    async fn start(peer: Peer, transport: Transport, settings: &str) -> Self {
        let (udp_port, settings) = match transport {
            Transport::Kcp => with_udp_port(settings, "kcpBindPort"),
            Transport::Quic => with_udp_port(settings, "quicBindPort"),
            Transport::Tcp | Transport::WebSocket | Transport::Wss => (None, settings.to_owned()),
        };
        let server = Server::start(peer, &settings).await;
        let tap = Tap::on(server.addr()).await;
        let terminator = match transport {
            Transport::Wss => {
                let authority = Authority::new();
                let certificate = authority.sign("tunnel.test");
                Some(tls::terminator(&certificate, tap.addr()).await)
            }
            Transport::Kcp | Transport::Quic | Transport::Tcp | Transport::WebSocket => None,
        };
        Self {
            peer,
            server,
            udp_port,
            tap,
            terminator,
        }
    }

    fn entrances(&self) -> Vec<SocketAddr> {
        if let Some(port) = self.udp_port {
            return vec![(Ipv4Addr::LOCALHOST, port).into()];
        }
        let Some(terminator) = &self.terminator else {
            return vec![self.tap.addr()];
        };
        match self.peer {
            // It takes no TLS off WebSocket.
            Peer::Frp | Peer::OldFrp => vec![terminator.addr()],
            Peer::Mgrok | Peer::MgrokProgram => vec![terminator.addr(), self.server.addr()],
        }
    }
}

fn with_udp_port(settings: &str, key: &str) -> (Option<u16>, String) {
    let port = ports::free();
    (Some(port), format!("{settings}\n{key} = {port}"))
}

async fn use_both([tcp, udp]: [SocketAddr; 2]) {
    let mut uses = JoinSet::new();
    for size in [1, 100_000, 2_000_001] {
        uses.spawn(traffic::tcp_echo(tcp, size));
    }
    for _ in 0..3 {
        uses.spawn(traffic::udp_echo(udp, &[1, 100, 1_200, 1_400]));
    }
    while let Some(done) = uses.join_next().await {
        done.unwrap();
    }
}
