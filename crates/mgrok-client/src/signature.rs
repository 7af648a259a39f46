//! How the client proves that it knows a token: a signature over the time.

use std::time::{SystemTime, UNIX_EPOCH};

use mgrok_proto::auth::{Secret, sign};

/// A signature with `token`, and the Unix time in seconds that it signs.
pub(crate) fn signed_now(token: &Secret) -> (Secret, i64) {
    let timestamp = now_in_seconds();
    (Secret::new(sign(token, timestamp)), timestamp)
}

/// The Unix time in seconds.
pub(crate) fn now_in_seconds() -> i64 {
    // A clock before 1970 is signed as 1970: servers check the signature, not the time.
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
    since_epoch.map_or(0, |it| i64::try_from(it.as_secs()).unwrap_or(i64::MAX))
}
