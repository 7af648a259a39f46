//! Who arrives: what every connection from outside goes through before it is served.
//!
//! Behind a balancer the address of a socket is the balancer's. Balancers that the operator has named say whose
//! connection it is in a PROXY protocol header; a header from anybody else is nothing but bytes.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

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

/// Whether `addr` is in one of the networks.
fn is_in(networks: &[Network], addr: SocketAddr) -> bool {
    networks.iter().any(|it| it.contains(addr.ip()))
}
