//! Asks a DNS server of the operator's choice.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;

/// How long a DNS server may take for one answer before it is asked again. A server that leaves one kind of question unanswered,
/// as some do with IPv6, costs all its attempts, which must leave time to connect.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// How often it is asked again.
const RETRIES: usize = 1;

/// The addresses of `name`, those of IPv6 first.
pub(super) async fn ask(server: SocketAddr, name: &str) -> io::Result<Vec<IpAddr>> {
    query(server, name).await.map_err(io::Error::other)
}

async fn query(server: SocketAddr, name: &str) -> Result<Vec<IpAddr>, NetError> {
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
