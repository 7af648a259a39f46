//! Binds, dials and accepts TCP sockets.

mod accept;
mod bind;
mod dial;
mod multipath;

use std::io;
use std::time::Duration;

use socket2::{SockRef, Socket, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tracing::debug;

pub use accept::accept;
pub(crate) use accept::canonical;
pub use bind::{bind, bind_multipath};
pub(crate) use bind::{bind_udp, bind_with};
pub use dial::{Candidates, DialError, DialOptions, dial, dial_multipath};
pub use multipath::{has_multipath, is_multipath};

/// How long a connection may be silent before the system probes the peer, unless the configuration says otherwise. A
/// peer that vanishes without a word would otherwise occupy a stream, two descriptors and a connection of the local
/// service for ever.
// frp: Go's default, for every socket that is accepted or dialled (net/tcpsock.go)
pub const KEEPALIVE: Duration = Duration::from_secs(15);

/// The interval between keepalive probes, and how many probes may go unanswered before the connection is closed. Both
/// are Go's, so that frp and mgrok detect a dead link equally soon.
const PROBE_INTERVAL: Duration = Duration::from_secs(15);
const PROBES: u32 = 9;

/// Makes the system probe the peer of `stream` after `keepalive` of silence; `None`: never.
///
/// A failure is only logged: a socket that takes no options is about to fail anyway.
pub fn set_keepalive(stream: &TcpStream, keepalive: Option<Duration>) {
    set_keepalive_of(&SockRef::from(stream), keepalive);
}

/// The same for what `listener` accepts from now on. Returns whether connections inherit it here; where they do not, it has to be set of each.
pub fn set_inherited_keepalive(listener: &TcpListener, keepalive: Option<Duration>) -> bool {
    if INHERITS_OPTIONS {
        set_keepalive_of(&SockRef::from(listener), keepalive);
    }
    INHERITS_OPTIONS
}

fn set_keepalive_of(socket: &Socket, keepalive: Option<Duration>) {
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

/// Sets the options of every socket in the program: no delay, and keepalive probes unless they are off.
fn set_options(socket: &Socket, keepalive: Option<Duration>) {
    note_failure(socket.set_tcp_nodelay(true));
    if keepalive.is_some() {
        set_keepalive_of(socket, keepalive);
    }
}

/// Sets the options of a listening socket that this module has not bound, before [`accept`] is given it. On Linux what is accepted has
/// those of its listener, which saves five calls of the system for each connection.
pub fn prepare_listener(listener: &Socket) {
    if INHERITS_OPTIONS {
        set_options(listener, Some(KEEPALIVE));
    }
}

/// Whether accepted sockets have the options of their listener.
const INHERITS_OPTIONS: bool = cfg!(target_os = "linux");

fn note_failure(result: io::Result<()>) {
    if let Err(error) = result {
        debug!("cannot set the options of a socket: {error}");
    }
}

/// Unsent bytes in the kernel at which a connection that many streams share takes no more. What waits there goes ahead of everything
/// that comes later, also of a small message; more than this does not make a connection faster.
#[cfg(target_os = "linux")]
const UNSENT: u32 = 128 * 1024;

/// Makes the system take only so many bytes of `stream` as it can send soon. What is sent and not acknowledged does not count, so a
/// long path stays full.
pub(crate) fn keep_little_unsent(stream: &TcpStream) {
    #[cfg(target_os = "linux")]
    note_failure(SockRef::from(stream).set_tcp_notsent_lowat(UNSENT));
    #[cfg(not(target_os = "linux"))]
    let _ = stream;
}

/// Makes the system close a connection after `timeout` without any sign of the peer or without acknowledgement of sent
/// bytes; probes begin after `idle`. For connections on which no message of ours shows whether the peer is alive.
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
