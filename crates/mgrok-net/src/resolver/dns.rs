//! Queries a DNS server of the operator's choice, and completes names as the system's `resolv.conf` says.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::Name;
use tokio::time::timeout;

/// How long a DNS server may take for one answer before the query is repeated. A server that ignores one type of query,
/// as some do for IPv6, costs all attempts, and these must leave time to connect.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// How often a query is repeated.
const RETRIES: usize = 1;

/// The limit for a whole lookup, however many queries it makes. Its callers wait no longer.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(10);
/// The system's configuration for completing names.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// How many search domains are tried for a name.
const MAX_DOMAINS: usize = 6;

/// The addresses of `name`, IPv6 first.
pub(super) async fn ask(server: SocketAddr, name: &str) -> io::Result<Vec<IpAddr>> {
    match timeout(LOOKUP_TIMEOUT, query(server, name)).await {
        Ok(found) => found.map_err(io::Error::other),
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// The rules for completing names that may not be fully qualified.
#[derive(Debug, Default, PartialEq, Eq)]
struct Search {
    domains: Vec<Name>,
    /// A name with at least this many dots is first tried as it is.
    min_dots: Option<usize>,
}

impl Search {
    /// Parses a `resolv.conf` (resolv.conf(5)). If several lines set the same thing, the last one counts.
    // frp: dnsServer replaces the name servers of this file, the rest stays in force
    // (pkg/util/net/dns.go#SetDefaultDNSAddress)
    fn parse(text: &str) -> Self {
        let mut search = Self::default();
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("domain" | "search") => {
                    let domains = words.take(MAX_DOMAINS);
                    search.domains = domains.filter_map(|it| Name::from_utf8(it).ok()).collect();
                }
                Some("options") => {
                    let mut dots = words.filter_map(|it| it.strip_prefix("ndots:")?.parse().ok());
                    search.min_dots = dots.next_back().or(search.min_dots);
                }
                Some(_) | None => {}
            }
        }
        search
    }
}

async fn query(server: SocketAddr, name: &str) -> Result<Vec<IpAddr>, NetError> {
    // Some systems have no such file, and then there are no search domains.
    let search = std::fs::read_to_string(RESOLV_CONF).unwrap_or_default();
    let search = Search::parse(&search);
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
        connection.port = server.port();
        connection
    });
    let server = NameServerConfig::new(server.ip(), true, connections.into());
    let config = ResolverConfig::from_parts(None, search.domains, vec![server]);
    let mut options = ResolverOpts::default();
    options.timeout = ANSWER_TIMEOUT;
    options.attempts = RETRIES;
    options.cache_size = 0;
    options.ndots = search.min_dots.unwrap_or(options.ndots);
    options.ip_strategy = LookupIpStrategy::Ipv6AndIpv4;
    let resolver = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        .with_options(options)
        .build()?;
    Ok(resolver.lookup_ip(name).await?.iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_completed_as_the_system_says() {
        let text = "\
# search no.example
nameserver 192.0.2.53
domain old.example
search lan.example corp.example
options timeout:1 ndots:5
";
        let domains = ["lan.example", "corp.example"].map(|it| Name::from_utf8(it).unwrap());
        let expect = Search {
            domains: domains.into(),
            min_dots: Some(5),
        };
        assert_eq!(Search::parse(text), expect);
        assert_eq!(Search::parse("nameserver 192.0.2.53"), Search::default());
    }
}
