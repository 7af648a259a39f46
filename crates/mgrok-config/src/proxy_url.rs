//! The URL of an outbound proxy, taken apart with `url`.
//!
//! The client hands the parts to whoever dials the proxy, so this is the only place that reads the URL. No error quotes the
//! URL, which may hold a password.

use std::str::FromStr;

use mgrok_proto::auth::Secret;
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use url::{ParseError, Url};

/// What `url` would not keep where the URL of a proxy may have it: it removes tabs and line breaks, and reads `\` in
/// `http://DOMAIN\user@proxy` as `/`. RFC 1929 and HTTP's Basic credentials have a place for either.
const ESCAPED: &AsciiSet = &CONTROLS.add(b'\\');

/// The most bytes of a user or a password, RFC 1929 section 2.
const MAX_SOCKS5_CREDENTIAL: usize = 255;

/// An outbound proxy: `scheme://[user[:password]@]host[:port]`. A path or a query means nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyUrl {
    /// How to speak to the proxy.
    pub scheme: ProxyScheme,
    /// A name or an address, without brackets.
    pub host: String,
    /// The port, which depends on the scheme if the URL names none: 80, 443 for `https`, 1080 for `socks5`.
    pub port: u16,
    /// What the proxy wants to know of the client, percent-decoded. NTLM always has credentials.
    pub credentials: Option<ProxyCredentials>,
}

/// How to speak to an outbound proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyScheme {
    /// `CONNECT`, with Basic credentials.
    Http,
    /// `CONNECT` within TLS.
    Https,
    /// `CONNECT`, with an NTLM handshake.
    Ntlm,
    /// RFC 1928.
    Socks5,
}

/// A user and its password, which may be empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyCredentials {
    /// The user. With NTLM it may begin with a domain, as in `DOMAIN\user`.
    pub user: String,
    /// The password.
    pub password: Secret,
}

/// Why a text is no URL of an outbound proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyUrlError {
    /// NTLM does not work without credentials.
    #[error(
        "must have credentials for NTLM, like \"ntlm://DOMAIN%5Cuser:password@proxy.example.com\""
    )]
    Credentials,
    /// A `%` in user or password stands for itself.
    #[error(
        "must have two hex digits after each `%` of user and password; `%25` is the sign itself"
    )]
    Encoding,
    /// The URL has no host, or one that is no name or address.
    #[error(
        "must name a host after `//` (and `user:password@`), like \"http://proxy.example.com:3128\""
    )]
    Host,
    /// The port is no port.
    #[error("must have a port from 1 to 65535, or none")]
    Port,
    /// The scheme is missing or unknown.
    #[error(
        "must begin with \"http://\", \"https://\", \"socks5://\" or \"ntlm://\", like \"http://proxy.example.com:3128\""
    )]
    Scheme,
    /// RFC 1929 has no room for the credentials, or no word for their absence.
    #[error("must have a user and a password of 1 to 255 bytes each for SOCKS5, or neither")]
    Socks5Credentials,
    /// Basic credentials separate user and password by `:`.
    #[error("must not have `:` in its user, which cannot be told to an HTTP proxy")]
    UserColon,
    /// User or password is not UTF-8 once decoded.
    #[error("must have a user and a password that are UTF-8")]
    Utf8,
}

impl ProxyScheme {
    /// The scheme as URLs write it.
    pub fn name(self) -> &'static str {
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

impl FromStr for ProxyUrl {
    type Err = ProxyUrlError;

    fn from_str(text: &str) -> Result<Self, ProxyUrlError> {
        let text = text.trim();
        // `url` would take "http:proxy" for "http://proxy".
        if !text.contains("://") {
            return Err(ProxyUrlError::Scheme);
        }
        let escaped = utf8_percent_encode(text, ESCAPED).to_string();
        let url = Url::parse(&escaped).map_err(|error| match error {
            ParseError::RelativeUrlWithoutBase => ProxyUrlError::Scheme,
            ParseError::InvalidPort => ProxyUrlError::Port,
            _ => ProxyUrlError::Host,
        })?;
        let scheme = [
            ProxyScheme::Http,
            ProxyScheme::Https,
            ProxyScheme::Ntlm,
            ProxyScheme::Socks5,
        ]
        .into_iter()
        .find(|scheme| scheme.name() == url.scheme())
        .ok_or(ProxyUrlError::Scheme)?;
        let host = match url.host_str().map(host).transpose()? {
            Some(host) if !host.is_empty() => host,
            Some(_) | None => return Err(ProxyUrlError::Host),
        };
        let port = match url.port_or_known_default() {
            Some(0) => return Err(ProxyUrlError::Port),
            Some(port) => port,
            None => scheme.default_port(),
        };
        Ok(Self {
            scheme,
            host,
            port,
            credentials: credentials(scheme, &url)?,
        })
    }
}

/// The host as it is looked up. `url` reads only the hosts of `http` and `https` and leaves those of other schemes as they
/// are, percent-encoded.
fn host(text: &str) -> Result<String, ProxyUrlError> {
    match url::Host::parse(text).map_err(|_| ProxyUrlError::Host)? {
        url::Host::Ipv6(ip) => Ok(ip.to_string()),
        url::Host::Ipv4(ip) => Ok(ip.to_string()),
        url::Host::Domain(name) => Ok(name),
    }
}

fn credentials(scheme: ProxyScheme, url: &Url) -> Result<Option<ProxyCredentials>, ProxyUrlError> {
    let (user, password) = (url.username(), url.password());
    if user.is_empty() && password.is_none() {
        return match scheme {
            ProxyScheme::Ntlm => Err(ProxyUrlError::Credentials),
            ProxyScheme::Http | ProxyScheme::Https | ProxyScheme::Socks5 => Ok(None),
        };
    }
    let (user, password) = (decode(user)?, decode(password.unwrap_or_default())?);
    let fits_socks5 = |text: &str| (1..=MAX_SOCKS5_CREDENTIAL).contains(&text.len());
    match scheme {
        ProxyScheme::Socks5 if !fits_socks5(&user) || !fits_socks5(&password) => {
            Err(ProxyUrlError::Socks5Credentials)
        }
        ProxyScheme::Http | ProxyScheme::Https if user.contains(':') => {
            Err(ProxyUrlError::UserColon)
        }
        ProxyScheme::Http | ProxyScheme::Https | ProxyScheme::Ntlm | ProxyScheme::Socks5 => {
            Ok(Some(ProxyCredentials {
                user,
                password: Secret::new(password),
            }))
        }
    }
}

/// Decodes a user or a password. `percent_encoding` leaves a `%` without two hex digits as it is; a password that was not
/// encoded would be refused by the proxy without a word of why.
fn decode(text: &str) -> Result<String, ProxyUrlError> {
    let is_encoded = text.split('%').skip(1).all(|part| {
        let digits = part.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    });
    if !is_encoded {
        return Err(ProxyUrlError::Encoding);
    }
    let decoded = percent_decode_str(text).decode_utf8();
    Ok(decoded.map_err(|_| ProxyUrlError::Utf8)?.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, shown: &str, credentials: Option<(&str, &str)>) {
        let url: ProxyUrl = text.parse().unwrap();
        let got = format!("{}://{}:{}", url.scheme.name(), url.host, url.port);
        assert_eq!(got, shown);
        let got = url.credentials.as_ref();
        let got = got.map(|it| (&*it.user, it.password.expose()));
        assert_eq!(got, credentials);
    }

    #[test]
    fn urls_of_proxies() {
        check("http://proxy", "http://proxy:80", None);
        check("HTTPS://proxy/", "https://proxy:443", None);
        check("http://1.2.3.4:3128/x", "http://1.2.3.4:3128", None);
        check(" http://1.2.3.4:3128/x ", "http://1.2.3.4:3128", None);
        check("socks5://1.2.3.4", "socks5://1.2.3.4:1080", None);
        check("socks5://[::1]", "socks5://::1:1080", None);
        check("socks5://[::1]:1?a=b", "socks5://::1:1", None);
        check("ntlm://u@proxy:", "ntlm://proxy:80", Some(("u", "")));
        check("http://user@proxy:", "http://proxy:80", Some(("user", "")));
        for scheme in ["http", "ntlm"] {
            let url = format!("{scheme}://u@bücher.example:1");
            let shown = format!("{scheme}://xn--bcher-kva.example:1");
            check(&url, &shown, Some(("u", "")));
        }
    }

    #[test]
    fn credentials_are_decoded() {
        check(
            "http://a%20b:p%40%3A%c3%a9:x@proxy:1",
            "http://proxy:1",
            Some(("a b", "p@:é:x")),
        );
        check("http://u:a@b@proxy", "http://proxy:80", Some(("u", "a@b")));
        check("http://u%20s:p@ss@p", "http://p:80", Some(("u s", "p@ss")));
        check("http://u:\té@p", "http://p:80", Some(("u", "\té")));
        check("http://@proxy", "http://proxy:80", None);
        for scheme in ["http", "ntlm"] {
            check(
                &format!(r"{scheme}://DOMAIN\user:p@proxy"),
                &format!("{scheme}://proxy:80"),
                Some((r"DOMAIN\user", "p")),
            );
        }
    }

    #[test]
    fn what_is_none() {
        use ProxyUrlError::{
            Credentials, Encoding, Host, Port, Scheme, Socks5Credentials, UserColon, Utf8,
        };
        let long = format!("socks5://u:{}@proxy", "x".repeat(256));
        for (url, expect) in [
            ("", Scheme),
            ("proxy:3128", Scheme),
            ("//proxy", Scheme),
            ("http:proxy", Scheme),
            ("socks4://proxy", Scheme),
            ("socks4://u:hunter2@proxy", Scheme),
            ("http://", Host),
            ("ntlm://", Host),
            ("http://:80", Host),
            ("http://user:password@", Host),
            ("http://a b", Host),
            ("http://a\tb", Host),
            (r"socks5://a\b", Host),
            ("socks5://a%2fb", Host),
            ("http://[proxy]", Host),
            ("http://[::1", Host),
            ("http://::1", Host),
            ("http://[::1]x", Host),
            ("http://proxy:0", Port),
            ("http://proxy:65536", Port),
            ("http://proxy:80:80", Port),
            ("http://proxy:password", Port),
            ("http://user:50%@proxy", Encoding),
            ("http://user:50%+1@proxy", Encoding),
            ("http://user:50%é@proxy", Encoding),
            ("http://user:%é@proxy", Encoding),
            ("http://user:50%ff@proxy", Utf8),
            ("http://a%3ab:hunter2@proxy", UserColon),
            ("socks5://u@proxy", Socks5Credentials),
            (&long, Socks5Credentials),
            ("ntlm://proxy", Credentials),
            ("ntlm://@proxy", Credentials),
        ] {
            assert_eq!(url.parse::<ProxyUrl>(), Err(expect), "{url}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let url: ProxyUrl = "http://user:hunter2@proxy".parse().unwrap();
        let shown = format!("{url:?}");
        assert!(shown.contains("\"user\", password: ***"), "{shown}");
    }
}
