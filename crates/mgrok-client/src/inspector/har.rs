//! Requests that are kept, as an HTTP Archive 1.2 (<http://www.softwareishard.com/blog/har-12-spec/>), which browsers and other tools read.

use hyper::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::entry::{Entry, Message};
use super::view::{millis, shown, text};

/// The archive of `entries`, of which the first is the oldest.
pub(crate) fn har<'a>(entries: impl Iterator<Item = &'a Entry>) -> Value {
    json!({
        "log": {
            "version": "1.2",
            "creator": {"name": "mgrok", "version": env!("CARGO_PKG_VERSION")},
            "entries": entries.map(of_entry).collect::<Vec<_>>(),
        }
    })
}

fn of_entry(entry: &Entry) -> Value {
    let started_at = i64::try_from(entry.started_at).unwrap_or(i64::MAX);
    let started_at = Timestamp::from_millisecond(started_at).unwrap_or_default();
    let total = entry.duration().map_or(0.0, millis);
    let wait = entry.to_first_byte.map_or(total, millis);
    let host = entry.request.header("host").unwrap_or_default();
    let mut url = format!("http://{host}{}", entry.path);
    if let Some(query) = &entry.query {
        url.push('?');
        url.push_str(query);
    }
    let status = entry.status.and_then(|it| StatusCode::from_u16(it).ok());
    let mut archived = json!({
        "startedDateTime": format!("{started_at:.3}"),
        "time": total,
        "request": {
            "method": entry.method,
            "url": url,
            "httpVersion": entry.http_version,
            "cookies": [],
            "headers": headers(&entry.request),
            "queryString": query(entry.query.as_deref().unwrap_or_default()),
            "headersSize": -1,
            "bodySize": entry.request_size(),
        },
        "response": {
            "status": entry.status.unwrap_or_default(),
            "statusText": status.and_then(|it| it.canonical_reason()).unwrap_or_default(),
            "httpVersion": entry.http_version,
            "cookies": [],
            "headers": headers(&entry.response),
            "content": content(entry),
            "redirectURL": entry.response.header("location").unwrap_or_default(),
            "headersSize": -1,
            "bodySize": entry.response_size(),
        },
        "cache": {},
        "timings": {"send": 0, "wait": wait, "receive": (total - wait).max(0.0)},
        "_proxy": &*entry.proxy,
        "_remoteAddress": entry.remote_addr,
        "_error": entry.progress.end.get().and_then(|it| it.error.as_deref()),
    });
    if let Some(data) = post_data(&entry.request) {
        archived["request"]["postData"] = data;
    }
    archived
}

fn headers(message: &Message) -> Vec<Value> {
    let headers = message.headers.iter().map(shown);
    headers
        .map(|(name, value)| json!({"name": name, "value": value}))
        .collect()
}

fn query(query: &str) -> Vec<Value> {
    let pairs = query.split('&').filter(|it| !it.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            json!({"name": name, "value": value})
        })
        .collect()
}

/// What was sent, if anything was.
fn post_data(message: &Message) -> Option<Value> {
    if message.body.is_empty() {
        return None;
    }
    let (text, encoding) = text(&message.body);
    let mut data = json!({"mimeType": mime_type(message), "text": text});
    if encoding == "base64" {
        // The format has no place for this; what begins so is everybody's own.
        data["_encoding"] = encoding.into();
    }
    Some(data)
}

fn content(entry: &Entry) -> Value {
    let message = &entry.response;
    let (text, encoding) = text(&message.body);
    let mut content = json!({
        "size": entry.response_size(),
        "mimeType": mime_type(message),
        "text": text,
    });
    if encoding == "base64" {
        content["encoding"] = encoding.into();
    }
    if message.is_truncated {
        content["comment"] = "the rest was not kept".into();
    }
    content
}

fn mime_type(message: &Message) -> String {
    message.header("content-type").unwrap_or_default()
}
