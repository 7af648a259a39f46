//! Connecting to a host by name.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout_at};

use super::resolver::Resolver;

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
    /// Who is asked for the addresses of a name.
    pub resolver: Resolver,
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
    let addrs = Candidates::find(host, port, options).await?;
    addrs.first_that(|addr| connect(addr, options)).await
}

/// The addresses of a host, for whoever connects to it by another way than TCP.
#[derive(Debug)]
pub struct Candidates<'a> {
    host: &'a str,
    port: u16,
    timeout: Duration,
    deadline: Instant,
    addrs: Vec<SocketAddr>,
}

impl<'a> Candidates<'a> {
    /// Looks `host` up, which is a name or an address with or without brackets. The timeout of `options` begins here; only addresses of
    /// the local address's family are found.
    pub async fn find(host: &'a str, port: u16, options: &DialOptions) -> Result<Self, DialError> {
        let mut candidates = Self {
            host: without_brackets(host),
            port,
            timeout: options.timeout,
            deadline: Instant::now() + options.timeout,
            addrs: Vec::new(),
        };
        let lookup = options.resolver.lookup(candidates.host, port);
        match timeout_at(candidates.deadline, lookup).await {
            Ok(Ok(found)) => candidates.addrs = found,
            Ok(Err(source)) => {
                return Err(DialError::Resolve {
                    host: candidates.host.to_owned(),
                    source,
                });
            }
            Err(_) => return Err(candidates.late()),
        }
        if let Some(ip) = options.local_ip {
            let same_family = |addr: &SocketAddr| ip.is_ipv4() == addr.is_ipv4();
            candidates.addrs.retain(same_family);
        }
        Ok(candidates)
    }

    /// How many there are.
    #[expect(clippy::len_without_is_empty, reason = "nobody asks for that")]
    pub fn len(&self) -> usize {
        self.addrs.len()
    }

    /// Puts the addresses of IPv4 in front: where nobody says that a port is not there, as with UDP, a wrong first choice is expensive.
    // Go: the same for UDP (net/ipsock.go#favoriteAddrFamily, forResolve)
    pub fn ipv4_first(mut self) -> Self {
        self.addrs.sort_by_key(SocketAddr::is_ipv6);
        self
    }

    /// Tries one address after the other, each for a fair share of what is left of the timeout, and gives what the first success gave.
    ///
    /// # Errors
    /// What the last address failed with.
    pub async fn first_that<T, E: From<DialError>, F: Future<Output = Result<T, E>>>(
        self,
        mut attempt: impl FnMut(SocketAddr) -> F,
    ) -> Result<T, E> {
        let mut last = None;
        for (tried, &addr) in self.addrs.iter().enumerate() {
            let addrs_left = self.addrs.len() - tried;
            let attempt_ends = attempt_deadline(Instant::now(), self.deadline, addrs_left);
            match timeout_at(attempt_ends, attempt(addr)).await {
                Ok(Ok(connected)) => return Ok(connected),
                Ok(Err(error)) => last = Some(error),
                Err(_) => last = Some(self.late().into()),
            }
        }
        Err(last.unwrap_or_else(|| {
            let host = self.host.to_owned();
            DialError::NoAddress { host }.into()
        }))
    }

    fn late(&self) -> DialError {
        DialError::Timeout {
            host: self.host.to_owned(),
            port: self.port,
            timeout: self.timeout,
        }
    }
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
    super::set_options(&stream, options.keepalive);
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
