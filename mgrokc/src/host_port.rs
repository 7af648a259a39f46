//! Hosts and ports as they are typed: `3000`, `:3000`, `host`, `host:3000`, `[::1]:3000`.

/// A host, without brackets, and a port, either of which may be missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostPort {
    pub(crate) host: Option<String>,
    pub(crate) port: Option<u16>,
}

/// Reads the address of a local service, which needs a port.
pub(crate) fn parse_local(text: &str) -> Result<HostPort, &'static str> {
    let port_alone = text.strip_prefix(':').unwrap_or(text).parse().ok();
    let parsed = match port_alone {
        Some(port) => Some(HostPort {
            host: None,
            port: Some(port),
        }),
        None => parse(text).filter(|it| it.port.is_some()),
    };
    parsed
        .filter(|it| it.port != Some(0))
        .ok_or("must be a port, or a host and a port, like 3000 or 192.168.1.5:3000")
}

/// Reads the address of a server, which needs a host.
pub(crate) fn parse_server(text: &str) -> Result<HostPort, &'static str> {
    parse(text)
        .filter(|it| it.port != Some(0) && it.host.as_ref().is_some_and(|it| !is_number(it)))
        .ok_or("must be a host, or a host and a port, like example.com or example.com:7000")
}

fn parse(text: &str) -> Option<HostPort> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            match rest {
                "" => (host, None),
                rest => (host, Some(rest.strip_prefix(':')?)),
            }
        }
        // An IPv6 address alone.
        None if text.matches(':').count() > 1 => (text, None),
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let is_odd = |c: char| c.is_whitespace() || c.is_control() || "/@[]?#".contains(c);
    if host.is_empty() || host.contains(is_odd) {
        return None;
    }
    let port = match port {
        Some(port) => Some(port.parse().ok()?),
        None => None,
    };
    Some(HostPort {
        host: Some(host.to_owned()),
        port,
    })
}

fn is_number(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(
        parse: fn(&str) -> Result<HostPort, &'static str>,
        text: &str,
        expect: Option<(&str, u16)>,
    ) {
        let got = parse(text).ok().map(|it| {
            let host = it.host.unwrap_or_default();
            (host, it.port.unwrap_or_default())
        });
        let expect = expect.map(|(host, port)| (host.to_owned(), port));
        assert_eq!(got, expect, "{text}");
    }

    #[test]
    fn a_local_service_has_a_port() {
        check(parse_local, "3000", Some(("", 3000)));
        check(parse_local, ":3000", Some(("", 3000)));
        check(parse_local, "nas.lan:80", Some(("nas.lan", 80)));
        check(parse_local, "[::1]:80", Some(("::1", 80)));
        for wrong in [
            "",
            "0",
            "70000",
            "nas.lan",
            "::1",
            "a b:80",
            "http://x:80",
            "x:0",
        ] {
            check(parse_local, wrong, None);
        }
    }

    #[test]
    fn a_server_has_a_host() {
        check(parse_server, "example.com", Some(("example.com", 0)));
        check(
            parse_server,
            "example.com:7001",
            Some(("example.com", 7001)),
        );
        check(parse_server, "2001:db8::1", Some(("2001:db8::1", 0)));
        check(
            parse_server,
            "[2001:db8::1]:7001",
            Some(("2001:db8::1", 7001)),
        );
        for wrong in ["", "7000", ":7000", "a b", "x:y", "x:0", "http://x"] {
            check(parse_server, wrong, None);
        }
    }
}
