//! The one HTTP request of a health check: as much of HTTP/1.1 as it takes to learn a status.

use std::fmt::Write;
use std::io;

use bytes::{Buf, BytesMut};
use mgrok_net::tcp::{DialError, DialOptions, dial};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::server_text::server_text;

/// How often a try is led on. The same limit as that of Go's client.
const MAX_REDIRECTS: usize = 10;
/// The most bytes that are read of a response, none of which are its body.
const MAX_HEAD_LEN: u64 = 1024 * 1024;
/// What every response begins with.
const PROTOCOL: &[u8] = b"HTTP/1.";
/// Where the status stands in the first line, behind the minor version and a space.
const STATUS_AT: usize = PROTOCOL.len() + 2;
/// Of one response that is none, so many bytes are told.
const MAX_TOLD: usize = 16;

/// Why a request has not led to a 2xx response.
#[derive(Debug, thiserror::Error)]
pub(super) enum HttpError {
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

/// Reads up to the end of the header of the response, passing over those that announce another.
async fn response(stream: TcpStream) -> Result<Response, HttpError> {
    let mut stream = stream.take(MAX_HEAD_LEN);
    let mut head = BytesMut::new();
    let mut searched = 0;
    loop {
        let begun = head.len().min(PROTOCOL.len());
        if head[..begun] != PROTOCOL[..begun] {
            return Err(not_http(&head));
        }
        if let Some(end) = head_end(&head, searched) {
            let response = Response::parse(&head[..end])?;
            // A change of protocols is an end, if not a good one.
            if response.status >= 200 || response.status == 101 {
                return Ok(response);
            }
            head.advance(end);
            searched = 0;
            continue;
        }
        // The end may have begun to arrive.
        searched = head.len().saturating_sub(2);
        if stream.read_buf(&mut head).await.map_err(HttpError::Io)? == 0 {
            return Err(match stream.limit() {
                0 => HttpError::TooLong,
                _ => HttpError::Closed,
            });
        }
    }
}

/// Where the header ends, if that is at a line end not before `from`. Bare line feeds will do.
fn head_end(bytes: &[u8], from: usize) -> Option<usize> {
    let line_ends = (from..bytes.len()).filter(|at| bytes[*at] == b'\n');
    line_ends
        .map(|at| at + 1)
        .find_map(|next| match &bytes[next..] {
            [b'\n', ..] => Some(next + 1),
            [b'\r', b'\n', ..] => Some(next + 2),
            _ => None,
        })
}

impl Response {
    fn parse(head: &[u8]) -> Result<Self, HttpError> {
        let mut lines = head.split(|it| *it == b'\n').map(<[u8]>::trim_ascii_end);
        let first = lines.next().unwrap_or_default();
        let status = first
            .get(STATUS_AT..)
            .filter(|_| first[STATUS_AT - 1] == b' ')
            .and_then(|rest| rest.split(|it| *it == b' ').next())
            .filter(|word| word.len() == 3 && word.iter().all(u8::is_ascii_digit))
            .and_then(|word| std::str::from_utf8(word).ok()?.parse().ok())
            .ok_or_else(|| not_http(head))?;
        let location = lines.find_map(|line| {
            let colon = line.iter().position(|it| *it == b':')?;
            let value = line[colon + 1..].trim_ascii();
            // Some write a space before the colon.
            let is_location = line[..colon]
                .trim_ascii_end()
                .eq_ignore_ascii_case(b"location");
            (is_location && !value.is_empty()).then(|| String::from_utf8_lossy(value).into_owned())
        });
        Ok(Self { status, location })
    }
}

fn not_http(head: &[u8]) -> HttpError {
    let begins = &head[..head.len().min(MAX_TOLD)];
    HttpError::NotHttp(begins.escape_ascii().to_string())
}

/// The path that `location` leads to from `path`; `None` if it leads to another host or scheme, or
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
