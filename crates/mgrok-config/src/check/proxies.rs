//! The client's `[[proxies]]`.

use mgrok_proto::auth::Secret;

use super::client_plugin::plugin;
use super::conflicts;
use super::entries::{Entry, Start};
use super::health::health_check;
use super::kinds::kind;
use crate::annotations::check_annotations;
use crate::auth::Auth;
use crate::bandwidth::{Bandwidth, BandwidthMode};
use crate::client_plugin::Plugin;
use crate::proxy::{Group, ProxyConfig, ProxyKind, ProxyProtocol};
use crate::section::Section;

/// Reads the proxies that will be used.
pub(super) fn proxies(root: &mut Section<'_>, start: &mut Start, auth: &Auth) -> Vec<ProxyConfig> {
    let mut read = Vec::new();
    for Entry {
        mut section,
        name,
        used,
    } in start.entries(root, "proxies", "proxy")
    {
        match proxy(&mut section, name, auth) {
            Some(proxy) if used => read.push((section, proxy)),
            Some(_) => {}
            None => section.abandon(),
        }
    }
    conflicts::check_proxies(&mut read);
    read.into_iter().map(|(_, proxy)| proxy).collect()
}

/// Reads a proxy; `None` if there is no such type, so that the other keys mean nothing.
fn proxy(section: &mut Section<'_>, name: String, auth: &Auth) -> Option<ProxyConfig> {
    if !section.says("name") {
        // frp: this wording
        section.invalid("name", "name should not be empty");
    }
    let kind = kind(section)?;
    let default = ProxyConfig::new(name, kind, 0);
    let plugin = plugin(section, &default.kind);
    let local_port = section.port("localPort");
    if plugin.is_none() && !section.says("localPort") {
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
    Some(ProxyConfig {
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
    })
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
    let version = transport.text(key)?;
    if let Some(plugin) = plugin.filter(|plugin| plugin.is_http()) {
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
        "v2" => Some(ProxyProtocol::V2),
        other => {
            // frp: the first half of this wording
            let other = other.escape_debug();
            transport.invalid(
                key,
                format!("not support proxy protocol version: {other}, must be \"v1\" or \"v2\""),
            );
            None
        }
    }
}

fn group(mut section: Section<'_>, kind: &ProxyKind) -> Option<Group> {
    let key = section.text("groupKey");
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
                key: key.map(Secret::new).unwrap_or_default(),
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
