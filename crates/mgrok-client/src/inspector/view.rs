//! Requests that are kept, as the admin port answers them.

use std::borrow::Cow;
use std::sync::atomic::Ordering;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mgrok_admin::Column;
use serde::Serialize;

use super::entry::{Entry, Header, Message};

/// What stands in place of a value that is not kept.
pub(super) const REDACTED: &str = "***";

/// An entry in a list.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Summary<'a> {
    id: u64,
    proxy: &'a str,
    remote_addr: &'a str,
    /// In milliseconds since 1970.
    started_at: u64,
    /// In milliseconds; `None` while it goes on.
    duration: Option<f64>,
    timing: Timing,
    method: &'a str,
    path: &'a str,
    query: &'a str,
    http_version: &'a str,
    status: Option<u16>,
    request_size: u64,
    response_size: u64,
    replay_of: Option<u64>,
    websocket: Option<Frames>,
    error: Option<&'a str>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Timing {
    to_first_byte: Option<f64>,
    total: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Frames {
    received: u64,
    sent: u64,
}

/// An entry with its headers and bodies.
#[derive(Debug, Serialize)]
pub(crate) struct Detail<'a> {
    #[serde(flatten)]
    summary: Summary<'a>,
    request: MessageView<'a>,
    response: MessageView<'a>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct MessageView<'a> {
    headers: Vec<(&'a str, Cow<'a, str>)>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    trailers: Vec<(&'a str, Cow<'a, str>)>,
    body: Cow<'a, str>,
    body_encoding: &'static str,
    truncated: bool,
}

impl<'a> Summary<'a> {
    /// What a list of them can be sorted by.
    pub(crate) fn columns() -> [Column<Self>; 8] {
        [
            ("path", |a, b| (a.path, a.query).cmp(&(b.path, b.query))),
            ("method", |a, b| a.method.cmp(b.method)),
            ("status", |a, b| a.status.cmp(&b.status)),
            ("proxy", |a, b| a.proxy.cmp(b.proxy)),
            ("remoteAddr", |a, b| a.remote_addr.cmp(b.remote_addr)),
            ("startedAt", |a, b| a.started_at.cmp(&b.started_at)),
            ("duration", |a, b| a.lasted().total_cmp(&b.lasted())),
            ("responseSize", |a, b| a.response_size.cmp(&b.response_size)),
        ]
    }

    /// What goes on is longer than all that is over.
    fn lasted(&self) -> f64 {
        self.duration.unwrap_or(f64::INFINITY)
    }

    pub(crate) fn of(entry: &'a Entry) -> Self {
        let progress = &entry.progress;
        let end = progress.end.get();
        let duration = end.map(|it| millis(it.duration));
        Self {
            id: entry.id,
            proxy: &entry.proxy,
            remote_addr: &entry.remote_addr,
            started_at: entry.started_at,
            duration,
            timing: Timing {
                to_first_byte: entry.to_first_byte.map(millis),
                total: duration,
            },
            method: &entry.method,
            path: &entry.path,
            query: entry.query.as_deref().unwrap_or_default(),
            http_version: entry.http_version,
            status: entry.status,
            request_size: entry.request_size(),
            response_size: entry.response_size(),
            replay_of: entry.replay_of,
            websocket: progress.is_websocket.get().map(|()| Frames {
                received: progress.frames_received.load(Ordering::Relaxed),
                sent: progress.frames_sent.load(Ordering::Relaxed),
            }),
            error: end.and_then(|it| it.error.as_deref()),
        }
    }
}

impl<'a> Detail<'a> {
    pub(crate) fn of(entry: &'a Entry) -> Self {
        Self {
            summary: Summary::of(entry),
            request: MessageView::of(&entry.request),
            response: MessageView::of(&entry.response),
        }
    }
}

impl<'a> MessageView<'a> {
    fn of(message: &'a Message) -> Self {
        let (body, body_encoding) = text(&message.body);
        Self {
            headers: message.headers.iter().map(shown).collect(),
            trailers: message.trailers.iter().map(shown).collect(),
            body,
            body_encoding,
            truncated: message.is_truncated,
        }
    }
}

/// The name and the value of a header, as far as it is kept.
pub(super) fn shown(header: &Header) -> (&str, Cow<'_, str>) {
    let value = match &header.value {
        Some(value) => String::from_utf8_lossy(value),
        None => REDACTED.into(),
    };
    (&header.name, value)
}

impl Message {
    /// Its headers, as a person is shown them.
    pub(crate) fn shown_headers(&self) -> Vec<(String, String)> {
        let shown = self.headers.iter().map(shown);
        shown
            .map(|(name, value)| (name.to_owned(), value.into_owned()))
            .collect()
    }
}

/// A body as a text of JSON, and what it has to be read as.
pub(super) fn text(body: &[u8]) -> (Cow<'_, str>, &'static str) {
    match std::str::from_utf8(body) {
        Ok(text) => (text.into(), "utf8"),
        Err(_) => (STANDARD.encode(body).into(), "base64"),
    }
}

/// Milliseconds with their thousandths.
pub(super) fn millis(duration: Duration) -> f64 {
    let micros = u32::try_from(duration.as_micros()).unwrap_or(u32::MAX);
    f64::from(micros) / 1000.0
}
