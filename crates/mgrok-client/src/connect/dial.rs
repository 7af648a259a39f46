//! Connecting by each of the transports, one function each.
//!
//! ```text
//! tcp        TCP                     [TLS]
//! websocket  TCP       WebSocket     [TLS]
//! wss        TCP  TLS  WebSocket
//! kcp        KCP                     [TLS]
//! quic       QUIC
//! ```
//!
//! TLS in brackets is on by default. TCP may lead through an outbound proxy.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use mgrok_config::ServerAddr;
use mgrok_net::conn::Conn;
use mgrok_net::outbound::{OutboundProxy, dial_through};
use mgrok_net::quic::{Connection, Endpoint, QuicClient, QuicError, QuicOptions};
use mgrok_net::resolver::without_zone;
use mgrok_net::tcp::{Candidates, DialError, DialOptions, dial, dial_multipath, is_multipath};
use mgrok_net::tls::{CertificateFault, ClientTls, Fingerprint};
use mgrok_net::{kcp, websocket};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::error::{ConnectError, HANDSHAKE_TIMEOUT};
use super::tls::ServerTls;
use super::transport::Transport;

/// What connections to one server need, by whichever transport.
#[derive(Debug)]
pub(super) struct DialContext {
    pub(super) server: ServerAddr,
    /// For transports over TCP.
    pub(super) dial: DialOptions,
    /// By several paths at once, if there is no outbound proxy.
    pub(super) multipath: bool,
    /// `None`: transports over TCP connect to the server directly.
    pub(super) proxy: Option<OutboundProxy>,
    pub(super) quic: QuicOptions,
    pub(super) tls: ServerTls,
    /// The tasks that move the packets of KCP connections. They outlive the connections for a moment.
    pub(super) drivers: TaskTracker,
}

/// Connects by one transport, as often as a session needs. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Dialler {
    context: Arc<DialContext>,
    transport: Transport,
    /// Whether it is used is a matter of the transport.
    tls: ClientTls,
    dial: DialOptions,
    /// Whatever the server's name says.
    only: Option<IpAddr>,
    /// Where the first connection has led.
    reached: Arc<OnceLock<Reached>>,
}

/// Where a connection has led, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reached {
    /// The address of the server. `None` if it means nothing without its interface.
    pub(crate) ip: Option<IpAddr>,
    /// Whether it is by several paths at once.
    pub(crate) multipath: bool,
}

impl Dialler {
    /// Reads certificates and authorities again if their files have changed.
    pub(super) fn new(context: Arc<DialContext>, transport: Transport) -> Self {
        Self {
            dial: context.dial.clone(),
            tls: context.tls.current(),
            context,
            transport,
            only: None,
            reached: Arc::default(),
        }
    }

    /// The same, but connects to no other address than `only`, if there is one.
    pub(super) fn only_to(mut self, only: Option<IpAddr>) -> Self {
        self.only = only;
        self
    }

    /// Where the first connection has led; `None` if that is not known.
    pub(super) fn reached(&self) -> Option<Reached> {
        self.reached.get().copied()
    }

    /// The host to connect to.
    fn host(&self) -> Cow<'_, str> {
        match self.only {
            Some(ip) => Cow::Owned(ip.to_string()),
            None => Cow::Borrowed(&self.context.server.host),
        }
    }

    /// Takes note of where a connection has led.
    fn note_reached(&self, addr: SocketAddr, multipath: bool) {
        let has_zone = matches!(addr, SocketAddr::V6(addr) if addr.scope_id() != 0);
        let ip = (!has_zone).then(|| addr.ip());
        let _first_counts = self.reached.set(Reached { ip, multipath });
    }

    /// The same, but the server must be reached within `longest_dial`.
    pub(super) fn within(&self, longest_dial: Option<Duration>) -> Self {
        let mut hurried = self.clone();
        if let Some(longest) = longest_dial {
            hurried.dial.timeout = hurried.dial.timeout.min(longest);
        }
        hurried
    }

    pub(super) fn transport(&self) -> Transport {
        self.transport
    }

    /// Connects for the first time, which shows that somebody is there.
    pub(crate) async fn connect_first(&self) -> Result<Conn, ConnectError> {
        match self.transport {
            Transport::Kcp => self.kcp(true).await,
            _ => self.connect().await,
        }
    }

    /// Connects, by any transport but QUIC's, whose connections are of another kind.
    pub(super) async fn connect(&self) -> Result<Conn, ConnectError> {
        match self.transport {
            Transport::Kcp => self.kcp(false).await,
            Transport::Quic => Ok(self.quic().await?.0.open().await?),
            Transport::Tcp => self.tcp().await,
            Transport::WebSocket => self.websocket().await,
            Transport::Wss => self.wss().await,
        }
    }

    async fn tcp(&self) -> Result<Conn, ConnectError> {
        let conn = self.dial().await?;
        self.secure_if_on(conn).await
    }

    async fn websocket(&self) -> Result<Conn, ConnectError> {
        let conn = self.dial().await?;
        let conn = self.upgrade(conn).await?;
        self.secure_if_on(conn).await
    }

    async fn wss(&self) -> Result<Conn, ConnectError> {
        let conn = self.dial().await?;
        let conn = self.secure(conn).await?;
        self.upgrade(conn).await
    }

    /// Takes the step from HTTP to WebSocket.
    pub(crate) async fn upgrade(&self, conn: Conn) -> Result<Conn, ConnectError> {
        let host = match self.transport {
            Transport::Wss => self.host_of_wss(),
            _ => {
                let server = &self.context.server;
                ServerAddr::new(without_zone(&server.host), server.port).to_string()
            }
        };
        match timeout(HANDSHAKE_TIMEOUT, websocket::connect(conn, &host)).await {
            Ok(connected) => Ok(connected?),
            Err(_) => Err(ConnectError::HandshakeTimeout { layer: "WebSocket" }),
        }
    }

    /// Whom the request is for: the server's name in TLS, without a port.
    fn host_of_wss(&self) -> String {
        let name = self.tls.server_name();
        match name.contains(':') {
            true => format!("[{name}]"),
            false => name.to_owned(),
        }
    }

    /// A session of KCP begins without the other end. With TLS its handshake shows whether anybody is there; without, an answer is
    /// waited for where there is a choice, and where `is_first` asks for it.
    async fn kcp(&self, is_first: bool) -> Result<Conn, ConnectError> {
        let DialContext { server, .. } = &*self.context;
        let options = udp(&self.dial);
        let host = self.host();
        let addrs = Candidates::find(&host, server.port, &options).await?;
        let has_tls = self.has_tls();
        let asks = !has_tls && (is_first || addrs.len() > 1);
        let connected = addrs.ipv4_first().first_that(|addr| async move {
            let (stream, driver) = kcp::connect(addr).map_err(ConnectError::Kcp)?;
            self.context.drivers.spawn(driver);
            if asks {
                stream.answered().await.map_err(ConnectError::Kcp)?;
            }
            let conn = self.secure_if_on(stream.into()).await?;
            self.note_reached(addr, false);
            Ok(conn)
        });
        connected.await.map_err(|error| self.silent(error))
    }

    /// The connection, and what it runs on.
    pub(crate) async fn quic(&self) -> Result<(Connection, Endpoint), ConnectError> {
        let DialContext {
            server, quic, tls, ..
        } = &*self.context;
        let client = QuicClient::with_tls(&self.tls, quic.clone())?;
        let options = udp(&self.dial);
        let addrs = Candidates::find(&server.host, server.port, &options).await?;
        let client = &client;
        let connected = addrs.ipv4_first().first_that(|addr| async move {
            let endpoint = Endpoint::client(any_port(addr)?)?;
            let connection = endpoint.connect(addr, client).await;
            let connection = connection.map_err(|error| match error.certificate_fault() {
                Some(fault) => ConnectError::Certificate {
                    fault,
                    source: error.into(),
                },
                None => error.into(),
            })?;
            Ok((connection, endpoint))
        });
        let (connection, endpoint) = connected.await.map_err(|error| self.silent(error))?;
        tls.handle_certificate(connection.fingerprint());
        Ok((connection, endpoint))
    }

    /// A connection of TCP, be it through an outbound proxy.
    pub(crate) async fn dial(&self) -> Result<Conn, ConnectError> {
        let DialContext { server, proxy, .. } = &*self.context;
        let options = &self.dial;
        Ok(match proxy {
            None => {
                let (host, multipath) = (self.host(), self.context.multipath);
                let stream = match multipath {
                    true => dial_multipath(&host, server.port, options).await?,
                    false => dial(&host, server.port, options).await?,
                };
                if let Ok(addr) = stream.peer_addr() {
                    self.note_reached(addr, multipath && is_multipath(&stream));
                }
                stream.into()
            }
            Some(proxy) => dial_through(proxy, &server.host, server.port, options).await?,
        })
    }

    async fn secure_if_on(&self, conn: Conn) -> Result<Conn, ConnectError> {
        match self.has_tls() {
            true => self.secure(conn).await,
            false => Ok(conn),
        }
    }

    /// Whether connections have TLS.
    pub(crate) fn has_tls(&self) -> bool {
        self.context.tls.is_on(self.transport)
    }

    /// Puts TLS on a connection.
    pub(crate) async fn secure(&self, conn: Conn) -> Result<Conn, ConnectError> {
        let tls = match self.transport {
            // What terminates TLS in front of a server knows no byte of frp's own.
            Transport::Wss => self.tls.without_custom_first_byte(),
            _ => self.tls.clone(),
        };
        let conn = match timeout(HANDSHAKE_TIMEOUT, tls.connect(conn)).await {
            Ok(Ok(conn)) => conn,
            Ok(Err(error)) => {
                return Err(match CertificateFault::of(&error) {
                    Some(fault) => ConnectError::Certificate {
                        fault,
                        source: error.into(),
                    },
                    None => ConnectError::Tls(error),
                });
            }
            Err(_) => return Err(ConnectError::HandshakeTimeout { layer: "TLS" }),
        };
        let shown = Fingerprint::of_other_end(&conn);
        self.context.tls.handle_certificate(shown);
        Ok(conn)
    }

    /// Says of a transport of UDP what silence means there.
    fn silent(&self, error: ConnectError) -> ConnectError {
        match error {
            ConnectError::Dial(DialError::Timeout { timeout, .. }) => ConnectError::Silent {
                server: self.context.server.to_string(),
                transport: self.transport.name(),
                timeout,
            },
            other => other,
        }
    }
}

/// What of the options for TCP holds for UDP.
fn udp(dial: &DialOptions) -> DialOptions {
    DialOptions {
        local_ip: None,
        ..dial.clone()
    }
}

/// A socket from which `addr` can be reached.
fn any_port(addr: SocketAddr) -> Result<UdpSocket, QuicError> {
    let bound = match addr {
        SocketAddr::V4(_) => UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)),
    };
    bound.map_err(QuicError::Socket)
}
