//! What may stand in a proxy's annotations: the rules of Kubernetes, which both ends check.

use std::collections::BTreeMap;

/// The most bytes that all keys and values of one proxy may have together.
// frp: the same
const MAX_TOTAL: usize = 262_144;
/// The longest part of a key before the `/`: the longest name in DNS.
const MAX_PREFIX: usize = 253;
/// The longest part of a key after the `/`.
const MAX_NAME: usize = 63;

/// Why annotations are refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnnotationError {
    /// The part of a key after the `/`, or a key without one, is not a name.
    #[error(
        "annotation key {0:?} must have a name of 1 to 63 letters, digits, `-`, `_` and `.` that starts and ends with a letter or digit"
    )]
    Name(String),
    /// The part of a key before the `/` is not a domain.
    #[error("annotation key {0:?} must have nothing but a domain name before the `/`")]
    Prefix(String),
    /// There is too much of it.
    #[error("annotations must not have more than {MAX_TOTAL} bytes in total, not {0}")]
    TooLong(usize),
}

/// Checks a proxy's annotations: keys are names that a domain and a `/` may precede, and all of it has a bounded size.
pub fn check_annotations(annotations: &BTreeMap<String, String>) -> Result<(), AnnotationError> {
    for key in annotations.keys() {
        check_key(key)?;
    }
    let total = annotations
        .iter()
        .map(|(key, value)| key.len() + value.len())
        .sum();
    if total > MAX_TOTAL {
        return Err(AnnotationError::TooLong(total));
    }
    Ok(())
}

fn check_key(key: &str) -> Result<(), AnnotationError> {
    let name = match key.split_once('/') {
        Some((prefix, name)) => {
            if !is_domain(prefix) {
                return Err(AnnotationError::Prefix(key.to_owned()));
            }
            name
        }
        None => key,
    };
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if name.len() > MAX_NAME || !is_word(name, inner) {
        return Err(AnnotationError::Name(key.to_owned()));
    }
    Ok(())
}

/// Whether `text` is a domain name, in any capitals.
fn is_domain(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    text.len() <= MAX_PREFIX && text.split('.').all(|label| is_word(label, inner))
}

/// Whether `text` has only `inner` bytes and a letter or digit at both ends.
fn is_word(text: &str, inner: impl Fn(u8) -> bool) -> bool {
    let bytes = text.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    first.is_ascii_alphanumeric()
        && last.is_ascii_alphanumeric()
        && bytes.iter().copied().all(inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys() {
        let longest_name = "n".repeat(63);
        let longest = format!("{}/{longest_name}", "d".repeat(253));
        for key in ["a", "A-b_c.d", "9", "example.com/Name", &longest] {
            assert_eq!(check_key(key), Ok(()), "{key:?}");
        }
        let too_long_name = "n".repeat(64);
        for key in ["", "-a", "a_", "a b", "ä", "x/", "x/a/b", &too_long_name] {
            assert_eq!(check_key(key), Err(AnnotationError::Name(key.to_owned())));
        }
        let too_long_prefix = format!("{}/n", "d".repeat(254));
        for key in ["/n", "a_b/n", "-a/n", "a..b/n", ".a/n", &too_long_prefix] {
            assert_eq!(check_key(key), Err(AnnotationError::Prefix(key.to_owned())));
        }
    }

    #[test]
    fn total() {
        let mut annotations = BTreeMap::from([("k".to_owned(), "v".repeat(MAX_TOTAL - 1))]);
        assert_eq!(check_annotations(&annotations), Ok(()));
        annotations.insert("l".to_owned(), String::new());
        let expect = Err(AnnotationError::TooLong(MAX_TOTAL + 1));
        assert_eq!(check_annotations(&annotations), expect);
    }
}
