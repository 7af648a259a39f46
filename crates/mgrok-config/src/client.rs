//! The client's configuration, as the client uses it.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::auth::Auth;
use crate::liveness::LivenessKeys;
use crate::log::{AccessLog, Log};
use crate::oidc::OidcClient;
use crate::proxy::ProxyConfig;
use crate::proxy_url::ProxyUrl;
use crate::quic::Quic;
use crate::server::DEFAULT_GRACE_PERIOD;
use crate::store::Store;
use crate::virtual_net::VirtualNet;
use crate::visitor::VisitorConfig;
use crate::web_server::WebServer;

/// All settings of the client. [`Default`] is what an empty file means.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientConfig {
    /// Who this is: a prefix, with a dot, of the proxies' names on the wire; empty is none.
    pub user: String,
    /// A name of this client that survives restarts, which the server keeps unique; empty is none.
    pub client_id: String,
    /// Where the servers are, at least one. The first that answers is used, unless `connect_all`.
    pub servers: Vec<ServerAddr>,
    /// Publishes on all servers at once.
    pub connect_all: bool,
    /// The DNS server that names of servers and outbound proxies are looked up at; `None` leaves that to the system.
    pub dns_server: Option<SocketAddr>,
    /// Gives up if the first login fails; otherwise it is tried for ever.
    pub login_fail_exit: bool,
    /// The longest datagram in bytes that is carried whole; must match the server's. At least 1.
    pub udp_packet_size: usize,
    /// Told to the server at login, for its plugins.
    pub metadatas: BTreeMap<String, String>,
    /// How this client proves itself.
    pub auth: Auth,
    /// Where this client gets the token of its logins, if it does not sign them with that of `auth`, which is still what
    /// encryption goes by.
    pub oidc: Option<OidcClient>,
    /// Where the ends of user connections and requests are noted; `None`: nowhere.
    pub access_log: Option<AccessLog>,
    /// What is logged, and where to.
    pub log: Log,
    /// Whether the configuration is read again when its file changes.
    pub reload_on_change: bool,
    /// How long user connections may finish after a request to stop.
    pub grace_period: Duration,
    /// How the server is connected.
    pub transport: ClientTransport,
    /// The proxies to publish: those of the file and of its store that are enabled and, if `start` is given, named there.
    pub proxies: Vec<ProxyConfig>,
    /// The visitors, chosen likewise.
    pub visitors: Vec<VisitorConfig>,
    /// The STUN server, `host:port`, that `xtcp` asks for this client's public address.
    pub nat_hole_stun_server: String,
    /// Where proxies and visitors are kept that did not come from the file; `None` is nowhere. `proxies` and `visitors` have those too.
    pub store: Option<Store>,
    /// This client's address in the virtual network, for which it makes a device; `None` is none.
    pub virtual_net: Option<VirtualNet>,
    /// The admin port; `None` is off.
    pub web_server: Option<WebServer>,
}

impl Default for ClientConfig {
    fn default() -> Self {
        // frp: these values, but for the grace period
        Self {
            user: String::new(),
            client_id: String::new(),
            servers: vec![ServerAddr::new(LOOPBACK, 7000)],
            connect_all: false,
            dns_server: None,
            login_fail_exit: true,
            udp_packet_size: 1500,
            metadatas: BTreeMap::new(),
            auth: Auth::default(),
            oidc: None,
            access_log: None,
            log: Log::default(),
            reload_on_change: false,
            grace_period: DEFAULT_GRACE_PERIOD,
            transport: ClientTransport::default(),
            proxies: Vec::new(),
            visitors: Vec::new(),
            nat_hole_stun_server: "stun.easyvoip.com:3478".to_owned(),
            store: None,
            virtual_net: None,
            web_server: None,
        }
    }
}

/// Where a client without `serverAddr` looks for its server.
const LOOPBACK: &str = "127.0.0.1";

/// Where a server is.
#[derive(Clone, Debug, Hash, PartialEq, Eq)]
pub struct ServerAddr {
    /// Its address, without brackets, or its name. The "any" addresses, which cannot be dialled everywhere, have become loopback.
    pub host: String,
    /// Its control port, and with `quic` or `kcp` the UDP port of that.
    pub port: u16,
}

impl ServerAddr {
    /// The server at `host`, an address without brackets or a name, and `port`.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self {
            host: host.into(),
            port,
        }
    }
}

/// `host:port`; IPv6 addresses in brackets.
impl fmt::Display for ServerAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// What carries a client to its server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// The best of QUIC, TCP and WebSocket within TLS that gets through.
    Auto,
    /// KCP over UDP, which the server must have switched on.
    Kcp,
    /// QUIC over UDP, which the server must have switched on. Always encrypted.
    Quic,
    /// TCP.
    #[default]
    Tcp,
    /// WebSocket over TCP, with TLS, if it is on, within.
    WebSocket,
    /// WebSocket within TLS.
    Wss,
}

/// Which version of frp's wire protocol a client speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WireProtocol {
    /// The second, or the first with servers that do not know it.
    #[default]
    Auto,
    /// The first.
    V1,
    /// The second, or none.
    V2,
}

/// The client's `transport` section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientTransport {
    /// What carries everything.
    pub protocol: Protocol,
    /// How messages are written.
    pub wire_protocol: WireProtocol,
    /// The outbound proxy that connections to the server pass; QUIC and KCP do not.
    pub proxy_url: Option<ProxyUrl>,
    /// How long connecting to the server may take.
    pub dial_server_timeout: Duration,
    /// The keepalive time of sockets to the server; `None` is off.
    pub dial_server_keepalive: Option<Duration>,
    /// The address to connect from; `None` lets the system choose.
    pub connect_server_local_ip: Option<IpAddr>,
    /// Connections over TCP go by several paths at once, where the systems of both ends can do that.
    pub multipath: bool,
    /// How many work connections to keep in store at the server, which may allow fewer.
    pub pool_count: u32,
    /// Many streams share one connection; must match the server's.
    pub tcp_mux: bool,
    /// How many connections the streams of a session share, 1 to [`MAX_MUX_CONNECTIONS`](Self::MAX_MUX_CONNECTIONS).
    pub tcp_mux_connections: usize,
    /// How often a silent multiplexed connection is probed; more than zero.
    pub tcp_mux_keepalive_interval: Duration,
    /// How often the server is pinged; `None` is never.
    pub heartbeat_interval: Option<Duration>,
    /// How long to wait for the answer to a ping; `None` is for ever, and always so when nothing is pinged.
    pub heartbeat_timeout: Option<Duration>,
    /// Times and limits of QUIC, which tunnels of `xtcp` are made of.
    pub quic: Quic,
    /// Which of these times the operator has set.
    pub liveness_keys: LivenessKeys,
    /// TLS to the server; `None` is off. QUIC and WebSocket within TLS have it all the same.
    pub tls: Option<ClientTls>,
}

impl ClientTransport {
    /// The most connections that a session may have. Servers of mgrok allow no more.
    pub const MAX_MUX_CONNECTIONS: usize = 64;
}

impl Default for ClientTransport {
    fn default() -> Self {
        // frp: these values, but for the wire protocol
        Self {
            protocol: Protocol::default(),
            wire_protocol: WireProtocol::default(),
            proxy_url: None,
            dial_server_timeout: Duration::from_secs(10),
            dial_server_keepalive: Some(Duration::from_secs(7200)),
            connect_server_local_ip: None,
            multipath: false,
            pool_count: 1,
            tcp_mux: true,
            tcp_mux_connections: 1,
            tcp_mux_keepalive_interval: Duration::from_secs(30),
            heartbeat_interval: None,
            heartbeat_timeout: None,
            quic: Quic::default(),
            liveness_keys: LivenessKeys::default(),
            tls: Some(ClientTls::default()),
        }
    }
}

/// The client's `transport.tls` section, when TLS is on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientTls {
    /// Sends one byte of frp's own before the handshake, for servers that share the port with HTTPS.
    pub custom_first_byte: bool,
    /// Files of the certificate chain to show and its key.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// A file of authorities that the server's certificate must come from; `None` accepts any certificate.
    pub trusted_ca: Option<PathBuf>,
    /// The authorities that the system trusts count as those of `trusted_ca` do, which is `None` then.
    pub trusts_system: bool,
    /// The SHA-256 fingerprint of the one certificate that the server may show; `None` is any.
    pub pinned_sha256: Option<[u8; 32]>,
    /// The name to ask for and to find in the server's certificate; `None`: the server's address.
    pub server_name: Option<String>,
}
