//! Connecting to a host by name.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::time::{Instant, timeout_at};

/// The least time that one of several addresses is given, as in Go. Only the end of the whole
/// timeout makes it less.
const MIN_ATTEMPT: Duration = Duration::from_secs(2);

/// How to connect.
#[derive(Clone, Copy, Debug)]
pub struct DialOptions {
    /// For everything: the lookup, and the attempts at all addresses.
    pub timeout: Duration,
    /// Silence after which the system probes the connection; `None` for no probes.
    pub keepalive: Option<Duration>,
    /// Our side's address; `None` lets the system choose.
    pub local_ip: Option<IpAddr>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// No address could be connected to; this is what the last one said.
    #[error("cannot connect to {addr}")]
    Connect {
        /// The last address tried.
        addr: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Our own address cannot be used.
    #[error("cannot connect from the local address {ip}")]
    LocalIp {
        /// The address asked for.
        ip: IpAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The name stands for no address, or for none of the local address's family.
    #[error("`{host}` has no usable address")]
    NoAddress {
        /// The name.
        host: String,
    },
    /// The name cannot be looked up.
    #[error("cannot resolve `{host}`")]
    Resolve {
        /// The name.
        host: String,
        /// What the resolver said.
        #[source]
        source: io::Error,
    },
    /// Nothing answered in time.
    #[error("{host}:{port} did not answer within {timeout:?}")]
    Timeout {
        /// The host asked for.
        host: String,
        /// The port asked for.
        port: u16,
        /// The time it had.
        timeout: Duration,
    },
}

/// Connects to `host`, which is a name or an address with or without brackets.
///
/// A name is looked up anew each time, and its addresses are tried one after the other. Each gets
/// a fair share of what is left of the timeout, so that a dead one does not use it up.
pub async fn dial(host: &str, port: u16, options: &DialOptions) -> Result<TcpStream, DialError> {
    let host = without_brackets(host);
    let deadline = Instant::now() + options.timeout;
    let late = || DialError::Timeout {
        host: host.to_owned(),
        port,
        timeout: options.timeout,
    };
    let found = match timeout_at(deadline, lookup_host((host, port))).await {
        Ok(found) => found.map_err(|source| DialError::Resolve {
            host: host.to_owned(),
            source,
        })?,
        Err(_) => return Err(late()),
    };
    let addrs: Vec<_> = found
        .filter(|addr| {
            options
                .local_ip
                .is_none_or(|ip| ip.is_ipv4() == addr.is_ipv4())
        })
        .collect();
    let mut last = None;
    for (tried, &addr) in addrs.iter().enumerate() {
        let attempt_ends = attempt_deadline(Instant::now(), deadline, addrs.len() - tried);
        match timeout_at(attempt_ends, connect(addr, options)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = Some(error),
            Err(_) => last = Some(late()),
        }
    }
    Err(last.unwrap_or_else(|| DialError::NoAddress {
        host: host.to_owned(),
    }))
}

async fn connect(addr: SocketAddr, options: &DialOptions) -> Result<TcpStream, DialError> {
    let failed = |source| DialError::Connect { addr, source };
    let socket = match addr {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }
    .map_err(failed)?;
    if let Some(ip) = options.local_ip {
        socket
            .bind((ip, 0).into())
            .map_err(|source| DialError::LocalIp { ip, source })?;
    }
    let stream = socket.connect(addr).await.map_err(failed)?;
    super::set_accepted_options(&stream, options.keepalive);
    Ok(stream)
}

/// When to leave one address for the next.
fn attempt_deadline(now: Instant, deadline: Instant, addrs_left: usize) -> Instant {
    let left = deadline.saturating_duration_since(now);
    let parts = u32::try_from(addrs_left).unwrap_or(u32::MAX).max(1);
    deadline.min(now + (left / parts).max(MIN_ATTEMPT))
}

/// `[::1]` is how an IPv6 address is written next to a port.
pub(crate) fn without_brackets(host: &str) -> &str {
    host.strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host)
}
