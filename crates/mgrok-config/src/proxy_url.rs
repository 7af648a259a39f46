//! What the URL of an outbound proxy must look like.
//!
//! Whoever dials the proxy takes the URL apart; here it is only judged, so that mistakes are told with their place in the
//! file. No message quotes what may be a password.

use std::net::Ipv6Addr;

/// Why a text is no URL of an outbound proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProxyUrlError {
    /// NTLM cannot do without.
    #[error(
        "must have credentials for NTLM, like \"ntlm://DOMAIN%5Cuser:password@proxy.example.com\""
    )]
    Credentials,
    /// A `%` in user or password stands for itself.
    #[error(
        "must have two hex digits after each `%` of user and password; `%25` is the sign itself"
    )]
    Encoding,
    /// There is no host, or none that can be one.
    #[error(
        "must name a host after `//` (and `user:password@`), like \"http://proxy.example.com:3128\""
    )]
    Host,
    /// The port is none.
    #[error("must have a port from 1 to 65535, or none")]
    Port,
    /// The scheme is missing or not known.
    #[error(
        "must begin with \"http://\", \"https://\", \"socks5://\" or \"ntlm://\", like \"http://proxy.example.com:3128\""
    )]
    Scheme,
}

/// Checks `scheme://[user[:password]@]host[:port]`. What follows means nothing.
pub(crate) fn check_proxy_url(url: &str) -> Result<(), ProxyUrlError> {
    let (scheme, rest) = url.trim().split_once("://").ok_or(ProxyUrlError::Scheme)?;
    let scheme = scheme.to_ascii_lowercase();
    if !["http", "https", "socks5", "ntlm"].contains(&scheme.as_str()) {
        return Err(ProxyUrlError::Scheme);
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let (user_info, place) = authority.rsplit_once('@').unwrap_or(("", authority));
    check_place(place)?;
    if !is_percent_encoded(user_info) {
        return Err(ProxyUrlError::Encoding);
    }
    if scheme == "ntlm" && user_info.is_empty() {
        return Err(ProxyUrlError::Credentials);
    }
    Ok(())
}

/// Checks `host[:port]`.
fn check_place(place: &str) -> Result<(), ProxyUrlError> {
    let port = match place.strip_prefix('[') {
        Some(rest) => {
            let (addr, rest) = rest.split_once(']').ok_or(ProxyUrlError::Host)?;
            addr.parse::<Ipv6Addr>().map_err(|_| ProxyUrlError::Host)?;
            match rest {
                "" => "",
                _ => rest.strip_prefix(':').ok_or(ProxyUrlError::Port)?,
            }
        }
        None => {
            let (host, port) = place.split_once(':').unwrap_or((place, ""));
            let is_odd = |letter: char| {
                letter.is_whitespace() || letter.is_control() || "[]%\\".contains(letter)
            };
            if host.is_empty() || host.contains(is_odd) {
                return Err(ProxyUrlError::Host);
            }
            port
        }
    };
    // An empty port is the default one, RFC 3986 section 3.2.3.
    match port.parse() {
        Ok(1_u16..) => Ok(()),
        Err(_) if port.is_empty() => Ok(()),
        Ok(0) | Err(_) => Err(ProxyUrlError::Port),
    }
}

fn is_percent_encoded(text: &str) -> bool {
    text.split('%').skip(1).all(|part| {
        let digits = part.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_proxies() {
        for url in [
            "http://proxy",
            "HTTPS://proxy/",
            "http://1.2.3.4:3128/x",
            "socks5://[::1]:1080?a=b",
            "http://user@proxy:",
            "http://u%20s:p@ss@proxy",
            "ntlm://DOMAIN\\user:p@proxy",
        ] {
            assert_eq!(check_proxy_url(url), Ok(()), "{url}");
        }
    }

    #[test]
    fn what_is_none() {
        use ProxyUrlError::{Credentials, Encoding, Host, Port, Scheme};
        for (url, expect) in [
            ("", Scheme),
            ("proxy:3128", Scheme),
            ("//proxy", Scheme),
            ("socks4://proxy", Scheme),
            ("http://", Host),
            ("http://:80", Host),
            ("http://user:password@", Host),
            ("http://a b", Host),
            ("http://[proxy]", Host),
            ("http://[::1", Host),
            ("http://::1", Host),
            ("http://[::1]x", Port),
            ("http://proxy:0", Port),
            ("http://proxy:65536", Port),
            ("http://proxy:80:80", Port),
            ("http://user:50%@proxy", Encoding),
            ("http://user:50%é@proxy", Encoding),
            ("ntlm://proxy", Credentials),
            ("ntlm://@proxy", Credentials),
        ] {
            assert_eq!(check_proxy_url(url), Err(expect), "{url}");
        }
    }
}
