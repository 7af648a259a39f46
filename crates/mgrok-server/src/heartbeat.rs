//! When is a client gone: the heartbeat of one session, as pure state.

use std::time::{Duration, Instant};

/// Knows when a client was last heard. Asks nobody for the time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heartbeat {
    heard_at: Instant,
    timeout: Option<Duration>,
}

impl Heartbeat {
    /// The login counts as the first sign of life. Without a `timeout` the
    /// client is never given up here; the multiplexer's keepalive then watches.
    pub(crate) fn new(now: Instant, timeout: Option<Duration>) -> Self {
        Self {
            heard_at: now,
            timeout,
        }
    }

    /// Takes note of a valid heartbeat.
    pub(crate) fn heard(&mut self, now: Instant) {
        self.heard_at = now;
    }

    /// Does not count a time in which the client could not be heard.
    pub(crate) fn excuse(&mut self, deaf: Duration) {
        self.heard_at += deaf;
    }

    /// When to give the client up unless it is heard before; `None` is never.
    pub(crate) fn gone_at(&self) -> Option<Instant> {
        self.timeout.map(|timeout| self.heard_at + timeout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heartbeat_moves_the_deadline() {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::new(start, Some(Duration::from_secs(90)));
        assert_eq!(
            heartbeat.gone_at(),
            Some(start + Duration::from_secs(90)),
            "the login counts"
        );
        heartbeat.heard(start + Duration::from_secs(60));
        assert_eq!(heartbeat.gone_at(), Some(start + Duration::from_secs(150)));
    }

    #[test]
    fn a_time_in_which_nobody_is_heard_does_not_count() {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::new(start, Some(Duration::from_secs(90)));
        heartbeat.excuse(Duration::from_secs(10));
        assert_eq!(heartbeat.gone_at(), Some(start + Duration::from_secs(100)));
    }

    #[test]
    fn without_a_timeout_nobody_is_given_up() {
        assert_eq!(Heartbeat::new(Instant::now(), None).gone_at(), None);
    }
}
