//! Letting users in: one loop for every TCP socket by which users come.
//!
//! It only accepts. Each user has a task of its own, which finds out whose connection it is and hands it to the service.

use std::future::Future;
use std::net::SocketAddr;

use mgrok_net::conn::Conn;
use mgrok_net::error_chain::Chain;
use mgrok_net::tcp;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::backend::PeerAddrs;
use crate::client_addr::ClientAddrResolver;
use crate::tasks::Tasks;

/// Serves the users of one socket. Clones are the same.
pub(crate) trait UserService: Clone + Send + 'static {
    /// Serves one user from the first byte on.
    fn serve(self, user: Conn, addrs: PeerAddrs) -> impl Future<Output = ()> + Send + 'static;
}

/// What accepting takes besides a socket. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct AcceptContext {
    pub(crate) client_addrs: ClientAddrResolver,
    pub(crate) tasks: Tasks,
}

/// Accepts users of `service` until `stop` is cancelled or the server stops listening.
pub(crate) async fn run(
    listener: &TcpListener,
    service: impl UserService,
    context: AcceptContext,
    stop: CancellationToken,
) {
    let AcceptContext {
        client_addrs,
        tasks,
    } = context;
    loop {
        let (stream, from) = tokio::select! {
            () = stop.cancelled() => return,
            () = tasks.stop_listening.cancelled() => return,
            accepted = tcp::accept(listener) => accepted,
        };
        tasks.serve_user(user(stream, from, client_addrs.clone(), service.clone()));
    }
}

/// One user, from the accepted socket to its end.
pub(crate) fn user(
    stream: TcpStream,
    from: SocketAddr,
    client_addrs: ClientAddrResolver,
    service: impl UserService,
) -> impl Future<Output = ()> + Send + 'static {
    // Boxed, so that a user who is served holds no more than its service needs.
    let resolving = Box::pin(async move { client_addrs.resolve(stream, from).await });
    async move {
        match resolving.await {
            Ok((user, addrs)) => service.serve(user, addrs).await,
            Err(error) => {
                debug!(source = %from, "connection of {from} closed: {}", Chain(&error));
            }
        }
    }
}
