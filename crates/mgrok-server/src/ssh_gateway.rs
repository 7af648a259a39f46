//! The gateway for clients that are no more than `ssh -R`: each is a session with one proxy, whose work connections are channels of SSH.
//!
//! russh speaks SSH. It asks `handler` who may come and what is granted; `connection` is the task that sees a client through: what it
//! wants, its login (`login/gateway`), and its session, whose control stream does not leave this process. `client` is the other end of
//! that stream. A work connection (`work_conn`) becomes a channel when a user needs it, and what comes on it waits in an `inbox`.

mod authorized_keys;
mod inbox;

mod work_conn;

mod client;
mod handler;

mod connection;

use std::net::SocketAddr;
use std::sync::Arc;

use mgrok_net::error_chain::Chain;
use mgrok_net::tcp;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::client_addr::ClientAddrResolver;
use crate::metrics::Limit;
use crate::per_source::{Limits, PerSource};
use crate::session::SessionContext;

/// SSH connections of which nobody knows yet whose they are. One costs some 100 KiB and a handshake.
pub(crate) const OPENINGS: Limits = Limits {
    what: "connections to the SSH gateway",
    limit: Limit::SshOpenings,
    total: 512,
    per_source: 64,
    waiting: 4_096,
    waiting_per_source: 512,
};

/// What serving SSH clients takes of the server.
#[derive(Debug)]
pub(crate) struct SshContext {
    pub(crate) client_addrs: ClientAddrResolver,
    pub(crate) sessions: Arc<SessionContext>,
    /// For connections that are not logged in.
    pub(crate) openings: PerSource,
}

/// Accepts SSH clients until `stop` is cancelled.
pub(crate) async fn run(listener: TcpListener, stop: CancellationToken, context: Arc<SshContext>) {
    loop {
        let (stream, from) = tokio::select! {
            () = stop.cancelled() => return,
            accepted = tcp::accept(&listener) => accepted,
        };
        let connection = serve(stream, from, context.clone());
        context.sessions.tasks.spawn(connection);
    }
}

async fn serve(stream: TcpStream, from: SocketAddr, context: Arc<SshContext>) {
    let policy = context.sessions.policy.now();
    tcp::set_keepalive(&stream, policy.config.transport.tcp_keepalive);
    // It is off by now if there is none.
    let Some(ssh) = policy.ssh.clone() else {
        return;
    };
    drop(policy);
    let (conn, from) = match context.client_addrs.resolve(stream, from).await {
        Ok((conn, addrs)) => (conn, addrs.from),
        Err(error) => {
            return debug!(source = %from, "SSH connection of {from} closed: {}", Chain(&error));
        }
    };
    // Until it has its turn it holds nothing but its socket.
    match context.openings.acquire(from.ip()).await {
        // Boxed: many connections never come that far.
        Ok(permit) => {
            let sessions = context.sessions.clone();
            Box::pin(connection::serve(conn, from, permit, ssh, sessions)).await;
        }
        Err(error) => debug!(source = %from, "SSH connection of {from} closed: {error}"),
    }
}
