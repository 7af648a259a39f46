//! What a request is addressed to: the host, the path and the user that routes are chosen by.
//!
//! Reading an address changes nothing of what is forwarded.

use std::borrow::Cow;

use hyper::header::{self, HeaderMap};
use hyper::{Method, Request, Uri};

use crate::basic::Credentials;

/// What a request is addressed to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RequestTarget<'a> {
    /// The host in lower case, without port, brackets and one dot at its end; empty if the request
    /// names none, as HTTP/1.0 may.
    pub host: Cow<'a, str>,
    /// The decoded path, without the query; an escape that is none stays as it is. Empty for
    /// `CONNECT`.
    pub path: Cow<'a, [u8]>,
    /// What a protected route asks for: from `Proxy-Authorization` if the request
    /// [is proxy style](Self::is_proxy_style), else from `Authorization`.
    pub credentials: Option<Credentials>,
    /// The user that routes are chosen by; empty if the request names none. It is that of the
    /// credentials, and for a proxy-style request without `Proxy-Authorization` the one in
    /// `Authorization`, who has proved nothing.
    pub user: String,
    /// Whether the request addresses us as a proxy: its target is a whole URL, or its method is
    /// `CONNECT`. A refusal is then a 407, not a 401.
    pub is_proxy_style: bool,
}

impl<'a> RequestTarget<'a> {
    /// Reads the address of `request`, which [`serve`](crate::serve) has found to be consistent.
    pub fn of<B>(request: &'a Request<B>) -> Self {
        let uri = request.uri();
        let is_connect = request.method() == Method::CONNECT;
        let is_proxy_style = is_connect || uri.scheme().is_some();
        let path = if is_connect { "" } else { uri.path() };
        let headers = request.headers();
        let proof = if is_proxy_style {
            header::PROXY_AUTHORIZATION
        } else {
            header::AUTHORIZATION
        };
        let parse = |name| headers.get(name).and_then(Credentials::parse);
        let credentials = parse(&proof);
        let named = if headers.contains_key(&proof) {
            credentials.clone()
        } else {
            parse(&header::AUTHORIZATION)
        };
        Self {
            host: host_name(authority(uri, headers).unwrap_or_default()),
            path: decode_path(path),
            credentials,
            user: named.map(|named| named.user).unwrap_or_default(),
            is_proxy_style,
        }
    }
}

/// The name in `host`, a host with or without a port, as routes are registered by: in lower case,
/// without port, brackets and one dot at its end. What is in lower case already is borrowed.
pub fn host_name(host: &str) -> Cow<'_, str> {
    let (name, _) = split_port(host);
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}

/// The name, without brackets, and the port of `authority`, which has `default_port` if it says none; `None` if either cannot be
/// connected to.
pub fn host_and_port(authority: &str, default_port: Option<u16>) -> Option<(&str, u16)> {
    let (host, port) = split_port(authority);
    let port = match port {
        None | Some("") => default_port?,
        // Not what `parse` alone would take: a sign.
        Some(digits) if digits.bytes().all(|it| it.is_ascii_digit()) => digits.parse().ok()?,
        Some(_) => return None,
    };
    (!host.is_empty() && port != 0).then_some((host, port))
}

/// Splits a host into its name, without brackets, and its port, if there is one.
pub(crate) fn split_port(host: &str) -> (&str, Option<&str>) {
    if let Some((name, rest)) = host.strip_prefix('[').and_then(|it| it.split_once(']')) {
        return (name, rest.strip_prefix(':'));
    }
    match host.split_once(':') {
        // More than one colon without brackets is an IPv6 address that lacks them.
        Some((name, port)) if !port.contains(':') => (name, Some(port)),
        Some(_) | None => (host, None),
    }
}

/// The host with its port, as the request has it.
fn authority<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    match uri.authority() {
        Some(authority) => Some(authority.as_str()),
        None => headers.get(header::HOST)?.to_str().ok(),
    }
}

fn decode_path(path: &str) -> Cow<'_, [u8]> {
    let bytes = path.as_bytes();
    if !bytes.contains(&b'%') {
        return Cow::Borrowed(bytes);
    }
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&first, after)) = rest.split_first() {
        match decode_escape(rest) {
            Some(byte) => {
                decoded.push(byte);
                rest = &rest[3..];
            }
            None => {
                decoded.push(first);
                rest = after;
            }
        }
    }
    Cow::Owned(decoded)
}

/// The byte that the escape at the front of `bytes` stands for.
fn decode_escape(bytes: &[u8]) -> Option<u8> {
    let &[b'%', high, low, ..] = bytes else {
        return None;
    };
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(high)? << 4 | digit(low)?).ok()
}

#[cfg(test)]
mod tests;
