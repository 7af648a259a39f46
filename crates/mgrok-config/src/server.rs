//! The server's configuration, as the server uses it.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use crate::access::{AccessList, SourceLimits};
use crate::auth::Auth;
use crate::ban_rules::BanRules;
use crate::liveness::LivenessKeys;
use crate::log::{AccessLog, Log};
use crate::network::Network;
use crate::oidc::OidcServer;
use crate::port_set::PortSet;
use crate::quic::Quic;
use crate::server_hook::HttpPlugin;
use crate::ssh_gateway::SshGateway;
use crate::web_server::WebServer;

/// How long user connections may finish after a request to stop, unless `gracePeriod` says otherwise: long enough for
/// an ordinary request, short enough for a service manager, which waits 10 s (Docker) or more.
pub(crate) const DEFAULT_GRACE_PERIOD: Duration = Duration::from_secs(5);

/// All settings of the server. [`Default`] is what an empty file means.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerConfig {
    /// The address of the control port, without brackets.
    pub bind_addr: String,
    /// The control port. A file cannot say 0, which stands for the default there; a program may.
    pub bind_port: u16,
    /// The UDP port for clients that come by KCP, on `bind_addr`; `None` is off.
    pub kcp_bind_port: Option<u16>,
    /// The UDP port for clients that come by QUIC, on `bind_addr`; `None` is off.
    pub quic_bind_port: Option<u16>,
    /// The address of the proxies' ports.
    pub proxy_bind_addr: String,
    /// Whether errors that clients receive say why something failed; otherwise they only say that it did.
    pub detailed_errors_to_client: bool,
    /// How many ports the proxies of one session may take; `None` is as many as they like.
    pub max_ports_per_client: Option<NonZeroU32>,
    /// How long a user waits for a work connection.
    pub user_conn_timeout: Duration,
    /// The longest datagram in bytes that is carried whole; must match the client's. At least 1.
    pub udp_packet_size: usize,
    /// The ports that proxies may take.
    pub allow_ports: PortSet,
    /// How clients prove themselves.
    pub auth: Auth,
    /// What is wanted of the tokens of clients, if they do not sign with that of `auth`, which is still what encryption goes by.
    pub oidc: Option<OidcServer>,
    /// What is logged, and where to.
    pub log: Log,
    /// Where the ends of users' connections and requests are noted; `None` is nowhere.
    pub access_log: Option<AccessLog>,
    /// Whether the configuration is read again when its file changes.
    pub reload_on_change: bool,
    /// How long user connections may finish after a request to stop.
    pub grace_period: Duration,
    /// How clients are connected.
    pub transport: ServerTransport,
    /// The ports that many services share by name.
    pub vhost: Vhost,
    /// Balancers in front of this server. Connections from there must begin with a PROXY protocol header, which says who
    /// the user is; on connections from anywhere else it is not believed.
    pub accept_proxy_protocol_from: Vec<Network>,
    /// Who may come, by the address that they come from.
    pub access: ServerAccess,
    /// When a source that guesses wrong is kept out for a while; `None` is never.
    pub bans: Option<BanRules>,
    /// Where clients come that are no more than `ssh -R`; `None` is off.
    pub ssh_gateway: Option<SshGateway>,
    /// How long it is remembered which way of punching a hole worked between two networks.
    pub nathole_analysis_data_reserve: Duration,
    /// The admin port; `None` is off.
    pub web_server: Option<WebServer>,
    /// Who is asked before something happens, in this order.
    pub http_plugins: Vec<HttpPlugin>,
}

/// The server's `access` section: who may come, by the address that they come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerAccess {
    /// From where clients may log in.
    pub logins: AccessList,
    /// From where users may come to the public endpoints of all proxies, beside what a proxy says for itself.
    pub users: AccessList,
    /// From where the clients of visitors may come, to all private services, beside what a proxy says for itself.
    pub visitors: AccessList,
    /// How many connections to all public endpoints may come from one source.
    pub user_limits: SourceLimits,
    /// The same for the connections of visitors.
    pub visitor_limits: SourceLimits,
}

/// The ports that many services share by name. They are on `proxy_bind_addr`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vhost {
    /// The port for HTTP; `None` is off. May be the control port.
    pub http_port: Option<u16>,
    /// How long a local service may take to begin its response.
    pub http_timeout: Duration,
    /// The port for HTTPS; `None` is off. May be the control port.
    pub https_port: Option<u16>,
    /// The port for `CONNECT` requests; `None` is off.
    pub tcpmux_port: Option<u16>,
    /// Leaves the answer to `CONNECT` requests to the local service.
    pub tcpmux_passthrough: bool,
    /// The domain below which proxies may take subdomains, in lower case; empty is none.
    pub sub_domain_host: String,
    /// The page to show where there is no service; `None` is our own. It is read anew each time.
    pub not_found_page: Option<PathBuf>,
    /// The page to show where the service of a client cannot be reached; `None` is our own. It is read anew each time.
    pub unreachable_page: Option<PathBuf>,
    /// The longest head of an HTTP answer in bytes; at least 8 KiB.
    pub max_response_head: usize,
    /// The most headers of an HTTP answer; at least 1.
    pub max_response_headers: usize,
    /// Proxies in front of the HTTP port that are believed when they say for whom they forward a request.
    pub trusted_proxies: Vec<Network>,
}

impl Default for Vhost {
    fn default() -> Self {
        // frp: these values
        Self {
            http_port: None,
            http_timeout: Duration::from_secs(60),
            https_port: None,
            tcpmux_port: None,
            tcpmux_passthrough: false,
            sub_domain_host: String::new(),
            not_found_page: None,
            unreachable_page: None,
            // Not frp's, which stops at 10 MiB.
            max_response_head: 1024 * 1024,
            max_response_headers: 1000,
            trusted_proxies: Vec::new(),
        }
    }
}

impl Default for ServerConfig {
    fn default() -> Self {
        // frp: these values, but for the grace period
        Self {
            bind_addr: "0.0.0.0".to_owned(),
            bind_port: 7000,
            kcp_bind_port: None,
            quic_bind_port: None,
            proxy_bind_addr: "0.0.0.0".to_owned(),
            detailed_errors_to_client: true,
            max_ports_per_client: None,
            user_conn_timeout: Duration::from_secs(10),
            udp_packet_size: 1500,
            allow_ports: PortSet::unrestricted(),
            auth: Auth::default(),
            oidc: None,
            log: Log::default(),
            access_log: None,
            reload_on_change: false,
            grace_period: DEFAULT_GRACE_PERIOD,
            transport: ServerTransport::default(),
            vhost: Vhost::default(),
            accept_proxy_protocol_from: Vec::new(),
            access: ServerAccess::default(),
            bans: None,
            ssh_gateway: None,
            nathole_analysis_data_reserve: Duration::from_secs(168 * 60 * 60),
            web_server: None,
            http_plugins: Vec::new(),
        }
    }
}

/// The server's `transport` section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerTransport {
    /// Many streams share one connection; must match the clients'.
    pub tcp_mux: bool,
    /// How often a silent multiplexed connection is probed; more than zero.
    pub tcp_mux_keepalive_interval: Duration,
    /// The keepalive time of accepted sockets; `None` is off.
    pub tcp_keepalive: Option<Duration>,
    /// Clients may come by several paths of TCP at once, where the system can do that.
    pub multipath: bool,
    /// The most work connections that a client may keep in store.
    pub max_pool_count: u32,
    /// How long a session without a valid ping lives; `None` is for ever.
    pub heartbeat_timeout: Option<Duration>,
    /// How long nothing may move between a user and its service before they are parted; `None` is for ever.
    pub user_idle_timeout: Option<Duration>,
    /// Times and limits of QUIC.
    pub quic: Quic,
    /// Which of these times the operator has set.
    pub liveness_keys: LivenessKeys,
    /// TLS on the control port.
    pub tls: ServerTls,
}

impl Default for ServerTransport {
    fn default() -> Self {
        // frp: these values
        Self {
            tcp_mux: true,
            tcp_mux_keepalive_interval: Duration::from_secs(30),
            tcp_keepalive: Some(Duration::from_secs(7200)),
            multipath: true,
            max_pool_count: 5,
            heartbeat_timeout: None,
            user_idle_timeout: None,
            quic: Quic::default(),
            liveness_keys: LivenessKeys::default(),
            tls: ServerTls::default(),
        }
    }
}

/// The server's `transport.tls` section. TLS is always offered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerTls {
    /// Refuses clients without TLS. True whenever `trusted_ca` is set.
    pub force: bool,
    /// Files of the certificate chain and its key; `None`: a self-signed certificate is made.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// The file in which a certificate that was made is kept, with its key, so that clients may pin it; `None` makes another at
    /// each start. Does nothing if `certificate` is set.
    pub auto_gen_cert_path: Option<PathBuf>,
    /// A file of authorities. Clients must show a certificate that one of them signed.
    pub trusted_ca: Option<PathBuf>,
}

impl ServerTls {
    /// Whether it names files that may change while the server runs.
    pub fn has_files(&self) -> bool {
        self.certificate.is_some() || self.auto_gen_cert_path.is_some() || self.trusted_ca.is_some()
    }
}
