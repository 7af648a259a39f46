//! Who is asked for the addresses of a name.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use tokio::net::lookup_host;

/// How long a DNS server may take for one answer before it is asked again. A server that leaves one kind of question unanswered,
/// as some do with IPv6, costs all its attempts, which must leave time to connect.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// How often it is asked again.
const RETRIES: usize = 1;

/// Who is asked for the addresses of a name. Nothing is kept from one lookup to the next.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Resolver {
    /// The DNS server at this address. Names in the system's hosts file, and `localhost`, are not asked for.
    Server(SocketAddr),
    /// The system.
    #[default]
    System,
}

impl Resolver {
    /// The addresses of `host`, which is a name or an address without brackets.
    pub(super) async fn lookup(self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        match self {
            // An address with a zone is for the system, too.
            Self::Server(server) if !host.contains(':') && host.parse::<IpAddr>().is_err() => {
                let found = ask(server, host).await.map_err(io::Error::other)?;
                Ok(found.into_iter().map(|ip| (ip, port).into()).collect())
            }
            Self::Server(_) | Self::System => Ok(lookup_host((host, port)).await?.collect()),
        }
    }
}

async fn ask(server: SocketAddr, name: &str) -> Result<Vec<IpAddr>, NetError> {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = server.port();
        connection
    });
    let server = NameServerConfig::new(server.ip(), true, connections.into());
    let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
    let mut options = ResolverOpts::default();
    options.timeout = ANSWER_TIMEOUT;
    options.attempts = RETRIES;
    options.cache_size = 0;
    options.ip_strategy = LookupIpStrategy::Ipv6AndIpv4;
    let resolver = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        .with_options(options)
        .build()?;
    Ok(resolver.lookup_ip(name).await?.iter().collect())
}

#[cfg(test)]
mod tests;
