//! When to ping the server, and when to give up on it.

use std::time::{Duration, Instant};

/// When the next `Ping` is due and when the last `Pong` came. The time is passed in.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    interval: Option<Duration>,
    timeout: Option<Duration>,
    ping_at: Option<Instant>,
    heard_at: Instant,
    /// When the first ping was sent that is not answered.
    asked_at: Option<Instant>,
}

impl Heartbeat {
    /// Heartbeats of a session that began `now`. `None` as `interval` sends no pings; then
    /// nothing can be missed either, so that `timeout` has no effect.
    pub(crate) fn new(interval: Option<Duration>, timeout: Option<Duration>, now: Instant) -> Self {
        Self {
            interval,
            timeout: interval.and(timeout),
            // frp: the first ping goes out at once (client/control.go#heartbeatWorker).
            ping_at: interval.map(|_| now),
            heard_at: now,
            asked_at: None,
        }
    }

    /// Whether a ping is due; takes it as sent.
    pub(crate) fn poll_ping(&mut self, now: Instant) -> bool {
        let (Some(interval), Some(ping_at)) = (self.interval, self.ping_at) else {
            return false;
        };
        if now < ping_at {
            return false;
        }
        self.ping_at = Some(now + interval);
        self.asked_at.get_or_insert(now);
        true
    }

    /// A pong arrived. Returns how long it took; `None` if it was not asked for.
    pub(crate) fn handle_pong(&mut self, now: Instant) -> Option<Duration> {
        self.heard_at = now;
        let asked_at = self.asked_at.take()?;
        Some(now.saturating_duration_since(asked_at))
    }

    /// Whether the server has been silent for too long.
    pub(crate) fn is_overdue(&self, now: Instant) -> bool {
        self.gone_at().is_some_and(|gone_at| now >= gone_at)
    }

    /// When to come back.
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        [self.ping_at, self.gone_at()].into_iter().flatten().min()
    }

    fn gone_at(&self) -> Option<Instant> {
        self.timeout.map(|timeout| self.heard_at + timeout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(30);
    const TIMEOUT: Duration = Duration::from_secs(90);

    #[test]
    fn the_first_ping_is_due_at_once() {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::new(Some(INTERVAL), Some(TIMEOUT), start);
        assert_eq!(heartbeat.wake_at(), Some(start));
        assert!(heartbeat.poll_ping(start));
        assert!(!heartbeat.poll_ping(start));
        assert_eq!(heartbeat.wake_at(), Some(start + INTERVAL));
        assert!(heartbeat.poll_ping(start + INTERVAL));
    }

    #[test]
    fn silence_ends_it_and_a_pong_does_not() {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::new(Some(INTERVAL), Some(TIMEOUT), start);
        let almost = start + TIMEOUT - Duration::from_millis(1);
        assert!(!heartbeat.is_overdue(almost));
        assert!(heartbeat.is_overdue(start + TIMEOUT));
        assert_eq!(heartbeat.handle_pong(almost), None);
        assert!(!heartbeat.is_overdue(start + TIMEOUT));
        assert!(heartbeat.is_overdue(almost + TIMEOUT));
    }

    #[test]
    fn an_answer_says_how_long_it_took() {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::new(Some(INTERVAL), None, start);
        assert!(heartbeat.poll_ping(start));
        assert!(heartbeat.poll_ping(start + INTERVAL));
        let took = INTERVAL + Duration::from_secs(1);
        assert_eq!(heartbeat.handle_pong(start + took), Some(took));
        assert_eq!(heartbeat.handle_pong(start + took), None);
    }

    #[test]
    fn without_pings_nothing_is_missed() {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::new(None, Some(TIMEOUT), start);
        assert!(!heartbeat.poll_ping(start + TIMEOUT));
        assert!(!heartbeat.is_overdue(start + TIMEOUT));
        assert_eq!(heartbeat.wake_at(), None);
    }

    #[test]
    fn without_a_timeout_pings_go_on_alone() {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::new(Some(INTERVAL), None, start);
        assert!(heartbeat.poll_ping(start));
        assert!(!heartbeat.is_overdue(start + 10 * TIMEOUT));
        assert_eq!(heartbeat.wake_at(), Some(start + INTERVAL));
    }
}
