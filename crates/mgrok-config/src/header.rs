//! What may stand in a header of HTTP.

use http::{HeaderName, HeaderValue};

/// Why a header cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HeaderError {
    /// The name has other characters than HTTP allows, or none.
    // RFC 9110, 5.6.2
    #[error("the name of a header must have letters, digits and !#$%&'*+-.^_`|~ only")]
    Name,
    /// The value has characters that would end it, or worse.
    // RFC 9110, 5.5
    #[error("the value of a header must not have line breaks or other control characters")]
    Value,
}

/// Checks one header.
pub(crate) fn check_header(name: &str, value: &str) -> Result<(), HeaderError> {
    HeaderName::from_bytes(name.as_bytes()).map_err(|_| HeaderError::Name)?;
    check_value(value)
}

/// Checks the value of a header whose name is known.
pub(crate) fn check_value(value: &str) -> Result<(), HeaderError> {
    match HeaderValue::from_bytes(value.as_bytes()) {
        Ok(_) => Ok(()),
        Err(_) => Err(HeaderError::Value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for name in ["X-From-Where", "x", "!#$%&'*+-.^_`|~09"] {
            assert_eq!(check_header(name, ""), Ok(()), "{name:?}");
        }
        for name in ["", "a b", "a:", "ä", "a\r\n", "(a)", "\"a\""] {
            assert_eq!(check_header(name, ""), Err(HeaderError::Name), "{name:?}");
        }
    }

    #[test]
    fn values() {
        for value in ["", "a b\tc", "ü", "\"(:"] {
            assert_eq!(check_header("x", value), Ok(()), "{value:?}");
        }
        for value in ["a\rb", "a\nb", "\0", "\u{7f}"] {
            let expect = Err(HeaderError::Value);
            assert_eq!(check_header("x", value), expect, "{value:?}");
        }
    }
}
