//! Pings: is the other end alive, and how far away is it.

use std::time::{Duration, Instant};

/// A round trip that was measured longer ago than this is measured again when it is needed.
const ROUND_TRIP_AGE: Duration = Duration::from_secs(10);

/// Asks for a sign of life and measures the round trip. At most one ping is under way.
#[derive(Debug)]
pub(super) struct Keepalive {
    /// `None`: pings only measure, nothing follows from their failure.
    interval: Option<Duration>,
    timeout: Duration,
    ping_at: Option<Instant>,
    heard_at: Instant,
    ping: Option<Ping>,
    next_value: u32,
    round_trip: Option<RoundTrip>,
}

#[derive(Clone, Copy, Debug)]
struct Ping {
    value: u32,
    wanted_at: Instant,
    sent_at: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct RoundTrip {
    time: Duration,
    measured_at: Instant,
}

/// The other end gave no sign of life.
#[derive(Debug)]
pub(super) struct Dead;

impl Keepalive {
    pub(super) fn new(interval: Option<Duration>, timeout: Duration, now: Instant) -> Self {
        Self {
            interval,
            timeout,
            ping_at: interval.map(|interval| now + interval),
            heard_at: now,
            ping: None,
            next_value: 0,
            round_trip: None,
        }
    }

    /// Takes note of bytes from the other end, whatever they are.
    pub(super) fn handle_sign_of_life(&mut self, now: Instant) {
        self.heard_at = now;
    }

    /// Takes the answer to a ping; one that nobody waits for is ignored.
    pub(super) fn handle_pong(&mut self, value: u32, now: Instant) {
        let Some(ping) = self.ping.filter(|ping| ping.value == value) else {
            return;
        };
        let Some(sent_at) = ping.sent_at else {
            return;
        };
        self.ping = None;
        let time = now.saturating_duration_since(sent_at);
        // A shorter time is nearer to the truth: longer ones contain queues.
        let time = match self.round_trip {
            Some(known) if known.time < time => known.time + (time - known.time) / 8,
            _ => time,
        };
        self.round_trip = Some(RoundTrip {
            time,
            measured_at: now,
        });
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) -> Result<(), Dead> {
        if let (Some(_), Some(ping)) = (self.interval, self.ping)
            && now >= self.dead_at(&ping)
        {
            if self.heard_at <= ping.wanted_at {
                return Err(Dead);
            }
            // Something else arrived, only not the pong, which may wait behind data.
            self.ping = None;
        }
        if let Some(ping_at) = self.ping_at
            && now >= ping_at
        {
            self.ping_at = self.interval.map(|interval| now + interval);
            self.want_ping(now);
        }
        Ok(())
    }

    /// When to call [`handle_timeout`](Self::handle_timeout).
    pub(super) fn timeout_at(&self) -> Option<Instant> {
        let dead_at = self.interval.and(self.ping).map(|ping| self.dead_at(&ping));
        [self.ping_at, dead_at].into_iter().flatten().min()
    }

    /// The round trip time if it is known; has it measured if it is not, or not recently.
    pub(super) fn round_trip(&mut self, now: Instant) -> Option<Duration> {
        let fresh = self
            .round_trip
            .is_some_and(|known| now.saturating_duration_since(known.measured_at) < ROUND_TRIP_AGE);
        if !fresh {
            self.want_ping(now);
        }
        self.round_trip.map(|known| known.time)
    }

    /// Whether [`poll_ping`](Self::poll_ping) has something to send.
    pub(super) fn has_ping(&self) -> bool {
        self.ping.is_some_and(|ping| ping.sent_at.is_none())
    }

    /// The value of a ping that is to be sent now.
    pub(super) fn poll_ping(&mut self, now: Instant) -> Option<u32> {
        let ping = self.ping.as_mut().filter(|ping| ping.sent_at.is_none())?;
        ping.sent_at = Some(now);
        Some(ping.value)
    }

    fn want_ping(&mut self, now: Instant) {
        if self.ping.is_none() {
            self.ping = Some(Ping {
                value: self.next_value,
                wanted_at: now,
                sent_at: None,
            });
            self.next_value = self.next_value.wrapping_add(1);
        }
    }

    fn dead_at(&self, ping: &Ping) -> Instant {
        ping.wanted_at + self.timeout
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(30);
    const TIMEOUT: Duration = Duration::from_secs(10);

    #[test]
    fn pings_one_interval_after_the_start_and_then_each_interval() {
        let start = Instant::now();
        let mut keepalive = Keepalive::new(Some(INTERVAL), TIMEOUT, start);
        for value in 0..3 {
            let at = start + INTERVAL * (value + 1);
            assert_eq!(keepalive.timeout_at(), Some(at));
            assert_eq!(keepalive.poll_ping(at), None);
            keepalive.handle_timeout(at).unwrap();
            assert_eq!(keepalive.poll_ping(at), Some(value));
            assert_eq!(keepalive.poll_ping(at), None);
            keepalive.handle_pong(value, at + Duration::from_millis(5));
        }
        assert_eq!(
            keepalive.round_trip(start + INTERVAL * 3),
            Some(Duration::from_millis(5))
        );
    }

    #[test]
    fn silence_is_death() {
        let start = Instant::now();
        let mut keepalive = Keepalive::new(Some(INTERVAL), TIMEOUT, start);
        keepalive.handle_timeout(start + INTERVAL).unwrap();
        assert_eq!(keepalive.timeout_at(), Some(start + INTERVAL + TIMEOUT));
        keepalive
            .handle_timeout(start + INTERVAL + TIMEOUT / 2)
            .unwrap();
        keepalive
            .handle_timeout(start + INTERVAL + TIMEOUT)
            .unwrap_err();
    }

    #[test]
    fn any_bytes_are_a_sign_of_life() {
        let start = Instant::now();
        let mut keepalive = Keepalive::new(Some(INTERVAL), TIMEOUT, start);
        keepalive.handle_timeout(start + INTERVAL).unwrap();
        keepalive.handle_sign_of_life(start + INTERVAL + TIMEOUT / 2);
        keepalive
            .handle_timeout(start + INTERVAL + TIMEOUT)
            .unwrap();
        assert_eq!(keepalive.timeout_at(), Some(start + INTERVAL * 2));
    }

    #[test]
    fn without_an_interval_nothing_is_due() {
        let start = Instant::now();
        let mut keepalive = Keepalive::new(None, TIMEOUT, start);
        assert_eq!(keepalive.round_trip(start), None);
        assert_eq!(keepalive.poll_ping(start), Some(0));
        assert_eq!(keepalive.timeout_at(), None);
        keepalive.handle_timeout(start + TIMEOUT * 10).unwrap();
    }
}
