//! Clients that come by QUIC, whose streams need no multiplexer, and TLS is in it.

use std::sync::Arc;

use mgrok_config::ServerConfig;
use mgrok_net::{
    conn::Conn,
    quic::{Connection as QuicConnection, Endpoint, Incoming, QuicError, QuicOptions, QuicServer},
    tls::ServerTls,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use tracing::{debug, error};

use super::{Fate, OPENING_TIMEOUT, OpeningError, Streams, left_to_client, log, serve_streams};
use crate::{
    backend::UserAddrs,
    connection::{Connection, Road},
    error::chain,
    shared::Shared,
};

/// How many clients may shake hands at once. Beyond it the next ones wait.
const MAX_HANDSHAKES: usize = 1_024;

/// When there are fewer places left than this, only those get one who have shown that they are where they say they are. So who
/// forges addresses keeps nobody out.
const PLACES_FOR_VALIDATED: usize = MAX_HANDSHAKES / 2;

/// How clients are accepted, with what `tls` holds at this time.
pub(crate) fn server(tls: &ServerTls, config: &ServerConfig) -> Result<QuicServer, QuicError> {
    let quic = &config.transport.quic;
    let options = QuicOptions {
        keepalive: quic.keepalive_period,
        idle_timeout: quic.max_idle_timeout,
        max_streams: quic.max_incoming_streams,
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
    endpoint.close();
    endpoint.idle().await;
}

/// Ends only if the endpoint does.
async fn accept(endpoint: &Endpoint, shared: &Arc<Shared>) {
    let handshakes = Arc::new(Semaphore::new(MAX_HANDSHAKES));
    while let Ok(permit) = handshakes.clone().acquire_owned().await {
        let Some(mut incoming) = endpoint.accept().await else {
            return;
        };
        if handshakes.available_permits() < PLACES_FOR_VALIDATED {
            match incoming.validated() {
                Some(validated) => incoming = validated,
                None => continue,
            }
        }
        shared
            .tasks
            .spawn(connection(incoming, permit, shared.clone()));
    }
}

async fn connection(incoming: Incoming, handshake: OwnedSemaphorePermit, shared: Arc<Shared>) {
    let from = incoming.remote_addr();
    let quic = match timeout(OPENING_TIMEOUT, incoming.accept()).await {
        Ok(Ok(quic)) => quic,
        Ok(Err(error)) => return log(from, &OpeningError::quic(error, &shared)),
        Err(_) => return log(from, &OpeningError::Silent),
    };
    drop(handshake);
    let addrs = UserAddrs { from, to: None };
    let connection = Arc::new(Connection::new(addrs, Road::Quic, true));
    match serve_streams(quic.clone(), &connection, &shared).await {
        Fate::Closed => {}
        Fate::Left => left_to_client(quic.closed(), &shared).await,
    }
    quic.close();
}

impl Streams for QuicConnection {
    async fn next(&mut self) -> Option<Conn> {
        match self.accept().await {
            Ok(conn) => Some(conn),
            Err(error) => {
                debug!(
                    "connection of {} ended: {}",
                    self.remote_addr(),
                    chain(&error)
                );
                None
            }
        }
    }
}
