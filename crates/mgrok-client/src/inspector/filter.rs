//! Which of the requests that are kept somebody wants to see.

use serde::Deserialize;

use super::entry::{Entry, Header};

/// What an entry has to have. What is left out does not matter.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Filter {
    /// The name of the proxy.
    pub(crate) proxy: Option<String>,
    /// A part of the path.
    pub(crate) path: Option<String>,
    /// In capitals or not.
    pub(crate) method: Option<String>,
    /// `404`, or `4xx` for all that begin so.
    pub(crate) status: Option<String>,
    /// In milliseconds.
    pub(crate) min_duration: Option<u64>,
    /// Of one of the bodies, in bytes.
    pub(crate) min_size: Option<u64>,
    /// The name of a header of either message, or `name:` and a part of its value.
    pub(crate) header: Option<String>,
    /// A part of the path, the query, a header, or the user's address, in capitals or not.
    pub(crate) q: Option<String>,
}

impl Filter {
    /// Whether `entry` has all that.
    pub(crate) fn lets(&self, entry: &Entry) -> bool {
        let is = |wanted: &Option<String>, test: &dyn Fn(&str) -> bool| {
            let wanted = wanted.as_deref().filter(|it| !it.is_empty());
            wanted.is_none_or(test)
        };
        is(&self.proxy, &|it| it == &*entry.proxy)
            && is(&self.path, &|it| entry.path.contains(it))
            && is(&self.method, &|it| entry.method.eq_ignore_ascii_case(it))
            && is(&self.status, &|it| has_status(entry.status, it))
            && self.min_duration.is_none_or(|it| {
                let duration = entry.duration();
                duration.is_some_and(|duration| duration.as_millis() >= it.into())
            })
            && self
                .min_size
                .is_none_or(|it| entry.request_size().max(entry.response_size()) >= it)
            && is(&self.header, &|it| has_header(entry, it))
            && is(&self.q, &|it| has_text(entry, it))
    }
}

fn has_status(status: Option<u16>, wanted: &str) -> bool {
    let status = status.map(|it| it.to_string()).unwrap_or_default();
    match wanted.strip_suffix("xx") {
        Some(class) => !class.is_empty() && status.starts_with(class),
        None => status == wanted,
    }
}

fn headers(entry: &Entry) -> impl Iterator<Item = &Header> {
    entry.request.headers.iter().chain(&entry.response.headers)
}

fn has_header(entry: &Entry, wanted: &str) -> bool {
    let (name, value) = match wanted.split_once(':') {
        Some((name, value)) => (name.trim(), Some(value.trim())),
        None => (wanted.trim(), None),
    };
    headers(entry).any(|it| {
        it.name.eq_ignore_ascii_case(name)
            && value.is_none_or(|value| {
                let has = it.value.as_deref().unwrap_or_default();
                contains(&String::from_utf8_lossy(has), value)
            })
    })
}

fn has_text(entry: &Entry, wanted: &str) -> bool {
    contains(&entry.path, wanted)
        || contains(&entry.remote_addr, wanted)
        || contains(entry.query.as_deref().unwrap_or_default(), wanted)
        || headers(entry).any(|it| {
            let value = it.value.as_deref().unwrap_or_default();
            contains(&it.name, wanted) || contains(&String::from_utf8_lossy(value), wanted)
        })
}

fn contains(text: &str, part: &str) -> bool {
    text.to_lowercase().contains(&part.to_lowercase())
}
