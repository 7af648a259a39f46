//! Where the client's servers are: `serverAddr` and `serverPort`, or mgrok's own `serverAddrs`.

use std::net::{IpAddr, Ipv6Addr};

use super::shown;
use crate::client::ServerAddr;
use crate::section::Section;

/// The control port of a server that is named without one.
// frp: the same
const DEFAULT_PORT: u16 = 7000;

/// Reads all of them; `None` if the file names neither a server nor a port.
pub(super) fn servers(root: &mut Section<'_>) -> Option<Vec<ServerAddr>> {
    let addr = addr(root);
    let port = root.port("serverPort");
    let several = several(root, port.unwrap_or(DEFAULT_PORT));
    if root.says("serverAddr") && root.says("serverAddrs") {
        root.invalid(
            "serverAddrs",
            "must not be set together with `serverAddr`; name all servers here",
        );
    }
    if !several.is_empty() {
        return Some(several);
    }
    if addr.is_none() && port.is_none() {
        return None;
    }
    let addr = addr.unwrap_or_else(|| "127.0.0.1".to_owned());
    Some(vec![server(addr, port.unwrap_or(DEFAULT_PORT))])
}

fn addr(root: &mut Section<'_>) -> Option<String> {
    let key = "serverAddr";
    let addr = root.text(key)?;
    let bare = addr.split('%').next().unwrap_or_default();
    if bare.parse::<Ipv6Addr>().is_ok() {
        return Some(addr);
    }
    let why = if addr.contains("://") {
        "must be a host alone, without `https://` or the like: `transport.protocol` says how it is reached"
    } else if addr.contains(',') {
        "must be one host: `serverAddrs` names several"
    } else if addr.contains(|it: char| it.is_whitespace() || it.is_control()) {
        "must be a host alone, without spaces"
    } else if addr.starts_with('[') {
        "must be a host alone: an IPv6 address without brackets, and the port in `serverPort`"
    } else if addr.contains(':') {
        "must be a host alone: the port belongs in `serverPort`"
    } else if addr.contains(['/', '@', '?', '#', ']']) {
        "must be a host alone, like \"tunnel.example.com\" or \"192.0.2.1\""
    } else {
        return Some(addr);
    };
    root.invalid(key, why);
    None
}

fn several(root: &mut Section<'_>, default_port: u16) -> Vec<ServerAddr> {
    let key = "serverAddrs";
    let mut servers: Vec<ServerAddr> = Vec::new();
    for item in root.texts(key) {
        let Some(server) = parse(&item.text, default_port) else {
            let why = format!(
                "must be a host, or a host and its port, like \"a.example.com\", \"192.0.2.1:7000\" or \"[2001:db8::1]:7000\", not {}",
                shown(&item.text)
            );
            root.invalid_item(key, &item, why);
            continue;
        };
        let is_known = |known: &ServerAddr| {
            known.port == server.port && known.host.eq_ignore_ascii_case(&server.host)
        };
        if servers.iter().any(is_known) {
            root.invalid_item(key, &item, format!("must not name {server} twice"));
            continue;
        }
        servers.push(server);
    }
    servers
}

/// Reads `host` or `host:port`, in which IPv6 addresses have brackets unless they stand alone.
fn parse(text: &str, default_port: u16) -> Option<ServerAddr> {
    if is_ipv6(text) {
        return Some(server(text.to_owned(), default_port));
    }
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            is_ipv6(host).then_some(())?;
            match rest {
                "" => (host, None),
                _ => (host, Some(rest.strip_prefix(':')?)),
            }
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let is_plain = |letter: char| {
        !letter.is_control() && !letter.is_whitespace() && !"/@[]?#".contains(letter)
    };
    if host.is_empty() || !host.chars().all(is_plain) {
        return None;
    }
    let port = match port {
        Some(port) => port.parse().ok().filter(|port| *port > 0)?,
        None => default_port,
    };
    Some(server(host.to_owned(), port))
}

/// Whether it is an IPv6 address, be it with a zone.
fn is_ipv6(host: &str) -> bool {
    let ip = match host.split_once('%') {
        Some((ip, zone)) if !zone.is_empty() => ip,
        Some(_) | None => host,
    };
    ip.parse::<Ipv6Addr>().is_ok()
}

/// Makes the addresses that mean "any", which not every system can dial, what dialling them means on those that can.
fn server(host: String, port: u16) -> ServerAddr {
    match host.parse() {
        Ok(IpAddr::V4(addr)) if addr.is_unspecified() => ServerAddr::new("127.0.0.1", port),
        Ok(IpAddr::V6(addr)) if addr.is_unspecified() => ServerAddr::new("::1", port),
        Ok(_) | Err(_) => ServerAddr::new(host, port),
    }
}
