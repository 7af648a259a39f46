//! The transports in: accept, find out what is spoken, hand on.
//!
//! Accept loops only accept. Everything after that happens in the connection's own task and under a
//! deadline, so a silent or hostile connection delays nobody. By TCP and KCP come connections that are
//! one stream or multiplexed, perhaps in TLS or a WebSocket; by QUIC come streams right away.

pub(crate) mod kcp;
pub(crate) mod quic;
mod stream;
mod unwrap;

use std::{future::Future, io, net::SocketAddr, sync::Arc, time::Duration};

use mgrok_mux::{Acceptor, UntrustedLimits};
use mgrok_net::{
    conn::Conn, error_chain::Chain, message::RecvError, quic::QuicError, tcp, tls,
    websocket::WebSocketError,
};
use mgrok_proto::hook::Op;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::sleep,
};
use tracing::{debug, warn};

use self::{
    stream::{dispatch, first_message},
    unwrap::{Opened, SharedVhost, unwrap, unwrap_shared},
};
use crate::{
    backend::PeerAddrs,
    connection::{Carrier, Connection, Transport},
    per_source::{OPENING_TIMEOUT, Permit},
    shared::Shared,
    tasks::Tasks,
    vhost::Vhost as _,
};

/// How many streams of one connection may be at their first message at once.
const MAX_OPENING_STREAMS: usize = 256;

/// How many streams of one connection may wait to be accepted. They are acknowledged at once, so a
/// client that is asked for thousands of work connections opens as many in one go; what is beyond
/// the backlog is reset. A waiting stream costs less than 1 KiB.
const ACCEPT_BACKLOG: usize = 4_096;

/// What a multiplexed connection may do before it is logged in: a hello and a login of 64 KiB, and a stream for each thing that
/// a client might try. A client opens one.
const BEFORE_LOGIN: UntrustedLimits = UntrustedLimits {
    input: 80 * 1024,
    streams: 8,
};

/// How long clients that come by UDP get to hear of the server's end.
const GOODBYE: Duration = Duration::from_millis(500);

/// Why a connection or stream was closed before it was one.
#[derive(Debug, thiserror::Error)]
enum OpeningError {
    #[error(
        "its certificate is missing or not valid; one that an authority in transport.tls.trustedCaFile has signed is \
         required here, so check transport.tls.certFile and transport.tls.keyFile in the client"
    )]
    Certificate(#[source] io::Error),
    #[error("closed before its first message")]
    Closed,
    #[error("connection failed")]
    Io(#[from] io::Error),
    #[error("its first message cannot be read")]
    Message(#[from] RecvError),
    #[error(
        "expected a multiplexed connection; transport.tcpMux is on here, and must be on in the client"
    )]
    MuxExpected,
    #[error(
        "a multiplexed connection; transport.tcpMux is off here, and must be off in the client"
    )]
    MuxUnexpected,
    #[error("not a client of this server")]
    NotAClient,
    #[error("no QUIC connection")]
    Quic(#[source] QuicError),
    #[error("said nothing for {} s", OPENING_TIMEOUT.as_secs())]
    Silent,
    #[error(
        "TLS is required here (transport.tls.force); turn transport.tls.enable on in the client"
    )]
    TlsRequired,
    #[error("TLS handshake failed")]
    Tls(#[source] io::Error),
    #[error("first message {0} is not one that opens a stream")]
    Unexpected(&'static str),
    #[error("no WebSocket")]
    WebSocket(#[from] WebSocketError),
}

impl OpeningError {
    /// Why no TLS came about.
    fn tls(error: io::Error, shared: &Shared) -> Self {
        let wants_certificate = shared.config.transport.tls.trusted_ca.is_some();
        if wants_certificate && tls::is_about_certificate(&error) {
            Self::Certificate(error)
        } else {
            Self::Tls(error)
        }
    }

    /// Why no QUIC connection came about.
    fn quic(error: QuicError, shared: &Shared) -> Self {
        let wants_certificate = shared.config.transport.tls.trusted_ca.is_some();
        if wants_certificate && error.is_about_certificate() {
            Self::Certificate(io::Error::other(error))
        } else {
            Self::Quic(error)
        }
    }
}

/// Accepts clients by TCP until the server stops listening.
pub(crate) async fn run(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let (stream, from) = tokio::select! {
            () = shared.tasks.stop_listening.cancelled() => return,
            accepted = tcp::accept(&listener) => accepted,
        };
        let connection = connection(stream, from, shared.clone());
        shared.tasks.spawn(connection);
    }
}

async fn connection(stream: TcpStream, from: SocketAddr, shared: Arc<Shared>) {
    tcp::set_keepalive(&stream, shared.config.transport.tcp_keepalive);
    let (conn, addrs) = match shared.client_addrs.resolve(stream, from).await {
        Ok(arrived) => arrived,
        Err(error) => {
            return debug!(source = %from, "connection of {from} closed: {}", Chain(&error));
        }
    };
    // Until it has its turn it holds nothing but its socket.
    let permit = match shared.openings.acquire(addrs.from.ip()).await {
        Ok(permit) => permit,
        Err(error) => {
            let from = addrs.from;
            return debug!(source = %from, "connection of {from} closed: {error}");
        }
    };
    match in_time(&permit, Box::pin(unwrap_shared(conn, &shared))).await {
        // Boxed: a session's future is large, and many connections never come that far.
        Ok(Opened::Client(conn)) => {
            Box::pin(client(conn, addrs, Transport::Tcp, permit, &shared)).await;
        }
        Ok(Opened::User(conn, vhost)) => serve_user(conn, addrs, vhost, &shared),
        Err(error) => log(addrs.from, &error),
    }
}

/// What `opening` comes to, unless it takes longer than `permit` allows.
async fn in_time<T>(
    permit: &Permit,
    opening: impl Future<Output = Result<T, OpeningError>>,
) -> Result<T, OpeningError> {
    tokio::select! {
        opened = opening => opened,
        () = permit.expired() => Err(OpeningError::Silent),
    }
}

fn serve_user(user: Conn, addrs: PeerAddrs, vhost: SharedVhost, shared: &Shared) {
    let vhosts = &shared.vhosts;
    match vhost {
        SharedVhost::Http => {
            if let Some(vhost) = &vhosts.http {
                shared.tasks.serve_user(vhost.clone().serve(user, addrs));
            }
        }
        SharedVhost::Https => {
            if let Some(vhost) = &vhosts.https {
                shared.tasks.serve_user(vhost.clone().serve(user, addrs));
            }
        }
    }
}

/// Serves a connection of a client around which nothing lies any more, until it ends.
async fn client(
    conn: Conn,
    addrs: PeerAddrs,
    transport: Transport,
    permit: Permit,
    shared: &Arc<Shared>,
) {
    let connection = Arc::new(Connection::new(addrs, transport, permit));
    if shared.config.transport.tcp_mux {
        multiplexed(conn, &connection, shared).await;
    } else {
        let opened = first_message(conn).await;
        dispatch(opened, &connection, shared).await;
    }
}

/// Serves the streams of a multiplexed connection until it ends.
async fn multiplexed(conn: Conn, connection: &Arc<Connection>, shared: &Arc<Shared>) {
    let from = connection.addrs.from;
    let config = mgrok_mux::Config {
        accept_backlog: ACCEPT_BACKLOG,
        keepalive_interval: Some(shared.config.transport.tcp_mux_keepalive_interval),
        untrusted: Some(BEFORE_LOGIN),
        ..mgrok_mux::Config::server()
    };
    let (opener, acceptor, driver) = mgrok_mux::session(conn, config);
    connection.carried_by(Carrier::Mux(opener.clone()));
    shared.tasks.spawn(async move {
        if let Err(error) = driver.await {
            debug!(source = %from, "connection of {from} ended: {}", Chain(&error));
        }
    });
    match serve_streams(acceptor, connection, shared).await {
        CloseMode::Closed => {}
        CloseMode::Left => left_to_client(opener.closed(), shared).await,
    }
    opener.close();
}

/// Where the streams of one connection come from.
trait Streams: Send {
    /// The next one; `None` when the connection has ended.
    fn next(&mut self) -> impl Future<Output = Option<Conn>> + Send;
}

impl Streams for Acceptor {
    async fn next(&mut self) -> Option<Conn> {
        self.accept().await.map(Conn::from)
    }
}

/// What becomes of a connection of which no more streams are taken.
enum CloseMode {
    /// It has ended or is to be closed.
    Closed,
    /// The client closes it when its users are done.
    Left,
}

/// Serves the streams of a connection until it has ended, is to be closed, or its session has gone elsewhere.
async fn serve_streams(
    streams: impl Streams,
    connection: &Arc<Connection>,
    shared: &Arc<Shared>,
) -> CloseMode {
    tokio::select! {
        () = shared.tasks.stop_connections.cancelled() => {}
        () = connection.session_over() => {}
        () = connection.session_moved() => return CloseMode::Left,
        () = accept_streams(streams, connection, shared) => {}
        () = never_logs_in(connection, shared) => log(connection.addrs.from, &OpeningError::Silent),
    }
    CloseMode::Closed
}

/// Waits until a connection that is the client's to close is `closed`, or found dead, or the server stops.
async fn left_to_client(closed: impl Future, shared: &Shared) {
    tokio::select! {
        _ = closed => {}
        () = shared.tasks.stop_connections.cancelled() => {}
    }
}

async fn accept_streams(
    mut streams: impl Streams,
    connection: &Arc<Connection>,
    shared: &Arc<Shared>,
) {
    let opening = Arc::new(Semaphore::new(MAX_OPENING_STREAMS));
    while let Some(conn) = streams.next().await {
        let Ok(permit) = opening.clone().acquire_owned().await else {
            return;
        };
        let (connection, shared) = (connection.clone(), shared.clone());
        shared.clone().tasks.spawn(async move {
            let opened = first_message(conn).await;
            drop(permit);
            dispatch(opened, &connection, &shared).await;
        });
    }
}

/// Ends when the connection should have been logged in and is not.
async fn never_logs_in(connection: &Connection, shared: &Shared) {
    connection.expired().await;
    if connection.login_came() {
        // Plugins may take as long over a login that has come in time.
        sleep(OPENING_TIMEOUT + shared.hooks.patience(Op::Login)).await;
    }
    if connection.has_session() {
        std::future::pending().await
    }
}

/// Ends when clients that come by UDP have had the time to hear that the server closes their connections.
async fn goodbye_said(tasks: &Tasks) {
    tasks.stop_connections.cancelled().await;
    sleep(GOODBYE).await;
}

/// A scan of the port is nothing to wake anybody for; a client that is set up
/// differently from its server is.
fn log(from: SocketAddr, error: &OpeningError) {
    match error {
        OpeningError::Certificate(_)
        | OpeningError::MuxExpected
        | OpeningError::MuxUnexpected
        | OpeningError::TlsRequired
        // Who asks for this path is a client, and what is wrong with its request a proxy's doing.
        | OpeningError::WebSocket(WebSocketError::Request { .. }) => {
            warn!(source = %from, "connection of {from} closed: {}", Chain(error));
        }
        OpeningError::Closed
        | OpeningError::Io(_)
        | OpeningError::Message(_)
        | OpeningError::NotAClient
        | OpeningError::Quic(_)
        | OpeningError::Silent
        | OpeningError::Tls(_)
        | OpeningError::Unexpected(_)
        | OpeningError::WebSocket(_) => debug!(source = %from, "connection of {from} closed: {}", Chain(error)),
    }
}
