//! What a line looks like. Asks nobody for the time and writes to a string only.

use std::fmt::{self, Write as _};

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use tracing::{Level, Metadata};

use crate::escaped::{Escaped, Form};

/// Ends what [`color`] began.
pub(crate) const COLOR_RESET: &str = "\x1b[0m";

/// The escape sequence that colours a line of this level.
pub(crate) fn color(level: Level) -> Option<&'static str> {
    match level {
        Level::ERROR => Some("\x1b[1;31m"),
        Level::WARN => Some("\x1b[1;33m"),
        Level::INFO => Some("\x1b[1;34m"),
        Level::DEBUG => Some("\x1b[1;36m"),
        Level::TRACE => None,
    }
}

/// Appends everything that stands before the message: time, level and call site.
pub(crate) fn push_head(out: &mut String, time: DateTime, metadata: &Metadata<'_>) {
    push_time(out, time);
    out.push_str(match *metadata.level() {
        Level::ERROR => " [E] [",
        Level::WARN => " [W] [",
        Level::INFO => " [I] [",
        Level::DEBUG => " [D] [",
        Level::TRACE => " [T] [",
    });
    push_caller(out, metadata);
    out.push_str("] ");
}

/// The word for a level in configuration files and in JSON.
pub(crate) fn level_word(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

/// Appends `YYYY-MM-DD hh:mm:ss.mmm`.
pub(crate) fn push_time(out: &mut String, time: DateTime) {
    push_time_parted(out, time, " ");
}

/// Appends `YYYY-MM-DDThh:mm:ss.mmm+hh:mm`, or with `Z` at the end in UTC.
pub(crate) fn push_rfc3339(out: &mut String, now: Timestamp, zone: &TimeZone) {
    let offset = zone.to_offset(now);
    push_time_parted(out, offset.to_datetime(now), "T");
    let minutes = offset.seconds() / 60;
    if minutes == 0 {
        return out.push('Z');
    }
    out.push(if minutes < 0 { '-' } else { '+' });
    let (hours, minutes) = (minutes.abs() / 60, minutes.abs() % 60);
    // Writing to a string does not fail.
    let _ = write!(out, "{hours:02}:{minutes:02}");
}

/// `part` stands between date and time.
fn push_time_parted(out: &mut String, time: DateTime, part: &str) {
    // By hand: the formatting machinery would take most of the time that a line takes.
    let mut number = |value: i32, width: u32, end: &str| {
        for place in (0..width).rev() {
            let digit = value / 10_i32.pow(place) % 10;
            out.push(char::from(b'0' + u8::try_from(digit).unwrap_or(0)));
        }
        out.push_str(end);
    };
    number(time.year().into(), 4, "-");
    number(time.month().into(), 2, "-");
    number(time.day().into(), 2, part);
    number(time.hour().into(), 2, ":");
    number(time.minute().into(), 2, ":");
    number(time.second().into(), 2, ".");
    number(time.millisecond().into(), 3, "");
}

/// Appends `directory/file.rs:line`. A file at the top of a crate's `src` is shown under the
/// crate's short name, because `src` would tell nothing.
pub(crate) fn push_caller(out: &mut String, metadata: &Metadata<'_>) {
    let Some(file) = metadata.file() else {
        out.push_str(metadata.target());
        return;
    };
    let mut parts = file.rsplit(['/', '\\']);
    let name = parts.next().unwrap_or(file);
    let directory = match parts.next() {
        Some("src") => parts.next().map(short_crate_name),
        other => other,
    };
    if let Some(directory) = directory {
        out.push_str(directory);
        out.push('/');
    }
    out.push_str(name);
    // Writing to a string does not fail.
    let _ = write!(out, ":{}", metadata.line().unwrap_or(0));
}

fn short_crate_name(directory: &str) -> &str {
    directory.strip_prefix("mgrok-").unwrap_or(directory)
}

/// Text on its way into a line, from a program or from strangers. It stays one line, steers no terminal, and takes no more room than
/// it has.
///
/// frp: messages are written raw. But they hold text that strangers sent, such as host names and
/// run ids, and a line break in one would let them forge lines.
pub(crate) struct Text<'a>(Escaped<'a>);

/// As programs of Rust show them.
const FORM: Form = Form {
    // In UTF-8 the control characters from U+0080 on begin with 0xC2, as do some harmless ones.
    is_suspicious: |byte| byte.is_ascii_control() || byte == 0xc2,
    escape: |character, out| {
        let is_control = character.is_control() && character != '\t';
        if is_control {
            out.extend(character.escape_debug());
        }
        is_control
    },
};

impl<'a> Text<'a> {
    /// Appends to `out`, `room` bytes at most, not counting what [`Text::end`] appends.
    pub(crate) fn new(out: &'a mut String, room: usize) -> Self {
        Self(Escaped::new(out, room, FORM))
    }

    /// Says how much was left out, if anything was.
    pub(crate) fn end(self) {
        let Escaped { cut, out, .. } = self.0;
        if cut > 0 {
            // Writing to a string does not fail.
            let _ = write!(out, "\u{2026} [{cut} more bytes]");
        }
    }
}

impl fmt::Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write_str(text)
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn times_have_a_fixed_width() {
        let mut out = String::new();
        push_time(&mut out, date(2026, 1, 2).at(3, 4, 5, 6_000_000));
        assert_eq!(out, "2026-01-02 03:04:05.006");
        out.clear();
        push_time(&mut out, date(2026, 11, 23).at(23, 59, 59, 999_999_999));
        assert_eq!(out, "2026-11-23 23:59:59.999");
    }

    #[test]
    fn times_for_machines_have_their_offset() {
        let now = Timestamp::from_millisecond(1_795_473_601_123).unwrap();
        for (zone, expect) in [
            ("UTC0", "2026-11-23T22:40:01.123Z"),
            ("CET-1", "2026-11-23T23:40:01.123+01:00"),
            ("NST3:30", "2026-11-23T19:10:01.123-03:30"),
        ] {
            let mut out = String::new();
            push_rfc3339(&mut out, now, &TimeZone::posix(zone).unwrap());
            assert_eq!(out, expect);
        }
    }

    #[track_caller]
    fn check(raw: &str, room: usize, expect: &str) {
        let mut out = "\x1b[1m".to_owned();
        let mut text = Text::new(&mut out, room);
        text.write_str(raw).unwrap();
        text.end();
        assert_eq!(out, format!("\x1b[1m{expect}"));
    }

    #[test]
    fn text_of_strangers_stays_in_its_line() {
        for (raw, expect) in [
            ("plain", "plain"),
            (
                "tab\tand \u{fc}mlaut, \u{a9}",
                "tab\tand \u{fc}mlaut, \u{a9}",
            ),
            ("a\r\n2026-01-01 [I] forged", "a\\r\\n2026-01-01 [I] forged"),
            ("\x1b[2J\x07", "\\u{1b}[2J\\u{7}"),
            ("\u{9b}31m", "\\u{9b}31m"),
        ] {
            check(raw, 100, expect);
        }
    }

    #[test]
    fn text_takes_the_room_it_has_and_says_what_it_left_out() {
        check("12345", 5, "12345");
        check("123456", 5, "12345\u{2026} [1 more bytes]");
        check("1234\u{fc}6", 5, "1234\u{2026} [3 more bytes]");
        check("\x1b\x1b", 7, "\\u{1b}\u{2026} [1 more bytes]");

        let mut out = String::new();
        let mut text = Text::new(&mut out, 3);
        for part in ["ab", "cd", "e", "f"] {
            text.write_str(part).unwrap();
        }
        text.end();
        assert_eq!(out, "abc\u{2026} [3 more bytes]");
    }
}
