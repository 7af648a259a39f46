//! Shared secrets and the signatures made with them.
//!
//! A signature is the MD5 of the secret followed by a time. It keeps the secret off the wire and does no more: frp checks no
//! freshness, so whoever can read one may replay it. Confidentiality is TLS's business.

use std::fmt;

use aws_lc_rs::constant_time;
use md5::{Digest, Md5};

/// A word that must not be shown: prints as `***`, compares in constant time.
#[derive(Clone, Default)]
pub struct Secret(String);

impl Secret {
    /// Takes `text` out of sight.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself, for whoever signs with it, derives from it or sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether there is no secret at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Eq for Secret {}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        same(&self.0, &other.0)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

/// Signs `timestamp` (Unix seconds): 32 lower-case hex digits for `privilege_key` and `sign_key`.
pub fn sign(secret: &Secret, timestamp: i64) -> String {
    let digest = Md5::new()
        .chain_update(secret.expose())
        .chain_update(timestamp.to_string())
        .finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether `key` signs `timestamp`; takes the same time whichever byte is wrong.
pub fn verify(secret: &Secret, timestamp: i64, key: &str) -> bool {
    same(&sign(secret, timestamp), key)
}

/// Compares in a time that depends on the lengths only.
fn same(left: &str, right: &str) -> bool {
    constant_time::verify_slices_are_equal(left.as_bytes(), right.as_bytes()).is_ok()
}
