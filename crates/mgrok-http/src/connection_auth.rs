//! Authentication that logs in a connection and not a request: NTLM, and Negotiate (RFC 4559), which may be NTLM.
//!
//! Whoever sends a request on such a connection later is taken for the user who logged in, so that it must not be shared.

use hyper::header::{self, HeaderMap, HeaderValue};

const SCHEMES: [&[u8]; 2] = [b"NTLM", b"Negotiate"];

/// Whether a request logs in the connection that it is sent on.
pub(crate) fn is_in_request(headers: &HeaderMap) -> bool {
    headers.get_all(header::AUTHORIZATION).iter().any(begins)
}

/// Whether an answer is part of a login of its connection, or asks for one.
pub(crate) fn is_in_answer(headers: &HeaderMap) -> bool {
    let challenges = headers.get_all(header::WWW_AUTHENTICATE);
    // Several may share a header, and what divides them also divides their parameters.
    challenges.iter().any(|value| {
        let mut parts = value.as_bytes().split(|&byte| byte == b',');
        parts.any(is_scheme)
    })
}

fn begins(value: &HeaderValue) -> bool {
    is_scheme(value.as_bytes())
}

/// Whether this begins with one of the schemes.
fn is_scheme(part: &[u8]) -> bool {
    let part = part.trim_ascii_start();
    let scheme = part.split(|&byte| byte == b' ' || byte == b'\t').next();
    scheme.is_some_and(|it| SCHEMES.iter().any(|scheme| it.eq_ignore_ascii_case(scheme)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: &'static str, in_request: bool, in_answer: bool) {
        let headers = |name| HeaderMap::from_iter([(name, HeaderValue::from_static(value))]);
        assert_eq!(
            is_in_request(&headers(header::AUTHORIZATION)),
            in_request,
            "{value}"
        );
        assert_eq!(
            is_in_answer(&headers(header::WWW_AUTHENTICATE)),
            in_answer,
            "{value}"
        );
    }

    #[test]
    fn schemes_that_log_in_a_connection_are_known_in_any_case() {
        check("NTLM", true, true);
        check("ntlm TlRMTVNTUAAB", true, true);
        check("Negotiate YII=", true, true);
        check("NEGOTIATE", true, true);
        check("Basic realm=\"NTLM\"", false, false);
        check("Basic realm=\"a\", NTLM", false, true);
        check("NTLMv2 x", false, false);
        check("Bearer x", false, false);
        check("", false, false);
    }
}
