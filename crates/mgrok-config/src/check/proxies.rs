//! The client's `[[proxies]]`.

use std::collections::HashSet;

use mgrok_proto::auth::Secret;

use super::client_plugin::plugin;
use super::conflicts;
use super::entries::{Entry, Start};
use super::health::health_check;
use super::kinds::{Typed, kind};
use super::port_ranges::{Pair, expand, port_pairs};
use crate::annotations::check_annotations;
use crate::auth::Auth;
use crate::bandwidth::{Bandwidth, BandwidthMode};
use crate::client_plugin::Plugin;
use crate::proxy::{Group, ProxyConfig, ProxyKind, ProxyProtocol};
use crate::section::Section;
use crate::section::choice::none_of;

/// Reads the proxies that will be used, beside `others`, which were read before.
pub(super) fn proxies(
    root: &mut Section<'_>,
    start: &mut Start,
    auth: &Auth,
    others: &[ProxyConfig],
) -> Vec<ProxyConfig> {
    let (mut sections, mut read) = (Vec::new(), Vec::new());
    let mut ranged = 0;
    for Entry {
        mut section,
        name,
        used,
    } in start.entries(root, "proxies", "proxy")
    {
        match proxy(&mut section, name, auth, ranged) {
            Typed::Known((proxy, pairs)) if used => {
                let of = sections.len();
                sections.push(section);
                let Some(pairs) = pairs else {
                    read.push((of, proxy));
                    continue;
                };
                ranged += pairs.len();
                let expanded = expand(&proxy, pairs);
                read.extend(expanded.into_iter().map(|proxy| (of, proxy)));
            }
            Typed::Known(_) | Typed::Guessed(_) => {}
            Typed::Unknown => section.abandon(),
        }
    }
    if ranged > 0 {
        check_names(&mut sections, &read);
    }
    conflicts::check_proxies(&sections, &read, others);
    read.into_iter().map(|(_, proxy)| proxy).collect()
}

/// Checks that no proxy of a range is called as another; that entries have names of their own was checked before.
fn check_names(sections: &mut [Section<'_>], proxies: &[(usize, ProxyConfig)]) {
    let mut names = HashSet::new();
    for (of, proxy) in proxies {
        if !names.insert(proxy.name.as_str()) {
            // frp: this wording
            let why = format!("proxy name [{}] is duplicated", proxy.name.escape_debug());
            sections[*of].invalid("name", why);
        }
    }
}

/// Reads a proxy, and the ports that it is for if there are several.
fn proxy(
    section: &mut Section<'_>,
    name: String,
    auth: &Auth,
    ranged: usize,
) -> Typed<(ProxyConfig, Option<Vec<Pair>>)> {
    if !section.says("name") {
        // frp: this wording
        section.invalid("name", "name should not be empty");
    }
    let typed = kind(section);
    let (kind, guessed, unknown) = match typed {
        Typed::Known(kind) => (kind, false, false),
        Typed::Guessed(kind) => (kind, true, false),
        // What all types have is read as that of any.
        Typed::Unknown => (ProxyKind::Tcp { remote_port: 0 }, false, true),
    };
    let pairs = match kind {
        ProxyKind::Tcp { .. } | ProxyKind::Udp { .. } if !unknown => port_pairs(section, ranged),
        ProxyKind::Tcp { .. }
        | ProxyKind::Udp { .. }
        | ProxyKind::Http(_)
        | ProxyKind::Https(_)
        | ProxyKind::TcpMux(_)
        | ProxyKind::Stcp(_)
        | ProxyKind::Sudp(_)
        | ProxyKind::Xtcp { .. } => None,
    };
    let default = ProxyConfig::new(name, kind, 0);
    let plugin = plugin(section, &default.kind);
    let first = pairs.as_ref().and_then(|pairs| pairs.first());
    let local_port = section.port("localPort").or(first.map(|(port, _)| *port));
    if plugin.is_none() && !section.says("localPort") && !section.says("localPorts") {
        section.warn(
            "localPort",
            "is not set, so nothing can be reached through this proxy",
        );
    }
    let annotations = section.map("annotations");
    if let Err(error) = check_annotations(&annotations) {
        section.invalid("annotations", error.to_string());
    }
    let local_host = section.text("localIP").unwrap_or(default.local_host);
    let metadatas = section.map("metadatas");
    let mut transport = section.section("transport");
    let proxy = ProxyConfig {
        name: default.name,
        local_host,
        local_port: local_port.unwrap_or(default.local_port),
        annotations,
        metadatas,
        use_encryption: use_encryption(&mut transport, &default.kind, auth),
        use_compression: transport.boolean("useCompression").unwrap_or(false),
        bandwidth: bandwidth(&mut transport),
        proxy_protocol: proxy_protocol(&mut transport, &default.kind, plugin.as_ref()),
        group: group(section.section("loadBalancer"), &default.kind),
        health_check: health_check(section.section("healthCheck"), local_port),
        plugin,
        kind: default.kind,
    };
    check_inspected(section, &proxy);
    match (guessed, unknown) {
        (_, true) => Typed::Unknown,
        (true, _) => Typed::Guessed((proxy, pairs)),
        (false, _) => Typed::Known((proxy, pairs)),
    }
}

/// Requests can be inspected where the client reads them.
fn check_inspected(section: &mut Section<'_>, proxy: &ProxyConfig) {
    let ProxyKind::Http(http) = &proxy.kind else {
        return;
    };
    if http.inspect.is_none() {
        return;
    }
    if let Some(plugin) = proxy.plugin.as_ref().filter(|it| !it.is_bridge()) {
        let plugin = plugin.as_str();
        section.invalid("inspect", format!("does not go with the plugin `{plugin}`"));
    }
    if proxy.proxy_protocol.is_some() {
        let why = "does not go with `transport.proxyProtocolVersion`: several users share a connection to the service";
        section.invalid("inspect", why);
    }
}

fn use_encryption(transport: &mut Section<'_>, kind: &ProxyKind, auth: &Auth) -> bool {
    let key = "useEncryption";
    let on = transport.boolean(key).unwrap_or(false);
    let (source, secret) = match kind {
        ProxyKind::Xtcp { private, .. } => ("secretKey", &private.secret_key),
        ProxyKind::Tcp { .. }
        | ProxyKind::Udp { .. }
        | ProxyKind::Http(_)
        | ProxyKind::Https(_)
        | ProxyKind::TcpMux(_)
        | ProxyKind::Stcp(_)
        | ProxyKind::Sudp(_) => ("auth.token", &auth.token),
    };
    if on {
        warn_of_empty_key(transport, source, secret);
    }
    on
}

/// Warns if what `useEncryption` makes its key from, the value of `source`, is nothing.
pub(super) fn warn_of_empty_key(transport: &Section<'_>, source: &str, secret: &Secret) {
    if secret.is_empty() {
        transport.warn(
            "useEncryption",
            format!(
                "does not hide anything, because the key is made from `{source}`, which is empty"
            ),
        );
    }
}

fn bandwidth(transport: &mut Section<'_>) -> Option<Bandwidth> {
    let mode = transport.text("bandwidthLimitMode").unwrap_or_default();
    let mode = mode.parse().unwrap_or_else(|error| {
        let why = format!("{error}, not {mode:?}");
        let why = none_of(why, &mode, &["client", "server"]);
        transport.invalid("bandwidthLimitMode", why);
        BandwidthMode::default()
    });
    let text = transport.text("bandwidthLimit")?;
    match Bandwidth::parse(&text, mode) {
        Ok(limit) => limit,
        Err(error) => {
            transport.invalid("bandwidthLimit", format!("{error}, not {text:?}"));
            None
        }
    }
}

fn proxy_protocol(
    transport: &mut Section<'_>,
    kind: &ProxyKind,
    plugin: Option<&Plugin>,
) -> Option<ProxyProtocol> {
    let key = "proxyProtocolVersion";
    let version = transport.choice(key, &["v1", "v2"], |word| {
        // frp: the first half of this wording
        let word = word.escape_debug();
        format!("not support proxy protocol version: {word}, must be \"v1\" or \"v2\"")
    })?;
    if let Some(plugin) = plugin.filter(|plugin| !plugin.is_raw()) {
        let plugin = plugin.as_str();
        transport.warn(key, format!("does nothing with the plugin `{plugin}`"));
    }
    match version.as_str() {
        "v1" => {
            if matches!(kind, ProxyKind::Udp { .. } | ProxyKind::Sudp(_)) {
                transport.warn(
                    key,
                    "\"v1\" cannot speak of UDP, so that its header only says UNKNOWN; \"v2\" can",
                );
            }
            Some(ProxyProtocol::V1)
        }
        _ => Some(ProxyProtocol::V2),
    }
}

fn group(mut section: Section<'_>, kind: &ProxyKind) -> Option<Group> {
    let key = section.secret("groupKey", "groupKeySource");
    let Some(name) = section.text("group") else {
        if key.is_some() {
            section.warn("groupKey", "does nothing without `loadBalancer.group`");
        }
        return None;
    };
    match kind {
        ProxyKind::Tcp { .. } | ProxyKind::Http(_) | ProxyKind::Https(_) | ProxyKind::TcpMux(_) => {
            Some(Group {
                name,
                key: key.unwrap_or_default(),
            })
        }
        ProxyKind::Udp { .. }
        | ProxyKind::Stcp(_)
        | ProxyKind::Sudp(_)
        | ProxyKind::Xtcp { .. } => {
            let kind = kind.as_str();
            section.warn(
                "group",
                format!("does nothing for proxies of type `{kind}`"),
            );
            None
        }
    }
}
