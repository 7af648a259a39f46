//! Paths that have one spelling: without empty segments, `.` and `..`.

use std::borrow::Cow;
use std::fmt::Write as _;

/// The one spelling of a decoded path: it begins with a `/`, and has neither empty segments nor `.` and `..`, which take the segment
/// before them away and never lead above the root. A `/` at its end stays. What is clean is borrowed.
// frp: the same (gorilla/mux, cleanPath)
pub fn clean_path(path: &[u8]) -> Cow<'_, [u8]> {
    let mut clean = Vec::with_capacity(path.len() + 1);
    for segment in path.split(|&byte| byte == b'/') {
        match segment {
            b"" | b"." => {}
            b".." => {
                let parent = clean.iter().rposition(|&byte| byte == b'/');
                clean.truncate(parent.unwrap_or(0));
            }
            segment => {
                clean.push(b'/');
                clean.extend_from_slice(segment);
            }
        }
    }
    if clean.is_empty() || path.ends_with(b"/") {
        clean.push(b'/');
    }
    match clean == path {
        true => Cow::Borrowed(path),
        false => Cow::Owned(clean),
    }
}

/// A decoded path as URLs have it: all but letters, digits, `-._~` and `/` is escaped, so that no text of it can be taken for
/// anything else.
pub fn escape_path(path: &[u8]) -> String {
    let mut escaped = String::with_capacity(path.len());
    for &byte in path {
        match byte {
            b'-' | b'.' | b'_' | b'~' | b'/' => escaped.push(char::from(byte)),
            byte if byte.is_ascii_alphanumeric() => escaped.push(char::from(byte)),
            byte => {
                // Writing to a string does not fail.
                let _ = write!(escaped, "%{byte:02X}");
            }
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_paths_become() {
        for (path, expect) in [
            ("/", "/"),
            ("", "/"),
            ("*", "/*"),
            ("/a/b", "/a/b"),
            ("/a/b/", "/a/b/"),
            ("//a///b//", "/a/b/"),
            ("/./a/./b/.", "/a/b"),
            ("/a/../b", "/b"),
            ("/a/..", "/"),
            ("/../../etc/passwd", "/etc/passwd"),
            ("/a/b/../../../c/", "/c/"),
            ("/.../..a/a..", "/.../..a/a.."),
            ("//evil.example/", "/evil.example/"),
        ] {
            assert_eq!(clean_path(path.as_bytes()), expect.as_bytes(), "{path}");
        }
    }

    #[test]
    fn what_urls_have() {
        assert_eq!(escape_path(b"/a b/%2e:\xff?#"), "/a%20b/%252e%3A%FF%3F%23");
    }

    proptest! {
        #[test]
        fn a_clean_path_is_clean_and_stays(path in "[/.a%\\x00]{0,12}") {
            let clean = clean_path(path.as_bytes());
            prop_assert!(clean.starts_with(b"/"));
            let inner = clean.strip_prefix(b"/").unwrap_or_default();
            let inner = inner.strip_suffix(b"/").unwrap_or(inner);
            for segment in inner.split(|&byte| byte == b'/') {
                prop_assert!(inner.is_empty() || !segment.is_empty());
                prop_assert!(segment != b"." && segment != b"..");
            }
            let again = clean_path(&clean);
            prop_assert!(matches!(again, Cow::Borrowed(_)));
        }
    }
}
