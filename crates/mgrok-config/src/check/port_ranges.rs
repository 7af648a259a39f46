//! mgrok's own `localPorts` and `remotePorts`: one entry of `[[proxies]]` that stands for a proxy per port.

use std::collections::HashSet;

use crate::number_ranges::parse_ranges;
use crate::proxy::{ProxyConfig, ProxyKind};
use crate::section::Section;

/// How many proxies the ranges of one file may stand for.
const MAX_PROXIES: usize = 10_000;

const LOCAL: &str = "localPorts";
const REMOTE: &str = "remotePorts";

/// A local port and the server's port for it.
pub(super) type Pair = (u16, u16);

/// Reads the ranges of a proxy, of which `taken` stand for proxies by now; `None` if it has none.
pub(super) fn port_pairs(entry: &mut Section<'_>, taken: usize) -> Option<Vec<Pair>> {
    let local = ports(entry, LOCAL);
    let remote = ports(entry, REMOTE);
    if !entry.says(LOCAL) && !entry.says(REMOTE) {
        return None;
    }
    for (several, one) in [(LOCAL, "localPort"), (REMOTE, "remotePort")] {
        if !entry.says(several) {
            entry.invalid(
                "",
                format!("must have `{several}`, because `{LOCAL}` and `{REMOTE}` go together"),
            );
        } else if entry.says(one) {
            entry.invalid(several, format!("must not be set together with `{one}`"));
        }
    }
    for key in ["plugin", "loadBalancer"] {
        if entry.says(key) {
            entry.invalid(
                key,
                format!("cannot be used with `{LOCAL}`: give each port a proxy of its own"),
            );
        }
    }
    let (local, remote) = (local?, remote?);
    if local.len() != remote.len() {
        entry.invalid(
            REMOTE,
            format!(
                "must name as many ports as `{LOCAL}`: {} are not {}",
                remote.len(),
                local.len()
            ),
        );
        return None;
    }
    if taken + local.len() > MAX_PROXIES {
        entry.invalid(
            LOCAL,
            format!("must not make it more than {MAX_PROXIES} ports in the ranges of all proxies"),
        );
        return None;
    }
    Some(local.into_iter().zip(remote).collect())
}

/// The ports under `key`, each of which may come once.
fn ports(entry: &mut Section<'_>, key: &'static str) -> Option<Vec<u16>> {
    let text = entry.text(key)?;
    let numbers = match parse_ranges(&text, MAX_PROXIES) {
        Ok(numbers) => numbers,
        Err(error) => {
            entry.invalid(key, format!("{error}, not {text:?}"));
            return None;
        }
    };
    let mut seen = HashSet::new();
    let mut ports = Vec::new();
    for number in numbers {
        let Some(port) = u16::try_from(number).ok().filter(|port| *port > 0) else {
            // frp: the beginning of this wording
            entry.invalid(
                key,
                format!("port number {number} must be in the range 1..65535"),
            );
            return None;
        };
        if !seen.insert(port) {
            entry.invalid(key, format!("must not name {port} twice"));
            return None;
        }
        ports.push(port);
    }
    Some(ports)
}

/// The proxies that `proxy` stands for.
///
/// They are called after their local port. frp's ranges in INI count from 0, so that a port added at the front renames all others,
/// and with them their statistics, their place on the dashboard and what a reload keeps.
pub(super) fn expand(proxy: &ProxyConfig, pairs: Vec<Pair>) -> Vec<ProxyConfig> {
    let one = |(local_port, remote_port)| {
        let kind = match &proxy.kind {
            ProxyKind::Udp { .. } => ProxyKind::Udp { remote_port },
            ProxyKind::Tcp { .. }
            | ProxyKind::Http(_)
            | ProxyKind::Https(_)
            | ProxyKind::TcpMux(_)
            | ProxyKind::Stcp(_)
            | ProxyKind::Sudp(_)
            | ProxyKind::Xtcp { .. } => ProxyKind::Tcp { remote_port },
        };
        ProxyConfig {
            name: format!("{}-{local_port}", proxy.name),
            kind,
            local_port,
            ..proxy.clone()
        }
    };
    pairs.into_iter().map(one).collect()
}
