//! What a session runs over, and the streams on it.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use mgrok_mux::{Acceptor, SessionError};
use mgrok_net::conn::{ByteStream as _, Conn};
use mgrok_net::mux_links::{LinkCount, MuxLinks};
use mgrok_net::muxes::{MuxShown, Muxes};
use mgrok_net::quic::{Connection, Endpoint, QuicError};
use mgrok_proto::liveness;
use tokio::time::timeout;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use super::dial::{Dialler, Reached};
use super::error::{ConnectError, STREAM_TIMEOUT};
use super::transport::Transport;
use crate::tasks::Tasks;

/// How long a closed link may take to write what is queued.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);
/// When a link that was closed is given up: its own flush timeout, and a moment to notice.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);
/// How long packets of UDP have to arrive, and be sent once more, before the program ends.
// frp: waits so long when it is stopped (cmd/frpc/sub/root.go)
const LAST_PACKETS: Duration = Duration::from_millis(500);

/// How many streams that the server has opened may wait until they are looked at: users come in thousands at once. What is beyond is
/// reset. One that waits costs less than 1 KiB.
const ACCEPT_BACKLOG: usize = 4_096;

/// How the connection that all streams share ended.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum LinkEnd {
    #[error(transparent)]
    Mux(#[from] SessionError),
    #[error(transparent)]
    Quic(Arc<QuicError>),
}

impl LinkEnd {
    /// Whether the server closed its connection without a farewell of TLS, as any server does that dies.
    fn is_eof(&self) -> bool {
        match self {
            Self::Mux(SessionError::Io(error)) => error.kind() == io::ErrorKind::UnexpectedEof,
            Self::Mux(_) | Self::Quic(_) => false,
        }
    }
}

/// Opens streams to the server. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) enum Streams {
    /// Each stream is a connection.
    Connections(Dialler),
    /// On one connection by a multiplexer, or on several.
    Muxed(MuxLinks),
    /// On one connection of QUIC.
    Quic(Connection),
}

impl Streams {
    /// Opens one more stream.
    pub(crate) async fn open(&self) -> Result<Conn, ConnectError> {
        match self {
            // Boxed: it takes far more room than a stream of the multiplexer.
            Self::Connections(dialler) => Box::pin(dialler.connect()).await,
            Self::Muxed(links) => match links.open().await {
                Ok(stream) => Ok(Conn::from(stream)),
                Err(error) => Err(ConnectError::Stream(error)),
            },
            Self::Quic(connection) => {
                match Box::pin(timeout(STREAM_TIMEOUT, connection.open())).await {
                    Ok(opened) => Ok(opened?),
                    Err(_) => Err(ConnectError::StreamTimeout),
                }
            }
        }
    }

    /// Opens one more stream on each connection of a session that has several.
    pub(crate) async fn open_on_each(&self) -> Vec<Conn> {
        match self {
            Self::Muxed(links) => {
                let opened = links.open_on_each().await;
                opened.into_iter().map(Conn::from).collect()
            }
            Self::Connections(_) | Self::Quic(_) => Vec::new(),
        }
    }
}

/// What a session runs over. Dropping it ends every stream of the session that is not a connection of its own.
#[derive(Debug)]
pub(crate) struct Link {
    transport: Transport,
    streams: Streams,
    carrier: Carrier,
    /// Where it leads, if that is known.
    reached: Option<Reached>,
}

#[derive(Debug)]
enum Carrier {
    /// Each stream has its own. The first was made to see whether the transport is open, and waits for its use.
    Each {
        first: Option<Box<Conn>>,
        drivers: TaskTracker,
    },
    Mux {
        /// `None` once it has ended.
        driver: Option<AbortOnDropHandle<Result<(), SessionError>>>,
        drivers: TaskTracker,
        /// While metrics tell of it.
        shown: Option<MuxShown>,
        /// Until somebody takes what the server opens.
        acceptor: Option<Acceptor>,
    },
    Quic(QuicCarrier),
}

/// Ends the connection when it is dropped, unless it is left to its streams, which keep it alive.
#[derive(Debug)]
struct QuicCarrier {
    is_left: bool,
    connection: Connection,
    endpoint: Endpoint,
}

impl Drop for QuicCarrier {
    fn drop(&mut self) {
        if !self.is_left {
            self.connection.close();
        }
    }
}

impl Link {
    /// Each stream is a connection of its own, of which `first` is the first.
    pub(super) fn connections(first: Conn, dialler: Dialler, drivers: TaskTracker) -> Self {
        Self {
            transport: dialler.transport(),
            reached: dialler.reached(),
            streams: Streams::Connections(dialler),
            carrier: Carrier::Each {
                first: Some(Box::new(first)),
                drivers,
            },
        }
    }

    /// Streams on `conn`, which is probed as often as `keepalive` says while it is silent, and leads where `reached` says.
    pub(super) fn muxed(
        transport: Transport,
        conn: Conn,
        keepalive: Duration,
        drivers: TaskTracker,
        reached: Option<Reached>,
    ) -> Self {
        let config = mgrok_mux::Config {
            keepalive_interval: Some(keepalive),
            flush_timeout: FLUSH_TIMEOUT,
            accept_backlog: ACCEPT_BACKLOG,
            ..mgrok_mux::Config::client()
        };
        conn.keep_little_unsent();
        let (opener, acceptor, driver) =
            mgrok_mux::session_receiving(conn, config, Conn::poll_recv);
        Self {
            transport,
            streams: Streams::Muxed(MuxLinks::new(opener)),
            carrier: Carrier::Mux {
                driver: Some(AbortOnDropHandle::new(tokio::spawn(driver))),
                drivers,
                shown: None,
                acceptor: Some(acceptor),
            },
            reached,
        }
    }

    /// Streams on `connection`, which runs on `endpoint`.
    pub(crate) fn quic(connection: Connection, endpoint: Endpoint) -> Self {
        Self {
            transport: Transport::Quic,
            streams: Streams::Quic(connection.clone()),
            carrier: Carrier::Quic(QuicCarrier {
                is_left: false,
                connection,
                endpoint,
            }),
            reached: None,
        }
    }

    /// Has `muxes` tell of it, if it is multiplexed, for as long as it lives.
    pub(crate) fn show_in(&mut self, muxes: &Muxes) {
        if let (Carrier::Mux { shown, .. }, Streams::Muxed(links)) =
            (&mut self.carrier, &self.streams)
        {
            *shown = Some(muxes.show(links.first()));
        }
    }

    /// Receives the streams that the server opens. If nobody takes it, they are refused when the link ends; whoever takes it and drops it
    /// refuses them from then on. `None` where the server can open none, and once it was taken.
    pub(crate) fn take_acceptor(&mut self) -> Option<Acceptor> {
        match &mut self.carrier {
            Carrier::Mux { acceptor, .. } => acceptor.take(),
            Carrier::Each { .. } | Carrier::Quic(_) => None,
        }
    }

    /// The stream to log in on.
    pub(crate) async fn control(&mut self) -> Result<Conn, ConnectError> {
        if let Carrier::Each { first, .. } = &mut self.carrier
            && let Some(first) = first.take()
        {
            return Ok(*first);
        }
        self.streams.open().await
    }

    /// Waits until the connection that all streams share ends: `Ok` if either side closed it in order. Waits for ever if each stream has its own.
    ///
    /// Cancel-safe.
    pub(crate) async fn ended(&mut self) -> Result<(), LinkEnd> {
        match &mut self.carrier {
            Carrier::Mux {
                driver: place @ Some(_),
                ..
            } => {
                let ended = match place {
                    Some(driver) => driver.await,
                    None => return std::future::pending().await,
                };
                // A task that has ended must not be polled again.
                *place = None;
                let ended = ended.unwrap_or_else(|panic| {
                    Err(SessionError::Io(Arc::new(io::Error::other(panic))))
                });
                match ended.map_err(LinkEnd::from) {
                    Err(end) if end.is_eof() => Ok(()),
                    ended => ended,
                }
            }
            Carrier::Each { .. } | Carrier::Mux { driver: None, .. } => {
                std::future::pending().await
            }
            Carrier::Quic(carrier) => match carrier.connection.closed().await {
                QuicError::Closed { code: 0, .. } | QuicError::ClosedHere => Ok(()),
                error => Err(LinkEnd::Quic(Arc::new(error))),
            },
        }
    }

    /// How the connection that all streams share ended, if it has.
    pub(crate) async fn failure(&mut self) -> Option<Result<(), LinkEnd>> {
        let has_ended = match (&self.carrier, &self.streams) {
            (Carrier::Mux { driver, .. }, Streams::Muxed(links)) => {
                links.first().is_closed() && driver.is_some()
            }
            (Carrier::Quic(carrier), _) => carrier.connection.is_closed(),
            (Carrier::Each { .. } | Carrier::Mux { .. }, _) => false,
        };
        match has_ended {
            true => Some(self.ended().await),
            false => None,
        }
    }

    /// Closes the connection that all streams share, after the multiplexer has written what is queued.
    pub(crate) async fn close(mut self) {
        self.close_carrier().await;
    }

    /// Leaves the shared connection to the streams there are: it ends with the last of them, or with the client.
    pub(crate) fn leave_to_streams(self, tasks: &Tasks) {
        let Self {
            streams, carrier, ..
        } = self;
        // Whatever uses a stream keeps these alive too.
        drop(streams);
        match carrier {
            Carrier::Each { .. } | Carrier::Mux { driver: None, .. } => {}
            Carrier::Mux {
                driver: Some(driver),
                shown,
                ..
            } => {
                let all = tasks.clone();
                tasks.spawn(async move {
                    let _shown = shown;
                    tokio::select! {
                        _ = driver => {}
                        () = all.is_cut() => {}
                    }
                });
            }
            Carrier::Quic(mut carrier) => carrier.is_left = true,
        }
    }

    /// As [`close`](Self::close), and waits, for a moment at most, until the last packets of UDP have arrived: for the end of the program.
    pub(crate) async fn finish(mut self) {
        if let Carrier::Quic(carrier) = &self.carrier {
            carrier.connection.settle().await;
        }
        self.close_carrier().await;
        let drivers = match &self.carrier {
            Carrier::Each { drivers, .. } | Carrier::Mux { drivers, .. } => drivers,
            Carrier::Quic(_) => return,
        };
        drivers.close();
        // Too late is as good as done: they have had their time.
        let _ = timeout(LAST_PACKETS, drivers.wait()).await;
    }

    async fn close_carrier(&mut self) {
        match (&self.carrier, &self.streams) {
            (
                Carrier::Mux {
                    driver: Some(_), ..
                },
                Streams::Muxed(links),
            ) => {
                links.first().close();
                // Too late is as good as done: dropping the driver ends the connection.
                let _ = timeout(CLOSE_TIMEOUT, self.ended()).await;
            }
            (Carrier::Quic(carrier), _) => {
                carrier.connection.close();
                // So that the server learns of it.
                carrier.endpoint.idle().await;
            }
            (Carrier::Each { .. } | Carrier::Mux { .. }, _) => {}
        }
        if let Carrier::Mux { driver, .. } = &mut self.carrier {
            *driver = None;
        }
    }

    /// Probes the server as often as two mgrok ends agree to. Returns whether the link can; if not, pings on the control connection have to.
    pub(crate) fn watch_closely(&self) -> bool {
        match &self.streams {
            Streams::Muxed(links) => {
                links
                    .first()
                    .watch_closely(liveness::INTERVAL, liveness::MUX_TIMEOUT);
                true
            }
            Streams::Connections(_) | Streams::Quic(_) => false,
        }
    }

    /// What it has in common with other links of its session; `None` where it cannot have others.
    pub(crate) fn mux_links(&self) -> Option<&MuxLinks> {
        match &self.streams {
            Streams::Muxed(links) => Some(links),
            Streams::Connections(_) | Streams::Quic(_) => None,
        }
    }

    /// The address of the server that it leads to, for other links of its session: a name may have several servers, of which one has the
    /// session. `None` if it is not known, as behind an outbound proxy.
    pub(crate) fn reached(&self) -> Option<IpAddr> {
        self.reached.and_then(|it| it.ip)
    }

    /// Whether it goes by several paths at once.
    pub(crate) fn is_multipath(&self) -> bool {
        self.reached.is_some_and(|it| it.multipath)
    }

    /// How many connections the session has whose first link this is; 1 where each stream is a connection.
    pub(crate) fn count(&self) -> LinkCount {
        self.mux_links()
            .map_or_else(LinkCount::one, MuxLinks::count)
    }

    /// The transport.
    pub(crate) fn transport(&self) -> Transport {
        self.transport
    }

    /// Opens the session's streams.
    pub(crate) fn streams(&self) -> &Streams {
        &self.streams
    }
}
