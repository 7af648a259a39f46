//! Records beside the log: one line for each thing that is over, such as a user's connection.
//!
//! They pass through a queue and a writer of their own, as the lines of the log do, so that neither can push out the other.

use std::cell::Cell;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use tracing::Level;

use crate::json::{self, Object};
use crate::line;
use crate::queue::{Queue, Room};
use crate::settings::{Format, Rotation, Settings};
use crate::writer::{Content, Writer};
use crate::{LAST_LINES_WAIT, Sink, StartError, Target};

/// The longest text of one value, in bytes. Many of them come from strangers.
const VALUE_LEN: usize = 1 << 10;

/// What the texts of one record may take together, in bytes.
const RECORD_LEN: usize = 4 << 10;

/// The largest line buffer that a thread keeps.
const KEPT_BUFFER: usize = 4 << 10;

thread_local! {
    /// The line being made.
    static LINE: Cell<String> = const { Cell::new(String::new()) };
}

/// Where records go and what they look like.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RecordOptions {
    /// What a line looks like. [`Format::Text`] is the time and `name=value` for each value.
    pub format: Format,
    /// How much is kept of a file.
    pub rotation: Rotation,
    /// Where the lines go.
    pub to: Target,
}

/// Where records are written. Clones are the same. When the last one is dropped, what is queued is written, for a second at most.
#[derive(Clone, Debug)]
pub struct Records(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    queue: Arc<Queue>,
    settings: Arc<Settings>,
    zone: TimeZone,
}

/// A record on its way into a line.
pub struct Record<'a>(Line<'a>);

enum Line<'a> {
    Json(Object<'a>),
    Text(&'a mut String),
}

impl Records {
    /// Begins to take records.
    ///
    /// # Errors
    /// There can be no thread for it. That a file cannot be opened is no error: standard error says so, and records are written when it
    /// can be.
    pub fn start(options: RecordOptions) -> Result<Self, StartError> {
        let zone = TimeZone::system();
        let RecordOptions {
            format,
            rotation,
            to,
        } = options;
        // Records have no level and no colours.
        let settings = Arc::new(Settings::new(false, format, Level::INFO, rotation));
        let sink = Sink::open(to, rotation, &zone)?;
        let queue = Arc::new(Queue::default());
        Writer::new(Content::Records, sink, Arc::clone(&settings), zone.clone())
            .spawn(Arc::clone(&queue), Arc::default())
            .map_err(StartError::Thread)?;
        Ok(Self(Arc::new(Inner {
            queue,
            settings,
            zone,
        })))
    }

    /// Changes what lines look like and how much is kept, from now on. They go where they did.
    pub fn change(&self, options: &RecordOptions) {
        let RecordOptions {
            format,
            rotation,
            to: _,
        } = options;
        self.0.settings.set_format(*format);
        self.0.settings.set_rotation(*rotation);
    }

    /// Writes a record with the values that `fill` gives it. Never waits: one that finds the queue full is counted, and the next line
    /// that is written says how many are missing.
    pub fn write(&self, fill: impl FnOnce(&mut Record<'_>)) {
        self.write_at(Timestamp::now(), fill);
    }

    fn write_at(&self, now: Timestamp, fill: impl FnOnce(&mut Record<'_>)) {
        let Inner {
            queue,
            settings,
            zone,
        } = &*self.0;
        let mut line = LINE.take();
        line.clear();
        let mut record = Record::begin(settings.format(), &mut line, now, zone);
        fill(&mut record);
        record.end();
        line.push('\n');
        queue.push(&line, Room::All);
        line.shrink_to(KEPT_BUFFER);
        LINE.set(line);
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.queue.close(LAST_LINES_WAIT);
    }
}

impl<'a> Record<'a> {
    fn begin(format: Format, line: &'a mut String, now: Timestamp, zone: &TimeZone) -> Self {
        Self(match format {
            Format::Json => {
                let mut object = Object::begin(line, RECORD_LEN);
                object.time(now, zone);
                Line::Json(object)
            }
            Format::Text => {
                line::push_time(line, zone.to_datetime(now));
                Line::Text(line)
            }
        })
    }

    /// A number, or a word of the program's own.
    pub fn number(&mut self, name: &'static str, value: impl fmt::Display) {
        match &mut self.0 {
            Line::Json(object) => object.plain(name, value),
            // Writing to a string does not fail.
            Line::Text(line) => drop(fmt::write(line, format_args!(" {name}={value}"))),
        }
    }

    /// An address. One of IPv6 that stands for one of IPv4 is written as that.
    pub fn address(&mut self, name: &'static str, addr: &SocketAddr) {
        let addr = SocketAddr::new(addr.ip().to_canonical(), addr.port());
        match &mut self.0 {
            Line::Json(object) => object.text(name, format_args!("{addr}")),
            // Writing to a string does not fail.
            Line::Text(line) => drop(fmt::write(line, format_args!(" {name}={addr}"))),
        }
    }

    /// A text. An empty one is left out. One that is more than a word is quoted, as in JSON.
    pub fn text(&mut self, name: &'static str, value: &str) {
        if value.is_empty() {
            return;
        }
        let cut = value.floor_char_boundary(VALUE_LEN);
        let (value, rest) = value.split_at(cut);
        let mark = if rest.is_empty() { "" } else { "\u{2026}" };
        match &mut self.0 {
            Line::Json(object) => object.text(name, format_args!("{value}{mark}")),
            Line::Text(line) => {
                line.push(' ');
                line.push_str(name);
                line.push('=');
                let is_odd = |it: char| {
                    it.is_whitespace() || it.is_control() || matches!(it, '"' | '=' | '\\')
                };
                if value.contains(is_odd) {
                    line.push('"');
                    json::push_escaped(line, value, RECORD_LEN);
                    line.push_str(mark);
                    line.push('"');
                } else {
                    line.push_str(value);
                    line.push_str(mark);
                }
            }
        }
    }

    fn end(self) {
        match self.0 {
            Line::Json(object) => object.end(),
            Line::Text(_) => {}
        }
    }
}

impl fmt::Debug for Record<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(format: Format, fill: impl FnOnce(&mut Record<'_>)) -> String {
        let now = Timestamp::from_millisecond(1_795_473_601_123).unwrap();
        let mut line = String::new();
        let mut record = Record::begin(format, &mut line, now, &TimeZone::UTC);
        fill(&mut record);
        record.end();
        line
    }

    fn fill(record: &mut Record<'_>) {
        let mapped = "[::ffff:192.0.2.7]:4000".parse().unwrap();
        record.address("from", &mapped);
        record.text("host", "");
        record.text("path", "/a b\"\x1b[2J\n");
        record.number("sent", 7);
        record.number("seconds", format_args!("{:.3}", 1.5));
    }

    #[test]
    fn text_is_a_time_and_values_by_name() {
        assert_eq!(
            record(Format::Text, fill),
            "2026-11-23 22:40:01.123 from=192.0.2.7:4000 path=\"/a b\\\"\\u001b[2J\\n\" sent=7 seconds=1.500"
        );
    }

    #[test]
    fn json_is_an_object() {
        assert_eq!(
            record(Format::Json, fill),
            "{\"time\":\"2026-11-23T22:40:01.123Z\",\"from\":\"192.0.2.7:4000\",\"path\":\"/a b\\\"\\u001b[2J\\n\",\"sent\":7,\
             \"seconds\":1.500}"
        );
    }

    #[test]
    fn a_stranger_cannot_fill_a_record() {
        for format in [Format::Text, Format::Json] {
            let line = record(format, |record| {
                record.text("path", &"\x1b".repeat(64 << 10));
                record.number("status", 200);
            });
            assert!(line.len() < 6 * VALUE_LEN + 200, "{} bytes", line.len());
            assert!(line.contains("200"), "{line}");
        }
    }

    #[test]
    fn all_records_are_in_the_file_in_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("access.log");
        let options = RecordOptions {
            format: Format::Text,
            rotation: Rotation::default(),
            to: Target::File(path.clone()),
        };
        let records = Records::start(options.clone()).unwrap();
        for number in 0..1_000 {
            records.write(|record| record.number("number", number));
        }
        records.change(&RecordOptions {
            format: Format::Json,
            ..options
        });
        records.write(|record| record.number("number", 1_000));
        drop(records);
        let text = std::fs::read_to_string(path).unwrap();
        assert_eq!(text.lines().count(), 1_001);
        assert!(text.ends_with(",\"number\":1000}\n"), "{text}");
    }
}
