//! The client's `[[visitors]]`.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;

use super::conflicts;
use super::entries::{Entry, Start};
use super::kinds::{Typed, disable_assisted_addrs};
use super::proxies::warn_of_empty_key;
use crate::section::Section;
use crate::section::choice::{nearest_word, none_of};
use crate::virtual_net::VisitorPlugin;
use crate::visitor::{TunnelProtocol, VisitorConfig, VisitorKind, XtcpVisitor};
use crate::web_server::WebServer;

/// The types that there are.
const TYPES: [&str; 3] = ["stcp", "sudp", "xtcp"];

/// The one type of plugin that there is.
const VIRTUAL_NET: &str = "virtual_net";

/// The default listen address of visitors.
// frp: the same
const BIND_ADDR: &str = "127.0.0.1";

/// Reads the visitors that will be used, beside `others`, which were read before. `expected` are names of visitors that will be read later.
pub(super) fn visitors(
    root: &mut Section<'_>,
    start: &mut Start,
    web_server: Option<&WebServer>,
    others: &[VisitorConfig],
    expected: &BTreeSet<String>,
) -> Vec<VisitorConfig> {
    let mut read = Vec::new();
    for Entry {
        mut section,
        name,
        used,
    } in start.entries(root, "visitors", "visitor")
    {
        match visitor(&mut section, name) {
            Typed::Known(visitor) if used => read.push((section, visitor)),
            Typed::Known(_) | Typed::Guessed(_) => {}
            Typed::Unknown => section.abandon(),
        }
    }
    check_fallbacks(&mut read, others, expected);
    conflicts::check_visitors(&read, others, web_server);
    read.into_iter().map(|(_, visitor)| visitor).collect()
}

/// Reads a visitor.
fn visitor(section: &mut Section<'_>, name: String) -> Typed<VisitorConfig> {
    if !section.says("name") {
        // frp: this wording
        section.invalid("name", "name is required");
    }
    let (kind, as_known): (_, fn(VisitorConfig) -> Typed<VisitorConfig>) = match kind(section) {
        Typed::Known(kind) => (kind, Typed::Known),
        Typed::Guessed(kind) => (kind, Typed::Guessed),
        // What all types have is read as that of any.
        Typed::Unknown => (VisitorKind::Stcp, |_| Typed::Unknown),
    };
    if !section.says("serverName") {
        // frp: this wording
        section.invalid("serverName", "server name is required");
    }
    let secret_key = section.secret("secretKey", "secretKeySource");
    let secret_key = secret_key.unwrap_or_default();
    let mut transport = section.section("transport");
    let use_encryption = transport.boolean("useEncryption").unwrap_or(false);
    if use_encryption {
        warn_of_empty_key(&transport, "secretKey", &secret_key);
    }
    let plugin = plugin(section, &kind);
    as_known(VisitorConfig {
        name,
        server_user: section.text("serverUser"),
        server_name: section.text("serverName").unwrap_or_default(),
        secret_key,
        bind_addr: section
            .text("bindAddr")
            .unwrap_or_else(|| BIND_ADDR.to_owned()),
        bind_port: bind_port(section, &kind),
        plugin,
        use_encryption,
        use_compression: transport.boolean("useCompression").unwrap_or(false),
        kind,
    })
}

/// Reads the type and its keys.
fn kind(section: &mut Section<'_>) -> Typed<VisitorKind> {
    let word = section.text("type").unwrap_or_default();
    if let Some(kind) = kind_of(section, &word) {
        return Typed::Known(kind);
    }
    // frp: the beginning of this wording
    let why = format!(
        "unknown visitor type: {}, must be one of {}",
        word.escape_debug(),
        TYPES.join(", ")
    );
    section.malformed("type", none_of(why, &word, &TYPES));
    let guess = nearest_word(&word, &TYPES);
    match guess.and_then(|guess| kind_of(section, guess)) {
        Some(kind) => Typed::Guessed(kind),
        None => Typed::Unknown,
    }
}

fn kind_of(section: &mut Section<'_>, word: &str) -> Option<VisitorKind> {
    Some(match word {
        "stcp" => VisitorKind::Stcp,
        "sudp" => VisitorKind::Sudp,
        "xtcp" => VisitorKind::Xtcp(xtcp(section)),
        _ => return None,
    })
}

fn bind_port(section: &mut Section<'_>, kind: &VisitorKind) -> Option<u16> {
    let key = "bindPort";
    let Some(port) = section.port_or_off(key) else {
        if !section.says(key) {
            // frp: this wording
            section.invalid(key, "bind port is required");
        }
        return None;
    };
    if port.is_none() && matches!(kind, VisitorKind::Sudp) {
        section.invalid(
            key,
            "must be a port, because no other visitor can hand its users over to one of type `sudp`",
        );
    }
    port
}

/// Reads what the visitor does beside listening.
fn plugin(entry: &mut Section<'_>, kind: &VisitorKind) -> Option<VisitorPlugin> {
    let is_there = entry.says("plugin");
    let mut section = entry.section("plugin");
    if !is_there || section.is_flawed() {
        return None;
    }
    let word = section.text("type").unwrap_or_default();
    if word != VIRTUAL_NET {
        if !section.is_flawed() {
            // frp: the beginning of these words
            let why = match &*word {
                "" => "visitor plugin type is empty".to_owned(),
                word => format!("unknown visitor plugin type: {}", word.escape_debug()),
            };
            section.invalid("type", none_of(why, &word, &[VIRTUAL_NET]));
        }
        section.abandon();
        return None;
    }
    let key = "destinationIP";
    let text = section.text(key);
    let destination = match &text {
        None => {
            if !section.says(key) {
                // frp: this wording, but not before the start
                section.invalid(key, "destinationIP is required");
            }
            None
        }
        Some(text) => {
            let addr = text.parse::<IpAddr>();
            if addr.is_err() {
                let shown = text.escape_debug();
                section.invalid(key, format!("invalid destination IP address [{shown}]"));
            }
            addr.ok()
        }
    };
    drop(section);
    if matches!(kind, VisitorKind::Sudp) {
        entry.warn("plugin", "does nothing for visitors of type `sudp`");
        return None;
    }
    let destination = destination?.to_canonical();
    Some(VisitorPlugin::VirtualNet { destination })
}

fn xtcp(section: &mut Section<'_>) -> XtcpVisitor {
    let default = XtcpVisitor::default();
    let protocol = section.choice("protocol", &["quic", "kcp"], |word| {
        // frp: the first half of this wording
        format!("protocol should be kcp or quic, not {word:?}")
    });
    let protocol = match protocol.as_deref() {
        Some("kcp") => TunnelProtocol::Kcp,
        Some(_) | None => TunnelProtocol::Quic,
    };
    let fallback_to = section.text("fallbackTo");
    let fallback_timeout = section.milliseconds_or_off("fallbackTimeoutMs");
    if fallback_timeout.is_some() && !section.says("fallbackTo") {
        section.warn("fallbackTimeoutMs", "does nothing without `fallbackTo`");
    }
    XtcpVisitor {
        protocol,
        keep_tunnel_open: section
            .boolean("keepTunnelOpen")
            .unwrap_or(default.keep_tunnel_open),
        max_retries_an_hour: section
            .count("maxRetriesAnHour")
            .unwrap_or(default.max_retries_an_hour),
        min_retry_interval: section
            .seconds("minRetryInterval")
            .unwrap_or(default.min_retry_interval),
        fallback_to,
        fallback_timeout: match fallback_timeout {
            None => default.fallback_timeout,
            Some(timeout) => timeout.unwrap_or_default(),
        },
        disable_assisted_addrs: disable_assisted_addrs(section),
    }
}

/// Checks that every `fallbackTo` leads to a visitor that can take users over, and that every visitor can be reached.
fn check_fallbacks(
    visitors: &mut [(Section<'_>, VisitorConfig)],
    others: &[VisitorConfig],
    expected: &BTreeSet<String>,
) {
    let own = visitors.iter().map(|(_, visitor)| visitor);
    // Those that are checked here stand first, and of two with one name count.
    let all: Vec<&VisitorConfig> = own.chain(others).collect();
    let mut indices: HashMap<&str, usize> = HashMap::new();
    for (index, visitor) in all.iter().enumerate() {
        indices.entry(&visitor.name).or_insert(index);
    }
    let next: Vec<Option<usize>> = all
        .iter()
        .map(|visitor| indices.get(fallback_to(visitor)?).copied())
        .collect();
    let misled: Vec<bool> = next
        .iter()
        .map(|next| next.is_some_and(|next| all[next].kind == VisitorKind::Sudp))
        .collect();
    let entered: HashSet<usize> = next.iter().copied().flatten().collect();
    let rings = rings(&next, visitors.len());

    for (index, (section, visitor)) in visitors.iter_mut().enumerate() {
        let is_reached = entered.contains(&index) || visitor.plugin.is_some();
        if visitor.bind_port.is_none() && !is_reached {
            section.warn(
                "bindPort",
                "is negative, it has no `plugin`, and no `fallbackTo` names this visitor, so that nobody can reach it",
            );
        }
        let Some(name) = fallback_to(visitor) else {
            continue;
        };
        let key = "fallbackTo";
        if next[index].is_none() && !expected.contains(name) {
            section.warn(
                key,
                format!("there is no visitor {name:?} in use, so that nothing takes users over"),
            );
        }
        if misled[index] {
            section.invalid(
                key,
                format!("{name:?} is a visitor of type `sudp`, which cannot take users over"),
            );
        }
        if rings.contains(&index) {
            section.invalid(
                key,
                format!("{name:?} leads back to this visitor, so that users might wait for ever"),
            );
        }
    }
}

/// One member of each cycle of fallbacks, which is one of the first `own` if any of them is in the cycle.
fn rings(next: &[Option<usize>], own: usize) -> HashSet<usize> {
    let mut rings = HashSet::new();
    // Each visitor is visited once, by the first walk that gets there.
    let mut walks: Vec<Option<usize>> = vec![None; next.len()];
    for walk in 0..next.len() {
        let mut at = Some(walk);
        while let Some(index) = at
            && walks[index].is_none()
        {
            walks[index] = Some(walk);
            at = next[index];
        }
        let member = at.filter(|index| walks[*index] == Some(walk));
        rings.extend(member.map(|first| {
            let mut at = first;
            while at >= own {
                match next[at] {
                    Some(after) if after != first => at = after,
                    Some(_) | None => break,
                }
            }
            at
        }));
    }
    rings
}

fn fallback_to(visitor: &VisitorConfig) -> Option<&str> {
    match &visitor.kind {
        VisitorKind::Xtcp(xtcp) => xtcp.fallback_to.as_deref(),
        VisitorKind::Stcp | VisitorKind::Sudp => None,
    }
}
