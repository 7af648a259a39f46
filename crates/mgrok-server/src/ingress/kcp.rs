//! Clients that come by KCP: over UDP, and in all else as over TCP.
//!
//! KCP does not say that a connection ends. A session whose client fell silent ends by itself, after a while; before that the
//! multiplexer's keepalive finds it, or heartbeats do.

use std::sync::Arc;

use mgrok_net::conn::Conn;
use mgrok_net::kcp::{Listener, ListenerDriver};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error};

use super::context::ClientContext;
use super::opening::{in_time, note_closed};
use super::streams::{client, goodbye_said};
use super::strip::strip_transport;
use crate::backend::PeerAddrs;
use crate::connection::Transport;
use crate::metrics::Limit;
use crate::per_source::{Limits, PerSource, Permit};

/// Sessions of which nobody knows yet whose they are. Their addresses may be forged.
const OPENINGS: Limits = Limits {
    what: "KCP sessions",
    limit: Limit::KcpOpenings,
    total: 2_048,
    per_source: 512,
    waiting: 0,
    waiting_per_source: 0,
};

/// Accepts clients by KCP until `stop` is cancelled. Those that are there stay.
pub(crate) async fn run(
    mut listener: Listener,
    driver: ListenerDriver,
    stop: CancellationToken,
    context: Arc<ClientContext>,
) {
    context.tasks.spawn(drive(driver, context.clone()));
    let openings = PerSource::new(OPENINGS, context.directory.metrics());
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        // The driver says why.
        let Some((conn, from)) = accepted else { return };
        let addrs = PeerAddrs::new(from, None);
        match openings.try_acquire(from.ip()) {
            Ok(permit) => {
                let connection = connection(conn, addrs, permit, context.clone());
                context.tasks.spawn(connection);
            }
            Err(error) => debug!(source = %from, "connection of {from} closed: {error}"),
        }
    }
}

/// Moves the datagrams of all sessions, until a moment after they were closed.
async fn drive(driver: ListenerDriver, context: Arc<ClientContext>) {
    tokio::select! {
        ended = driver => if let Err(error) = ended {
            error!("the socket of kcpBindPort failed, so that no client can come by KCP until a restart: {error}");
        },
        () = goodbye_said(&context.tasks) => {}
    }
}

async fn connection(conn: Conn, addrs: PeerAddrs, permit: Permit, context: Arc<ClientContext>) {
    match in_time(&permit, Box::pin(strip_transport(conn, &context.policy))).await {
        Ok(conn) => Box::pin(client(conn, addrs, Transport::Kcp, permit, &context)).await,
        Err(error) => note_closed(addrs.from, &error, context.directory.metrics()),
    }
}
