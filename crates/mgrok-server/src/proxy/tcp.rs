//! A TCP port for users: accept, open the backend, relay.

use std::{net::SocketAddr, sync::Arc};

use mgrok_net::{
    conn::Conn,
    relay::{self, HalfClose, Traffic},
    tcp,
};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, info, warn};

use crate::{
    backend::{Backend, UserAddrs},
    error::chain,
    ports::TcpLease,
    shared::Shared,
};

/// Accepts users until `stop`; the port is free when this returns.
pub(super) async fn run(
    lease: TcpLease,
    backend: Backend,
    shared: Arc<Shared>,
    traffic: Arc<Traffic>,
    stop: CancellationToken,
) {
    loop {
        let (stream, from) = tokio::select! {
            () = stop.cancelled() => return,
            () = shared.stop_listening.cancelled() => return,
            accepted = tcp::accept(&lease.listener) => accepted,
        };
        info!("get a user connection [{from}]");
        let serve = serve(stream, from, backend.clone(), traffic.clone());
        shared.serve_user(serve.in_current_span());
    }
}

/// One user, from its first byte to its last.
async fn serve(stream: TcpStream, from: SocketAddr, backend: Backend, traffic: Arc<Traffic>) {
    tcp::set_accepted_options(&stream, None);
    let Ok(to) = stream.local_addr() else {
        debug!("the user connection [{from}] was gone before it was served");
        return;
    };
    let work = match backend.open(Some(UserAddrs { from, to })).await {
        Ok(work) => work,
        Err(error) => {
            warn!("user connection [{from}] refused: {}", chain(&error));
            return;
        }
    };
    // frp: an end of one direction is the end of both (PROTOCOL 2.5).
    let end = relay::relay(Conn::from(stream), work, HalfClose::EndsBoth, &traffic).await;
    debug!("user connection [{from}] ended: {end:?}");
}
