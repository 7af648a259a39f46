//! Who arrives: what every connection from outside goes through before it is served.
//!
//! Behind a balancer the address of a socket is the balancer's. Balancers that the operator has named say whose
//! connection it is in a PROXY protocol header; a header from anybody else is nothing but bytes.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hyper::HeaderMap;
use mgrok_config::Network;
use mgrok_net::conn::Conn;
use mgrok_net::proxy_protocol::{self, ProxyProtocolError};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::backend::PeerAddrs;
use crate::policy::CurrentPolicy;

/// How long a balancer may take to say whose connection it is.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// Receives connections. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct ClientAddrResolver {
    policy: CurrentPolicy,
}

/// Why a connection is not served. It is the balancer's matter, or that of who named it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientAddrError {
    #[error("the connection was gone before it was served")]
    Gone(#[source] io::Error),
    #[error(
        "acceptProxyProtocolFrom lists its address, but it does not begin with a PROXY protocol header"
    )]
    Header(#[from] ProxyProtocolError),
    #[error(
        "acceptProxyProtocolFrom lists its address, but no PROXY protocol header came within {} s",
        HEADER_TIMEOUT.as_secs()
    )]
    Timeout,
}

impl ClientAddrResolver {
    /// Connections from the balancers of `policy` begin with a header. What its trusted proxies say in HTTP is believed.
    pub(crate) fn new(policy: CurrentPolicy) -> Self {
        Self { policy }
    }

    /// Finds out whose connection it is.
    pub(crate) async fn resolve(
        &self,
        stream: TcpStream,
        from: SocketAddr,
    ) -> Result<(Conn, PeerAddrs), ClientAddrError> {
        let to = stream.local_addr().map_err(ClientAddrError::Gone)?;
        let mut addrs = PeerAddrs::new(from, Some(to));
        let mut conn = Conn::from(stream);
        {
            let policy = self.policy.now();
            addrs.is_trusted_proxy = is_in(&policy.config.vhost.trusted_proxies, from);
            if !is_in(&policy.config.accept_proxy_protocol_from, from) {
                return Ok((conn, addrs));
            }
        }
        let header = timeout(HEADER_TIMEOUT, proxy_protocol::read(&mut conn))
            .await
            .map_err(|_| ClientAddrError::Timeout)??;
        // Without an address, the balancer speaks for itself: it looks whether we are there.
        if let Some(named) = header {
            addrs.from = named.source;
            addrs.to = Some(named.destination);
            // The proxy may be the balancer, or stand in front of it.
            let policy = self.policy.now();
            addrs.is_trusted_proxy |= is_in(&policy.config.vhost.trusted_proxies, named.source);
        }
        Ok((conn, addrs))
    }
}

/// For whom a request was forwarded that came from one of the `trusted` proxies: the last address in its `X-Forwarded-For` that is none
/// of theirs, since each of them adds the one it saw. `None` if they say nothing that can be read.
pub(crate) fn forwarded_for(headers: &HeaderMap, trusted: &[Network]) -> Option<IpAddr> {
    let mut last = None;
    for header in headers.get_all("x-forwarded-for").iter().rev() {
        for name in header.to_str().ok()?.rsplit(',') {
            // What was read behind it is as good as known.
            let Some(addr) = forwarded_addr(name.trim()) else {
                return last;
            };
            last = Some(addr);
            if !trusted.iter().any(|it| it.contains(addr)) {
                return last;
            }
        }
    }
    last
}

/// An address that some write with a port.
fn forwarded_addr(text: &str) -> Option<IpAddr> {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    let parsed = bare.parse().ok();
    parsed.or_else(|| text.parse().ok().map(|addr: SocketAddr| addr.ip()))
}

/// Whether `addr` is in one of the networks.
fn is_in(networks: &[Network], addr: SocketAddr) -> bool {
    networks.iter().any(|it| it.contains(addr.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(headers: &[&str], expect: Option<&str>) {
        let mut map = HeaderMap::new();
        for header in headers {
            map.append("X-Forwarded-For", header.parse().unwrap());
        }
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        let expect = expect.map(|addr| addr.parse().unwrap());
        assert_eq!(forwarded_for(&map, &trusted), expect, "{headers:?}");
    }

    #[test]
    fn trusted_proxies_say_for_whom_they_forward() {
        check(&[], None);
        check(&["192.0.2.1"], Some("192.0.2.1"));
        // What a user writes itself stands in front of what proxies add.
        check(&["127.0.0.1, 192.0.2.1, 10.0.0.9"], Some("192.0.2.1"));
        check(
            &["127.0.0.1", "2001:db8::1", "10.0.0.9"],
            Some("2001:db8::1"),
        );
        check(&["192.0.2.1:4711"], Some("192.0.2.1"));
        check(&["[2001:db8::1]:4711"], Some("2001:db8::1"));
        check(&["10.0.0.7"], Some("10.0.0.7"));
        check(&["192.0.2.1, unknown"], None);
        check(&["unknown, 10.0.0.9"], Some("10.0.0.9"));
    }
}
