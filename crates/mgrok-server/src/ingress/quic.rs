//! Clients that come by QUIC, whose streams need no multiplexer, and TLS is in it.

use std::sync::Arc;

use mgrok_config::ServerConfig;
use mgrok_net::{
    conn::Conn,
    error_chain::Chain,
    quic::{Connection as QuicConnection, Endpoint, Incoming, QuicError, QuicOptions, QuicServer},
    tls::ServerTls,
};
use tracing::{debug, error};

use super::{CloseMode, OpeningError, Streams, in_time, left_to_client, log, serve_streams};
use crate::{
    backend::PeerAddrs,
    connection::{Carrier, Connection, Transport},
    per_source::{Limits, PerSource, Permit},
    shared::Shared,
};

/// Connections that shake hands or are not logged in yet. Nobody waits: whoever hears nothing sends its packet again, after a
/// second for the first time.
const OPENINGS: Limits = Limits {
    what: "QUIC connections",
    total: 2_048,
    per_source: 512,
    waiting: 0,
    waiting_per_source: 0,
};

/// How clients are accepted, with what `tls` holds at this time.
pub(crate) fn server(tls: &ServerTls, config: &ServerConfig) -> Result<QuicServer, QuicError> {
    let quic = &config.transport.quic;
    let options = QuicOptions {
        keepalive: quic.keepalive_period,
        idle_timeout: quic.max_idle_timeout,
        max_streams: quic.max_incoming_streams,
        trusts_at_once: false,
    };
    QuicServer::with_tls(tls, options)
}

/// Accepts clients by QUIC until the server stops listening; then sees their connections end.
pub(crate) async fn run(endpoint: Endpoint, shared: Arc<Shared>) {
    tokio::select! {
        () = shared.tasks.stop_listening.cancelled() => {}
        () = accept(&endpoint, &shared) => {
            error!("the socket of quicBindPort failed, so that no client can come by QUIC until a restart");
        }
    }
    endpoint.stop_accepting();
    shared.tasks.stop_connections.cancelled().await;
    // Each connection's task closes it when what was sent has had its time.
    endpoint.idle().await;
    endpoint.close();
    endpoint.idle().await;
}

/// Ends only if the endpoint does.
async fn accept(endpoint: &Endpoint, shared: &Arc<Shared>) {
    let openings = PerSource::new(OPENINGS);
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
                let connection = connection(incoming, permit, shared.clone());
                shared.tasks.spawn(connection);
            }
            Err(error) => {
                debug!(source = %from, "connection of {from} passed over: {error}");
                incoming.ignore();
            }
        }
    }
}

async fn connection(incoming: Incoming, permit: Permit, shared: Arc<Shared>) {
    let from = incoming.remote_addr();
    let handshake = async {
        let quic = incoming.accept().await;
        quic.map_err(|error| OpeningError::quic(error, &shared))
    };
    let quic = match in_time(&permit, Box::pin(handshake)).await {
        Ok(quic) => quic,
        Err(error) => return log(from, &error),
    };
    let addrs = PeerAddrs::new(from, None);
    let connection = Arc::new(Connection::new(addrs, Transport::Quic, permit));
    connection.carried_by(Carrier::Quic(quic.clone()));
    match serve_streams(quic.clone(), &connection, &shared).await {
        // What users had sent is on its way. With other transports it is written before the end.
        CloseMode::Closed => quic.settle().await,
        CloseMode::Left => left_to_client(quic.closed(), &shared).await,
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
