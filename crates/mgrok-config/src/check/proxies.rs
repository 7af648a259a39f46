//! The client's `[[proxies]]`.

use std::collections::HashSet;

use crate::{
    annotations::check_annotations,
    auth::Auth,
    bandwidth::{Bandwidth, BandwidthMode},
    proxy::{ProxyConfig, ProxyKind},
    section::{Item, Section},
};

/// Reads the proxies that will be used. The others are only read as far as it takes to see that they are readable.
pub(super) fn proxies(root: &mut Section<'_>, auth: &Auth) -> Vec<ProxyConfig> {
    let start = root.texts("start");
    let chosen: HashSet<&str> = start.iter().map(|item| item.text.as_str()).collect();
    let mut names = HashSet::new();
    let mut proxies = Vec::new();
    for mut entry in root.sections("proxies") {
        let name = entry.text("name").unwrap_or_default();
        if !name.is_empty() && !names.insert(name.clone()) {
            // frp: this wording
            entry.malformed(
                "name",
                format!("proxy name [{}] is duplicated", name.escape_debug()),
            );
        }
        let enabled = entry.boolean("enabled").unwrap_or(true);
        let used = enabled && (start.is_empty() || chosen.contains(name.as_str()));
        if !used {
            entry.leave_unjudged();
        }
        let proxy = proxy(entry, name, auth);
        proxies.extend(proxy.filter(|_| used));
    }
    warn_of_absent(root, &start, &names);
    proxies
}

fn warn_of_absent(root: &Section<'_>, start: &[Item], names: &HashSet<String>) {
    for item in start {
        if !names.contains(&item.text) {
            root.warn_at(
                item.at,
                "start",
                format!("there is no proxy {:?}", item.text),
            );
        }
    }
}

fn proxy(mut entry: Section<'_>, name: String, auth: &Auth) -> Option<ProxyConfig> {
    if name.is_empty() {
        entry.invalid("name", "name should not be empty");
    }
    let kind = match entry.text("type").unwrap_or_default().as_str() {
        "tcp" => ProxyKind::Tcp {
            remote_port: entry.port("remotePort").unwrap_or(0),
        },
        "udp" => ProxyKind::Udp {
            remote_port: entry.port("remotePort").unwrap_or(0),
        },
        later @ ("http" | "https" | "tcpmux" | "stcp" | "sudp" | "xtcp") => {
            entry.unsupported("type", format!("proxy type `{later}`"));
            entry.abandon();
            return None;
        }
        other => {
            // frp: this wording
            entry.malformed(
                "type",
                format!("unknown proxy type: {}", other.escape_debug()),
            );
            entry.abandon();
            return None;
        }
    };

    let default = ProxyConfig::new(name, kind, 0);
    let local_port = entry.port("localPort");
    if local_port.is_none() {
        entry.warn(
            "localPort",
            "is not set, so nothing can be reached through this proxy",
        );
    }
    let annotations = entry.map("annotations");
    if let Err(error) = check_annotations(&annotations) {
        entry.invalid("annotations", error.to_string());
    }
    let local_host = entry.text("localIP").unwrap_or(default.local_host);
    let metadatas = entry.map("metadatas");
    let mut transport = entry.section("transport");
    let use_encryption = transport.boolean("useEncryption").unwrap_or(false);
    if use_encryption && auth.token.is_empty() {
        transport.warn(
            "useEncryption",
            "does not hide anything, because the key is made from `auth.token`, which is empty",
        );
    }
    Some(ProxyConfig {
        name: default.name,
        kind: default.kind,
        local_host,
        local_port: local_port.unwrap_or(default.local_port),
        annotations,
        metadatas,
        use_encryption,
        use_compression: transport.boolean("useCompression").unwrap_or(false),
        bandwidth: bandwidth(&mut transport),
        proxy_protocol: default.proxy_protocol,
        group: default.group,
        health_check: default.health_check,
    })
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
