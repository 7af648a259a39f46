//! TCP sockets: how they are bound, dialled and accepted.

mod accept;
mod bind;
mod dial;

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tracing::debug;

pub use accept::accept;
pub(crate) use accept::canonical;
pub use bind::bind;
pub(crate) use bind::{dual_stack, resolve_bind};
pub use dial::{Candidates, DialError, DialOptions, dial};

/// The silence after which the other end of a connection is probed, unless something else is configured. Somebody who vanishes
/// without a word would otherwise hold a stream, two descriptors and a connection of the local service for ever.
// frp: Go's default, on every socket that is accepted or dialled (net/tcpsock.go)
pub const KEEPALIVE: Duration = Duration::from_secs(15);

/// The pause between keepalive probes once a connection has been silent for its keepalive time, and how many go unanswered
/// before it is given up. They are Go's, so that frp and mgrok give a dead link up equally soon.
const PROBE_INTERVAL: Duration = Duration::from_secs(15);
const PROBES: u32 = 9;

/// Has the system probe the other end of `stream` after so much silence; `None`: never.
///
/// A failure is only worth a log line: a socket that takes no options is about to say so itself.
pub fn set_keepalive(stream: &TcpStream, keepalive: Option<Duration>) {
    let socket = SockRef::from(stream);
    note_failure(match keepalive {
        None => socket.set_keepalive(false),
        Some(idle) => {
            let probes = TcpKeepalive::new()
                .with_time(idle)
                .with_interval(idle.min(PROBE_INTERVAL))
                .with_retries(PROBES);
            socket.set_tcp_keepalive(&probes)
        }
    });
}

/// Sets what every socket of the program has: no delay, and keepalive probes, if they are not off.
fn set_options(stream: &TcpStream, keepalive: Option<Duration>) {
    note_failure(SockRef::from(stream).set_tcp_nodelay(true));
    if keepalive.is_some() {
        set_keepalive(stream, keepalive);
    }
}

fn note_failure(result: io::Result<()>) {
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
