//! What a proxy changes in the headers of a request and of its answer; all else passes as it is.

use hyper::header::{self, Entry, HeaderMap, HeaderName, HeaderValue};
use hyper::http::request;
use hyper::http::uri::Authority;
use hyper::{Uri, Version};

use crate::user::User;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
pub(crate) const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

const CHUNKED: HeaderValue = HeaderValue::from_static("chunked");
const TRAILERS: HeaderValue = HeaderValue::from_static("trailers");
const UPGRADE: HeaderValue = HeaderValue::from_static("Upgrade");

/// Headers that are for one connection only, besides those that `Connection` names.
// frp: this list (Go's net/http/httputil/reverseproxy.go).
static HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    PROXY_CONNECTION,
    KEEP_ALIVE,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// What becomes of `X-Forwarded-For`, `-Host`, `-Proto` and of `Forwarded` that a user sends.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Forwarded {
    /// The user's address is appended to `X-Forwarded-For`, `-Host` and `-Proto` are set, and
    /// `Forwarded` is removed. Of a [proxy that is trusted](User::with_trust), what is there stays, and only what is missing is
    /// set.
    Append {
        /// What users speak to us: `http` or `https`.
        proto: &'static str,
    },
    /// They pass as they are.
    #[default]
    Keep,
    /// They are removed.
    Remove,
}

/// What is changed in the headers of requests and answers, besides what belongs to a connection.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// What becomes of the headers that say for whom a request is forwarded.
    pub forwarded: Forwarded,
    /// The host that backends are told; `None` for the one that the user asked for.
    pub host: Option<HeaderValue>,
    /// Headers of requests that are set after all else. Those that [are fixed](is_fixed) are
    /// ignored.
    pub request_headers: Vec<(HeaderName, HeaderValue)>,
    /// Headers of answers that are set after all else, also of a 101; not of answers that do not
    /// come from the backend. Those that [are fixed](is_fixed) are ignored.
    pub response_headers: Vec<(HeaderName, HeaderValue)>,
}

/// Whether [`Rules`] cannot set this header: it says where a message ends or what the connection is
/// used for, or it is `Host`, for which there is [`Rules::host`].
// frp: setting `Host` has no effect there either, Go takes it from elsewhere; setting `Connection`
// has (Go's net/http/request.go).
pub fn is_fixed(name: &HeaderName) -> bool {
    [header::HOST, header::CONTENT_LENGTH].contains(name) || HOP_BY_HOP.contains(name)
}

impl Rules {
    /// Changes a request that is to be sent to a backend. `has_body`: whether bytes follow it.
    ///
    /// Returns the protocol that the user wants to change to.
    pub(crate) fn apply_to_request(
        &self,
        request: &mut request::Parts,
        has_body: bool,
        user: &User,
    ) -> Option<HeaderValue> {
        let present = Present::of(&request.headers);
        let upgrade = present
            .has_any(Present::UPGRADE)
            .then(|| upgrade(request))
            .flatten();
        let headers = &mut request.headers;
        // Before `Connection` may remove it.
        let forwarded_for = match self.forwarded {
            Forwarded::Append { .. } if present.has_any(Present::FORWARDED) => {
                append(headers, user.ip())
            }
            Forwarded::Append { .. } | Forwarded::Keep | Forwarded::Remove => user.ip().clone(),
        };
        let accepts_trailers =
            present.has_any(Present::TE) && lists(headers, &header::TE, "trailers");
        let trailer = announce(headers, present, has_body);
        remove_hop_by_hop(headers, present);
        if has_body && !headers.contains_key(header::CONTENT_LENGTH) {
            headers.insert(header::TRANSFER_ENCODING, CHUNKED);
            restore(headers, header::TRAILER, trailer);
        }
        if accepts_trailers {
            headers.insert(header::TE, TRAILERS);
        }
        if let Some(protocol) = &upgrade {
            headers.insert(header::CONNECTION, UPGRADE);
            headers.insert(header::UPGRADE, protocol.clone());
        }
        set_missing_host(headers, &request.uri);
        self.set_forwarded(headers, present, forwarded_for, user.is_trusted_proxy());
        if let Some(host) = &self.host {
            rewrite_host(request, host);
        }
        set(&mut request.headers, &self.request_headers);
        request.version = Version::HTTP_11;
        upgrade
    }

    /// Says for whom a request is forwarded, if that is to be said. `present` is what the request came with.
    fn set_forwarded(
        &self,
        headers: &mut HeaderMap,
        present: Present,
        forwarded_for: HeaderValue,
        believes: bool,
    ) {
        match self.forwarded {
            Forwarded::Append { proto } => {
                headers.insert(FORWARDED_FOR, forwarded_for);
                if !believes && present.has_any(Present::FORWARDED) {
                    headers.remove(header::FORWARDED);
                }
                if !believes || !headers.contains_key(FORWARDED_HOST) {
                    let host = headers.get(header::HOST).cloned();
                    restore(headers, FORWARDED_HOST, host);
                }
                if !believes || !headers.contains_key(FORWARDED_PROTO) {
                    headers.insert(FORWARDED_PROTO, HeaderValue::from_static(proto));
                }
            }
            Forwarded::Keep => {}
            Forwarded::Remove if present.has_any(Present::FORWARDED) => {
                for name in [
                    header::FORWARDED,
                    FORWARDED_FOR,
                    FORWARDED_HOST,
                    FORWARDED_PROTO,
                ] {
                    headers.remove(name);
                }
            }
            Forwarded::Remove => {}
        }
    }

    /// Changes an answer that is to be sent to a user. `has_body`: whether bytes follow it.
    /// `upgrade`: the protocol that the connection changes to.
    pub(crate) fn apply_to_response(
        &self,
        headers: &mut HeaderMap,
        has_body: bool,
        upgrade: Option<HeaderValue>,
    ) {
        let present = Present::of(headers);
        let trailer = announce(headers, present, has_body);
        remove_hop_by_hop(headers, present);
        if trailer.is_some() && !headers.contains_key(header::CONTENT_LENGTH) {
            restore(headers, header::TRAILER, trailer);
        }
        if let Some(protocol) = upgrade {
            headers.insert(header::CONNECTION, UPGRADE);
            headers.insert(header::UPGRADE, protocol);
        }
        set(headers, &self.response_headers);
    }
}

/// Which headers that rules are about a message has, found by one look at all of its names. Most messages have few of them, and to
/// look each of them up costs as much as all else that is done here.
#[derive(Clone, Copy)]
struct Present(u16);

impl Present {
    // Bit n is for `HOP_BY_HOP[n]`.
    const CONNECTION: u16 = 1;
    const TE: u16 = 1 << 5;
    const TRAILER: u16 = 1 << 6;
    const UPGRADE: u16 = 1 << 8;
    /// Any that says for whom a request is forwarded.
    const FORWARDED: u16 = 1 << 9;

    fn of(headers: &HeaderMap) -> Self {
        Self(headers.keys().map(Self::bit).fold(0, |all, bit| all | bit))
    }

    fn bit(name: &HeaderName) -> u16 {
        match name.as_str() {
            "connection" => Self::CONNECTION,
            "proxy-connection" => 1 << 1,
            "keep-alive" => 1 << 2,
            "proxy-authenticate" => 1 << 3,
            "proxy-authorization" => 1 << 4,
            "te" => Self::TE,
            "trailer" => Self::TRAILER,
            "transfer-encoding" => 1 << 7,
            "upgrade" => Self::UPGRADE,
            "forwarded" | "x-forwarded-for" | "x-forwarded-host" | "x-forwarded-proto" => {
                Self::FORWARDED
            }
            _ => 0,
        }
    }

    /// Whether the message has a header of one of these bits.
    fn has_any(self, bits: u16) -> bool {
        self.0 & bits != 0
    }

    /// Those of [`HOP_BY_HOP`] that the message has.
    fn hop_by_hop(self) -> impl Iterator<Item = &'static HeaderName> {
        let all = HOP_BY_HOP.iter().enumerate();
        all.filter(move |(n, _)| self.has_any(1 << n))
            .map(|(_, name)| name)
    }
}

/// The protocol that a request wants to change to.
///
/// A change to HTTP/2 is none: what a user asks for after it passes by all routes and passwords.
// frp: passes it on.
fn upgrade(request: &request::Parts) -> Option<HeaderValue> {
    let protocol = request.headers.get(header::UPGRADE)?;
    let is_wanted = request.version == Version::HTTP_11
        && lists(&request.headers, &header::CONNECTION, "upgrade")
        && !protocol.is_empty()
        && !tokens(protocol).any(is_http2);
    is_wanted.then(|| protocol.clone())
}

fn is_http2(protocol: &[u8]) -> bool {
    let name = protocol.split_at_checked(2).map(|(name, _version)| name);
    name.is_some_and(|name| name.eq_ignore_ascii_case(b"h2"))
}

/// The trailers that are announced, if there can be any.
fn announce(headers: &HeaderMap, present: Present, has_body: bool) -> Option<HeaderValue> {
    let is_announced = has_body && present.has_any(Present::TRAILER);
    is_announced.then(|| headers.get(header::TRAILER).cloned())?
}

fn restore(headers: &mut HeaderMap, name: HeaderName, value: Option<HeaderValue>) {
    match value {
        Some(value) => headers.insert(name, value),
        None => headers.remove(name),
    };
}

/// `X-Forwarded-For` with one more address at its end.
fn append(headers: &HeaderMap, ip: &HeaderValue) -> HeaderValue {
    if !headers.contains_key(FORWARDED_FOR) {
        return ip.clone();
    }
    let mut list = Vec::new();
    for value in headers.get_all(FORWARDED_FOR) {
        list.extend_from_slice(value.as_bytes());
        list.extend_from_slice(b", ");
    }
    list.extend_from_slice(ip.as_bytes());
    // Values joined by valid characters are a valid value.
    HeaderValue::from_maybe_shared(bytes::Bytes::from(list)).unwrap_or_else(|_| ip.clone())
}

fn remove_hop_by_hop(headers: &mut HeaderMap, present: Present) {
    let named: Vec<HeaderName> = match present.has_any(Present::CONNECTION) {
        true => headers
            .get_all(header::CONNECTION)
            .iter()
            .flat_map(tokens)
            .filter(|token| !is_plain_option(token))
            .filter_map(|token| HeaderName::from_bytes(token).ok())
            // Not for `Connection` to name (RFC 9110, 7.6.1): without them the message is another one.
            .filter(|name| *name != header::HOST && *name != header::CONTENT_LENGTH)
            .collect(),
        false => Vec::new(),
    };
    for name in &named {
        headers.remove(name);
    }
    for name in present.hop_by_hop() {
        headers.remove(name);
    }
}

/// Whether this option of `Connection` names no header, or one that is removed anyway.
fn is_plain_option(token: &[u8]) -> bool {
    [&b"keep-alive"[..], b"close", b"upgrade"]
        .iter()
        .any(|option| token.eq_ignore_ascii_case(option))
}

/// Whether a header that is a list has `wanted` in it, in any case.
fn lists(headers: &HeaderMap, name: &HeaderName, wanted: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .flat_map(tokens)
        .any(|token| token.eq_ignore_ascii_case(wanted.as_bytes()))
}

pub(crate) fn tokens(value: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    value
        .as_bytes()
        .split(|&byte| byte == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|token| !token.is_empty())
}

/// HTTP/1.1 wants a host, which HTTP/1.0 does not.
fn set_missing_host(headers: &mut HeaderMap, uri: &Uri) {
    if let Entry::Vacant(host) = headers.entry(header::HOST) {
        let authority = uri.authority().map_or("", Authority::as_str);
        if let Ok(authority) = HeaderValue::from_str(authority) {
            host.insert(authority);
        }
    }
}

/// A target that is a whole URL changes with the header, so that they agree.
fn rewrite_host(request: &mut request::Parts, host: &HeaderValue) {
    request.headers.insert(header::HOST, host.clone());
    if request.uri.authority().is_none() {
        return;
    }
    let mut parts = request.uri.clone().into_parts();
    parts.authority = Authority::try_from(host.as_bytes()).ok();
    if let Ok(uri) = Uri::from_parts(parts) {
        request.uri = uri;
    }
}

fn set(headers: &mut HeaderMap, wanted: &[(HeaderName, HeaderValue)]) {
    for (name, value) in wanted {
        if !is_fixed(name) {
            headers.insert(name, value.clone());
        }
    }
}

#[cfg(test)]
mod tests;
