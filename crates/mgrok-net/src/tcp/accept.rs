//! Accepts connections, and survives every failure.

use std::io;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tracing::warn;

/// The first pause when the system is short of a resource. Connections that end free descriptors, maybe soon.
const MIN_PAUSE: Duration = Duration::from_millis(10);
/// The longest pause, which is the most that a user waits after the shortage is over.
const MAX_PAUSE: Duration = Duration::from_secs(1);
/// Failures closer together than this belong to one episode, which is logged once.
const EPISODE_GAP: Duration = Duration::from_secs(10);

/// When accepting last failed for lack of a resource. A shortage affects the process, not one listener.
static LAST_SHORTAGE: Mutex<Option<Instant>> = Mutex::new(None);

/// The reason for a failure of `accept`, which decides the reaction.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Failure {
    /// One connection failed and is gone.
    Connection,
    /// The process or the system lacks a resource.
    Shortage(&'static str),
    /// Anything else.
    Unknown,
}

/// Waits for the next connection. Never fails: a failed connection is skipped, and a shortage of descriptors or memory
/// is waited out, with one warning per episode.
///
/// Of a listener that was bound or [prepared](super::prepare_listener) here, the connection has keepalive probes after
/// [`KEEPALIVE`](super::KEEPALIVE) of silence, and no delay for written bytes. An IPv4 user of a dual-stack listener has an IPv4 address. Cancel-safe.
pub async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    let mut pause = MIN_PAUSE;
    loop {
        let error = match listener.accept().await {
            Ok((stream, from)) => {
                if !super::INHERITS_OPTIONS {
                    super::set_options(&SockRef::from(&stream), Some(super::KEEPALIVE));
                }
                return (stream, canonical(from));
            }
            Err(error) => error,
        };
        match Failure::of(&error) {
            Failure::Connection => {
                // Each such failure took a connection off the queue, so this is no busy loop. Yielding lets other tasks
                // run.
                tokio::task::yield_now().await;
                continue;
            }
            Failure::Shortage(what) => {
                if begins_episode(Instant::now()) {
                    warn!("cannot accept connections: {what}");
                }
            }
            Failure::Unknown => {
                if begins_episode(Instant::now()) {
                    warn!("cannot accept connections: {error}");
                }
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(MAX_PAUSE);
    }
}

/// Turns an IPv4-mapped IPv6 address into the IPv4 address.
pub(crate) fn canonical(addr: SocketAddr) -> SocketAddr {
    match addr.ip().to_canonical() {
        ip if ip.is_ipv4() => (ip, addr.port()).into(),
        _ => addr,
    }
}

fn begins_episode(now: Instant) -> bool {
    let mut last = LAST_SHORTAGE.lock().unwrap_or_else(PoisonError::into_inner);
    let begins = last.is_none_or(|last| now.duration_since(last) > EPISODE_GAP);
    *last = Some(now);
    begins
}

impl Failure {
    fn of(error: &io::Error) -> Self {
        match Errno::from_io_error(error) {
            Some(Errno::MFILE) => {
                Self::Shortage("too many open files: raise LimitNOFILE/ulimit -n")
            }
            Some(Errno::NFILE) => {
                Self::Shortage("too many open files in the system: raise fs.file-max")
            }
            Some(Errno::NOBUFS | Errno::NOMEM) => {
                Self::Shortage("the system has no memory for sockets")
            }
            // These network errors belong to the new connection; Linux reports them here (accept(2)).
            Some(
                Errno::CONNABORTED
                | Errno::CONNRESET
                | Errno::HOSTDOWN
                | Errno::HOSTUNREACH
                | Errno::INTR
                | Errno::NETDOWN
                | Errno::NETUNREACH
                | Errno::NOPROTOOPT
                | Errno::OPNOTSUPP
                | Errno::PERM
                | Errno::PROTO
                | Errno::TIMEDOUT,
            ) => Self::Connection,
            Some(_) | None => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_distinguished() {
        let of = |errno: Errno| Failure::of(&io::Error::from(errno));
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM] {
            assert!(matches!(of(errno), Failure::Shortage(_)), "{errno}");
        }
        for errno in [Errno::CONNABORTED, Errno::PERM, Errno::HOSTUNREACH] {
            assert_eq!(of(errno), Failure::Connection, "{errno}");
        }
        assert_eq!(of(Errno::BADF), Failure::Unknown);
        assert_eq!(Failure::of(&io::ErrorKind::Other.into()), Failure::Unknown);
    }

    #[test]
    fn an_episode_is_logged_once() {
        let start = Instant::now() + Duration::from_secs(3600);
        assert!(begins_episode(start));
        assert!(!begins_episode(start + EPISODE_GAP));
        assert!(!begins_episode(start + EPISODE_GAP * 2));
        assert!(begins_episode(start + EPISODE_GAP * 4));
    }

    #[test]
    fn mapped_addresses_become_plain_ones() {
        let plain: SocketAddr = "1.2.3.4:5".parse().unwrap();
        assert_eq!(canonical("[::ffff:1.2.3.4]:5".parse().unwrap()), plain);
        let v6: SocketAddr = "[fe80::1%3]:5".parse().unwrap();
        assert_eq!(canonical(v6), v6);
    }
}
