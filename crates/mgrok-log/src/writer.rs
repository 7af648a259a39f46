//! The thread that writes, and what it does when it cannot.
//!
//! Why a thread: making a line and queueing it was measured (`cargo bench -p mgrok-log`) at 0.6 µs,
//! which is what a `write(2)` to a file takes on top of making the line. More than that, writing
//! in the task hands the bad moments of the other side to the tunnel: a terminal in scroll lock,
//! a full pipe to the service manager or a disk that flushes would stop every connection of the
//! worker thread that logged. Here the worst that can happen is that lines are missing, and the
//! log says so.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::console::Console;
use crate::file::LogFile;
use crate::json::Object;
use crate::limiter::{LeftOut, Limiter};
use crate::line;
use crate::queue::Queue;
use crate::settings::{Format, Settings};

/// Room enough for what the writer has to say.
const OWN_MESSAGE_LEN: usize = 1 << 10;

/// What is kept of a buffer that grew in a burst.
const KEPT_BUFFER: usize = 16 << 10;

/// How long lines gather after a write. A line that comes after a quiet moment is written at once;
/// of a thousand in a second, most wake nobody and share a system call with others.
const GATHERING: Duration = Duration::from_millis(5);

/// The writer formats paths and short messages only.
const STACK_SIZE: usize = 128 << 10;

/// Where lines go.
#[derive(Debug)]
pub(crate) enum Sink {
    Console(Console),
    File(LogFile),
}

/// What is written, which decides how the writer's own lines look.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Content {
    /// The lines of the program.
    Log,
    /// Records of what is over.
    Records,
}

/// Writes batches of lines and keeps account of those that could not be written.
#[derive(Debug)]
pub(crate) struct Writer {
    content: Content,
    /// The last attempt failed, and standard error has the reason.
    failing: bool,
    /// Lines missing in the log for which the log has no notice yet.
    lost: u64,
    settings: Arc<Settings>,
    sink: Sink,
    /// The log ends within a line, because the disk filled up there.
    torn: bool,
    zone: TimeZone,
}

impl Writer {
    /// A writer that has written nothing yet.
    pub(crate) fn new(
        content: Content,
        sink: Sink,
        settings: Arc<Settings>,
        zone: TimeZone,
    ) -> Self {
        Self {
            content,
            failing: false,
            lost: 0,
            settings,
            sink,
            torn: false,
            zone,
        }
    }

    /// Writes what comes through `queue` until that is closed, in a thread of its own. The thread
    /// is not joined: [`Queue::close`] waits for it, for a limited time.
    pub(crate) fn spawn(mut self, queue: Arc<Queue>, limiter: Arc<Limiter>) -> io::Result<()> {
        let content = self.content;
        let run = move || {
            let mut text = String::new();
            loop {
                let until_report = limiter
                    .due()
                    .map(|due| due.saturating_duration_since(Instant::now()));
                let until_file = self.longest_wait(Timestamp::now());
                let wait = until_report.into_iter().chain(until_file).min();
                let taken = queue.take(&mut text, wait);
                self.lost += taken.lost;
                for left_out in limiter.report(Instant::now(), taken.closed) {
                    self.push_report(&mut text, &left_out, Timestamp::now());
                }
                if let Some(complaint) = self.deliver(&text, Timestamp::now()) {
                    // If this fails too, no output is left to report it on.
                    let _ = writeln!(io::stderr(), "{complaint}");
                }
                if taken.closed {
                    return queue.writer_left();
                }
                text.clear();
                text.shrink_to(KEPT_BUFFER);
                queue.gather(GATHERING);
            }
        };
        let name = match content {
            Content::Log => "log",
            Content::Records => "records",
        };
        thread::Builder::new()
            .name(name.into())
            .stack_size(STACK_SIZE)
            .spawn(run)?;
        Ok(())
    }

    /// Writes whole lines, after a line about those that are missing before them. Returns what to
    /// tell the operator on another way, once until writing works again.
    fn deliver(&mut self, text: &str, now: Timestamp) -> Option<String> {
        let mut problem = None;
        if let Sink::File(file) = &mut self.sink {
            file.set_rotation(self.settings.rotation());
            if let Err(error) = file.rotate_if_due(now) {
                problem = Some(cannot_rotate(file, &error));
            }
        }
        match self.try_deliver(text, now) {
            Ok(()) => self.failing = false,
            Err(error) if !self.failing => {
                self.failing = true;
                let name = self.sink_name();
                problem = Some(format!(
                    "log: cannot write to {name}, lines are lost until it works again: {error}"
                ));
            }
            Err(_) => {}
        }
        if let Sink::File(file) = &mut self.sink
            && let Some(error) = file.take_problem()
        {
            problem.get_or_insert(cannot_rotate(file, &error));
        }
        problem
    }

    fn try_deliver(&mut self, text: &str, now: Timestamp) -> io::Result<()> {
        if self.lost > 0 {
            let mut notice = self.notice(now);
            if self.torn {
                notice.insert(0, '\n');
            }
            if let Err((written, error)) = self.write_all(notice.as_bytes(), now) {
                self.torn |= written > 0;
                self.lost += count_lines(text.as_bytes());
                return Err(error);
            }
            self.lost = 0;
            self.torn = false;
        }
        self.write_all(text.as_bytes(), now)
            .map_err(|(written, error)| {
                let (done, rest) = text.as_bytes().split_at(written);
                self.lost += count_lines(rest);
                self.torn = done.last().is_some_and(|it| *it != b'\n');
                error
            })
    }

    /// Writes all, or says how much was written before the error.
    fn write_all(&mut self, text: &[u8], now: Timestamp) -> Result<(), (usize, io::Error)> {
        // Logs that share standard output do not part each other's lines.
        let _turn = matches!(self.sink, Sink::Console(_)).then(Console::turn);
        let mut written = 0;
        while written < text.len() {
            let result = match &mut self.sink {
                Sink::Console(console) => console.write(&text[written..]),
                Sink::File(file) => file.write(&text[written..], now),
            };
            match result {
                Ok(0) => return Err((written, io::ErrorKind::WriteZero.into())),
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err((written, error)),
            }
        }
        Ok(())
    }

    /// The notice of missing lines.
    fn notice(&self, now: Timestamp) -> String {
        let lost = self.lost;
        let lines = if lost == 1 { "line is" } else { "lines are" };
        let message =
            format_args!("{lost} {lines} missing here: they came too fast or could not be written");
        let mut out = String::new();
        match (self.settings.format(), self.content) {
            (Format::Json, content) => {
                let mut object = Object::begin(&mut out, OWN_MESSAGE_LEN);
                object.time(now, &self.zone);
                if content == Content::Log {
                    object.word("level", |out| out.push_str("warn"));
                    object.word("target", |out| out.push_str(module_path!()));
                    object.text("caller", format_args!("log/writer.rs:{}", line!()));
                    object.text("message", message);
                }
                object.plain("missing", lost);
                object.end();
            }
            (Format::Text, Content::Log) => {
                line::push_time(&mut out, self.zone.to_datetime(now));
                out.push_str(&format!(" [W] [log/writer.rs:{}] {message}", line!()));
            }
            (Format::Text, Content::Records) => {
                line::push_time(&mut out, self.zone.to_datetime(now));
                out.push_str(&format!(" missing={lost}"));
            }
        }
        out.push('\n');
        out
    }

    /// Appends the line that sums up lines that were counted only.
    fn push_report(&self, text: &mut String, left_out: &LeftOut, now: Timestamp) {
        let LeftOut {
            count,
            example,
            metadata,
            source,
        } = left_out;
        let lines = if *count == 1 { "line" } else { "lines" };
        let message = format_args!("{count} more {lines} like this were left out");
        match self.settings.format() {
            Format::Json => {
                let mut object = Object::begin(text, OWN_MESSAGE_LEN);
                object.time(now, &self.zone);
                object.word("level", |out| {
                    out.push_str(line::level_word(*metadata.level()));
                });
                object.word("target", |out| out.push_str(metadata.target()));
                object.word("caller", |out| line::push_caller(out, metadata));
                object.text("message", message);
                object.plain("left_out", count);
                if !source.is_empty() {
                    object.text("source", format_args!("{source}"));
                }
                if !example.is_empty() {
                    object.text("example", format_args!("{example}"));
                }
                object.end();
            }
            Format::Text => {
                line::push_head(text, self.zone.to_datetime(now), metadata);
                // Writing to a string does not fail.
                let _ = write!(text, "{message}");
                if !source.is_empty() {
                    text.push_str(&format!(", from {source}"));
                }
                if !example.is_empty() {
                    text.push_str(&format!(": {example}"));
                }
            }
        }
        text.push('\n');
    }

    /// How long the writer may sleep when nothing is logged.
    fn longest_wait(&self, now: Timestamp) -> Option<Duration> {
        match &self.sink {
            Sink::Console(_) => None,
            Sink::File(file) => Some(file.until_due(now)),
        }
    }

    fn sink_name(&self) -> String {
        match &self.sink {
            Sink::Console(_) => "standard output".into(),
            Sink::File(file) => file.path().display().to_string(),
        }
    }
}

fn cannot_rotate(file: &LogFile, error: &io::Error) -> String {
    let path = file.path().display();
    format!("log: cannot rotate {path}, writing on: {error}")
}

fn count_lines(text: &[u8]) -> u64 {
    text.iter().filter(|it| **it == b'\n').count() as u64
}

#[cfg(test)]
mod tests;
