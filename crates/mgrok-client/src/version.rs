//! Versions of what can be changed at the admin port, by which two who change it at once find out (`ETag`, `If-Match`; RFC 9110, 13.1.1).

use std::fmt::Write as _;

use aws_lc_rs::digest::{SHA256, digest};
use mgrok_admin::{Answer, HeaderMap, HeaderValue, Refusal, StatusCode, header};

/// How much of the hash is told, in bytes.
const LEN: usize = 16;

/// The version of some bytes: equal for equal bytes alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Version(String);

impl Version {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let mut tag = "\"".to_owned();
        for byte in digest(&SHA256, bytes).as_ref().iter().take(LEN) {
            // A string takes whatever is written.
            let _ = write!(tag, "{byte:02x}");
        }
        tag.push('"');
        Self(tag)
    }

    /// Tells the version with an answer.
    pub(crate) fn add_to(&self, answer: Answer) -> Answer {
        match HeaderValue::from_str(&self.0) {
            Ok(value) => answer.with_header(header::ETAG, value),
            Err(_) => answer,
        }
    }
}

/// Which versions a request is about.
#[derive(Clone, Debug, Default)]
pub(crate) struct Condition {
    /// The values of `If-Match`; `None` is whatever there is.
    if_match: Option<Vec<String>>,
}

impl Condition {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let values = headers.get_all(header::IF_MATCH).iter();
        let texts = values.map(|it| it.to_str().unwrap_or_default());
        let tags: Vec<String> = texts
            .flat_map(|text| text.split(','))
            .map(|tag| tag.trim().to_owned())
            .collect();
        let if_match = headers.contains_key(header::IF_MATCH).then_some(tags);
        Self { if_match }
    }

    /// # Errors
    /// If the request is not about `current`, which is `None` if there is nothing.
    pub(crate) fn check(&self, current: Option<&Version>) -> Result<(), Changed> {
        let Some(tags) = &self.if_match else {
            return Ok(());
        };
        let meant = current
            .is_some_and(|Version(current)| tags.iter().any(|tag| tag == "*" || tag == current));
        meant.then_some(()).ok_or(Changed)
    }
}

/// Somebody else was faster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "it has changed since it was read: read it again, and make the change in what is there now"
)]
pub(crate) struct Changed;

impl From<Changed> for Refusal {
    fn from(changed: Changed) -> Self {
        Self::new(StatusCode::PRECONDITION_FAILED, changed.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(if_match: &[&'static str]) -> Condition {
        let values = if_match.iter().map(|it| HeaderValue::from_static(it));
        let headers: HeaderMap = values.map(|value| (header::IF_MATCH, value)).collect();
        Condition::of(&headers)
    }

    #[test]
    fn a_condition_is_met_by_what_it_names() {
        let (one, two) = (Version::of(b"one"), Version::of(b"two"));
        assert_eq!(one, Version::of(b"one"));
        assert_eq!(one.0.len(), 2 * LEN + 2);
        let check = |if_match: &[&'static str], current, expect| {
            assert_eq!(condition(if_match).check(current), expect, "{if_match:?}");
        };
        check(&[], None, Ok(()));
        check(&[], Some(&one), Ok(()));
        check(&["*"], Some(&one), Ok(()));
        check(&["*"], None, Err(Changed));
        let tag: &'static str = one.0.clone().leak();
        check(&[tag], Some(&one), Ok(()));
        check(&[tag], Some(&two), Err(Changed));
        check(&["\"x\"", tag], Some(&one), Ok(()));
        check(&[format!("\"x\", {tag}").leak()], Some(&one), Ok(()));
        check(&[format!("W/{tag}").leak()], Some(&one), Err(Changed));
        check(&[""], Some(&one), Err(Changed));
    }
}
