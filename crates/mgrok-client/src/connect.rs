//! The road to the server: dial, TLS, and one connection or one stream per use.
//!
//! With multiplexing a session has one connection, and every further stream is opened on it;
//! without, every stream is a connection of its own. Nobody above this file sees the difference.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use mgrok_config::{ClientConfig, ServerAddr};
use mgrok_mux::{OpenError, Opener, SessionError};
use mgrok_net::conn::Conn;
use mgrok_net::tcp::{DialError, DialOptions, dial};
use mgrok_net::tls::{ClientTls, ClientTlsOptions, TlsError};
use tokio_util::task::AbortOnDropHandle;

use crate::tasks::Tasks;

/// How long the server may take for its part of the TLS handshake.
// frp: the server gives a connection 10 s to say what it is (server/service.go#connReadTimeout).
const TLS_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a closed link may take to write what is queued.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);
/// When a link that was closed is given up: its own flush timeout, and a moment to notice.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

/// Why there is no connection to the server.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The server cannot be reached.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The connection is there, but carries no further stream.
    #[error("cannot open a stream to the server")]
    Stream(#[source] OpenError),
    /// The server did not complete the TLS handshake.
    #[error(
        "TLS with the server failed; check that the port and transport.tls agree with the server"
    )]
    Tls(#[source] io::Error),
    /// The server went silent during the TLS handshake.
    #[error(
        "the server did not answer the TLS handshake within {seconds} s; check that the port is \
         the server's",
        seconds = TLS_TIMEOUT.as_secs()
    )]
    TlsTimeout,
}

/// What carries a session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Road {
    Kcp,
    Quic,
    Tcp,
    WebSocket,
    Wss,
}

impl fmt::Display for Road {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kcp => "kcp",
            Self::Quic => "quic",
            Self::Tcp => "tcp",
            Self::WebSocket => "websocket",
            Self::Wss => "wss",
        })
    }
}

/// Makes connections to one server. Its name is resolved anew each time.
#[derive(Debug)]
pub(crate) struct Connector {
    server: ServerAddr,
    dial: DialOptions,
    tls: Option<ClientTls>,
    /// `Some` if streams share a connection: how often it is probed.
    mux_keepalive: Option<Duration>,
}

impl Connector {
    /// Reads what TLS needs; connects nowhere yet.
    pub(crate) fn new(config: &ClientConfig, server: &ServerAddr) -> Result<Self, TlsError> {
        let transport = &config.transport;
        let tls = transport.tls.as_ref().map(|tls| {
            ClientTls::new(ClientTlsOptions {
                certificate: tls.certificate.clone(),
                trusted_ca: tls.trusted_ca.clone(),
                server_name: tls
                    .server_name
                    .clone()
                    .unwrap_or_else(|| server.host.clone()),
                custom_first_byte: tls.custom_first_byte,
                ..ClientTlsOptions::default()
            })
        });
        Ok(Self {
            server: server.clone(),
            dial: DialOptions {
                timeout: transport.dial_server_timeout,
                keepalive: transport.dial_server_keepalive,
                local_ip: transport.connect_server_local_ip,
            },
            tls: tls.transpose()?,
            mux_keepalive: transport
                .tcp_mux
                .then_some(transport.tcp_mux_keepalive_interval),
        })
    }

    /// The server.
    pub(crate) fn server(&self) -> &ServerAddr {
        &self.server
    }

    /// What a new session runs over.
    pub(crate) async fn link(self: &Arc<Self>, _road: Road) -> Result<Link, ConnectError> {
        let Some(keepalive) = self.mux_keepalive else {
            return Ok(Link {
                streams: Streams::Connections(self.clone()),
                driver: None,
            });
        };
        let conn = self.connect().await?;
        let config = mgrok_mux::Config {
            keepalive_interval: Some(keepalive),
            flush_timeout: FLUSH_TIMEOUT,
            ..mgrok_mux::Config::client()
        };
        // The server opens no streams: without an acceptor they are refused.
        let (opener, _, driver) = mgrok_mux::session(conn, config);
        Ok(Link {
            streams: Streams::Muxed(opener),
            driver: Some(AbortOnDropHandle::new(tokio::spawn(driver))),
        })
    }

    async fn connect(&self) -> Result<Conn, ConnectError> {
        let conn = Conn::from(dial(&self.server.host, self.server.port, &self.dial).await?);
        let Some(tls) = &self.tls else {
            return Ok(conn);
        };
        match tokio::time::timeout(TLS_TIMEOUT, tls.connect(conn)).await {
            Ok(connected) => connected.map_err(ConnectError::Tls),
            Err(_) => Err(ConnectError::TlsTimeout),
        }
    }
}

/// Opens streams to the server. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) enum Streams {
    Connections(Arc<Connector>),
    Muxed(Opener),
}

impl Streams {
    /// Opens one more stream.
    pub(crate) async fn open(&self) -> Result<Conn, ConnectError> {
        match self {
            Self::Connections(connector) => connector.connect().await,
            Self::Muxed(opener) => match opener.open().await {
                Ok(stream) => Ok(Conn::from(stream)),
                Err(error) => Err(ConnectError::Stream(error)),
            },
        }
    }
}

/// What a session runs over. With multiplexing, dropping it ends every stream of the session.
#[derive(Debug)]
pub(crate) struct Link {
    streams: Streams,
    driver: Option<AbortOnDropHandle<Result<(), SessionError>>>,
}

impl Link {
    /// Waits until the shared connection ends, and tells how; for ever if there is none.
    ///
    /// Cancel-safe.
    pub(crate) async fn ended(&mut self) -> Result<(), SessionError> {
        let Some(driver) = &mut self.driver else {
            return std::future::pending().await;
        };
        let ended = driver.await;
        // A task that has ended must not be polled again.
        self.driver = None;
        ended.unwrap_or_else(|panic| Err(SessionError::Io(Arc::new(io::Error::other(panic)))))
    }

    /// How the shared connection ended, if there is one and it has.
    pub(crate) async fn failure(&mut self) -> Option<Result<(), SessionError>> {
        match &self.streams {
            Streams::Muxed(opener) if opener.is_closed() && self.driver.is_some() => {
                Some(self.ended().await)
            }
            Streams::Connections(_) | Streams::Muxed(_) => None,
        }
    }

    /// Ends the shared connection with the last of its streams, or the client.
    pub(crate) fn leave_to_streams(self, tasks: &Tasks) {
        let Self { streams, driver } = self;
        // Whoever uses a stream has one of these as well.
        drop(streams);
        let Some(driver) = driver else { return };
        let all = tasks.clone();
        tasks.spawn(async move {
            tokio::select! {
                _ = driver => {}
                () = all.is_cut() => {}
            }
        });
    }

    /// Ends the shared connection after what is queued has been written.
    pub(crate) async fn close(mut self) {
        if let Streams::Muxed(opener) = &self.streams
            && self.driver.is_some()
        {
            opener.close();
            // Too late is as good as done: dropping the driver ends the connection.
            let _ = tokio::time::timeout(CLOSE_TIMEOUT, self.ended()).await;
        }
    }

    /// Opens the session's streams.
    pub(crate) fn streams(&self) -> &Streams {
        &self.streams
    }
}
