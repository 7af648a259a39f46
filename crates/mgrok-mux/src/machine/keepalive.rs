//! Pings: is the other end alive, and how far away is it.

use std::time::{Duration, Instant};

/// A round trip that was measured longer ago than this is measured again when it is needed.
const ROUND_TRIP_AGE: Duration = Duration::from_secs(10);

/// Bytes beside a ping on a connection that is quiet: what it waits for is the path, and not other data.
const QUIET: u64 = 256 * 1024;

/// Data that leaves when nothing has arrived for this time asks for a sign of life, if the link is watched closely.
const UNANSWERED: Duration = Duration::from_secs(1);

/// Asks for a sign of life and measures the round trip. At most one ping is under way.
#[derive(Debug)]
pub(super) struct Keepalive {
    /// `None`: pings only measure, nothing follows from their failure.
    interval: Option<Duration>,
    timeout: Duration,
    /// Whether a ping is wanted only after a silence, and sooner if we have something to say.
    close: bool,
    ping_at: Option<Instant>,
    heard_at: Instant,
    /// When the other end was asked for the first time since it was heard for something that it answers.
    asked_at: Option<Instant>,
    ping: Option<Ping>,
    next_value: u32,
    round_trip: Option<RoundTrip>,
    /// Bytes that the connection has carried, in both directions.
    carried: u64,
}

#[derive(Clone, Copy, Debug)]
struct Ping {
    value: u32,
    wanted_at: Instant,
    sent_at: Option<Instant>,
    /// What the connection had carried then.
    carried: u64,
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
            close: false,
            ping_at: interval.map(|interval| now + interval),
            heard_at: now,
            asked_at: None,
            ping: None,
            next_value: 0,
            round_trip: None,
            carried: 0,
        }
    }

    /// From now on asks when the other end has been silent for `interval`, or has not answered data for a second, and gives it up
    /// when it stays silent for `timeout` more. Both ends do so: whoever is asked first need not ask.
    pub(super) fn watch_closely(&mut self, interval: Duration, timeout: Duration, now: Instant) {
        self.interval = Some(interval);
        self.timeout = timeout;
        self.close = true;
        self.ping_at = Some(now + interval);
        // One that is under way has another time.
        self.ping = None;
    }

    /// Takes note that data leaves.
    pub(super) fn handle_data_sent(&mut self, now: Instant) {
        if self.close && now.saturating_duration_since(self.heard_at) >= UNANSWERED {
            self.want_ping(now);
        }
    }

    /// Takes note that the other end is to answer something.
    pub(super) fn handle_asked(&mut self, now: Instant) {
        self.asked_at.get_or_insert(now);
    }

    /// Whether the other end should have answered something and has been silent for a second since.
    pub(super) fn is_silent(&self, now: Instant) -> bool {
        self.asked_at
            .is_some_and(|at| now.saturating_duration_since(at) >= UNANSWERED)
    }

    /// Takes note of bytes that arrived or leave, as far as they are not pings.
    pub(super) fn note_carried(&mut self, bytes: usize) {
        self.carried += bytes as u64;
    }

    /// Takes note of bytes from the other end, whatever they are.
    pub(super) fn handle_sign_of_life(&mut self, now: Instant) {
        self.heard_at = now;
        self.asked_at = None;
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
        // A shorter time is nearer to the truth: longer ones contain queues, and windows that grow with them make these longer.
        let is_quiet = self.carried - ping.carried <= QUIET;
        let time = match self.round_trip {
            Some(known) if known.time < time && is_quiet => known.time + (time - known.time) / 4,
            Some(known) => known.time.min(time),
            None => time,
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
            let silent_at = self.interval.map(|interval| self.heard_at + interval);
            if self.close && silent_at.is_some_and(|at| now < at) {
                self.ping_at = silent_at;
            } else {
                self.ping_at = self.interval.map(|interval| now + interval);
                if self.close {
                    // The answer to this one was lost or is late, but something else has come: it says nothing of the silence since.
                    self.ping = self.ping.filter(|ping| self.heard_at <= ping.wanted_at);
                }
                self.want_ping(now);
            }
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
        ping.carried = self.carried;
        Some(ping.value)
    }

    fn want_ping(&mut self, now: Instant) {
        if self.ping.is_none() {
            self.ping = Some(Ping {
                value: self.next_value,
                wanted_at: now,
                sent_at: None,
                carried: self.carried,
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

    const CLOSE: Duration = Duration::from_secs(4);
    const CLOSE_TIMEOUT: Duration = Duration::from_secs(7);

    /// Does what is due until `end`, as an end does that sends its pings; when the other was found dead.
    fn run(keepalive: &mut Keepalive, end: Instant) -> Option<Instant> {
        while let Some(at) = keepalive.timeout_at().filter(|at| *at <= end) {
            if keepalive.handle_timeout(at).is_err() {
                return Some(at);
            }
            keepalive.poll_ping(at);
        }
        None
    }

    #[test]
    fn a_link_that_is_watched_closely_is_given_up_within_twelve_seconds_of_silence() {
        let start = Instant::now();
        let mut keepalive = Keepalive::new(Some(INTERVAL), TIMEOUT, start);
        keepalive.watch_closely(CLOSE, CLOSE_TIMEOUT, start);
        for tenths in 0..100 {
            let mut keepalive = keepalive_heard_at(start, tenths);
            let heard = start + Duration::from_millis(100) * tenths;
            let dead = run(&mut keepalive, heard + INTERVAL).unwrap();
            assert_eq!(dead - heard, CLOSE + CLOSE_TIMEOUT);
        }
    }

    fn keepalive_heard_at(start: Instant, tenths: u32) -> Keepalive {
        let mut keepalive = Keepalive::new(Some(INTERVAL), TIMEOUT, start);
        keepalive.watch_closely(CLOSE, CLOSE_TIMEOUT, start);
        for tenth in 0..=tenths {
            let at = start + Duration::from_millis(100) * tenth;
            assert_eq!(run(&mut keepalive, at), None);
            keepalive.handle_sign_of_life(at);
        }
        keepalive
    }

    #[test]
    fn whoever_hears_something_need_not_ask() {
        let start = Instant::now();
        let mut keepalive = Keepalive::new(Some(INTERVAL), TIMEOUT, start);
        keepalive.watch_closely(CLOSE, CLOSE_TIMEOUT, start);
        for second in 1..60 {
            let at = start + Duration::from_secs(second);
            keepalive.handle_sign_of_life(at);
            keepalive.handle_timeout(at).unwrap();
            assert_eq!(keepalive.poll_ping(at), None);
        }
    }

    #[test]
    fn unanswered_data_finds_a_dead_link_sooner() {
        let start = Instant::now();
        let mut keepalive = Keepalive::new(Some(INTERVAL), TIMEOUT, start);
        keepalive.watch_closely(CLOSE, CLOSE_TIMEOUT, start);
        keepalive.handle_data_sent(start);
        assert!(!keepalive.has_ping());
        let later = start + UNANSWERED;
        keepalive.handle_data_sent(later);
        assert!(keepalive.has_ping());
        assert_eq!(
            run(&mut keepalive, start + INTERVAL),
            Some(later + CLOSE_TIMEOUT)
        );
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
