//! Attempts that start one after the other, of which the first to work is taken.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

/// What became of a race.
#[derive(Debug)]
pub(crate) struct Outcome<K, T, E> {
    /// The first attempt that worked; `None` if none did.
    pub(crate) first: Option<(K, T)>,
    /// Those that failed before that, in the order in which they did.
    pub(crate) failed: Vec<(K, E)>,
}

/// Starts one attempt after the other: the next when its predecessor's head start is over, or all that were started have failed.
/// The first that works ends the race, and the others are given up.
///
/// `runners` are the attempts, each with its head start over the next. Dropping the future gives up all of them.
pub(crate) async fn race<K, T, E, F>(
    runners: impl IntoIterator<Item = (K, Duration)>,
    attempt: impl Fn(K) -> F,
) -> Outcome<K, T, E>
where
    K: Copy + Send + 'static,
    T: Send + 'static,
    E: Send + 'static,
    F: Future<Output = Result<T, E>> + Send + 'static,
{
    let mut runners = runners.into_iter().peekable();
    let mut running = JoinSet::new();
    let mut failed = Vec::new();
    let mut next_at = Instant::now();
    loop {
        tokio::select! {
            biased;
            Some(ended) = running.join_next() => match ended {
                Ok((key, Ok(result))) => {
                    return Outcome { first: Some((key, result)), failed };
                }
                Ok((key, Err(error))) => {
                    failed.push((key, error));
                    if running.is_empty() {
                        next_at = Instant::now();
                    }
                }
                // The attempt panicked, which is logged; there is no error to return.
                Err(_) => {}
            },
            () = sleep_until(next_at), if runners.peek().is_some() => {
                if let Some((key, head_start)) = runners.next() {
                    let attempt = attempt(key);
                    running.spawn(async move { (key, attempt.await) });
                    next_at = Instant::now() + head_start;
                }
            }
            else => return Outcome { first: None, failed },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::time::sleep;

    use super::*;

    const HEAD_START: Duration = Duration::from_secs(1);

    /// Runs a race in which runner n takes `runners[n]` to come to its result.
    async fn run(
        runners: &[(Duration, Result<(), &'static str>)],
    ) -> (Outcome<usize, (), &'static str>, Duration) {
        let began = Instant::now();
        let starts = (0..runners.len()).map(|it| (it, HEAD_START));
        let outcome = race(starts, |it| {
            let (time, result) = runners[it];
            async move {
                sleep(time).await;
                result
            }
        });
        (outcome.await, began.elapsed())
    }

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_wins_if_it_uses_its_head_start() {
        let (outcome, took) = run(&[(millis(900), Ok(())), (millis(0), Ok(()))]).await;
        assert_eq!(outcome.first, Some((0, ())));
        assert_eq!(took, millis(900));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_one_is_overtaken() {
        let (outcome, took) = run(&[(millis(5000), Ok(())), (millis(100), Ok(()))]).await;
        assert_eq!(outcome.first, Some((1, ())));
        assert!(outcome.failed.is_empty());
        assert_eq!(took, millis(1100));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_one_may_still_win_after_the_others_failed() {
        let (outcome, took) = run(&[(millis(5000), Ok(())), (millis(100), Err("no"))]).await;
        assert_eq!(outcome.first, Some((0, ())));
        assert_eq!(outcome.failed, [(1, "no")]);
        assert_eq!(took, millis(5000));
    }

    #[tokio::test(start_paused = true)]
    async fn failures_are_not_waited_out() {
        let runners = [
            (millis(10), Err("a")),
            (millis(20), Err("b")),
            (millis(30), Ok(())),
        ];
        let (outcome, took) = run(&runners).await;
        assert_eq!(outcome.first, Some((2, ())));
        assert_eq!(outcome.failed, [(0, "a"), (1, "b")]);
        assert_eq!(took, millis(60));
    }

    #[tokio::test(start_paused = true)]
    async fn a_race_without_a_winner_tells_all_failures() {
        let runners = [(millis(3000), Err("a")), (millis(10), Err("b"))];
        let (outcome, _) = run(&runners).await;
        assert_eq!(outcome.first, None);
        assert_eq!(outcome.failed, [(1, "b"), (0, "a")]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_race_of_nobody_ends() {
        let (outcome, _) = run(&[]).await;
        assert!(outcome.first.is_none() && outcome.failed.is_empty());
    }

    #[tokio::test]
    async fn losers_are_given_up() {
        let (given_up, mut noticed) = tokio::sync::mpsc::channel::<()>(1);
        let outcome = race([(0, Duration::ZERO), (1, Duration::ZERO)], |it| {
            let loser = (it == 0).then(|| given_up.clone());
            async move {
                if loser.is_some() {
                    pending::<()>().await;
                }
                Ok::<_, ()>(())
            }
        })
        .await;
        assert_eq!(outcome.first, Some((1, ())));
        drop(given_up);
        assert_eq!(noticed.recv().await, None);
    }
}
