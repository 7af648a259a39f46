//! Connecting to a host by name.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use socket2::SockRef;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, sleep, timeout_at};

use super::multipath;
use crate::resolver::{Resolver, without_brackets};

/// How long one of several addresses is tried alone before the next is tried in parallel. So a dead address costs no
/// more than this.
// Go: the same between the two families (net/dial.go#fallbackDelay)
const HEAD_START: Duration = Duration::from_millis(300);

/// How to connect.
#[derive(Clone, Debug)]
pub struct DialOptions {
    /// The limit for the whole dial: the lookup and the attempts at all addresses.
    pub timeout: Duration,
    /// How long the connection may be silent before the system probes it; `None` for no probes.
    pub keepalive: Option<Duration>,
    /// The local address; `None` lets the system choose.
    pub local_ip: Option<IpAddr>,
    /// Resolves the host's name.
    pub resolver: Resolver,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// No address could be connected to; the error is that of the last one.
    #[error("cannot connect to {addr}")]
    Connect {
        /// The last address tried.
        addr: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The local address cannot be used.
    #[error("cannot connect from the local address {ip}")]
    LocalIp {
        /// The address asked for.
        ip: IpAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The name has no address, or none of the local address's family.
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
        /// The time limit.
        timeout: Duration,
    },
}

/// Connects to `host`, which is a name or an address with or without brackets.
///
/// A name is looked up anew each time. Its addresses are tried one after the other: the next one starts when its
/// predecessor has failed or has been silent for 300 ms. The first connection that succeeds is taken.
pub async fn dial(host: &str, port: u16, options: &DialOptions) -> Result<TcpStream, DialError> {
    let addrs = Candidates::find(host, port, options).await?;
    let plain = |addr| async move { connect(plain(addr), addr, options).await };
    addrs.first_that(plain).await
}

/// As [`dial`], by several paths at once where the systems of both ends can do that.
///
/// # Errors
/// As [`dial`].
pub async fn dial_multipath(
    host: &str,
    port: u16,
    options: &DialOptions,
) -> Result<TcpStream, DialError> {
    let addrs = Candidates::find(host, port, options).await?;
    let multipath = |addr| async move {
        let socket = multipath::socket(addr).and_then(|socket| {
            socket.set_nonblocking(true)?;
            Ok(TcpSocket::from_std_stream(socket.into()))
        });
        connect(socket.or_else(|_| plain(addr)), addr, options).await
    };
    addrs.first_that(multipath).await
}

fn plain(addr: SocketAddr) -> io::Result<TcpSocket> {
    match addr {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }
}

/// The addresses of a host, for callers that connect over a transport other than TCP.
#[derive(Debug)]
pub struct Candidates<'a> {
    host: &'a str,
    port: u16,
    timeout: Duration,
    deadline: Instant,
    addrs: Vec<SocketAddr>,
}

impl<'a> Candidates<'a> {
    /// Looks up `host`, a name or an address with or without brackets. The timeout of `options` starts here; only
    /// addresses of the local address's family are kept.
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
            Err(_) => return Err(candidates.timed_out()),
        }
        if let Some(ip) = options.local_ip {
            let same_family = |addr: &SocketAddr| ip.is_ipv4() == addr.is_ipv4();
            candidates.addrs.retain(same_family);
        }
        Ok(candidates)
    }

    /// How many addresses there are.
    #[expect(clippy::len_without_is_empty, reason = "no caller needs it")]
    pub fn len(&self) -> usize {
        self.addrs.len()
    }

    /// Puts the IPv4 addresses first: over UDP, for example, nothing reports a closed port, so a wrong first choice is
    /// expensive.
    // Go: the same for UDP (net/ipsock.go#favoriteAddrFamily, forResolve)
    pub fn ipv4_first(mut self) -> Self {
        self.addrs.sort_by_key(SocketAddr::is_ipv6);
        self
    }

    /// Tries one address after the other, and returns the result of the first attempt that succeeds. The next attempt
    /// starts when the head start of the previous one is over or all attempts so far have failed. Remaining attempts
    /// are dropped.
    ///
    /// # Errors
    /// The error of the last address, or a timeout.
    pub async fn first_that<T, E: From<DialError>, F: Future<Output = Result<T, E>>>(
        self,
        mut attempt: impl FnMut(SocketAddr) -> F,
    ) -> Result<T, E> {
        let mut addrs = self.addrs.iter();
        // Boxed to keep this future small: there is one for each user who waits for a local service.
        let mut running: Vec<Pin<Box<F>>> = Vec::new();
        let mut last = None;
        let mut head_start = pin!(sleep(Duration::ZERO));
        let first = poll_fn(|cx| {
            loop {
                let mut at = 0;
                while let Some(attempt) = running.get_mut(at) {
                    match attempt.as_mut().poll(cx) {
                        Poll::Ready(Ok(connected)) => return Poll::Ready(Ok(connected)),
                        Poll::Ready(Err(error)) => {
                            running.remove(at);
                            last = Some(error);
                        }
                        Poll::Pending => at += 1,
                    }
                }
                if addrs.len() == 0 && running.is_empty() {
                    return Poll::Ready(Err(last.take()));
                }
                if addrs.len() == 0
                    || !running.is_empty() && head_start.as_mut().poll(cx).is_pending()
                {
                    return Poll::Pending;
                }
                running.extend(addrs.next().map(|&addr| Box::pin(attempt(addr))));
                head_start.as_mut().reset(Instant::now() + HEAD_START);
            }
        });
        match timeout_at(self.deadline, first).await {
            Ok(Ok(connected)) => Ok(connected),
            Ok(Err(Some(error))) => Err(error),
            Ok(Err(None)) => Err(DialError::NoAddress {
                host: self.host.to_owned(),
            }
            .into()),
            Err(_) => Err(self.timed_out().into()),
        }
    }

    fn timed_out(&self) -> DialError {
        DialError::Timeout {
            host: self.host.to_owned(),
            port: self.port,
            timeout: self.timeout,
        }
    }
}

async fn connect(
    socket: io::Result<TcpSocket>,
    addr: SocketAddr,
    options: &DialOptions,
) -> Result<TcpStream, DialError> {
    let failed = |source| DialError::Connect { addr, source };
    let socket = socket.map_err(failed)?;
    if let Some(ip) = options.local_ip {
        socket
            .bind((ip, 0).into())
            .map_err(|source| DialError::LocalIp { ip, source })?;
    }
    connect_from(socket, addr, options.keepalive)
        .await
        .map_err(failed)
}

/// The `keepalive` of a connection to `addr`. Who is in the same system, as most local services are, cannot vanish without a word.
pub(super) fn probes(addr: SocketAddr, keepalive: Option<Duration>) -> Option<Duration> {
    keepalive.filter(|_| !addr.ip().to_canonical().is_loopback())
}

pub(super) async fn connect_from(
    socket: TcpSocket,
    addr: SocketAddr,
    keepalive: Option<Duration>,
) -> io::Result<TcpStream> {
    let stream = socket.connect(addr).await?;
    // If the target is a port of this host without a listener, from the range that the system also dials from, the
    // system may choose that very port for us, and TCP then connects the socket to itself.
    if stream.local_addr()? == addr {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    super::set_options(&SockRef::from(&stream), probes(addr, keepalive));
    Ok(stream)
}
