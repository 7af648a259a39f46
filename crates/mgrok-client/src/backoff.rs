//! When to try the server again.
//!
//! Three cases, each with its own pace: the first login of a run, logins after a lost session,
//! and sessions that die soon after a login that worked. The pure part of reconnecting: the time
//! and the dice are passed in.

use std::time::{Duration, Instant};

/// The wait after one failure; each further failure doubles it.
const FIRST_WAIT: Duration = Duration::from_secs(2);
/// The longest wait before the first login has worked: somebody is probably watching the start.
const LONGEST_FIRST_LOGIN: Duration = Duration::from_secs(10);
/// The longest wait once a login has worked.
const LONGEST: Duration = Duration::from_secs(20);
/// A session that outlived the longest wait needs none: the server is not being hammered.
const STEADY: Duration = LONGEST;
/// How often per [`QUICK_WINDOW`] a short session is followed by a quick retry.
const QUICK_RETRIES: u32 = 3;
const QUICK_WINDOW: Duration = Duration::from_secs(60);
const QUICK_WAIT: Duration = Duration::from_millis(200);
/// How much is added to a wait at most, as a share of it, so that the clients of a server that
/// restarted do not come back in step.
const JITTER: f64 = 0.1;
const QUICK_JITTER: f64 = 0.5;

/// Knows how many attempts failed, and how long to wait before the next one.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    logged_in_at: Option<Instant>,
    failed_logins: u32,
    short_sessions: u32,
    quick_since: Option<Instant>,
    quick_retries: u32,
}

impl Backoff {
    /// Takes note of a login that failed. `dice` is in `0.0..1.0`.
    pub(crate) fn login_failed(&mut self, dice: f64) -> Duration {
        let longest = match self.logged_in_at {
            None => LONGEST_FIRST_LOGIN,
            Some(_) => LONGEST,
        };
        self.failed_logins = self.failed_logins.saturating_add(1);
        jittered(doubled(self.failed_logins, longest), JITTER, dice)
    }

    /// Takes note of a login that worked.
    pub(crate) fn logged_in(&mut self, now: Instant) {
        self.logged_in_at = Some(now);
        self.failed_logins = 0;
    }

    /// Takes note of the end of a session. `dice` is in `0.0..1.0`.
    pub(crate) fn session_ended(&mut self, now: Instant, dice: f64) -> Duration {
        let lived = self
            .logged_in_at
            .map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        if lived >= STEADY {
            self.short_sessions = 0;
            return Duration::ZERO;
        }
        let in_window = self
            .quick_since
            .is_some_and(|since| now.saturating_duration_since(since) < QUICK_WINDOW);
        if !in_window {
            self.quick_since = Some(now);
            self.quick_retries = 0;
        }
        if self.quick_retries < QUICK_RETRIES {
            self.quick_retries += 1;
            return jittered(QUICK_WAIT, QUICK_JITTER, dice);
        }
        self.short_sessions = self.short_sessions.saturating_add(1);
        jittered(doubled(self.short_sessions, LONGEST), JITTER, dice)
    }
}

/// [`FIRST_WAIT`] for the first failure, twice that for the second and so on, up to `longest`.
fn doubled(failures: u32, longest: Duration) -> Duration {
    let factor = 1u32
        .checked_shl(failures.saturating_sub(1))
        .unwrap_or(u32::MAX);
    FIRST_WAIT.saturating_mul(factor).min(longest)
}

fn jittered(wait: Duration, share: f64, dice: f64) -> Duration {
    wait + wait.mul_f64(share * dice.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_DICE: f64 = 0.0;

    fn seconds(waits: impl IntoIterator<Item = Duration>) -> Vec<f64> {
        waits.into_iter().map(|it| it.as_secs_f64()).collect()
    }

    #[test]
    fn the_first_login_is_tried_at_most_every_ten_seconds() {
        let mut backoff = Backoff::default();
        let waits = seconds((0..6).map(|_| backoff.login_failed(NO_DICE)));
        assert_eq!(waits, [2.0, 4.0, 8.0, 10.0, 10.0, 10.0]);
    }

    #[test]
    fn a_steady_session_is_followed_at_once_and_then_slower() {
        let start = Instant::now();
        let mut backoff = Backoff::default();
        backoff.logged_in(start);
        let lost = backoff.session_ended(start + STEADY, NO_DICE);
        let failed = (0..6).map(|_| backoff.login_failed(NO_DICE));
        let waits = seconds([lost].into_iter().chain(failed));
        assert_eq!(waits, [0.0, 2.0, 4.0, 8.0, 16.0, 20.0, 20.0]);
    }

    #[test]
    fn a_login_that_works_starts_the_count_again() {
        let start = Instant::now();
        let mut backoff = Backoff::default();
        for _ in 0..4 {
            backoff.login_failed(NO_DICE);
        }
        backoff.logged_in(start);
        backoff.session_ended(start + STEADY, NO_DICE);
        assert_eq!(backoff.login_failed(NO_DICE), FIRST_WAIT);
    }

    #[test]
    fn sessions_that_die_at_once_get_a_few_quick_retries_a_minute() {
        let mut now = Instant::now();
        let mut backoff = Backoff::default();
        let mut waits = Vec::new();
        for _ in 0..12 {
            backoff.logged_in(now);
            let wait = backoff.session_ended(now, NO_DICE);
            waits.push(wait);
            now += wait;
        }
        assert_eq!(
            seconds(waits),
            // The minute of the first quick retries is over after 0.6 + 2 + 4 + 8 + 16 + 20 + 20 s.
            [
                0.2, 0.2, 0.2, 2.0, 4.0, 8.0, 16.0, 20.0, 20.0, 0.2, 0.2, 0.2
            ]
        );
    }

    #[test]
    fn a_steady_session_forgives_short_ones() {
        let start = Instant::now();
        let mut backoff = Backoff::default();
        for _ in 0..8 {
            backoff.logged_in(start);
            backoff.session_ended(start, NO_DICE);
        }
        backoff.logged_in(start);
        assert_eq!(
            backoff.session_ended(start + STEADY, NO_DICE),
            Duration::ZERO
        );
        let later = start + STEADY;
        backoff.logged_in(later);
        assert_eq!(backoff.session_ended(later, NO_DICE), FIRST_WAIT);
    }

    #[test]
    fn jitter_only_adds_and_stays_within_its_share() {
        for (dice, expect) in [(0.0, 2.0), (0.5, 2.1), (1.0, 2.2), (7.0, 2.2)] {
            let wait = Backoff::default().login_failed(dice).as_secs_f64();
            assert!((wait - expect).abs() < 1e-9, "dice {dice}: {wait}");
        }
        let quick = Backoff::default().session_ended(Instant::now(), 1.0);
        assert_eq!(quick, Duration::from_millis(300));
    }

    #[test]
    fn many_failures_do_not_overflow() {
        let mut backoff = Backoff {
            failed_logins: u32::MAX - 1,
            ..Backoff::default()
        };
        for _ in 0..3 {
            assert_eq!(backoff.login_failed(NO_DICE), LONGEST_FIRST_LOGIN);
        }
    }
}
