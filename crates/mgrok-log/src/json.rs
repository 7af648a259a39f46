//! Objects of JSON (RFC 8259), each of which is a line. Writes to a string only.

use std::fmt::{self, Write as _};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::escaped::{Escaped, Form};
use crate::line;

/// Names that the log gives itself. A field of an event that has one of them gets a `_` at its end, because a name must not come twice.
const RESERVED: [&str; 12] = [
    "caller", "cut", "left_out", "level", "limited", "message", "missing", "proxy", "reqid",
    "run_id", "target", "time",
];

/// An object on its way into a line. Values from outside take no more room than it has, and what they hold ends neither the line nor
/// the value and steers no terminal.
pub(crate) struct Object<'a> {
    /// Bytes of values that were left out since there was no room.
    cut: usize,
    is_empty: bool,
    out: &'a mut String,
    /// How many bytes the values from outside may still take.
    room: usize,
}

impl<'a> Object<'a> {
    /// Appends an object to `out`, with values from outside of `room` bytes at most.
    pub(crate) fn begin(out: &'a mut String, room: usize) -> Self {
        out.push('{');
        Self {
            cut: 0,
            is_empty: true,
            out,
            room,
        }
    }

    /// The time with its offset from UTC (RFC 3339).
    pub(crate) fn time(&mut self, now: Timestamp, zone: &TimeZone) {
        self.key("time");
        self.out.push('"');
        line::push_rfc3339(self.out, now, zone);
        self.out.push('"');
    }

    /// A short text of the program itself, which needs no escaping.
    pub(crate) fn word(&mut self, key: &str, push: impl FnOnce(&mut String)) {
        self.key(key);
        self.out.push('"');
        push(self.out);
        self.out.push('"');
    }

    pub(crate) fn text(&mut self, key: &str, value: fmt::Arguments<'_>) {
        self.key(key);
        self.out.push('"');
        let mut text = Escaped::new(self.out, self.room, FORM);
        // Writing to a string does not fail.
        let _ = text.write_fmt(value);
        let Escaped { cut, room, .. } = text;
        self.cut += cut;
        self.room = match cut {
            0 => room,
            // What comes next is not shown in part either.
            _ => 0,
        };
        self.out.push('"');
    }

    /// A number or `true` or `false`.
    pub(crate) fn plain(&mut self, key: &str, value: impl fmt::Display) {
        self.key(key);
        // Writing to a string does not fail.
        let _ = write!(self.out, "{value}");
    }

    /// The name under which a field of an event is shown.
    pub(crate) fn field_name(name: &'static str) -> FieldName {
        let name = name.strip_prefix("r#").unwrap_or(name);
        FieldName {
            name,
            is_taken: RESERVED.contains(&name),
        }
    }

    /// Gives the object back to append to, when it has its last value.
    pub(crate) fn end(mut self) {
        if self.cut > 0 {
            self.plain("cut", self.cut);
        }
        self.out.push('}');
    }

    fn key(&mut self, key: &str) {
        self.out.push_str(match self.is_empty {
            true => "\"",
            false => ",\"",
        });
        self.is_empty = false;
        self.out.push_str(key);
        self.out.push_str("\":");
    }

    /// As [`text`](Self::text), for a field of an event.
    pub(crate) fn text_field(&mut self, name: &'static str, value: fmt::Arguments<'_>) {
        match Self::field_name(name) {
            FieldName {
                name,
                is_taken: false,
            } => self.text(name, value),
            FieldName { name, .. } => self.text(&format!("{name}_"), value),
        }
    }

    /// As [`plain`](Self::plain), for a field of an event.
    pub(crate) fn plain_field(&mut self, name: &'static str, value: impl fmt::Display) {
        match Self::field_name(name) {
            FieldName {
                name,
                is_taken: false,
            } => self.plain(name, value),
            FieldName { name, .. } => self.plain(&format!("{name}_"), value),
        }
    }
}

/// A field's name.
pub(crate) struct FieldName {
    name: &'static str,
    /// The log itself gives something this name.
    is_taken: bool,
}

/// Appends the inside of a string of JSON, `room` bytes at most; returns how many bytes of `value` were left out.
pub(crate) fn push_escaped(out: &mut String, value: &str, room: usize) -> usize {
    let mut text = Escaped::new(out, room, FORM);
    // Writing to a string does not fail.
    let _ = text.write_str(value);
    text.cut
}

/// The inside of a string of JSON.
const FORM: Form = Form {
    // In UTF-8 the control characters from U+0080 on begin with 0xC2, as do some harmless ones.
    is_suspicious: |byte| byte.is_ascii_control() || matches!(byte, b'"' | b'\\' | 0xc2),
    escape: |character, out| {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            _ if character.is_control() => {
                // Control characters have two digits at most. Writing to a string does not fail.
                let _ = write!(out, "\\u{:04x}", u32::from(character));
            }
            _ => return false,
        }
        true
    },
};

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: &str, room: usize, expect: &str) {
        let mut out = String::new();
        let mut object = Object::begin(&mut out, room);
        object.text("a", format_args!("{value}"));
        object.end();
        assert_eq!(out, expect);
    }

    #[test]
    fn text_of_strangers_stays_in_its_string() {
        check(
            "plain \u{fc} \u{a9}",
            100,
            "{\"a\":\"plain \u{fc} \u{a9}\"}",
        );
        check(
            "\",\"level\":\"error\\",
            100,
            r#"{"a":"\",\"level\":\"error\\"}"#,
        );
        check("a\r\n\tb", 100, r#"{"a":"a\r\n\tb"}"#);
        check(
            "\x1b[2J\x07\u{9b}\x7f",
            100,
            r#"{"a":"\u001b[2J\u0007\u009b\u007f"}"#,
        );
    }

    #[test]
    fn an_object_that_is_cut_is_still_one() {
        check("12345", 5, r#"{"a":"12345"}"#);
        check("123456", 5, r#"{"a":"12345","cut":1}"#);
        // An escape is written whole or not at all.
        check("1234\n5", 5, r#"{"a":"1234","cut":2}"#);

        let mut out = String::new();
        let mut object = Object::begin(&mut out, 3);
        object.text("a", format_args!("12345"));
        object.text("b", format_args!("6"));
        object.plain("c", 7);
        object.end();
        assert_eq!(out, r#"{"a":"123","b":"","c":7,"cut":3}"#);
    }

    #[test]
    fn no_name_comes_twice() {
        let mut out = String::new();
        let mut object = Object::begin(&mut out, 100);
        object.text_field("level", format_args!("x"));
        object.plain_field("time", 1);
        object.plain_field("r#type", true);
        object.end();
        assert_eq!(out, r#"{"level_":"x","time_":1,"type":true}"#);
    }
}
