//! The one HTTP request of a health check: as much of HTTP/1.1 as it takes to learn a status.
//!
//! The response is parsed by `httparse`, hyper's parser. It is not hyper's client that asks, because that writes the configured headers
//! in another order and case, and its errors do not show what the service sent instead of HTTP.

use std::fmt::Write;
use std::io;

use bytes::{Buf, BytesMut};
use httparse::{ParserConfig, Status};
use mgrok_net::tcp::{DialError, DialOptions, dial};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::server_text::server_text;

/// The most redirects of one try, as in Go's client.
const MAX_REDIRECTS: usize = 10;
/// The most bytes that are read of a response, none of which are its body.
const MAX_HEAD_LEN: u64 = 1024 * 1024;
/// The headers that a first attempt to parse a response has room for.
const USUAL_HEADERS: usize = 128;
/// The most bytes that an error shows of what is not HTTP.
const MAX_SHOWN: usize = 16;

/// Why a request has not led to a 2xx response.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpError {
    #[error("the service closed the connection before its response was complete")]
    Closed,
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("cannot exchange a request for a response")]
    Io(#[source] io::Error),
    #[error("the response begins with \"{0}\", which is not HTTP/1")]
    NotHttp(String),
    #[error("the response leads to `{0}`, and only plain HTTP to the same host is followed")]
    RedirectElsewhere(String),
    #[error("the response has status {0}, which is not 2xx")]
    Status(u16),
    #[error("the header of the response has more than {MAX_HEAD_LEN} bytes")]
    TooLong,
    #[error("the service has led on {MAX_REDIRECTS} times")]
    TooManyRedirects,
}

/// Asks the service at `host` and `port` for `path`, and for where that may lead; `Ok` if the response
/// is a 2xx.
///
/// Nothing limits the time but the dialling, so the caller has to.
pub(super) async fn get(
    host: &str,
    port: u16,
    path: &str,
    headers: &[(String, String)],
    options: &DialOptions,
) -> Result<(), HttpError> {
    // frp: the last one counts (client/health/health.go#NewMonitor)
    let authority = match headers
        .iter()
        .rfind(|(name, value)| is_host(name) && !value.is_empty())
    {
        Some((_, given)) => given.clone(),
        None if host.contains(':') && !host.starts_with('[') => format!("[{host}]:{port}"),
        None => format!("{host}:{port}"),
    };
    let mut path = path.to_owned();
    for _ in 0..=MAX_REDIRECTS {
        let mut stream = dial(host, port, options).await?;
        let request = request(&authority, &path, headers);
        stream
            .write_all(request.as_bytes())
            .await
            .map_err(HttpError::Io)?;
        match response(stream).await? {
            Response {
                status: 200..=299, ..
            } => return Ok(()),
            Response {
                status: 301 | 302 | 303 | 307 | 308,
                location: Some(location),
            } => {
                path = follow(&authority, &path, &location)
                    .ok_or_else(|| HttpError::RedirectElsewhere(server_text(&location)))?;
            }
            Response { status, .. } => return Err(HttpError::Status(status)),
        }
    }
    Err(HttpError::TooManyRedirects)
}

fn request(authority: &str, path: &str, headers: &[(String, String)]) -> String {
    let mut request = format!("GET {path} HTTP/1.1\r\nHost: {authority}\r\n");
    let mut add = |name: &str, value: &str| {
        // Writing to memory does not fail.
        let _ = write!(request, "{name}: {value}\r\n");
    };
    for (name, value) in headers.iter().filter(|(name, _)| !is_host(name)) {
        add(name, value);
    }
    for (name, value) in [("User-Agent", "mgrok"), ("Connection", "close")] {
        if !headers.iter().any(|it| it.0.eq_ignore_ascii_case(name)) {
            add(name, value);
        }
    }
    request.push_str("\r\n");
    request
}

fn is_host(header: &str) -> bool {
    header.eq_ignore_ascii_case("host")
}

/// What counts of a response.
#[derive(Debug, Eq, PartialEq)]
struct Response {
    status: u16,
    location: Option<String>,
}

/// Reads up to the end of the header of the response, and skips interim responses.
async fn response(stream: TcpStream) -> Result<Response, HttpError> {
    let mut stream = stream.take(MAX_HEAD_LEN);
    let mut head = BytesMut::new();
    loop {
        if let Some((response, len)) = Response::parse(&head)? {
            // A change of protocols is final, if not a success.
            if response.status >= 200 || response.status == 101 {
                return Ok(response);
            }
            head.advance(len);
            continue;
        }
        if stream.read_buf(&mut head).await.map_err(HttpError::Io)? == 0 {
            return Err(match stream.limit() {
                0 => HttpError::TooLong,
                _ => HttpError::Closed,
            });
        }
    }
}

impl Response {
    /// The response at the beginning of `head` and its length; `None` if it is not complete.
    fn parse(head: &[u8]) -> Result<Option<(Self, usize)>, HttpError> {
        let mut parser = ParserConfig::default();
        parser
            .allow_obsolete_multiline_headers_in_responses(true)
            .allow_spaces_after_header_name_in_responses(true)
            .ignore_invalid_headers_in_responses(true);
        let mut headers = vec![httparse::EMPTY_HEADER; USUAL_HEADERS];
        loop {
            let mut response = httparse::Response::new(&mut headers);
            let len = match parser.parse_response(&mut response, head) {
                Ok(Status::Complete(len)) => len,
                Ok(Status::Partial) => return Ok(None),
                Err(httparse::Error::TooManyHeaders) => {
                    // Only the length of the header limits their number.
                    headers = vec![httparse::EMPTY_HEADER; headers.len() * 2];
                    continue;
                }
                Err(_) => return Err(not_http(head)),
            };
            let status = response.code.ok_or_else(|| not_http(head))?;
            let location = response.headers.iter().find(|it| {
                it.name.eq_ignore_ascii_case("location") && !it.value.trim_ascii().is_empty()
            });
            let location =
                location.map(|it| String::from_utf8_lossy(it.value.trim_ascii()).into_owned());
            return Ok(Some((Self { status, location }, len)));
        }
    }
}

fn not_http(head: &[u8]) -> HttpError {
    let begins = &head[..head.len().min(MAX_SHOWN)];
    HttpError::NotHttp(begins.escape_ascii().to_string())
}

/// The path of `location`, relative to `path`; `None` if it leads to another host or scheme, or
/// could not stand in a request.
fn follow(authority: &str, path: &str, location: &str) -> Option<String> {
    let location = location.split('#').next()?;
    if !location.bytes().all(|it| it.is_ascii_graphic()) {
        return None;
    }
    if location.is_empty() {
        return Some(path.to_owned());
    }
    let absolute = location
        .get(..7)
        .filter(|scheme| scheme.eq_ignore_ascii_case("http://"))
        .map(|scheme| &location[scheme.len()..])
        .or_else(|| location.strip_prefix("//"));
    if let Some(absolute) = absolute {
        let (host, path) = absolute.split_at(absolute.find(['/', '?']).unwrap_or(absolute.len()));
        let same = without_port_80(host).eq_ignore_ascii_case(without_port_80(authority));
        return same.then(|| match path.starts_with('/') {
            true => path.to_owned(),
            false => format!("/{path}"),
        });
    }
    if location.starts_with('/') {
        return Some(location.to_owned());
    }
    let before_query = path.split('?').next()?;
    if location.starts_with('?') {
        return Some(format!("{before_query}{location}"));
    }
    if location.split(['/', '?']).next()?.contains(':') {
        return None;
    }
    let directory = &before_query[..=before_query.rfind('/')?];
    Some(format!("{directory}{location}"))
}

fn without_port_80(authority: &str) -> &str {
    authority.strip_suffix(":80").unwrap_or(authority)
}

#[cfg(test)]
mod tests;
