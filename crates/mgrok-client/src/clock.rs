//! The time as modules without I/O take it.

use std::time::Instant;

/// The time now; tests may stop it.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
