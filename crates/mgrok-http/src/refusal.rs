//! Which requests are refused before anyone answers them.
//!
//! A request that two programs may read differently is how one user gets hold of another's, so it
//! must not reach a backend. hyper refuses what is no HTTP; here is what is HTTP but contradicts
//! itself, or asks for what this proxy does not do.
//!
//! One contradiction cannot be seen here: hyper takes `Content-Length` away from a request that
//! also has `Transfer-Encoding: chunked`, in whichever order, reads the body by its chunks and
//! closes the connection after the answer (RFC 9112, 6.3). What a backend gets is encoded anew, so
//! it has `Transfer-Encoding` alone and nothing of it can be taken for a second request.

use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::http::request::Parts;
use hyper::http::uri::Authority;
use hyper::{Method, StatusCode, Uri, Version};

use crate::request_target::{host_name, split_port};

/// Why a request is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("a CONNECT request has a body")]
    ConnectWithBody,
    #[error("the target and the Host header name different hosts")]
    HostsDiffer,
    #[error("there are several Host headers")]
    HostTwice,
    #[error("the Host header is no host")]
    InvalidHost,
    #[error("the request target does not go with the method")]
    InvalidTarget,
    #[error("there is no Host header")]
    NoHost,
    #[error("CONNECT over HTTP/2 is not supported")]
    Unsupported,
    #[error("the only transfer encoding that is understood is chunked, once")]
    UnknownEncoding,
}

impl Refusal {
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::ConnectWithBody
            | Self::HostsDiffer
            | Self::HostTwice
            | Self::InvalidHost
            | Self::InvalidTarget
            | Self::NoHost
            | Self::UnknownEncoding => StatusCode::BAD_REQUEST,
            Self::Unsupported => StatusCode::NOT_IMPLEMENTED,
        }
    }
}

/// Finds what is wrong with an HTTP/1 request.
pub(crate) fn check(request: &Parts) -> Result<(), Refusal> {
    let headers = &request.headers;
    check_encoding(headers)?;
    check_target(&request.method, &request.uri)?;
    let is_connect = request.method == Method::CONNECT;
    if is_connect && has_body(headers) {
        return Err(Refusal::ConnectWithBody);
    }
    let Some(host) = only_host(headers)? else {
        return if is_connect || request.version == Version::HTTP_10 {
            Ok(())
        } else {
            Err(Refusal::NoHost)
        };
    };
    match request.uri.authority() {
        Some(authority) if !agree(authority.as_str(), host) => Err(Refusal::HostsDiffer),
        Some(_) | None => Ok(()),
    }
}

/// Makes an HTTP/2 request look like one of HTTP/1 that was sent to the same host: the target is a
/// path, the host is a header, and cookies are one header again (RFC 9113, 8.2.3 and 8.3.1).
pub(crate) fn translate(request: &mut Parts) -> Result<(), Refusal> {
    if request.method == Method::CONNECT {
        return Err(Refusal::Unsupported);
    }
    if request.headers.contains_key(header::TRANSFER_ENCODING) {
        return Err(Refusal::UnknownEncoding);
    }
    let host = only_host(&request.headers)?;
    let uri = std::mem::take(&mut request.uri).into_parts();
    if let Some(authority) = &uri.authority {
        if !is_host(authority.as_str()) {
            return Err(Refusal::InvalidHost);
        }
        if host.is_some_and(|host| !agree(authority.as_str(), host)) {
            return Err(Refusal::HostsDiffer);
        }
        let host = HeaderValue::from_str(authority.as_str()).map_err(|_| Refusal::InvalidHost)?;
        request.headers.insert(header::HOST, host);
    } else if host.is_none() {
        return Err(Refusal::NoHost);
    }
    request.uri = uri
        .path_and_query
        .map(Uri::from)
        .ok_or(Refusal::InvalidTarget)?;
    check_target(&request.method, &request.uri)?;
    join_cookies(&mut request.headers);
    Ok(())
}

fn check_encoding(headers: &HeaderMap) -> Result<(), Refusal> {
    let mut encodings = headers.get_all(header::TRANSFER_ENCODING).iter();
    match (encodings.next(), encodings.next()) {
        (None, _) => Ok(()),
        (Some(only), None) if only.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(()),
        (Some(_), _) => Err(Refusal::UnknownEncoding),
    }
}

fn check_target(method: &Method, uri: &Uri) -> Result<(), Refusal> {
    let has_path = uri.path().starts_with('/');
    let fits = match (uri.scheme(), uri.authority()) {
        (Some(_), Some(authority)) => is_host(authority.as_str()) && *method != Method::CONNECT,
        (None, Some(authority)) => *method == Method::CONNECT && is_authority(authority),
        (_, None) if *method == Method::CONNECT => false,
        (_, None) => has_path || (uri.path() == "*" && *method == Method::OPTIONS),
    };
    if fits {
        Ok(())
    } else {
        Err(Refusal::InvalidTarget)
    }
}

/// Whether a CONNECT target is a host with a port.
fn is_authority(authority: &Authority) -> bool {
    is_host(authority.as_str()) && authority.port_u16().is_some()
}

fn has_body(headers: &HeaderMap) -> bool {
    headers.contains_key(header::TRANSFER_ENCODING)
        || headers
            .get(header::CONTENT_LENGTH)
            .is_some_and(|length| length.as_bytes() != b"0")
}

/// The value of the Host header, if there is one.
fn only_host(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let Some(host) = hosts.next() else {
        return Ok(None);
    };
    if hosts.next().is_some() {
        return Err(Refusal::HostTwice);
    }
    match host.to_str() {
        Ok(host) if host.is_empty() || is_host(host) => Ok(Some(host)),
        Ok(_) | Err(_) => Err(Refusal::InvalidHost),
    }
}

/// Whether both are the same host and, if both have a port, the same port.
fn agree(authority: &str, host: &str) -> bool {
    let ports_differ = match (split_port(authority).1, split_port(host).1) {
        (Some(one), Some(other)) => one != other,
        (None, _) | (_, None) => false,
    };
    !ports_differ && host_name(authority) == host_name(host)
}

/// Whether this is a name or an address, with or without a port (RFC 3986, 3.2.2; no user).
fn is_host(host: &str) -> bool {
    let (name, rest) = match host.strip_prefix('[') {
        Some(address) => match address.split_once(']') {
            Some((address, rest)) => (address, rest),
            None => return false,
        },
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    let is_name_valid = !name.is_empty()
        && if host.starts_with('[') {
            name.bytes()
                .all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.'))
        } else {
            name.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(&byte))
        };
    let is_port_valid = match rest.strip_prefix(':') {
        Some(port) => port.bytes().all(|byte| byte.is_ascii_digit()),
        None => rest.is_empty(),
    };
    is_name_valid && is_port_valid
}

fn join_cookies(headers: &mut HeaderMap) {
    let mut cookies = headers.get_all(header::COOKIE).iter();
    let (Some(first), Some(second)) = (cookies.next(), cookies.next()) else {
        return;
    };
    let mut joined = first.as_bytes().to_vec();
    for cookie in std::iter::once(second).chain(cookies) {
        joined.extend_from_slice(b"; ");
        joined.extend_from_slice(cookie.as_bytes());
    }
    // Values joined by valid characters are a valid value.
    if let Ok(joined) = HeaderValue::from_maybe_shared(bytes::Bytes::from(joined)) {
        headers.insert(header::COOKIE, joined);
    }
}

#[cfg(test)]
mod tests;
