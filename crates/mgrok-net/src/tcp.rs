//! TCP sockets: how they are bound, dialled and accepted.

mod accept;
mod bind;
mod dial;
mod resolver;

use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tracing::debug;

pub use accept::accept;
pub(crate) use accept::canonical;
pub use bind::bind;
pub(crate) use bind::{dual_stack, resolve_bind};
pub(crate) use dial::without_brackets;
pub use dial::{Candidates, DialError, DialOptions, dial};
pub use resolver::Resolver;

/// The pause between keepalive probes once a connection has been silent for its keepalive time. It
/// is Go's, so that frp and mgrok give a dead link up equally soon.
const PROBE_INTERVAL: Duration = Duration::from_secs(15);

/// Sets what every socket of the program has: no delay, and keepalive probes after that much
/// silence (`None`: no probes).
///
/// A failure is only worth a log line: a socket that takes no options is about to say so itself.
pub fn set_accepted_options(stream: &TcpStream, keepalive: Option<Duration>) {
    let socket = SockRef::from(stream);
    let mut result = socket.set_tcp_nodelay(true);
    if let Some(idle) = keepalive {
        let probes = TcpKeepalive::new()
            .with_time(idle)
            .with_interval(idle.min(PROBE_INTERVAL));
        result = result.and(socket.set_tcp_keepalive(&probes));
    }
    if let Err(error) = result {
        debug!("cannot set the options of a socket: {error}");
    }
}

/// Has the system give a connection up that is silent, or does not acknowledge what was sent, for `timeout`; probes begin after
/// `idle`. For connections on which nothing of our own tells whether the other end lives.
pub(crate) fn watch_closely(stream: &TcpStream, idle: Duration, timeout: Duration) {
    let socket = SockRef::from(stream);
    let probes = TcpKeepalive::new()
        .with_time(idle)
        .with_interval((timeout.saturating_sub(idle) / 3).max(Duration::from_secs(1)));
    let result = socket.set_tcp_keepalive(&probes);
    #[cfg(target_os = "linux")]
    let result = result.and(socket.set_tcp_user_timeout(Some(timeout)));
    if let Err(error) = result {
        debug!("cannot set the keepalive of a socket: {error}");
    }
}

#[cfg(test)]
mod tests;
