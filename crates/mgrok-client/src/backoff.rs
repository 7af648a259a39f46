//! When to try the server again.
//!
//! One rule: a wait is a share of the trouble so far. So a short outage is followed closely, a long one is hardly lengthened, and
//! the number of attempts grows with the logarithm of its length. No I/O: the time and a random number are passed in.

use std::time::{Duration, Instant};

/// A wait is this part of the trouble so far.
const SHARE: u32 = 4;
/// The shortest wait after a session was lost. A server that is restarted at once is back within some of these.
const SHORTEST: Duration = Duration::from_millis(50);
/// The shortest wait before the first login has worked, and after a login that the server refused: it is there, and will hardly
/// change its mind soon.
const SHORTEST_UNLESS_LOST: Duration = Duration::from_secs(2);
/// The longest wait before the first login has worked: somebody is probably watching the start.
const LONGEST_FIRST_LOGIN: Duration = Duration::from_secs(10);
/// The longest wait once a login has worked.
const LONGEST: Duration = Duration::from_secs(20);
/// No more trouble than this is remembered; it leads to the longest wait.
const MOST_TROUBLE: Duration = LONGEST.saturating_mul(SHARE);
/// What the loss of a session adds to the trouble, so that sessions that die at once are soon followed slowly.
const COST_OF_LOSS: Duration = Duration::from_millis(250);
/// A session that works takes away this many times its life.
const FORGIVENESS: u32 = 4;
/// The shortest time that a dial gets after a session was lost: the round trip of nearly every path. Longer outages allow more.
const SHORTEST_DIAL: Duration = Duration::from_millis(500);

/// Why an attempt to log in failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Failure {
    /// The server refused, or is not acceptable: a short wait changes nothing.
    Refused,
    /// The server is not there, or not ready.
    Unreachable,
}

/// Measures the trouble so far, and computes the wait before the next attempt.
///
/// Every wait is spread between a half and three halves of what the rule gives, so that the clients of a server that restarted do not come back in step.
/// `random` is in `0.0..1.0`.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    has_worked: bool,
    /// Time without a server, less what working sessions took away, as of `since`.
    trouble: Duration,
    /// When the present outage or session began, or the trouble was last counted.
    since: Option<Instant>,
}

impl Backoff {
    /// A login failed. Returns the wait before the next.
    pub(crate) fn login_failed(&mut self, failure: Failure, now: Instant, random: f64) -> Duration {
        self.count(now);
        let shortest = match (self.has_worked, failure) {
            (true, Failure::Unreachable) => SHORTEST,
            (true, Failure::Refused) | (false, _) => SHORTEST_UNLESS_LOST,
        };
        self.wait(shortest, random)
    }

    /// A login worked.
    pub(crate) fn logged_in(&mut self, now: Instant) {
        self.count(now);
        self.has_worked = true;
    }

    /// A session ended. Returns the wait before the next login.
    pub(crate) fn session_ended(&mut self, now: Instant, random: f64) -> Duration {
        let lived = self.elapsed(now);
        self.since = Some(now);
        self.trouble = (self.trouble + COST_OF_LOSS)
            .min(MOST_TROUBLE)
            .saturating_sub(lived.saturating_mul(FORGIVENESS));
        self.wait(SHORTEST, random)
    }

    /// How long an attempt to reach the server may take, apart from its handshakes; `None` is as long as is configured. An
    /// attempt that gets no answer at all, as from a machine that is starting, must not keep the next one back for long.
    pub(crate) fn longest_dial(&self, now: Instant) -> Option<Duration> {
        self.has_worked
            .then(|| (self.trouble + self.elapsed(now)).max(SHORTEST_DIAL))
    }

    /// Adds the time since the last count, in which there was no session.
    fn count(&mut self, now: Instant) {
        self.trouble = (self.trouble + self.elapsed(now)).min(MOST_TROUBLE);
        self.since = Some(now);
    }

    fn elapsed(&self, now: Instant) -> Duration {
        self.since
            .map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    fn wait(&self, shortest: Duration, random: f64) -> Duration {
        let longest = match self.has_worked {
            true => LONGEST,
            false => LONGEST_FIRST_LOGIN,
        };
        (self.trouble / SHARE)
            .clamp(shortest, longest)
            .mul_f64(0.5 + random.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests;
