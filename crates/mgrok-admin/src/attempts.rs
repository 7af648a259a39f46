//! How often a source may be wrong about the password.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How many wrong passwords a source may send in a row.
const FREE: u32 = 10;
/// How long a source waits after the first one too many. The wait doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_secs(6);
/// The longest wait.
const LONGEST_WAIT: Duration = Duration::from_mins(5);
/// After how long a source that sends no more wrong passwords is forgotten.
const FORGET: Duration = Duration::from_mins(10);
/// The most sources that are remembered. When there are more, those are forgotten that are free.
const MAX_SOURCES: usize = 4096;

/// The sources that were wrong lately.
#[derive(Debug, Default)]
pub(crate) struct Attempts(Mutex<HashMap<IpAddr, Wrong>>);

#[derive(Clone, Copy, Debug)]
struct Wrong {
    times: u32,
    last: Instant,
}

impl Wrong {
    fn wait(self) -> Duration {
        match self.times.checked_sub(FREE) {
            None => Duration::ZERO,
            Some(beyond) => {
                let factor = 1_u32.checked_shl(beyond).unwrap_or(u32::MAX);
                FIRST_WAIT.saturating_mul(factor).min(LONGEST_WAIT)
            }
        }
    }
}

impl Attempts {
    /// How long `source` has to wait from `now` on before its next attempt counts; `None` if it may try.
    pub(crate) fn wait(&self, source: IpAddr, now: Instant) -> Option<Duration> {
        let table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let wrong = table.get(&network(source))?;
        let until = wrong.last + wrong.wait();
        until.checked_duration_since(now).filter(|it| !it.is_zero())
    }

    /// `source` was wrong once more.
    pub(crate) fn wrong(&self, source: IpAddr, now: Instant) {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let source = network(source);
        if table.len() >= MAX_SOURCES && !table.contains_key(&source) {
            table.retain(|_, wrong| now.duration_since(wrong.last) < wrong.wait());
            // Whoever has so many addresses is not held up by a table of them.
            if table.len() >= MAX_SOURCES {
                return;
            }
        }
        let wrong = table.entry(source).or_insert(Wrong {
            times: 0,
            last: now,
        });
        if now.duration_since(wrong.last) > FORGET {
            wrong.times = 0;
        }
        wrong.times = wrong.times.saturating_add(1);
        wrong.last = now;
    }

    /// `source` knew the password.
    pub(crate) fn right(&self, source: IpAddr) {
        let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        table.remove(&network(source));
    }
}

/// What one source can choose its addresses from: a /64 of IPv6.
fn network(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V6(addr) => {
            let [a, b, c, d, ..] = addr.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[test]
    fn ten_are_free_and_then_the_waits_double() {
        let attempts = Attempts::default();
        let mut now = Instant::now();
        for _ in 0..FREE {
            assert_eq!(attempts.wait(SOURCE, now), None);
            attempts.wrong(SOURCE, now);
        }
        let mut expect = FIRST_WAIT;
        for _ in 0..12 {
            assert_eq!(attempts.wait(SOURCE, now), Some(expect));
            now += expect;
            assert_eq!(attempts.wait(SOURCE, now), None);
            attempts.wrong(SOURCE, now);
            expect = (expect * 2).min(LONGEST_WAIT);
        }
        let other = "192.0.2.1".parse().unwrap();
        assert_eq!(attempts.wait(other, now), None);
    }

    #[test]
    fn who_knows_the_password_is_free_again() {
        let attempts = Attempts::default();
        let now = Instant::now();
        for _ in 0..FREE {
            attempts.wrong(SOURCE, now);
        }
        attempts.right(SOURCE);
        attempts.wrong(SOURCE, now);
        assert_eq!(attempts.wait(SOURCE, now), None);
    }

    #[test]
    fn a_network_of_ipv6_is_one_source() {
        let attempts = Attempts::default();
        let now = Instant::now();
        for end in 0..10 {
            attempts.wrong(format!("2001:db8::{end}").parse().unwrap(), now);
        }
        let same = "2001:db8::ffff".parse().unwrap();
        assert_eq!(attempts.wait(same, now), Some(FIRST_WAIT));
    }

    #[test]
    fn the_table_has_an_end() {
        let attempts = Attempts::default();
        let now = Instant::now();
        for number in 0..u32::try_from(MAX_SOURCES).unwrap() + 10 {
            attempts.wrong(std::net::Ipv4Addr::from(number).into(), now);
        }
        assert!(attempts.0.lock().unwrap().len() <= MAX_SOURCES);
    }
}
