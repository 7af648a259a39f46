//! `transport.proxyURL`, taken apart.

use std::sync::OnceLock;

use mgrok_proto::auth::Secret;

use super::socks5::MAX_CREDENTIAL;
use super::{Credentials, OutboundProxy, Scheme};
use crate::resolver::without_brackets;

/// Why a URL names no proxy. Texts quote nothing that may be a password.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum OutboundProxyUrlError {
    /// User or password cannot be used.
    #[error("{0}")]
    Credentials(&'static str),
    /// There is no host.
    #[error("there is no host; write it as in http://proxy.example.com:3128")]
    NoHost,
    /// The host cannot be one.
    #[error("`{0}` is not a host name or address")]
    Host(String),
    /// The port is no port. It is not quoted: where `@` was forgotten it is the password.
    #[error("the port is not a number from 1 to 65535")]
    Port,
    /// There is no scheme, or none that is known.
    #[error(
        "{}; use http, https, socks5 or ntlm, as in http://proxy.example.com:3128",
        match .0 {
            Some(scheme) => format!("unknown scheme `{scheme}`"),
            None => "there is no scheme".to_owned(),
        }
    )]
    Scheme(Option<String>),
}

impl Scheme {
    const ALL: [Self; 4] = [Self::Http, Self::Https, Self::Ntlm, Self::Socks5];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Ntlm => "ntlm",
            Self::Socks5 => "socks5",
        }
    }

    fn default_port(self) -> u16 {
        match self {
            Self::Http | Self::Ntlm => 80,
            Self::Https => 443,
            Self::Socks5 => 1080,
        }
    }
}

impl OutboundProxy {
    /// Reads `scheme://[user[:password]@]host[:port]`, where user and password are percent-encoded.
    /// A path or query behind it means nothing and is left aside.
    ///
    /// The port is 80 by default, 443 for `https`, 1080 for `socks5`.
    pub fn parse(url: &str) -> Result<Self, OutboundProxyUrlError> {
        use OutboundProxyUrlError as Error;

        let (scheme, rest) = url.trim().split_once("://").ok_or(Error::Scheme(None))?;
        let scheme = Scheme::ALL
            .into_iter()
            .find(|it| it.name().eq_ignore_ascii_case(scheme))
            .ok_or_else(|| Error::Scheme(Some(scheme.escape_debug().to_string())))?;
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let (user_info, place) = match authority.rsplit_once('@') {
            Some((user_info, place)) => (Some(user_info), place),
            None => (None, authority),
        };
        let (host, port) = split_port(place)?;
        Ok(Self {
            scheme,
            host: host.to_owned(),
            port: port.unwrap_or(scheme.default_port()),
            credentials: credentials(scheme, user_info)?,
            tls: OnceLock::new(),
        })
    }
}

fn split_port(place: &str) -> Result<(&str, Option<u16>), OutboundProxyUrlError> {
    let (host, port) = match place.rsplit_once(':') {
        // The colon of an address in brackets is not that of a port.
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        Some(_) | None => (place, None),
    };
    let bare = without_brackets(host);
    if bare.is_empty() {
        return Err(OutboundProxyUrlError::NoHost);
    }
    let is_bracketed = bare.len() < host.len();
    let odd = |it: char| it.is_whitespace() || it.is_control() || "[]%\\".contains(it);
    if bare.contains(odd) || bare.contains(':') != is_bracketed {
        return Err(OutboundProxyUrlError::Host(host.escape_debug().to_string()));
    }
    // An empty port is the default one, RFC 3986 section 3.2.3.
    let port = match port {
        None | Some("") => None,
        Some(port) => match port.parse() {
            Ok(port @ 1..) => Some(port),
            Ok(0) | Err(_) => {
                return Err(OutboundProxyUrlError::Port);
            }
        },
    };
    Ok((bare, port))
}

fn credentials(
    scheme: Scheme,
    user_info: Option<&str>,
) -> Result<Option<Credentials>, OutboundProxyUrlError> {
    use OutboundProxyUrlError::Credentials as Error;

    let Some(user_info) = user_info.filter(|it| !it.is_empty()) else {
        return match scheme {
            Scheme::Ntlm => Err(Error(
                "NTLM needs credentials, as in ntlm://DOMAIN%5Cuser:password@proxy.example.com",
            )),
            Scheme::Http | Scheme::Https | Scheme::Socks5 => Ok(None),
        };
    };
    let (user, password) = user_info.split_once(':').unwrap_or((user_info, ""));
    let decoded = percent_decode(user).zip(percent_decode(password));
    let (user, password) = decoded.ok_or(Error(
        "user or password has a `%` that is not followed by two hex digits (write it as `%25`), or \
         is not UTF-8",
    ))?;
    let too_long = user.len() > MAX_CREDENTIAL || password.len() > MAX_CREDENTIAL;
    match scheme {
        Scheme::Socks5 if too_long || user.is_empty() || password.is_empty() => Err(Error(
            "SOCKS5 takes a user and a password of 1 to 255 bytes each",
        )),
        Scheme::Http | Scheme::Https if user.contains(':') => Err(Error(
            "a user with `:` in its name cannot be told to an HTTP proxy",
        )),
        Scheme::Http | Scheme::Https | Scheme::Ntlm | Scheme::Socks5 => Ok(Some(Credentials {
            user,
            password: Secret::new(password),
        })),
    }
}

fn percent_decode(text: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut parts = text.split('%');
    decoded.extend_from_slice(parts.next()?.as_bytes());
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        if !digits.bytes().all(|it| it.is_ascii_hexdigit()) {
            return None;
        }
        decoded.push(u8::from_str_radix(digits, 16).ok()?);
        decoded.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(url: &str, shown: &str, credentials: Option<(&str, &str)>) {
        let proxy = OutboundProxy::parse(url).unwrap();
        assert_eq!(proxy.to_string(), shown);
        let got = proxy.credentials.as_ref();
        let got = got.map(|it| (&*it.user, it.password.expose()));
        assert_eq!(got, credentials);
    }

    #[track_caller]
    fn check_error(url: &str, expect: &str) {
        let error = OutboundProxy::parse(url).unwrap_err().to_string();
        assert!(error.contains(expect), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[test]
    fn ports_have_defaults() {
        check("http://proxy", "http://proxy:80", None);
        check("HTTPS://proxy/", "https://proxy:443", None);
        check("socks5://[::1]", "socks5://[::1]:1080", None);
        check("socks5://[::1]:1?a=b", "socks5://[::1]:1", None);
        check("ntlm://u@proxy:", "ntlm://proxy:80", Some(("u", "")));
        check(" http://1.2.3.4:3128/x ", "http://1.2.3.4:3128", None);
    }

    #[test]
    fn credentials_are_decoded() {
        check(
            "http://a%20b:p%40%3A%c3%a9:x@proxy:1",
            "http://proxy:1",
            Some(("a b", "p@:é:x")),
        );
        check("http://u:a@b@proxy", "http://proxy:80", Some(("u", "a@b")));
        check("http://@proxy", "http://proxy:80", None);
        check(
            r"ntlm://DOMAIN\user:p@proxy",
            "ntlm://proxy:80",
            Some((r"DOMAIN\user", "p")),
        );
    }

    #[test]
    fn secrets_are_not_shown() {
        let proxy = OutboundProxy::parse("http://user:hunter2@proxy").unwrap();
        assert_eq!(
            format!("{proxy:?}"),
            "OutboundProxy { url: http://proxy:80, credentials: Some(Credentials { user: \"user\", password: *** }) }"
        );
    }

    #[test]
    fn errors_say_what_is_wrong() {
        check_error("proxy:3128", "there is no scheme; use http, https");
        check_error("", "there is no scheme");
        check_error("socks4://u:hunter2@proxy", "unknown scheme `socks4`");
        check_error("http://", "no host");
        check_error("http://:80", "no host");
        check_error("http://u:hunter2@", "no host");
        check_error("http://a b", "`a b` is not a host");
        check_error("http://::1", "`:` is not a host");
        check_error("http://[::1]x", "is not a host");
        check_error("http://[proxy]", "`[proxy]` is not a host");
        for port in ["0", "65536", "password"] {
            let url = format!("http://proxy:{port}");
            check_error(&url, "the port is not a number from 1 to 65535");
        }
        check_error("http://u:hunter2%@proxy", "write it as `%25`");
        check_error("http://u:hunter2%+1@proxy", "write it as `%25`");
        check_error("http://u:hunter2%ff@proxy", "not UTF-8");
        check_error("http://u:%é@proxy", "write it as `%25`");
        check_error("http://a%3ab:hunter2@proxy", "cannot be told");
        check_error("socks5://u@proxy", "1 to 255 bytes");
        check_error(&format!("socks5://u:{}@proxy", "x".repeat(256)), "1 to 255");
        check_error("ntlm://proxy", "NTLM needs credentials");
    }
}
