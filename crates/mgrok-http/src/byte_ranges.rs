//! The `Range` header, for bytes (RFC 9110, section 14).

use std::ops::Range;

/// The most ranges of one request. More are a waste, or an attack, and the whole is sent.
const MAX_RANGES: usize = 32;

/// Which bytes a request asks for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ByteRanges {
    /// All of them: none in particular, or so many that all are less.
    All,
    /// These, none of which is empty or reaches beyond the end. One range or more, as they were asked for.
    Some(Vec<Range<u64>>),
    /// None that there are, or what is no range.
    Unsatisfiable,
}

impl ByteRanges {
    /// Reads the value of a `Range` header, for a content of `size` bytes.
    // frp: the same rules (Go's net/http/fs.go#parseRange), but for the number of ranges, which is not limited there.
    pub fn parse(value: &[u8], size: u64) -> Self {
        let Some(ranges) = value.strip_prefix(b"bytes=") else {
            return Self::Unsatisfiable;
        };
        let mut found = Vec::new();
        let mut count = 0;
        for range in ranges.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
            if range.is_empty() {
                continue;
            }
            count += 1;
            if count > MAX_RANGES {
                return Self::All;
            }
            match parse_range(range, size) {
                Some(range) if range.is_empty() => {}
                Some(range) => found.push(range),
                None => return Self::Unsatisfiable,
            }
        }
        if found.is_empty() {
            return match count == 0 || size == 0 {
                true => Self::All,
                false => Self::Unsatisfiable,
            };
        }
        // Who asks for more than there is is an old client that does not know what it does, or an attacker.
        let mut lengths = found.iter().map(|it| it.end - it.start);
        let sum = lengths.try_fold(0, u64::checked_add);
        match sum.is_none_or(|sum| sum > size) {
            true => Self::All,
            false => Self::Some(found),
        }
    }
}

/// One range, which is empty if it is beyond the end; `None` if it is none.
fn parse_range(range: &[u8], size: u64) -> Option<Range<u64>> {
    let dash = range.iter().position(|&byte| byte == b'-')?;
    let (first, last) = (range[..dash].trim_ascii(), range[dash + 1..].trim_ascii());
    if first.is_empty() {
        let len = number(last)?;
        return Some(size.saturating_sub(len)..size);
    }
    let start = number(first)?;
    let end = match last {
        b"" => size,
        last => {
            let last = number(last)?;
            if last < start {
                return None;
            }
            last.saturating_add(1).min(size)
        }
    };
    Some(start.min(size)..end.max(start.min(size)))
}

/// A number of digits alone. One that is too long for the type is as good as the largest.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digits = std::str::from_utf8(digits).ok()?;
    Some(digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::ByteRanges::{All, Unsatisfiable};
    use super::*;

    /// Ranges by their first byte and the one behind their last.
    fn some(ranges: &[(u64, u64)]) -> ByteRanges {
        ByteRanges::Some(ranges.iter().map(|&(start, end)| start..end).collect())
    }

    #[test]
    fn what_ranges_mean() {
        for (value, expect) in [
            ("bytes=0-4", some(&[(0, 5)])),
            ("bytes=2-", some(&[(2, 10)])),
            ("bytes=-3", some(&[(7, 10)])),
            ("bytes=-30", some(&[(0, 10)])),
            ("bytes=8-30", some(&[(8, 10)])),
            ("bytes=0-0,-1", some(&[(0, 1), (9, 10)])),
            ("bytes=5-6, 20-30 ,0-0", some(&[(5, 7), (0, 1)])),
            ("bytes=0-99999999999999999999999", some(&[(0, 10)])),
            ("bytes=", All),
            ("bytes=,,", All),
            ("bytes=0-9,0-9", All),
            ("bytes=10-", Unsatisfiable),
            ("bytes=99999999999999999999-", Unsatisfiable),
            ("bytes=-0", Unsatisfiable),
            ("bytes=4-2", Unsatisfiable),
            ("bytes=a-b", Unsatisfiable),
            ("bytes=1", Unsatisfiable),
            ("bytes=-", Unsatisfiable),
            ("bytes=--1", Unsatisfiable),
            ("bytes=+1-2", Unsatisfiable),
            ("lines=1-2", Unsatisfiable),
        ] {
            assert_eq!(ByteRanges::parse(value.as_bytes(), 10), expect, "{value}");
        }
        assert_eq!(ByteRanges::parse(b"bytes=0-", 0), All, "of nothing");
        let twice = ByteRanges::parse(b"bytes=0-,0-", u64::MAX);
        assert_eq!(twice, All, "more than can be counted");
    }

    #[test]
    fn many_ranges_are_all() {
        let ranges = |count: u64| {
            let ranges: Vec<String> = (0..count).map(|it| format!("{it}-{it}")).collect();
            format!("bytes={}", ranges.join(","))
        };
        let most = ByteRanges::parse(ranges(32).as_bytes(), 1000);
        assert!(matches!(most, ByteRanges::Some(it) if it.len() == 32));
        assert_eq!(ByteRanges::parse(ranges(33).as_bytes(), 1000), All);
    }
}
