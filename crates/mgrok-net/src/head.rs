//! The head of an HTTP/1.1 message, for connections that only begin as HTTP: a WebSocket, or a tunnel through a proxy.
//!
//! Heads are bounded and owned. Bytes that arrive after a head stay in front of the connection.

use std::io;

use bytes::{Bytes, BytesMut};

use crate::conn::Conn;
use crate::printable::printable;

/// The most bytes of a head, its empty line included. Our heads have a few hundred; the rest is for fields that proxies
/// add.
pub const MAX_HEAD: usize = 16 * 1024;
/// The most header fields of a head.
pub const MAX_FIELDS: usize = 64;

/// Why there is no head.
#[derive(Debug, thiserror::Error)]
pub enum HeadError {
    /// The connection ended before the head was complete.
    #[error("the connection ended before the head of an HTTP message was complete")]
    Closed,
    /// The peer sent something other than HTTP.
    #[error("\"{begins}\" came instead of HTTP")]
    Foreign {
        /// The first bytes that arrived, with unprintable bytes escaped.
        begins: String,
    },
    /// The connection failed.
    #[error("the connection failed")]
    Io(#[source] io::Error),
    /// The head violates the syntax of HTTP.
    #[error("malformed HTTP")]
    Malformed(#[source] httparse::Error),
    /// The head is longer than [`MAX_HEAD`].
    #[error("the head of an HTTP message has more than the {MAX_HEAD} bytes allowed")]
    TooLong,
}

/// The head of a request.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) fields: Fields,
}

/// The head of a response.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    /// The first line for error texts, bounded and printable.
    pub(crate) status_line: String,
    pub(crate) fields: Fields,
}

/// Header fields, in order.
#[derive(Debug, Default)]
pub(crate) struct Fields(Vec<(String, String)>);

impl Request {
    /// Reads a GET request. Has no deadline of its own; not cancel-safe.
    pub(crate) async fn receive_get(conn: &mut Conn) -> Result<Self, HeadError> {
        let head = receive(conn, b"GET ").await?;
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut request = httparse::Request::new(&mut fields);
        request.parse(&head).map_err(HeadError::Malformed)?;
        Ok(Self {
            method: request.method.unwrap_or_default().to_owned(),
            target: request.path.unwrap_or_default().to_owned(),
            fields: Fields::new(request.headers),
        })
    }
}

impl Response {
    /// Reads a response. Has no deadline of its own; not cancel-safe.
    pub(crate) async fn receive(conn: &mut Conn) -> Result<Self, HeadError> {
        let head = receive(conn, b"HTTP/1.").await?;
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut response = httparse::Response::new(&mut fields);
        response.parse(&head).map_err(HeadError::Malformed)?;
        let line = head.split(|&byte| byte == b'\n').next();
        Ok(Self {
            status: response.code.unwrap_or_default(),
            status_line: printable(line.unwrap_or_default().trim_ascii_end()),
            fields: Fields::new(response.headers),
        })
    }
}

impl Fields {
    fn new(parsed: &[httparse::Header<'_>]) -> Self {
        let owned = parsed.iter().map(|field| {
            let value = String::from_utf8_lossy(field.value);
            (field.name.to_owned(), value.trim().to_owned())
        });
        Self(owned.collect())
    }

    /// The values of all fields with this name.
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0
            .iter()
            .filter(move |(it, _)| it.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The value of the first field with this name.
    pub(crate) fn first(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// Whether the comma-separated list in field `name` contains `token`, ignoring case.
    pub(crate) fn lists(&self, name: &str, token: &str) -> bool {
        self.all(name)
            .flat_map(|value| value.split(','))
            .any(|it| it.trim().eq_ignore_ascii_case(token))
    }
}

/// Reads up to the empty line. Fails as soon as the bytes cannot begin with `begin`.
async fn receive(conn: &mut Conn, begin: &[u8]) -> Result<Bytes, HeadError> {
    let mut seen = BytesMut::new();
    loop {
        let chunk = conn.recv().await.map_err(HeadError::Io)?;
        if chunk.is_empty() {
            return Err(HeadError::Closed);
        }
        // The end of the head may be split across two reads.
        let looked_at = seen.len().saturating_sub(3);
        seen.extend_from_slice(&chunk);
        let comparable = seen.len().min(begin.len());
        if seen[..comparable] != begin[..comparable] {
            return Err(HeadError::Foreign {
                begins: printable(&seen),
            });
        }
        let end = end_of_head(&seen[looked_at..]).map(|end| looked_at + end);
        if end.unwrap_or(seen.len()) > MAX_HEAD {
            return Err(HeadError::TooLong);
        }
        if let Some(end) = end {
            conn.unread(seen.split_off(end).freeze());
            return Ok(seen.freeze());
        }
    }
}

/// The number of bytes up to the end of the first empty line.
fn end_of_head(bytes: &[u8]) -> Option<usize> {
    let line_ends = (0..bytes.len()).filter(|&at| bytes[at] == b'\n');
    line_ends.into_iter().find_map(|at| match &bytes[at + 1..] {
        [b'\n', ..] => Some(at + 2),
        [b'\r', b'\n', ..] => Some(at + 3),
        _ => None,
    })
}

#[cfg(test)]
mod tests;
