//! Basic credentials: reading and comparing them, and asking for them.

use std::hint::black_box;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};

use crate::body::Body;
use crate::text_answer::text_answer;

/// frp: standard alphabet, padding required, bits beyond the last byte ignored (Go's
/// `Request.BasicAuth`).
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical)
        .with_decode_allow_trailing_bits(true),
);

/// The scheme and the space after it.
const SCHEME: &[u8] = b"Basic ";

/// What a browser shows above the form.
const CHALLENGE: HeaderValue = HeaderValue::from_static("Basic realm=\"Restricted\"");

/// A user name and a password. Its `Debug` form leaves the password out.
#[derive(Clone, Eq, PartialEq)]
pub struct Credentials {
    /// The user's name.
    pub user: String,
    /// The user's password.
    pub password: String,
}

impl Credentials {
    /// Reads the value of an `Authorization` or `Proxy-Authorization` header. The scheme may be in
    /// any case; the password begins after the first colon.
    ///
    /// `None` if it is not of the Basic scheme, is malformed, or is not UTF-8 and so cannot equal
    /// what a configuration holds.
    pub fn parse(value: &HeaderValue) -> Option<Self> {
        let (scheme, encoded) = value.as_bytes().split_at_checked(SCHEME.len())?;
        if !scheme.eq_ignore_ascii_case(SCHEME) {
            return None;
        }
        let decoded = String::from_utf8(BASE64.decode(encoded).ok()?).ok()?;
        let (user, password) = decoded.split_once(':')?;
        Some(Self {
            user: user.to_owned(),
            password: password.to_owned(),
        })
    }

    /// Whether these are the credentials asked for. The time this takes tells nothing but lengths.
    pub fn match_with(&self, user: &str, password: &str) -> bool {
        // Not `&&`, which would tell a known user from an unknown one.
        equal(&self.user, user) & equal(&self.password, password)
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("user", &self.user)
            .field("password", &format_args!("***"))
            .finish()
    }
}

/// Compares without stopping at the first difference.
fn equal(a: &str, b: &str) -> bool {
    let differences = a.bytes().zip(b.bytes()).fold(0, |all, (a, b)| {
        // Keeps the compiler from finding a way to stop early.
        black_box(all | (a ^ b))
    });
    a.len() == b.len() && differences == 0
}

/// Asks for credentials: 401, or 407 if the request `is_proxy_style`.
// frp: the status text as body (pkg/util/vhost/http.go#ServeHTTP; Go's `Error`).
pub fn ask_for_credentials(is_proxy_style: bool) -> Response<Body> {
    let (status, challenge, text): (StatusCode, HeaderName, &'static str) = if is_proxy_style {
        (
            StatusCode::PROXY_AUTHENTICATION_REQUIRED,
            header::PROXY_AUTHENTICATE,
            "Proxy Authentication Required\n",
        )
    } else {
        (
            StatusCode::UNAUTHORIZED,
            header::WWW_AUTHENTICATE,
            "Unauthorized\n",
        )
    };
    let mut response = text_answer(status, text);
    response.headers_mut().insert(challenge, CHALLENGE);
    response
}

#[cfg(test)]
mod tests;
