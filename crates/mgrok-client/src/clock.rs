//! What time it is: for those who wait, and for those who sign.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use mgrok_proto::auth::{Secret, sign};

/// The time as the pure parts take it; tests may stop it.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// A signature with `token`, and the Unix time in seconds that it signs.
pub(crate) fn signed_now(token: &Secret) -> (Secret, i64) {
    // A clock before 1970 is signed as 1970: servers check the signature, not the time.
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
    let timestamp = since_epoch.map_or(0, |it| i64::try_from(it.as_secs()).unwrap_or(i64::MAX));
    (Secret::new(sign(token, timestamp)), timestamp)
}
