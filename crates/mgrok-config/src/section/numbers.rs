//! The numbers of a section: plain ones, ports and times. An explicit 0 is "not set", as everywhere in frp.

use std::time::Duration;

use super::Section;
use crate::value::Value;

/// The longest time, in seconds: a hundred years. Longer ones count as this one, which keeps sums of times in range.
const LONGEST: u64 = 100 * 366 * 24 * 60 * 60;

impl Section<'_> {
    /// An integer; one that is written with a fraction of zero counts.
    pub(crate) fn integer(&mut self, key: &'static str) -> Option<i64> {
        let node = self.take(key)?;
        let value = match node.value {
            Value::Integer(value) => Some(value),
            Value::Float(value) => whole(value),
            Value::Boolean(_) | Value::List(_) | Value::Table(_) | Value::Text(_) => None,
        };
        let Some(value) = value else {
            self.wrong_kind(key, node, "an integer");
            return None;
        };
        (value != 0).then_some(value)
    }

    pub(crate) fn port(&mut self, key: &'static str) -> Option<u16> {
        let number = self.integer(key)?;
        self.in_range(key, number)
    }

    /// A port of something that a number below zero switches off.
    pub(crate) fn port_or_off(&mut self, key: &'static str) -> Option<Option<u16>> {
        let number = self.integer(key)?;
        if number < 0 {
            return Some(None);
        }
        self.in_range(key, number).map(Some)
    }

    /// A count, of which less than none is none.
    pub(crate) fn count(&mut self, key: &'static str) -> Option<u32> {
        let number = self.integer(key)?;
        Some(u32::try_from(number.max(0)).unwrap_or(u32::MAX))
    }

    /// Seconds, of which there must be some.
    pub(crate) fn seconds(&mut self, key: &'static str) -> Option<Duration> {
        let number = self.integer(key)?;
        let seconds = duration(number);
        if seconds.is_none() {
            self.invalid(key, format!("must be a number of seconds, not {number}"));
        }
        seconds
    }

    /// Seconds of something that less than none switch off.
    pub(crate) fn seconds_or_off(&mut self, key: &'static str) -> Option<Option<Duration>> {
        self.integer(key).map(duration)
    }

    /// As [`seconds_or_off`](Self::seconds_or_off), for a key that counts hours.
    pub(crate) fn hours_or_off(&mut self, key: &'static str) -> Option<Option<Duration>> {
        let hours = self.integer(key)?;
        Some(duration(hours.saturating_mul(60 * 60)))
    }

    /// As [`seconds_or_off`](Self::seconds_or_off), for a key that counts milliseconds.
    pub(crate) fn milliseconds_or_off(&mut self, key: &'static str) -> Option<Option<Duration>> {
        let number = self.integer(key)?;
        let time = u64::try_from(number).ok().map(Duration::from_millis);
        Some(time.map(|time| time.min(Duration::from_secs(LONGEST))))
    }

    fn in_range(&mut self, key: &str, number: i64) -> Option<u16> {
        let Ok(port) = u16::try_from(number) else {
            // frp: this wording
            let why = format!("port number {number} must be in the range 0..65535");
            self.invalid(key, why);
            return None;
        };
        Some(port)
    }
}

/// A time; `None` if it would be negative.
fn duration(seconds: i64) -> Option<Duration> {
    let seconds = u64::try_from(seconds).ok()?;
    Some(Duration::from_secs(seconds.min(LONGEST)))
}

/// The integer that `value` is, unless it is none or too large to be exact.
fn whole(value: f64) -> Option<i64> {
    const EXACT: f64 = (1_u64 << 53) as f64;
    (value.fract() == 0.0 && value.abs() <= EXACT).then_some(value as i64)
}
