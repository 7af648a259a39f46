//! Asks a STUN server how this host looks from outside: once where the server was named, and once at the other address that
//! the server tells of, so that [`nat`](crate::nat) has two views to compare.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use mgrok_net::resolver::Resolver;
use tokio::net::UdpSocket;
use tokio::time::{sleep, timeout};

use crate::addrs;
use crate::stun::{self, Response, ResponseError, TransactionId};

/// How long an answer may take.
///
/// frp: (`pkg/nathole/discovery.go`#responseTimeout).
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

/// How long to wait before each request: a datagram may be lost. frp asks once.
const REQUESTS: [Duration; 3] = [
    Duration::ZERO,
    Duration::from_millis(500),
    Duration::from_secs(1),
];

/// How long a name may take to resolve.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(10);

/// How many addresses of one name are asked, one after the other, until one answers.
const MAX_ADDRS: usize = 3;

/// The longest answer that is read; a longer one is cut and then refused.
const MAX_ANSWER: usize = 1_500;

/// How one socket of this host looks from outside.
#[derive(Debug)]
pub struct Discovery {
    /// As the two addresses of the server saw it, in the order of asking.
    pub mapped: [SocketAddrV4; 2],
    /// The socket, which NATs now know. frp closes it and binds its port anew; on the wire that is the same.
    pub socket: UdpSocket,
    /// Its own address, of which the IP is 0.0.0.0 unless one was asked for.
    pub local: SocketAddrV4,
}

/// Why nothing was found out.
#[derive(Debug, thiserror::Error)]
pub enum DiscoverError {
    /// The operating system said no.
    #[error("cannot bind UDP address {local}")]
    Bind {
        /// The address asked for.
        local: SocketAddrV4,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// Begins as frp's text does.
    #[error(
        "wait response from stun server timeout: no answer of {server} within {}s, a firewall may hold back UDP",
        ANSWER_TIMEOUT.as_secs()
    )]
    NoAnswer {
        /// Who was asked.
        server: SocketAddrV4,
    },
    /// The name has IPv6 addresses only.
    #[error("STUN server `{server}` has no IPv4 address, and hole punching knows no other")]
    NoIpv4 {
        /// The name.
        server: String,
    },
    /// Begins as frp's text does.
    #[error("no external address found in the answer of STUN server {server}")]
    NoMapped {
        /// Who was asked.
        server: SocketAddrV4,
    },
    /// One view of this host is not enough to judge by. Begins as frp's text does.
    #[error(
        "not enough addresses: STUN server {server} tells of no second address to ask, use one that sends OTHER-ADDRESS"
    )]
    NoOther {
        /// Who was asked.
        server: SocketAddrV4,
    },
    /// The server understood and declined.
    #[error("STUN server {server} refused with code {code}")]
    Refused {
        /// Who was asked.
        server: SocketAddrV4,
        /// The number of the reason.
        code: u16,
    },
    /// The name cannot be resolved, or is no `host:port`.
    #[error("cannot resolve STUN server `{server}`")]
    Resolve {
        /// The name.
        server: String,
        /// What the resolver said.
        #[source]
        source: io::Error,
    },
    /// The operating system could not send or receive.
    #[error("cannot exchange datagrams with STUN server {server}")]
    Socket {
        /// Who was asked.
        server: SocketAddrV4,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
}

/// Asks the STUN server with this `host:port`, whose name `resolver` looks up, from a socket bound to `local` or to any free port.
///
/// Takes up to 10 s for the name, up to 3 s for each of three addresses that do not answer, and as long for a second answer.
pub async fn discover(
    server: &str,
    local: Option<SocketAddrV4>,
    resolver: &Resolver,
) -> Result<Discovery, DiscoverError> {
    let (first, rest) = resolve(server, resolver).await?;
    let mut discovered = discover_at(first, local).await;
    for addr in rest {
        match discovered {
            Err(DiscoverError::NoAnswer { .. } | DiscoverError::Socket { .. }) => {
                discovered = discover_at(addr, local).await;
            }
            Ok(_) | Err(_) => break,
        }
    }
    discovered
}

/// Asks the STUN server at this address, from a socket bound to `local` or to any free port.
pub async fn discover_at(
    server: SocketAddrV4,
    local: Option<SocketAddrV4>,
) -> Result<Discovery, DiscoverError> {
    let local = local.unwrap_or(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0));
    let bind_error = |source| DiscoverError::Bind { local, source };
    let socket = UdpSocket::bind(local).await.map_err(bind_error)?;
    let local = match socket.local_addr().map_err(bind_error)? {
        SocketAddr::V4(local) => local,
        SocketAddr::V6(_) => local,
    };

    let no_mapped = |server| DiscoverError::NoMapped { server };
    let first = ask(&socket, server).await?;
    let mapped = first.mapped.ok_or(no_mapped(server))?;
    let other = first
        .other
        .filter(addrs::is_usable)
        .ok_or(DiscoverError::NoOther { server })?;
    let second = ask(&socket, other).await?;
    Ok(Discovery {
        mapped: [mapped, second.mapped.ok_or(no_mapped(other))?],
        socket,
        local,
    })
}

/// The addresses to ask, of which there is one at least.
async fn resolve(
    server: &str,
    resolver: &Resolver,
) -> Result<(SocketAddrV4, Vec<SocketAddrV4>), DiscoverError> {
    let error = |source| DiscoverError::Resolve {
        server: server.to_owned(),
        source,
    };
    let Some((host, port)) = server
        .rsplit_once(':')
        .and_then(|(host, port)| Some((host, port.parse().ok()?)))
    else {
        return Err(error(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it must be a host and its port, like stun.example.com:3478",
        )));
    };
    let addrs = match timeout(RESOLVE_TIMEOUT, resolver.lookup(host, port)).await {
        Ok(found) => found.map_err(error)?,
        Err(_) => return Err(error(io::ErrorKind::TimedOut.into())),
    };
    let mut addrs = addrs.into_iter().filter_map(|addr| match addr {
        SocketAddr::V4(addr) => Some(addr),
        SocketAddr::V6(_) => None,
    });
    match addrs.next() {
        Some(first) => Ok((first, addrs.take(MAX_ADDRS - 1).collect())),
        None => Err(DiscoverError::NoIpv4 {
            server: server.to_owned(),
        }),
    }
}

/// One question and its answer.
async fn ask(socket: &UdpSocket, server: SocketAddrV4) -> Result<Response, DiscoverError> {
    let id = TransactionId::random();
    let asked = async {
        for pause in REQUESTS {
            sleep(pause).await;
            socket.send_to(&stun::binding_request(id), server).await?;
        }
        std::future::pending().await
    };
    let answered = async {
        let mut buffer = [0; MAX_ANSWER];
        loop {
            let (len, from) = socket.recv_from(&mut buffer).await?;
            match stun::parse_response(&buffer[..len], id) {
                Ok(response) => return Ok(Ok(response)),
                Err(ResponseError::Refused { code }) => return Ok(Err(code)),
                // Not ours, so ours may still come.
                Err(error) => tracing::trace!(%from, %error, "datagram skipped"),
            }
        }
    };
    let outcome = timeout(ANSWER_TIMEOUT, async {
        tokio::select! {
            failed = asked => failed,
            outcome = answered => outcome,
        }
    });
    match outcome.await {
        Ok(Ok(Ok(response))) => Ok(response),
        Ok(Ok(Err(code))) => Err(DiscoverError::Refused { server, code }),
        Ok(Err(source)) => Err(DiscoverError::Socket { server, source }),
        Err(_) => Err(DiscoverError::NoAnswer { server }),
    }
}
