//! Resolves host names to addresses.
//!
//! A [`Resolver`] serves one purpose: a client has one for its server, one for local services and one for STUN servers,
//! so that an unresponsive DNS server for one purpose cannot delay the others. Hosts that need no DNS (addresses,
//! `localhost`, names in the hosts file) resolve at once, whatever else is in progress. For the rest there is one
//! lookup per name at a time, shared by all callers for that name, and a bounded number of lookups in all.

#[cfg(feature = "dns-server")]
mod dns;
mod hosts;
mod lookups;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use self::hosts::Hosts;
use self::lookups::Lookups;

/// The addresses of a name, or why there are none. The port of each is 0.
type Found = Result<Vec<SocketAddr>, Failure>;

/// An error that can be cloned, one copy for each caller that waits for the name.
#[derive(Clone, Debug)]
struct Failure {
    kind: io::ErrorKind,
    text: String,
}

/// Resolves names. Cheap to clone; clones share lookups and their limit.
///
/// Nothing is cached: each lookup asks anew.
#[derive(Clone, Debug)]
pub struct Resolver {
    hosts: Arc<Hosts>,
    lookups: Arc<Lookups>,
}

/// The source for names that are not in the hosts file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Source {
    /// The DNS server at this address.
    Server(SocketAddr),
    /// The system's resolver.
    System,
}

impl Default for Resolver {
    /// A resolver that asks the system.
    fn default() -> Self {
        Self::new(None)
    }
}

impl Resolver {
    /// A resolver that asks the DNS server at this address, or the system if there is none.
    ///
    /// Without the feature `dns-server`, every lookup at a DNS server fails with an error that says so.
    ///
    /// Either way the hosts file comes first.
    // frp: sets dnsServer in Go's resolver, which reads the hosts file first (pkg/util/net/dns.go#SetDefaultDNSAddress)
    pub fn new(server: Option<SocketAddr>) -> Self {
        Self::with_hosts(server, hosts::default_path())
    }

    /// As [`Self::new`], with another hosts file.
    pub(crate) fn with_hosts(server: Option<SocketAddr>, hosts: PathBuf) -> Self {
        let source = server.map_or(Source::System, Source::Server);
        Self {
            hosts: Arc::new(Hosts::new(hosts)),
            lookups: Arc::new(Lookups::new(source)),
        }
    }

    /// The addresses of `host`: a name, or an address with or without brackets or a zone.
    ///
    /// Waits for as long as the DNS takes, which may be half a minute: the caller sets the deadline. Cancel-safe:
    /// dropping the future does not end a lookup that other callers wait for; a queued lookup without callers is
    /// removed.
    ///
    /// # Errors
    /// The error of the system or the DNS server.
    pub async fn lookup(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        if let Some(known) = self.known(host, port) {
            return known;
        }
        let mut addrs = self.lookups.find(without_brackets(host)).await?;
        for addr in &mut addrs {
            addr.set_port(port);
        }
        Ok(addrs)
    }

    /// As [`Self::lookup`], but only for hosts that need no query: an address, `localhost`, or a name in the hosts
    /// file. `None` if a query is needed.
    pub fn known(&self, host: &str, port: u16) -> Option<io::Result<Vec<SocketAddr>>> {
        let host = without_brackets(host);
        if let Some(addr) = literal(host, port) {
            return Some(addr.map(|addr| vec![addr]));
        }
        let name = host.strip_suffix('.').unwrap_or(host);
        let mut addrs = self.hosts.find(name);
        if addrs.is_empty() && name.eq_ignore_ascii_case("localhost") {
            addrs = vec![
                (Ipv6Addr::LOCALHOST, 0).into(),
                (Ipv4Addr::LOCALHOST, 0).into(),
            ];
        }
        if addrs.is_empty() {
            return None;
        }
        for addr in &mut addrs {
            addr.set_port(port);
        }
        Some(Ok(addrs))
    }
}

/// Parses `host` as an address, if it is one.
fn literal(host: &str, port: u16) -> Option<io::Result<SocketAddr>> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Some(Ok((ip, port).into()));
    }
    let (ip, _zone) = host.split_once('%')?;
    ip.parse::<Ipv6Addr>().ok()?;
    // The system maps the zone to an interface. It makes no query for a host that is an address.
    let addrs = (host, port).to_socket_addrs();
    Some(addrs.and_then(|mut addrs| addrs.next().ok_or_else(|| io::ErrorKind::NotFound.into())))
}

/// Removes the brackets that an IPv6 address has next to a port, as in `[::1]`.
pub(crate) fn without_brackets(host: &str) -> &str {
    host.strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host)
}

/// An IPv6 address without its zone, which names one of this host's interfaces; any other host unchanged.
pub fn without_zone(host: &str) -> &str {
    match host.split_once('%') {
        Some((ip, _zone)) if ip.parse::<Ipv6Addr>().is_ok() => ip,
        Some(_) | None => host,
    }
}

impl Source {
    /// Looks `name` up. Releases `permit` when the lookup has really ended, which may be after the future is dropped.
    async fn ask(self, name: &str, permit: OwnedSemaphorePermit) -> Found {
        match self {
            Self::Server(server) => {
                let found = ask_server(server, name).await;
                drop(permit);
                Ok(found?.into_iter().map(|ip| (ip, 0).into()).collect())
            }
            Self::System => ask_system(name.to_owned(), permit).await,
        }
    }
}

#[cfg(feature = "dns-server")]
use dns::ask as ask_server;

#[cfg(not(feature = "dns-server"))]
#[expect(
    clippy::unused_async,
    reason = "has the signature of the function that queries a server"
)]
async fn ask_server(server: SocketAddr, _: &str) -> io::Result<Vec<IpAddr>> {
    let why = format!("cannot ask {server}: built without the feature `dns-server`");
    Err(io::Error::new(io::ErrorKind::Unsupported, why))
}

/// Asks the system in a thread of its own. The call blocks for half a minute if no DNS server answers, and cannot be
/// interrupted; tokio's blocking threads are needed for other work.
async fn ask_system(name: String, permit: OwnedSemaphorePermit) -> Found {
    let (answer, answered) = oneshot::channel();
    let lookup = move || {
        let found = (name.as_str(), 0).to_socket_addrs();
        let found = found.map(|addrs| addrs.collect::<Vec<_>>());
        drop(permit);
        // Fails if no caller waits any more.
        let _ = answer.send(found.map_err(Failure::from));
    };
    thread::Builder::new()
        .name("lookup".to_owned())
        .spawn(lookup)?;
    answered
        .await
        .unwrap_or_else(|_| Err(io::Error::other("the lookup has ended").into()))
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self {
            kind: error.kind(),
            text: error.to_string(),
        }
    }
}

impl From<Failure> for io::Error {
    fn from(failure: Failure) -> Self {
        Self::new(failure.kind, failure.text)
    }
}

#[cfg(test)]
#[cfg(feature = "dns-server")]
mod tests;
