//! Waiting for a condition, always with a limit.

use std::{
    future::Future,
    time::{Duration, Instant},
};

/// How long anything may take before a test fails: far longer than it does take, so that a busy
/// machine fails nothing, and short enough to show a hang.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How often [`eventually`] looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// The future's result.
///
/// # Panics
/// When it takes longer than `limit`; `what` says what was waited for.
#[track_caller]
pub fn within<F: Future>(
    limit: Duration,
    what: &str,
    future: F,
) -> impl Future<Output = F::Output> {
    let place = std::panic::Location::caller();
    async move {
        match tokio::time::timeout(limit, future).await {
            Ok(output) => output,
            Err(_) => panic!("{what}: not within {limit:?} (at {place})"),
        }
    }
}

/// Asks again and again until the answer is `Some`; for state that cannot be subscribed to.
///
/// # Panics
/// When there is no answer within [`PATIENCE`].
pub async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}
