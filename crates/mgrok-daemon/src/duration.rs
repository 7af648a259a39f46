//! Durations as Go's flags have them: `30s`, `1m30s`, `1.5h`, `250ms`.

use std::time::Duration;

/// The units, in nanoseconds.
const UNITS: [(&str, f64); 7] = [
    ("ns", 1.0),
    ("us", 1e3),
    ("µs", 1e3),
    ("ms", 1e6),
    ("s", 1e9),
    ("m", 60e9),
    ("h", 3600e9),
];

/// Go's durations are shorter, some 292 years.
const MAX_NANOS: f64 = 9.2e18;

/// Reads one.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    read(text).ok_or_else(|| "must be a duration like 30s, 1m30s or 500ms".to_owned())
}

fn read(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut nanos = 0.0;
    while !rest.is_empty() {
        let is_number = |c: char| c.is_ascii_digit() || c == '.';
        let digits = rest.find(|c| !is_number(c))?;
        let (number, after) = rest.split_at(digits);
        let number: f64 = number.parse().ok()?;
        let end = after.find(is_number).unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let (_, unit) = UNITS.iter().find(|(name, _)| *name == unit)?;
        nanos += number * unit;
        rest = after;
    }
    let is_duration = !text.is_empty() && nanos < MAX_NANOS;
    is_duration.then(|| Duration::from_secs_f64(nanos / 1e9))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gos_durations_are_understood() {
        for (text, millis) in [
            ("30s", 30_000),
            ("1m30s", 90_000),
            ("1.5h", 5_400_000),
            ("250ms", 250),
            ("0", 0),
            ("0s", 0),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for wrong in [
            "",
            "30",
            "s",
            "1x",
            "-1s",
            "1 s",
            "1..2s",
            "99999999999999h",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
