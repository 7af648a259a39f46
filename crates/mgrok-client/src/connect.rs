//! From here to one server: the transports there, and the link that a session runs over.
//!
//! A [`Transport`] carries bytes to the server; `connect/dial.rs` has one function for each. A [`Link`] is what one session runs over. It
//! opens the session's streams: on one connection with a multiplexer, on one QUIC connection, or as a connection each. Nobody above this
//! file sees the difference.

mod error;
mod transport;

mod tls;

mod dial;

mod link;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mgrok_config::{ClientConfig, LivenessKeys, ProxyScheme, ProxyUrl, ServerAddr};
use mgrok_net::conn::Conn;
use mgrok_net::outbound::{OutboundCredentials, OutboundProxy, OutboundScheme};
use mgrok_net::quic::QuicOptions;
use mgrok_net::resolver::Resolver;
use mgrok_net::tcp::{DialOptions, has_multipath};
use mgrok_proto::hello::Bootstrap;
use tokio_util::task::TaskTracker;
use tracing::warn;

use self::dial::DialContext;
pub(crate) use self::dial::Dialler;
pub use self::error::{ConnectError, SetUpError};
pub(crate) use self::link::{Link, LinkEnd, Streams};
use self::tls::ServerTls;
pub(crate) use self::transport::Transport;

/// Makes connections to one server. Its name is resolved anew each time.
#[derive(Debug)]
pub(crate) struct Connector {
    context: Arc<DialContext>,
    /// `Some` if streams share a connection: how often it is probed.
    mux_keepalive: Option<Duration>,
    /// How many connections a session is to have.
    mux_connections: usize,
    liveness_keys: LivenessKeys,
    quic_times_are_set: bool,
    /// Whether it was logged that UDP transports ignore some keys.
    warned: AtomicBool,
}

impl Connector {
    /// Reads what TLS needs; connects nowhere yet. `resolver` looks up the names of the server and of the outbound proxy.
    pub(crate) fn new(
        config: &ClientConfig,
        server: &ServerAddr,
        resolver: &Resolver,
    ) -> Result<Arc<Self>, SetUpError> {
        let transport = &config.transport;
        let context = DialContext {
            server: server.clone(),
            dial: DialOptions {
                timeout: transport.dial_server_timeout,
                keepalive: transport.dial_server_keepalive,
                local_ip: transport.connect_server_local_ip,
                resolver: resolver.clone(),
            },
            multipath: wants_multipath(config),
            proxy: transport.proxy_url.as_ref().map(outbound_proxy),
            quic: QuicOptions {
                keepalive: transport.quic.keepalive_period,
                idle_timeout: transport.quic.max_idle_timeout,
                max_streams: transport.quic.max_incoming_streams,
                trusts_at_once: true,
            },
            tls: ServerTls::new(transport.tls.as_ref(), server)?,
            drivers: TaskTracker::new(),
        };
        Ok(Arc::new(Self {
            context: Arc::new(context),
            mux_keepalive: transport
                .tcp_mux
                .then_some(transport.tcp_mux_keepalive_interval),
            mux_connections: transport.tcp_mux_connections,
            liveness_keys: transport.liveness_keys,
            quic_times_are_set: transport.quic.times_are_set,
            warned: AtomicBool::new(false),
        }))
    }

    /// The server.
    pub(crate) fn server(&self) -> &ServerAddr {
        &self.context.server
    }

    /// Connects by `transport`, for a new session. Certificates and authorities are read again if they have changed. Whatever is configured,
    /// the server must be reached within `longest_dial`; handshakes that follow have their usual time.
    ///
    /// Dropping the future gives up.
    pub(crate) async fn link(
        &self,
        transport: Transport,
        longest_dial: Option<Duration>,
    ) -> Result<Link, ConnectError> {
        if transport.is_udp() {
            self.warn_of_ignored_keys(transport);
        }
        let dialler = Dialler::new(self.context.clone(), transport);
        let hurried = dialler.within(longest_dial);
        if transport == Transport::Quic {
            let (connection, endpoint) = hurried.quic().await?;
            return Ok(Link::quic(connection, endpoint));
        }
        let first = hurried.connect_first().await?;
        Ok(self.carried_by(first, dialler))
    }

    /// Connects once more by `transport`, for the session of a link that leads to the address `reached`, as far as that is known.
    ///
    /// Dropping the future gives up.
    pub(crate) async fn further_link(
        &self,
        transport: Transport,
        reached: Option<IpAddr>,
    ) -> Result<Link, ConnectError> {
        let dialler = Dialler::new(self.context.clone(), transport).only_to(reached);
        let conn = dialler.connect_first().await?;
        Ok(self.carried_by(conn, dialler))
    }

    /// Whether the streams of a session by `transport` share connections by the multiplexer.
    pub(crate) fn is_muxed(&self, transport: Transport) -> bool {
        transport != Transport::Quic && self.mux_keepalive.is_some()
    }

    /// How many links a session by `transport` is to have beyond its first.
    pub(crate) fn further_links(&self, transport: Transport) -> usize {
        match self.is_muxed(transport) {
            false => 0,
            true => self.mux_connections.saturating_sub(1),
        }
    }

    /// The steps by which `transport` connects, for whoever takes them one by one.
    pub(crate) fn dialler(&self, transport: Transport) -> Dialler {
        Dialler::new(self.context.clone(), transport)
    }

    /// A link that begins with `first`, which `dialler` has made.
    pub(crate) fn carried_by(&self, first: Conn, dialler: Dialler) -> Link {
        let drivers = self.context.drivers.clone();
        match self.mux_keepalive {
            Some(keepalive) => {
                let (transport, reached) = (dialler.transport(), dialler.reached());
                Link::muxed(transport, first, keepalive, drivers, reached)
            }
            None => Link::connections(first, dialler, drivers),
        }
    }

    /// Whether a stream over `transport` can signal the end of one direction. Plain KCP has no such signal, so half-close would leave the
    /// other direction open for ever.
    pub(crate) fn tells_ends(&self, transport: Transport) -> bool {
        transport != Transport::Kcp
            || self.context.tls.is_on(transport)
            || self.mux_keepalive.is_some()
    }

    /// Whether two ends of mgrok may agree on when a session over `transport` is dead; keys that the operator has set for that count
    /// instead.
    pub(crate) fn may_watch_closely(&self, transport: Transport) -> bool {
        let set = self.liveness_keys;
        !match (transport, self.mux_keepalive) {
            (Transport::Quic, _) => self.quic_times_are_set || set.heartbeats,
            (_, Some(_)) => set.mux,
            (_, None) => set.heartbeats,
        }
    }

    /// What the hello of a session over `transport` says about the connection.
    pub(crate) fn bootstrap(&self, transport: Transport) -> Bootstrap {
        Bootstrap {
            transport: transport.name().to_owned(),
            tls: self.context.tls.is_on(transport),
            tcp_mux: self.mux_keepalive.is_some(),
        }
    }

    /// Warns once about configured keys that have no effect on `transport`.
    fn warn_of_ignored_keys(&self, transport: Transport) {
        let keys: Vec<_> = [
            ("transport.proxyURL", self.context.proxy.is_some()),
            (
                "transport.connectServerLocalIP",
                self.context.dial.local_ip.is_some(),
            ),
            (
                "transport.tcpMuxConnections",
                transport == Transport::Quic && self.mux_connections > 1,
            ),
        ]
        .into_iter()
        .filter_map(|(key, is_set)| is_set.then_some(key))
        .collect();
        if !keys.is_empty() && !self.warned.swap(true, Ordering::Relaxed) {
            warn!("{} has no effect on {transport}", keys.join(" and "));
        }
    }
}

/// Whether connections by TCP are to go by several paths at once, and can.
fn wants_multipath(config: &ClientConfig) -> bool {
    let wants = config.transport.multipath;
    if wants && !has_multipath() {
        warn!(
            "transport.multipath has no effect: this system has no multipath TCP; on Linux see sysctl net.mptcp.enabled"
        );
        return false;
    }
    wants
}

/// The outbound proxy of the configuration, as mgrok-net dials it.
fn outbound_proxy(url: &ProxyUrl) -> OutboundProxy {
    let scheme = match url.scheme {
        ProxyScheme::Http => OutboundScheme::Http,
        ProxyScheme::Https => OutboundScheme::Https,
        ProxyScheme::Ntlm => OutboundScheme::Ntlm,
        ProxyScheme::Socks5 => OutboundScheme::Socks5,
    };
    let credentials = url.credentials.as_ref();
    let credentials = credentials.map(|credentials| OutboundCredentials {
        user: credentials.user.clone(),
        password: credentials.password.clone(),
    });
    OutboundProxy::new(scheme, url.host.clone(), url.port, credentials)
}

#[cfg(test)]
impl Streams {
    /// Streams to the server of `config` over TCP, each a connection of its own.
    pub(crate) fn over_tcp(config: &ClientConfig) -> Self {
        let connector = Connector::new(config, &config.servers[0], &Resolver::default());
        let context = connector.unwrap().context.clone();
        Self::Connections(Dialler::new(context, Transport::Tcp))
    }
}
