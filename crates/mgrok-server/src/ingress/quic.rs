//! Clients that come by QUIC, whose streams need no multiplexer, and TLS is in it.

use std::sync::Arc;

use mgrok_net::conn::Conn;
use mgrok_net::error_chain::Chain;
use mgrok_net::quic::{Connection as QuicConnection, Endpoint, Incoming};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error};

use super::context::ClientContext;
use super::opening::{OpeningError, in_time, note_closed};
use super::streams::{CloseMode, Streams, left_to_client, serve_streams};
use crate::backend::PeerAddrs;
use crate::connection::{Carrier, Connection, Transport};
use crate::metrics::{Handshake, Limit};
use crate::per_source::{Limits, PerSource, Permit};

/// Connections that shake hands or are not logged in yet. Nobody waits: whoever hears nothing sends its packet again, after a
/// second for the first time.
const OPENINGS: Limits = Limits {
    what: "QUIC connections",
    limit: Limit::QuicOpenings,
    total: 2_048,
    per_source: 512,
    waiting: 0,
    waiting_per_source: 0,
};

/// Accepts clients by QUIC until `stop` is cancelled; then sees their connections end.
pub(crate) async fn run(endpoint: Endpoint, stop: CancellationToken, context: Arc<ClientContext>) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = accept(&endpoint, &context) => {
            error!("the socket of quicBindPort failed, so that no client can come by QUIC until a restart");
        }
    }
    endpoint.stop_accepting();
    tokio::select! {
        () = context.tasks.stop_connections.cancelled() => {}
        () = endpoint.unused() => {}
    }
    // Each connection's task closes it when what was sent has had its time.
    endpoint.idle().await;
    endpoint.close();
    endpoint.idle().await;
}

/// Ends only if the endpoint does.
async fn accept(endpoint: &Endpoint, context: &Arc<ClientContext>) {
    let openings = PerSource::new(OPENINGS, context.directory.metrics());
    while let Some(incoming) = endpoint.accept().await {
        let from = incoming.remote_addr();
        // Who forges addresses gets no more than half, whether of one address or of all.
        let incoming = if openings.is_busy(from.ip()) {
            incoming.validated()
        } else {
            Some(incoming)
        };
        let Some(incoming) = incoming else { continue };
        match openings.try_acquire(from.ip()) {
            Ok(permit) => {
                let connection = connection(incoming, permit, context.clone());
                context.tasks.spawn(connection);
            }
            Err(error) => {
                debug!(source = %from, "connection of {from} passed over: {error}");
                incoming.ignore();
            }
        }
    }
}

async fn connection(incoming: Incoming, permit: Permit, context: Arc<ClientContext>) {
    let from = incoming.remote_addr();
    let handshake = async {
        let quic = incoming.accept().await;
        quic.map_err(|error| OpeningError::quic(error, &context.policy.now()))
    };
    let quic = match in_time(&permit, Box::pin(handshake)).await {
        Ok(quic) => quic,
        Err(error) => return note_closed(from, &error, context.directory.metrics()),
    };
    let metrics = context.directory.metrics();
    metrics.handshakes.of(Handshake::Ok).inc();
    let addrs = PeerAddrs::new(from, None);
    let connection = Arc::new(Connection::new(addrs, Transport::Quic, permit));
    connection.carried_by(Carrier::Quic(quic.clone()));
    match serve_streams(quic.clone(), &connection, &context).await {
        // What users had sent is on its way. With other transports it is written before the end.
        CloseMode::Closed => quic.settle().await,
        CloseMode::Left => left_to_client(quic.closed(), &context.tasks).await,
    }
    quic.close();
}

impl Streams for QuicConnection {
    async fn next(&mut self) -> Option<Conn> {
        match self.accept().await {
            Ok(conn) => Some(conn),
            Err(error) => {
                debug!(source = %self.remote_addr(),
                    "connection of {} ended: {}",
                    self.remote_addr(),
                    Chain(&error)
                );
                None
            }
        }
    }
}
