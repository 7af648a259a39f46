//! What the log says of proxies and visitors: where users reach a service, and what was asked for when it was refused.

use std::fmt::{self, Display, Formatter};
use std::net::SocketAddr;

use mgrok_config::{Domains, Private, ProxyConfig, ProxyKind, VisitorConfig, VisitorPlugin};
use mgrok_proto::RunId;

use mgrok_config::wire_name;

/// The most addresses of one proxy that are listed.
const MAX_ADDRESSES: usize = 4;
/// The letters of a run id that the log shows: enough to tell sessions apart. The whole of it is a secret between client and server.
const RUN_ID_HEAD: usize = 8;

/// The beginning of a run id.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head<'a>(pub(crate) &'a RunId);

impl Display for Head<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let id = self.0.as_str();
        let end = id
            .char_indices()
            .nth(RUN_ID_HEAD)
            .map_or(id.len(), |(at, _)| at);
        f.write_str(&id[..end])
    }
}

/// Where users reach the running proxy of `config`, and where they are taken: `tcp://example.com:6000 → 127.0.0.1:22`.
/// `remote_addr` is what the server has answered, for several addresses with commas between them.
pub(crate) fn public(config: &ProxyConfig, user: &str, remote_addr: &str) -> String {
    let addresses: Vec<&str> = remote_addr.split(',').filter(|it| !it.is_empty()).collect();
    let kind = config.kind.as_str();
    let place = match &config.kind {
        ProxyKind::Tcp { .. } | ProxyKind::Udp { .. } | ProxyKind::Https(_) => {
            list(addresses.iter().map(|addr| format!("{kind}://{addr}")))
        }
        ProxyKind::Http(http) => {
            let everywhere = [String::new()];
            let locations = match http.locations.as_slice() {
                [] => &everywhere,
                some => some,
            };
            list(addresses.iter().flat_map(|addr| {
                locations
                    .iter()
                    .map(move |path| format!("http://{addr}{path}"))
            }))
        }
        ProxyKind::TcpMux(_) => {
            let names = list(addresses.iter().map(|addr| (*addr).to_owned()));
            format!("CONNECT {names}")
        }
        ProxyKind::Stcp(private) | ProxyKind::Sudp(private) | ProxyKind::Xtcp { private, .. } => {
            visit(config, private, user)
        }
    };
    format!("{place} → {}", service(config))
}

/// How visitors ask for a private service.
fn visit(config: &ProxyConfig, private: &Private, user: &str) -> String {
    let kind = config.kind.as_str();
    let name = &config.name;
    let whose = match user {
        "" => String::new(),
        user => format!(" and serverUser {user:?}"),
    };
    let for_whom = match private.allow_users.as_slice() {
        [] => String::new(),
        [any] if any == "*" => " of every user".to_owned(),
        some => format!(" of {}", list(some.iter().cloned())),
    };
    format!("{kind} for visitors{for_whom} with serverName {name:?}{whose}")
}

/// The plugin or local service that serves the users.
fn service(config: &ProxyConfig) -> String {
    match &config.plugin {
        Some(plugin) => format!("plugin {}", plugin.as_str()),
        None => host_port(&config.local_host, config.local_port),
    }
}

/// What the client asked the server for, in the words of the configuration, to be logged with a refusal.
pub(crate) fn asked_for(config: &ProxyConfig) -> String {
    let kind = config.kind.as_str();
    match &config.kind {
        ProxyKind::Tcp { remote_port: 0 } | ProxyKind::Udp { remote_port: 0 } => {
            format!("{kind} with any remotePort")
        }
        ProxyKind::Tcp { remote_port } | ProxyKind::Udp { remote_port } => {
            format!("{kind} with remotePort {remote_port}")
        }
        ProxyKind::Http(http) => format!("{kind} for {}", names(&http.domains)),
        ProxyKind::Https(domains) => format!("{kind} for {}", names(domains)),
        ProxyKind::TcpMux(mux) => format!("{kind} for {}", names(&mux.domains)),
        ProxyKind::Stcp(_) | ProxyKind::Sudp(_) | ProxyKind::Xtcp { .. } => {
            format!("{kind} for visitors")
        }
    }
}

fn names(domains: &Domains) -> String {
    let subdomain = Some(format!("subdomain {:?}", domains.subdomain));
    let subdomain = subdomain.filter(|_| !domains.subdomain.is_empty());
    list(domains.custom.iter().cloned().chain(subdomain))
}

/// Where the visitor of `config` listens, at `listener`, and what it leads to.
pub(crate) fn listener(config: &VisitorConfig, user: &str, listener: Option<SocketAddr>) -> String {
    let kind = config.kind.as_str();
    let whose = config.server_user.as_deref().unwrap_or(user);
    let service = wire_name(whose, &config.server_name);
    let scheme = match kind {
        "sudp" => "udp",
        _ => "tcp",
    };
    match listener {
        Some(listener) => format!("{scheme}://{listener} → {kind} proxy [{service}]"),
        None => match &config.plugin {
            Some(VisitorPlugin::VirtualNet { destination }) => {
                format!("virtual network, {destination} → {kind} proxy [{service}]")
            }
            None => format!("{scheme} without a port of its own → {kind} proxy [{service}]"),
        },
    }
}

/// The first of `items`, and how many there are beyond.
fn list(mut items: impl Iterator<Item = String>) -> String {
    let first: Vec<_> = items.by_ref().take(MAX_ADDRESSES).collect();
    let listed = first.join(", ");
    match items.count() {
        0 => listed,
        more => format!("{listed} and {more} more"),
    }
}

fn host_port(host: &str, port: u16) -> String {
    if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

#[cfg(test)]
mod tests {
    use mgrok_config::{HttpProxy, VisitorKind};

    use super::*;

    #[track_caller]
    fn check(kind: ProxyKind, user: &str, remote_addr: &str, expect: &str) {
        let config = ProxyConfig::new("web", kind, 3000);
        assert_eq!(public(&config, user, remote_addr), expect);
    }

    #[test]
    fn the_log_says_where_a_service_is() {
        check(
            ProxyKind::Tcp { remote_port: 0 },
            "",
            "tunnel.example.com:51527",
            "tcp://tunnel.example.com:51527 → 127.0.0.1:3000",
        );
        check(
            ProxyKind::Udp { remote_port: 53 },
            "",
            "[2001:db8::1]:53",
            "udp://[2001:db8::1]:53 → 127.0.0.1:3000",
        );
        let http = |locations: &[&str]| {
            ProxyKind::Http(HttpProxy {
                locations: locations.iter().map(|it| (*it).to_owned()).collect(),
                ..HttpProxy::default()
            })
        };
        check(
            http(&[]),
            "",
            "a.example.com:8080,b.example.com:8080",
            "http://a.example.com:8080, http://b.example.com:8080 → 127.0.0.1:3000",
        );
        check(
            http(&["/api", "/v2", "/v3"]),
            "",
            "a.example.com,b.example.com",
            "http://a.example.com/api, http://a.example.com/v2, http://a.example.com/v3, http://b.example.com/api and 2 more → \
             127.0.0.1:3000",
        );
        check(
            ProxyKind::Https(Domains::default()),
            "",
            "a.example.com",
            "https://a.example.com → 127.0.0.1:3000",
        );
        check(
            ProxyKind::Stcp(Private::default()),
            "ada",
            "",
            "stcp for visitors with serverName \"web\" and serverUser \"ada\" → 127.0.0.1:3000",
        );
    }

    #[test]
    fn the_log_says_where_a_visitor_listens() {
        let config = VisitorConfig {
            name: "to-db".to_owned(),
            kind: VisitorKind::Stcp,
            server_user: Some("bob".to_owned()),
            server_name: "db".to_owned(),
            secret_key: Default::default(),
            bind_addr: "127.0.0.1".to_owned(),
            bind_port: Some(5432),
            plugin: None,
            use_encryption: false,
            use_compression: false,
        };
        let addr = "127.0.0.1:5432".parse().unwrap();
        let line = listener(&config, "ada", Some(addr));
        assert_eq!(line, "tcp://127.0.0.1:5432 → stcp proxy [bob.db]");
        let destination = [100, 86, 0, 2].into();
        let of_network = VisitorConfig {
            bind_port: None,
            plugin: Some(VisitorPlugin::VirtualNet { destination }),
            ..config
        };
        let line = listener(&of_network, "ada", None);
        assert_eq!(line, "virtual network, 100.86.0.2 → stcp proxy [bob.db]");
    }

    #[test]
    fn a_run_id_is_not_logged_whole() {
        for (id, head) in [
            ("0123456789abcdef", "01234567"),
            ("short", "short"),
            ("ééééééééé", "éééééééé"),
        ] {
            assert_eq!(Head(&RunId::from(id)).to_string(), head);
        }
    }
}
