//! Waiting for a condition, always with a limit.

use std::{future::Future, pin::pin, time::Duration};

/// How long anything may take before a test fails: far longer than it does take, so that a busy
/// machine fails nothing, and short enough to show a hang.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How often [`eventually`] looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// What a limit is counted in.
const STEP: Duration = Duration::from_millis(100);

/// The future's result, if it comes within `limit`. That is counted in steps: on a machine that is so busy that a process has to wait for
/// its turn, each step takes longer, and so does what a test waits for. So a limit is for time in which something could happen.
pub(crate) async fn in_time<F: Future>(limit: Duration, future: F) -> Option<F::Output> {
    tokio::select! {
        biased;
        output = future => Some(output),
        () = run_out(limit) => None,
    }
}

async fn run_out(limit: Duration) {
    let mut left = limit;
    while !left.is_zero() {
        let step = left.min(STEP);
        tokio::time::sleep(step).await;
        left -= step;
    }
}

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
        match in_time(limit, future).await {
            Some(output) => output,
            None => panic!("{what}: not within {limit:?} (at {place})"),
        }
    }
}

/// Asks again and again until the answer is `Some`; for state that cannot be subscribed to.
///
/// # Panics
/// When there is no answer within [`PATIENCE`].
pub async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let mut end = pin!(run_out(PATIENCE));
    let mut is_over = false;
    loop {
        let mut asked = pin!(ask());
        let answer = loop {
            tokio::select! {
                biased;
                answer = &mut asked => break answer,
                () = &mut end, if !is_over => is_over = true,
            }
        };
        if let Some(answer) = answer {
            return answer;
        }
        assert!(!is_over, "{what}: not within {PATIENCE:?}");
        tokio::select! {
            biased;
            () = &mut end => is_over = true,
            () = tokio::time::sleep(LOOK_AGAIN) => {}
        }
    }
}
