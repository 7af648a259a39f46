//! Clients that come by KCP: over UDP, and in all else as over TCP.
//!
//! KCP does not say that a connection ends. A session whose client fell silent ends by itself, after a while; before that the
//! multiplexer's keepalive finds it, or heartbeats do.

use std::sync::Arc;

use mgrok_net::{
    conn::Conn,
    kcp::{Listener, ListenerDriver},
};
use tokio::time::timeout;
use tracing::error;

use super::{OPENING_TIMEOUT, OpeningError, client, goodbye_said, log, unwrap};
use crate::{backend::UserAddrs, connection::Road, shared::Shared};

/// Accepts clients by KCP until the server stops listening.
pub(crate) async fn run(mut listener: Listener, driver: ListenerDriver, shared: Arc<Shared>) {
    shared.tasks.spawn(drive(driver, shared.clone()));
    loop {
        let accepted = tokio::select! {
            () = shared.tasks.stop_listening.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        // The driver says why.
        let Some((conn, from)) = accepted else { return };
        let addrs = UserAddrs::new(from, None);
        shared.tasks.spawn(connection(conn, addrs, shared.clone()));
    }
}

/// Moves the datagrams of all sessions, until a moment after they were closed.
async fn drive(driver: ListenerDriver, shared: Arc<Shared>) {
    tokio::select! {
        ended = driver => if let Err(error) = ended {
            error!("the socket of kcpBindPort failed, so that no client can come by KCP until a restart: {error}");
        },
        () = goodbye_said(&shared.tasks) => {}
    }
}

async fn connection(conn: Conn, addrs: UserAddrs, shared: Arc<Shared>) {
    match timeout(OPENING_TIMEOUT, unwrap(conn, &shared)).await {
        Ok(Ok(conn)) => client(conn, addrs, Road::Kcp, &shared).await,
        Ok(Err(error)) => log(addrs.from, &error),
        Err(_) => log(addrs.from, &OpeningError::Silent),
    }
}
