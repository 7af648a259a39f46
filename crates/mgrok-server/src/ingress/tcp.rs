//! Clients that come by TCP, perhaps in TLS or a WebSocket, and users of a vhost port that is the control port.

use std::net::SocketAddr;
use std::sync::Arc;

use mgrok_net::conn::Conn;
use mgrok_net::error_chain::Chain;
use mgrok_net::tcp;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tracing::{Level, debug, enabled};

use super::context::ControlContext;
use super::opening::{in_time, note_closed};
use super::streams::client;
use super::strip::{Opened, SharedVhost, strip_shared_transport};
use crate::accept::UserService as _;
use crate::backend::PeerAddrs;
use crate::connection::Transport;
use crate::metrics::Limit;
use crate::per_source::Limits;

/// Connections by TCP of which nobody knows yet whose they are. One that stops within its TLS handshake holds up to 16 KiB, so all
/// of them 128 MiB; one that waits for its turn holds a socket and its task.
pub(crate) const OPENINGS: Limits = Limits {
    what: "connections to the control port",
    limit: Limit::TcpOpenings,
    total: 8_192,
    per_source: 1_024,
    waiting: 32_768,
    waiting_per_source: 16_384,
};

/// Accepts clients by TCP until `stop` is cancelled.
pub(crate) async fn run(
    listener: TcpListener,
    stop: CancellationToken,
    context: Arc<ControlContext>,
) {
    let keepalive = || context.clients.policy.now().config.transport.tcp_keepalive;
    // What is accepted inherits it, which saves each connection four calls.
    let mut inherited = keepalive();
    let inherits = tcp::set_inherited_keepalive(&listener, inherited);
    loop {
        let (stream, from) = tokio::select! {
            () = stop.cancelled() => return,
            accepted = tcp::accept(&listener) => accepted,
        };
        let wanted = keepalive();
        if wanted != inherited || !inherits {
            tcp::set_keepalive(&stream, wanted);
            tcp::set_inherited_keepalive(&listener, wanted);
            inherited = wanted;
        }
        let connection = connection(stream, from, context.clone());
        context.clients.tasks.spawn(connection);
    }
}

async fn connection(stream: TcpStream, from: SocketAddr, context: Arc<ControlContext>) {
    if enabled!(Level::DEBUG) && tcp::is_multipath(&stream) {
        debug!(source = %from, "connection of {from} is by multipath TCP");
    }
    let (conn, addrs) = match context.client_addrs.resolve(stream, from).await {
        Ok(arrived) => arrived,
        Err(error) => {
            return debug!(source = %from, "connection of {from} closed: {}", Chain(&error));
        }
    };
    // Until it has its turn it holds nothing but its socket.
    let permit = match context.openings.acquire(addrs.from.ip()).await {
        Ok(permit) => permit,
        Err(error) => {
            let from = addrs.from;
            return debug!(source = %from, "connection of {from} closed: {error}");
        }
    };
    match in_time(
        &permit,
        Box::pin(strip_shared_transport(conn, &context.clients.policy)),
    )
    .await
    {
        // Boxed: a session's future is large, and many connections never come that far.
        Ok(Opened::Client(conn)) => {
            Box::pin(client(
                conn,
                addrs,
                Transport::Tcp,
                permit,
                &context.clients,
            ))
            .await;
        }
        Ok(Opened::User(conn, vhost)) => serve_user(conn, addrs, vhost, &context),
        Err(error) => note_closed(addrs.from, &error, context.clients.directory.metrics()),
    }
}

fn serve_user(user: Conn, addrs: PeerAddrs, vhost: SharedVhost, context: &ControlContext) {
    let (vhosts, tasks) = (&context.vhosts, &context.clients.tasks);
    match vhost {
        SharedVhost::Http => tasks.serve_user(vhosts.http.clone().serve(user, addrs)),
        SharedVhost::Https => tasks.serve_user(vhosts.https.clone().serve(user, addrs)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::future_size::future_size;

    /// Of connections that have not said what they are there may be tens of thousands, of which most wait for their turn.
    #[test]
    fn the_task_of_a_connection_is_small() {
        let size = future_size(|(stream, from, context)| connection(stream, from, context));
        assert!(size <= 1_024, "{size} bytes");
    }
}
