//! Where a service listens, written as one text.

use std::fmt::{self, Display, Formatter};

/// The host of an address that names none, as in `:8080`.
// frp: the local system (Go's net.Dial)
const THIS_HOST: &str = "localhost";

/// A host and a port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocalAddr {
    /// A name or an address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// Why a text is no such address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LocalAddrError {
    /// The host is no name and no address.
    #[error("must begin with a name or address, like `127.0.0.1:8080` or `[::1]:8080`")]
    Host,
    /// There is no port, and none goes without saying.
    #[error("must end in a port, like `127.0.0.1:8080`")]
    NoPort,
    /// The port is none.
    #[error("must end in a port from 1 to 65535, like `127.0.0.1:8080`")]
    Port,
}

impl LocalAddr {
    /// Reads `host:port`; without `:port` it is the `default_port`.
    pub(crate) fn parse(text: &str, default_port: Option<u16>) -> Result<Self, LocalAddrError> {
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, rest) = rest.split_once(']').ok_or(LocalAddrError::Host)?;
                match rest.strip_prefix(':') {
                    Some(port) => (host, Some(port)),
                    None if rest.is_empty() => (host, None),
                    None => return Err(LocalAddrError::Port),
                }
            }
            None => match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            },
        };
        let is_plain = |letter: char| !letter.is_control() && !" /@[]?#".contains(letter);
        if !host.chars().all(is_plain) || (host.is_empty() && text.starts_with('[')) {
            return Err(LocalAddrError::Host);
        }
        let port = match port {
            Some(port) => match port.parse() {
                Ok(port @ 1..) => port,
                Ok(0) | Err(_) => return Err(LocalAddrError::Port),
            },
            None => default_port.ok_or(LocalAddrError::NoPort)?,
        };
        let host = if host.is_empty() { THIS_HOST } else { host };
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }
}

/// As it is written in configuration files.
impl Display for LocalAddr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') {
            write!(f, "[{host}]:{port}")
        } else {
            write!(f, "{host}:{port}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, default_port: Option<u16>, expect: Result<(&str, u16), LocalAddrError>) {
        let expect = expect.map(|(host, port)| LocalAddr {
            host: host.to_owned(),
            port,
        });
        assert_eq!(LocalAddr::parse(text, default_port), expect, "{text:?}");
    }

    #[test]
    fn hosts_and_ports() {
        check("127.0.0.1:80", None, Ok(("127.0.0.1", 80)));
        check("web.test:65535", Some(443), Ok(("web.test", 65535)));
        check("[2001:db8::1]:80", None, Ok(("2001:db8::1", 80)));
        check(":80", None, Ok(("localhost", 80)));
        check("web.test", Some(443), Ok(("web.test", 443)));
        check("[::1]", Some(80), Ok(("::1", 80)));
    }

    #[test]
    fn what_is_no_address() {
        use LocalAddrError::{Host, NoPort, Port};
        check("web.test", None, Err(NoPort));
        check("[::1]", None, Err(NoPort));
        check("[::1", None, Err(Host));
        check("[]:80", None, Err(Host));
        check("a b:80", None, Err(Host));
        check("user@web.test:80", None, Err(Host));
        for text in [
            "::1",
            "::1:80",
            "web.test:",
            "web.test:http",
            "web.test:0",
            "web.test:65536",
            "web.test:80/path",
            "http://web.test:80",
            "[::1]80",
        ] {
            check(text, Some(80), Err(Port));
        }
    }

    #[test]
    fn it_is_shown_as_it_is_written() {
        for text in ["web.test:80", "[::1]:80"] {
            assert_eq!(LocalAddr::parse(text, None).unwrap().to_string(), text);
        }
    }
}
