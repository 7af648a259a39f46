//! `[[httpPlugins]]`.

use mgrok_proto::hook::Op;

use super::shown;
use crate::section::Section;
use crate::server_hook::{HttpPlugin, PluginScheme};

/// Reads the list, in whose order plugins are asked.
pub(super) fn http_plugins(root: &mut Section<'_>) -> Vec<HttpPlugin> {
    let entries = root.sections("httpPlugins").into_iter();
    entries.filter_map(http_plugin).collect()
}

fn http_plugin(mut entry: Section<'_>) -> Option<HttpPlugin> {
    let name = entry.text("name").unwrap_or_default();
    let addr = entry.text("addr");
    let path = entry.text("path").unwrap_or_default();
    let ops = ops(&mut entry);
    let verify = entry.boolean("tlsVerify");
    let Some(addr) = addr else {
        if !entry.says("addr") {
            entry.invalid("addr", "must say where the plugin is, like \"host:port\"");
        }
        return None;
    };
    let (is_https, rest) = without_scheme(&addr);
    // frp: the two are one text, so that a path may begin in `addr`.
    let (authority, base) = match rest.find('/') {
        Some(slash) => rest.split_at(slash),
        None => (rest, ""),
    };
    let scheme = if is_https {
        PluginScheme::Https {
            verify: verify.unwrap_or(false),
        }
    } else {
        PluginScheme::Http
    };
    let host_and_port = host_and_port(authority, scheme);
    if host_and_port.is_none() {
        entry.invalid(
            "addr",
            format!(
                "{} is not \"host:port\", \"http://host:port\" or \"https://host:port\"",
                shown(&addr)
            ),
        );
    }
    let path = whole_path(base, &path);
    if path.is_none() {
        entry.invalid(
            "path",
            "must begin with \"/\" and be a path as in a URL, without a query",
        );
    }
    match verify {
        None if is_https => entry.warn(
            "addr",
            "the plugin's certificate is not checked unless `tlsVerify` is true",
        ),
        Some(true) if !is_https => entry.warn("tlsVerify", "does nothing without https"),
        None | Some(_) => {}
    }
    if entry.is_flawed() {
        return None;
    }
    let (host, port) = host_and_port?;
    Some(HttpPlugin {
        name,
        ops,
        scheme,
        host,
        port,
        path: path?,
    })
}

fn ops(entry: &mut Section<'_>) -> Vec<Op> {
    let mut ops = Vec::new();
    let items = entry.texts("ops");
    if !entry.says("ops") {
        entry.warn("ops", "names nothing that the plugin would be asked about");
    }
    for item in items {
        match Op::ALL.into_iter().find(|op| op.name() == item.text) {
            Some(op) if ops.contains(&op) => {}
            Some(op) => ops.push(op),
            None => {
                let known = Op::ALL.map(Op::name).join(", ");
                // frp: these words to begin with
                let why = format!(
                    "invalid http plugin ops: {:?} is none of {known}",
                    item.text
                );
                entry.no_choice("ops", &item, &Op::ALL.map(Op::name), why);
            }
        }
    }
    ops
}

/// Whether it is https, and what follows.
fn without_scheme(addr: &str) -> (bool, &str) {
    if let Some(rest) = addr.strip_prefix("https://") {
        return (true, rest);
    }
    (false, addr.strip_prefix("http://").unwrap_or(addr))
}

/// The parts of `host`, `host:port` or `[IPv6]:port`.
fn host_and_port(authority: &str, scheme: PluginScheme) -> Option<(String, u16)> {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        Some(_) | None => (authority, None),
    };
    let port = match port {
        Some(port) => port.parse().ok().filter(|port| *port != 0)?,
        None => scheme.default_port(),
    };
    let host = match host.strip_prefix('[') {
        Some(ip) => {
            let ip = ip.strip_suffix(']')?;
            ip.parse::<std::net::Ipv6Addr>().ok()?;
            ip
        }
        None if is_name(host) => host,
        None => return None,
    };
    Some((host.to_owned(), port))
}

/// Names in other scripts have to be written as they are looked up.
fn is_name(host: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    let is_label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(fits);
    host.split('.').all(is_label)
}

fn whole_path(base: &str, path: &str) -> Option<String> {
    let whole = match (base, path) {
        ("", "") => "/".to_owned(),
        (base, path) => format!("{base}{path}"),
    };
    let fits = |byte: u8| byte.is_ascii_graphic() && !b"?#\"<>\\^`{|}".contains(&byte);
    (whole.starts_with('/') && whole.bytes().all(fits)).then_some(whole)
}
