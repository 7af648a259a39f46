//! From here to one server: the transports there, and the link that a session runs over.
//!
//! A [`Transport`] is a way to bring bytes to the server: `connect/transport.rs` has one function for each. A [`Link`] is what a session
//! has once a transport was taken, and opens its streams: over the one connection of the link, with a multiplexer or as QUIC does, or
//! as connections of their own. Nobody above this file sees the difference.

mod link;
mod tls;
mod transport;

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mgrok_config::{ClientConfig, LivenessKeys, ServerAddr};
use mgrok_mux::OpenError;
use mgrok_net::outbound::{OutboundError, OutboundProxy, OutboundProxyUrlError};
use mgrok_net::quic::{QuicError, QuicOptions};
use mgrok_net::resolver::Resolver;
use mgrok_net::tcp::{DialError, DialOptions};
use mgrok_net::tls::{CertificateFault, TlsError};
use mgrok_net::websocket::WebSocketError;
use mgrok_proto::hello::Bootstrap;
use tokio_util::task::TaskTracker;
use tracing::warn;

pub(crate) use self::link::{Link, LinkEnd, Streams};
use self::tls::ServerTls;
use self::transport::Dialler;

/// How long the server may take for its part of one handshake: that of TLS, or that of WebSocket.
// frp: the server gives a connection 10 s to say what it is (server/service.go#connReadTimeout).
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// A way to bring bytes to a server.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Transport {
    /// KCP over UDP, within it TLS if it is on.
    Kcp,
    /// QUIC over UDP.
    Quic,
    /// TCP, within it TLS if it is on.
    Tcp,
    /// WebSocket over TCP, within it TLS if it is on.
    WebSocket,
    /// WebSocket within TLS over TCP.
    Wss,
}

impl Transport {
    /// What `transport.protocol` and hellos call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kcp => "kcp",
            Self::Quic => "quic",
            Self::Tcp => "tcp",
            Self::WebSocket => "websocket",
            Self::Wss => "wss",
        }
    }

    /// Whether it is of UDP, which outbound proxies do not carry.
    fn is_udp(self) -> bool {
        match self {
            Self::Kcp | Self::Quic => true,
            Self::Tcp | Self::WebSocket | Self::Wss => false,
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why no transport to a server can be taken, ever.
#[derive(Debug, thiserror::Error)]
pub enum SetUpError {
    /// The outbound proxy cannot be used. The text does not show its password.
    #[error("transport.proxyURL is not the URL of a proxy")]
    Proxy(#[source] OutboundProxyUrlError),
    /// The files of `transport.tls` are of no use.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Why there is no connection to the server.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// What the server shows is not what it should.
    #[error("the server's certificate is not accepted: {}", .fault.advice())]
    Certificate {
        /// What is wrong.
        fault: CertificateFault,
        /// The same, by whom found it out.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The server cannot be reached.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The server did not complete a handshake, if only because there is something else at that port.
    #[error(
        "the server did not answer the {layer} handshake within {seconds} s; check that the port \
         is the server's",
        seconds = HANDSHAKE_TIMEOUT.as_secs()
    )]
    HandshakeTimeout {
        /// What would have come of it.
        layer: &'static str,
    },
    /// The socket of KCP cannot be used.
    #[error("cannot use UDP for KCP")]
    Kcp(#[source] io::Error),
    /// The outbound proxy does not bring us there.
    #[error(transparent)]
    Outbound(#[from] OutboundError),
    /// QUIC does not bring us there, or carries no further stream.
    #[error(transparent)]
    Quic(#[from] QuicError),
    /// Nothing at all came back over UDP.
    #[error(
        "{server} did not answer over {transport} within {timeout:?}; check that the port is the \
         server's {transport}BindPort and that UDP is let through"
    )]
    Silent {
        /// The server.
        server: String,
        /// `kcp` or `quic`.
        transport: &'static str,
        /// The time it had.
        timeout: Duration,
    },
    /// The connection is there, but carries no further stream.
    #[error("cannot open a stream to the server")]
    Stream(#[source] OpenError),
    /// The server allows no further stream on a QUIC connection.
    #[error(
        "the server allowed no further stream within {} s; transport.quic.maxIncomingStreams of \
         the server may be too low",
        link::STREAM_TIMEOUT.as_secs()
    )]
    StreamTimeout,
    /// The server did not complete the TLS handshake.
    #[error(
        "TLS with the server failed; check that the port and transport.tls agree with the server"
    )]
    Tls(#[source] io::Error),
    /// There is no WebSocket at the other end.
    #[error(transparent)]
    WebSocket(#[from] WebSocketError),
}

/// Makes connections to one server. Its name is resolved anew each time.
#[derive(Debug)]
pub(crate) struct Connector {
    server: ServerAddr,
    /// For transports of TCP.
    dial: DialOptions,
    /// `None`: transports of TCP lead to the server themselves.
    proxy: Option<OutboundProxy>,
    quic: QuicOptions,
    tls: ServerTls,
    /// `Some` if streams share a connection: how often it is probed.
    mux_keepalive: Option<Duration>,
    liveness_keys: LivenessKeys,
    quic_times_are_set: bool,
    /// Whether it was said that transports of UDP take no notice of some keys.
    warned: AtomicBool,
    /// What moves the packets of connections over KCP, for a moment beyond their ends.
    drivers: TaskTracker,
}

impl Connector {
    /// Reads what TLS needs; connects nowhere yet. `resolver` looks up the names of the server and of the outbound proxy.
    pub(crate) fn new(
        config: &ClientConfig,
        server: &ServerAddr,
        resolver: &Resolver,
    ) -> Result<Arc<Self>, SetUpError> {
        let transport = &config.transport;
        let proxy = transport.proxy_url.as_ref();
        Ok(Arc::new(Self {
            server: server.clone(),
            dial: DialOptions {
                timeout: transport.dial_server_timeout,
                keepalive: transport.dial_server_keepalive,
                local_ip: transport.connect_server_local_ip,
                resolver: resolver.clone(),
            },
            proxy: proxy
                .map(|url| OutboundProxy::parse(url.expose()))
                .transpose()
                .map_err(SetUpError::Proxy)?,
            quic: QuicOptions {
                keepalive: transport.quic.keepalive_period,
                idle_timeout: transport.quic.max_idle_timeout,
                max_streams: transport.quic.max_incoming_streams,
                trusts_at_once: true,
            },
            tls: ServerTls::new(transport.tls.as_ref(), server)?,
            mux_keepalive: transport
                .tcp_mux
                .then_some(transport.tcp_mux_keepalive_interval),
            liveness_keys: transport.liveness_keys,
            quic_times_are_set: transport.quic.times_are_set,
            warned: AtomicBool::new(false),
            drivers: TaskTracker::new(),
        }))
    }

    /// The server.
    pub(crate) fn server(&self) -> &ServerAddr {
        &self.server
    }

    /// Takes `transport`, for a new session. Certificates and authorities are read again if they have changed. Whatever is configured,
    /// the server must be reached within `longest_dial`; handshakes that follow have their usual time.
    ///
    /// Dropping the future gives up.
    pub(crate) async fn link(
        self: &Arc<Self>,
        transport: Transport,
        longest_dial: Option<Duration>,
    ) -> Result<Link, ConnectError> {
        if transport.is_udp() {
            self.warn_of_ignored_keys(transport);
        }
        let dialler = Dialler::new(self.clone(), transport, self.tls.current());
        let hurried = dialler.within(longest_dial);
        if transport == Transport::Quic {
            let (connection, endpoint) = hurried.quic().await?;
            return Ok(Link::quic(connection, endpoint));
        }
        let first = hurried.connect_first().await?;
        let drivers = self.drivers.clone();
        Ok(match self.mux_keepalive {
            Some(keepalive) => Link::muxed(transport, first, keepalive, drivers),
            None => Link::connections(first, dialler, drivers),
        })
    }

    /// Whether the end of one direction of a stream over `transport` can be told. KCP alone tells no end at all: who waited for that of the
    /// other direction would wait for ever.
    pub(crate) fn tells_ends(&self, transport: Transport) -> bool {
        transport != Transport::Kcp || self.tls.is_on(transport) || self.mux_keepalive.is_some()
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

    /// What a session over `transport` tells the server of how it came.
    pub(crate) fn bootstrap(&self, transport: Transport) -> Bootstrap {
        Bootstrap {
            transport: transport.name().to_owned(),
            tls: self.tls.is_on(transport),
            tcp_mux: self.mux_keepalive.is_some(),
        }
    }

    /// Says once that some of what is configured has no effect.
    fn warn_of_ignored_keys(&self, transport: Transport) {
        let keys: Vec<_> = [
            ("transport.proxyURL", self.proxy.is_some()),
            (
                "transport.connectServerLocalIP",
                self.dial.local_ip.is_some(),
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
