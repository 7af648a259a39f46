//! The connection of a client, whatever carries it: its streams, until it ends.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use mgrok_mux::{Acceptor, UntrustedLimits};
use mgrok_net::conn::{ByteStream as _, Conn};
use mgrok_net::error_chain::Chain;
use mgrok_proto::hook::Op;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;
use tracing::debug;

use super::context::ClientContext;
use super::opening::{OpeningError, note_closed};
use super::stream::{dispatch, first_message};
use crate::backend::PeerAddrs;
use crate::connection::{Carrier, Connection, Transport};
use crate::metrics::Handshake;
use crate::per_source::{OPENING_TIMEOUT, Permit};
use crate::tasks::Tasks;

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

/// Serves a connection of a client around which nothing lies any more, until it ends.
pub(super) async fn client(
    conn: Conn,
    addrs: PeerAddrs,
    transport: Transport,
    permit: Permit,
    context: &Arc<ClientContext>,
) {
    let metrics = context.directory.metrics();
    metrics.handshakes.of(Handshake::Ok).inc();
    let connection = Arc::new(Connection::new(addrs, transport, permit));
    let transport = &context.policy.now().config.transport;
    if transport.tcp_mux {
        let keepalive = transport.tcp_mux_keepalive_interval;
        multiplexed(conn, keepalive, &connection, context).await;
    } else {
        let opened = first_message(conn).await;
        dispatch(opened, &connection, context).await;
    }
}

/// Serves the streams of a multiplexed connection until it ends.
async fn multiplexed(
    conn: Conn,
    keepalive: Duration,
    connection: &Arc<Connection>,
    context: &Arc<ClientContext>,
) {
    let from = connection.addrs.from;
    let config = mgrok_mux::Config {
        accept_backlog: ACCEPT_BACKLOG,
        keepalive_interval: Some(keepalive),
        untrusted: Some(BEFORE_LOGIN),
        ..mgrok_mux::Config::server()
    };
    conn.keep_little_unsent();
    let (opener, acceptor, driver) = mgrok_mux::session_receiving(conn, config, Conn::poll_recv);
    connection.carried_by(Carrier::Mux(opener.clone()));
    let _shown = context.directory.metrics().muxes.show(&opener);
    context.tasks.spawn(async move {
        if let Err(error) = driver.await {
            debug!(source = %from, "connection of {from} ended: {}", Chain(&error));
        }
    });
    match serve_streams(acceptor, connection, context).await {
        CloseMode::Closed => {}
        CloseMode::Left => left_to_client(opener.closed(), &context.tasks).await,
    }
    opener.close();
}

/// Where the streams of one connection come from.
pub(super) trait Streams: Send {
    /// The next one; `None` when the connection has ended.
    fn next(&mut self) -> impl Future<Output = Option<Conn>> + Send;
}

impl Streams for Acceptor {
    async fn next(&mut self) -> Option<Conn> {
        self.accept().await.map(Conn::from)
    }
}

/// What becomes of a connection of which no more streams are taken.
pub(super) enum CloseMode {
    /// It has ended or is to be closed.
    Closed,
    /// The client closes it when its users are done.
    Left,
}

/// Serves the streams of a connection until it has ended, is to be closed, or its session has gone elsewhere.
pub(super) async fn serve_streams(
    streams: impl Streams,
    connection: &Arc<Connection>,
    context: &Arc<ClientContext>,
) -> CloseMode {
    tokio::select! {
        () = context.tasks.stop_connections.cancelled() => {}
        () = connection.session_over() => {}
        () = connection.session_moved() => return CloseMode::Left,
        () = accept_streams(streams, connection, context) => {}
        () = never_logs_in(connection, context) => note_closed(connection.addrs.from, &OpeningError::Silent, context.directory.metrics()),
    }
    CloseMode::Closed
}

/// Waits until a connection that is the client's to close is `closed`, or found dead, or the server stops.
pub(super) async fn left_to_client(closed: impl Future, tasks: &Tasks) {
    tokio::select! {
        _ = closed => {}
        () = tasks.stop_connections.cancelled() => {}
    }
}

async fn accept_streams(
    mut streams: impl Streams,
    connection: &Arc<Connection>,
    context: &Arc<ClientContext>,
) {
    let opening = Arc::new(Semaphore::new(MAX_OPENING_STREAMS));
    while let Some(conn) = streams.next().await {
        let Ok(permit) = opening.clone().acquire_owned().await else {
            return;
        };
        let (connection, context) = (connection.clone(), context.clone());
        let serve = serve_stream(conn, permit, connection, context.clone());
        context.tasks.spawn(serve);
    }
}

/// Serves one stream of a connection. `permit` is given to another when the stream has said what it is.
async fn serve_stream(
    conn: Conn,
    permit: OwnedSemaphorePermit,
    connection: Arc<Connection>,
    context: Arc<ClientContext>,
) {
    let opened = first_message(conn).await;
    drop(permit);
    dispatch(opened, &connection, &context).await;
}

/// Ends when the connection should have been logged in and is not.
async fn never_logs_in(connection: &Connection, context: &ClientContext) {
    connection.expired().await;
    if connection.login_came() {
        // Plugins, and whoever verifies its token, may take as long over a login that has come in time.
        let policy = context.policy.now();
        let patience = policy.hooks.patience(Op::Login) + policy.keys.patience();
        sleep(OPENING_TIMEOUT + patience).await;
    }
    if connection.has_session() {
        std::future::pending().await
    }
}

/// Ends when clients that come by UDP have had the time to hear that the server closes their connections.
pub(super) async fn goodbye_said(tasks: &Tasks) {
    tasks.stop_connections.cancelled().await;
    sleep(GOODBYE).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::future_size::future_size;

    /// A client that is asked for thousands of work connections opens as many streams at once, and each is a task until it has said what
    /// it is. It was 15 KiB when plugins, refusals and visitors were a part of it; what is left is its first message.
    #[test]
    fn the_task_of_a_stream_is_small() {
        let size = future_size(|(conn, permit, connection, context)| {
            serve_stream(conn, permit, connection, context)
        });
        assert!(size <= 2_752, "{size} bytes");
    }

    /// The largest part is that of a client without a multiplexer, whose one stream is a part of it.
    #[test]
    fn what_a_client_costs_beside_its_session_is_small() {
        let size = future_size(|(conn, addrs, transport, permit, context)| {
            client(conn, addrs, transport, permit, context)
        });
        assert!(size <= 2_880, "{size} bytes");
    }
}
