//! Conflicts in one file: ports and routes that two proxies claim, ports that two visitors claim.
//!
//! The server refuses the second proxy when it starts, and the second visitor cannot listen; the others run, as with frp. So the loader warns
//! of it, and refuses nothing. Members of a group share a claim. A proxy with a health check may be meant to take over when another is
//! withdrawn, so it conflicts with none.

use std::collections::{HashMap, HashSet, hash_map};
use std::net::IpAddr;

use crate::proxy::{Domains, Group, ProxyConfig, ProxyKind};
use crate::section::Section;
use crate::visitor::{VisitorConfig, VisitorKind};
use crate::web_server::WebServer;

/// How many names times paths of one proxy are compared with others'. A server takes fewer.
const MAX_ROUTES: usize = 10_000;

/// A port or a route of the server.
#[derive(PartialEq, Eq, Hash)]
enum Claim {
    Tcp(u16),
    Udp(u16),
    Route {
        kind: &'static str,
        domain: String,
        location: String,
        user: String,
    },
}

/// Warns of two proxies that claim the same port or route, unless they share it.
///
/// Each proxy comes with the index of its section, of which one may stand for several proxies. `others`, which were checked before, have
/// their claims already, but for those whose name is taken over.
pub(super) fn check_proxies(
    sections: &[Section<'_>],
    proxies: &[(usize, ProxyConfig)],
    others: &[ProxyConfig],
) {
    let names: HashSet<&str> = proxies.iter().map(|(_, it)| it.name.as_str()).collect();
    let mut owners: HashMap<Claim, &ProxyConfig> = HashMap::new();
    for other in others.iter().filter(|it| !names.contains(&*it.name)) {
        for (_, claim) in claims(&other.kind) {
            // The first counts, as below.
            owners.entry(claim).or_insert(other);
        }
    }
    let mut conflicts = Vec::new();
    for (index, (_, proxy)) in proxies.iter().enumerate() {
        for (key, claim) in claims(&proxy.kind) {
            let owner = match owners.entry(claim) {
                hash_map::Entry::Vacant(entry) => {
                    entry.insert(proxy);
                    continue;
                }
                hash_map::Entry::Occupied(entry) => entry,
            };
            let other = *owner.get();
            let takes_over = proxy.health_check.is_some() || other.health_check.is_some();
            if std::ptr::eq(other, proxy) || takes_over || share(proxy, other) {
                continue;
            }
            conflicts.push((index, key, why(owner.key(), &other.name)));
            // One conflict per proxy is enough.
            break;
        }
    }
    for (index, key, why) in conflicts {
        let section = &sections[proxies[index].0];
        let key = match key {
            "remotePort" if section.says("remotePorts") => "remotePorts",
            key => key,
        };
        section.warn(key, why);
    }
}

fn share(one: &ProxyConfig, other: &ProxyConfig) -> bool {
    let name = |it: &ProxyConfig| it.group.as_ref().map(|Group { name, .. }| name.clone());
    name(one).is_some() && name(one) == name(other)
}

/// The claims that a proxy asks for, each with the key that says so.
fn claims(kind: &ProxyKind) -> Vec<(&'static str, Claim)> {
    let port = |claim: fn(u16) -> Claim, port: u16| {
        // With 0, the server chooses.
        let asked = (port != 0).then(|| ("remotePort", claim(port)));
        asked.into_iter().collect()
    };
    match kind {
        ProxyKind::Tcp { remote_port } => port(Claim::Tcp, *remote_port),
        ProxyKind::Udp { remote_port } => port(Claim::Udp, *remote_port),
        ProxyKind::Http(http) => {
            routes("http", &http.domains, &http.locations, &http.route_by_user)
        }
        ProxyKind::Https(domains) => routes("https", domains, &[], ""),
        ProxyKind::TcpMux(tcpmux) => routes("tcpmux", &tcpmux.domains, &[], &tcpmux.route_by_user),
        ProxyKind::Stcp(_) | ProxyKind::Sudp(_) | ProxyKind::Xtcp { .. } => Vec::new(),
    }
}

fn routes(
    kind: &'static str,
    domains: &Domains,
    locations: &[String],
    user: &str,
) -> Vec<(&'static str, Claim)> {
    let everywhere = [String::new()];
    let locations = if locations.is_empty() {
        &everywhere
    } else {
        locations
    };
    let custom = domains
        .custom
        .iter()
        .map(|name| ("customDomains", name.to_lowercase()));
    // A dot is no part of any name's beginning, so this is nobody else's.
    let subdomain = (!domains.subdomain.is_empty()).then(|| {
        (
            "subdomain",
            format!("{}.", domains.subdomain.to_lowercase()),
        )
    });
    custom
        .chain(subdomain)
        .flat_map(|(key, domain)| {
            locations.iter().map(move |location| {
                let claim = Claim::Route {
                    kind,
                    domain: domain.clone(),
                    location: location.clone(),
                    user: user.to_owned(),
                };
                (key, claim)
            })
        })
        .take(MAX_ROUTES)
        .collect()
}

fn why(claim: &Claim, other: &str) -> String {
    match claim {
        Claim::Tcp(port) => format!(
            "{port} is the port of the proxy {other:?} already: choose another, or give both the same `loadBalancer.group` to share it"
        ),
        Claim::Udp(port) => {
            format!("{port} is the port of the proxy {other:?} already: choose another")
        }
        Claim::Route {
            domain,
            location,
            user,
            ..
        } => {
            let domain = domain.trim_end_matches('.');
            let mut route = format!("{domain:?}");
            if !location.is_empty() {
                route += &format!(" with the location {location:?}");
            }
            if !user.is_empty() {
                route += &format!(" and the user {user:?}");
            }
            format!(
                "{route} leads to the proxy {other:?} already: choose another name, or give both the same `loadBalancer.group` to share it"
            )
        }
    }
}

/// Warns of two visitors that listen on the same port, of one on the admin port, and of one on the port of `others`, which were checked
/// before, unless it takes over the name.
pub(super) fn check_visitors(
    visitors: &[(Section<'_>, VisitorConfig)],
    others: &[VisitorConfig],
    web_server: Option<&WebServer>,
) {
    let mut taken: HashMap<(bool, u16), Vec<(String, String)>> = HashMap::new();
    if let Some(web) = web_server {
        let listener = (web.addr.clone(), "`webServer.port`".to_owned());
        taken.insert((false, web.port), vec![listener]);
    }
    let names: HashSet<&str> = visitors.iter().map(|(_, it)| it.name.as_str()).collect();
    for other in others.iter().filter(|it| !names.contains(&*it.name)) {
        if let Some(port) = other.bind_port {
            let is_udp = matches!(other.kind, VisitorKind::Sudp);
            let listener = (other.bind_addr.clone(), listener_of(other));
            taken.entry((is_udp, port)).or_default().push(listener);
        }
    }
    for (section, visitor) in visitors {
        let Some(port) = visitor.bind_port else {
            continue;
        };
        let is_udp = matches!(visitor.kind, VisitorKind::Sudp);
        let others = taken.entry((is_udp, port)).or_default();
        if let Some((_, other)) = others
            .iter()
            .find(|(addr, _)| overlap(addr, &visitor.bind_addr))
        {
            section.warn(
                "bindPort",
                format!("{port} is the port of {other} already: choose another"),
            );
        }
        others.push((visitor.bind_addr.clone(), listener_of(visitor)));
    }
}

fn listener_of(visitor: &VisitorConfig) -> String {
    format!("the visitor {:?}", visitor.name)
}

/// Whether one socket listening on each of these addresses would be one too many.
pub(super) fn overlap(one: &str, other: &str) -> bool {
    match (one.parse::<IpAddr>(), other.parse::<IpAddr>()) {
        (Ok(one), Ok(other)) => {
            let any = one.is_unspecified() || other.is_unspecified();
            one == other || (any && one.is_ipv4() == other.is_ipv4())
        }
        (Ok(_) | Err(_), Ok(_) | Err(_)) => one.eq_ignore_ascii_case(other),
    }
}
