//! Request targets that hyper takes for none, carried past it.
//!
//! Browsers escape what a URL cannot hold, other programs do not: a raw `<`, `"` or a byte of Latin-1 in a path is no danger, and
//! the service may well know what to do with it. hyper refuses such a target. So it is shown an escaped one, which is also what
//! routes are chosen by, and the bytes that came are put back on the way to the service.

use std::borrow::Cow;

use bytes::Bytes;
use hyper::Uri;

/// The longest first line of a request that is looked at, in bytes; hyper refuses longer ones.
pub(crate) const MAX_LINE: usize = crate::MAX_HEAD;

/// A target as it came, and as hyper was shown it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct RawTarget {
    pub(crate) raw: Bytes,
    pub(crate) escaped: Bytes,
}

/// Whether the first line of a request may begin like this, as far as it goes: with a method.
pub(crate) fn may_begin(line: &[u8]) -> bool {
    let mut line = line.iter().copied();
    // Blank lines before it are passed over.
    let mut method = line
        .by_ref()
        .skip_while(|byte| matches!(byte, b'\r' | b'\n'))
        .take_while(|&byte| byte != b' ');
    method.all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// The first line of a request, up to and including its line feed, for hyper: the line itself, or one with an escaped target and
/// what that stands for.
pub(crate) fn for_hyper(line: &[u8]) -> Option<(Vec<u8>, RawTarget)> {
    let (start, end) = target_of(line)?;
    let target = &line[start..end];
    let escaped = match escape(target) {
        Cow::Borrowed(_) => return None,
        Cow::Owned(escaped) => escaped,
    };
    let mut rewritten = Vec::with_capacity(line.len() + escaped.len() - target.len());
    rewritten.extend_from_slice(&line[..start]);
    rewritten.extend_from_slice(&escaped);
    rewritten.extend_from_slice(&line[end..]);
    let target = RawTarget {
        raw: Bytes::copy_from_slice(target),
        escaped: escaped.into(),
    };
    Some((rewritten, target))
}

/// Where the target stands in a line that has the form of a request's first.
fn target_of(line: &[u8]) -> Option<(usize, usize)> {
    let start = line.iter().position(|&byte| byte == b' ')? + 1;
    let end = start + line[start..].iter().position(|&byte| byte == b' ')?;
    let is_request = line[end..].starts_with(b" HTTP/1.");
    (is_request && start > 1 && end > start).then_some((start, end))
}

fn escape(target: &[u8]) -> Cow<'_, [u8]> {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";

    let has_foreign = !target.is_ascii() && std::str::from_utf8(target).is_err();
    let is_odd = |byte: u8| {
        matches!(byte, b'"' | b'#' | b'<' | b'>' | b'`') || (has_foreign && !byte.is_ascii())
    };
    if !target.iter().any(|&byte| is_odd(byte)) {
        return Cow::Borrowed(target);
    }
    let mut escaped = Vec::with_capacity(target.len() + 16);
    for &byte in target {
        if is_odd(byte) {
            let digit = |half: u8| DIGITS[usize::from(half)];
            escaped.extend([b'%', digit(byte >> 4), digit(byte & 15)]);
        } else {
            escaped.push(byte);
        }
    }
    Cow::Owned(escaped)
}

impl RawTarget {
    /// The same for the path and query of `uri` alone; `None` if `uri` is not what hyper made of this target.
    pub(crate) fn of_path(self, uri: &Uri) -> Option<Self> {
        let path = uri.path_and_query()?.as_str().as_bytes();
        let before = self.escaped.len().checked_sub(path.len())?;
        let is_same = self.escaped[before..] == *path
            && self.raw.get(..before) == Some(&self.escaped[..before]);
        is_same.then(|| Self {
            raw: self.raw.slice(before..),
            escaped: self.escaped.slice(before..),
        })
    }

    /// The first line at the front of `head` with the raw target in it, and how long the line was; `None` if the escaped target
    /// does not stand there.
    pub(crate) fn put_back(&self, head: &[u8]) -> Option<(Bytes, usize)> {
        let len = head.iter().position(|&byte| byte == b'\n')? + 1;
        let line = &head[..len];
        let (start, end) = target_of(line)?;
        let at = start + line[start..end].len().checked_sub(self.escaped.len())?;
        if line[at..end] != *self.escaped {
            return None;
        }
        let mut rewritten = Vec::with_capacity(len);
        rewritten.extend_from_slice(&line[..at]);
        rewritten.extend_from_slice(&self.raw);
        rewritten.extend_from_slice(&line[end..]);
        Some((rewritten.into(), len))
    }
}

#[cfg(test)]
mod tests;
