//! The thread that writes, and what it does when it cannot.
//!
//! Why a thread: making a line and queueing it was measured (`cargo bench -p mgrok-log`) at 0.6 µs,
//! which is what a `write(2)` to a file takes on top of making the line. More than that, writing
//! in the task hands the bad moments of the other side to the tunnel: a terminal in scroll lock,
//! a full pipe to the service manager or a disk that flushes would stop every connection of the
//! worker thread that logged. Here the worst that can happen is that lines are missing, and the
//! log says so.

use std::io::{self, Write as _};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::console::Console;
use crate::file::LogFile;
use crate::limiter::{LeftOut, Limiter};
use crate::line;
use crate::queue::Queue;

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

/// Writes batches of lines and keeps account of those that could not be written.
#[derive(Debug)]
pub(crate) struct Writer {
    /// The last attempt failed, and standard error has the reason.
    failing: bool,
    /// Lines missing in the log for which the log has no notice yet.
    lost: u64,
    sink: Sink,
    /// The log ends within a line, because the disk filled up there.
    torn: bool,
    zone: TimeZone,
}

impl Writer {
    /// A writer that has written nothing yet.
    pub(crate) fn new(sink: Sink, zone: TimeZone) -> Self {
        Self {
            failing: false,
            lost: 0,
            sink,
            torn: false,
            zone,
        }
    }

    /// Writes what comes through `queue` until that is closed, in a thread of its own. The thread
    /// is not joined: [`Queue::close`] waits for it, for a limited time.
    pub(crate) fn spawn(mut self, queue: Arc<Queue>, limiter: Arc<Limiter>) -> io::Result<()> {
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
        thread::Builder::new()
            .name("log".into())
            .stack_size(STACK_SIZE)
            .spawn(run)?;
        Ok(())
    }

    /// Writes whole lines, after a line about those that are missing before them. Returns what to
    /// tell the operator on another way, once until writing works again.
    fn deliver(&mut self, text: &str, now: Timestamp) -> Option<String> {
        let mut problem = None;
        if let Sink::File(file) = &mut self.sink
            && let Err(error) = file.rotate_if_due(now)
        {
            let path = file.path().display();
            problem = Some(format!("log: cannot rotate {path}, writing on: {error}"));
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
        problem
    }

    fn try_deliver(&mut self, text: &str, now: Timestamp) -> io::Result<()> {
        if self.lost > 0 {
            let mut notice = self.notice(now);
            if self.torn {
                notice.insert(0, '\n');
            }
            if let Err((written, error)) = self.write_all(notice.as_bytes()) {
                self.torn |= written > 0;
                self.lost += count_lines(text.as_bytes());
                return Err(error);
            }
            self.lost = 0;
            self.torn = false;
        }
        self.write_all(text.as_bytes()).map_err(|(written, error)| {
            let (done, rest) = text.as_bytes().split_at(written);
            self.lost += count_lines(rest);
            self.torn = done.last().is_some_and(|it| *it != b'\n');
            error
        })
    }

    /// Writes all, or says how much was written before the error.
    fn write_all(&mut self, text: &[u8]) -> Result<(), (usize, io::Error)> {
        let mut written = 0;
        while written < text.len() {
            let result = match &mut self.sink {
                Sink::Console(console) => console.write(&text[written..]),
                Sink::File(file) => file.write(&text[written..]),
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
        let mut out = String::new();
        line::push_time(&mut out, self.zone.to_datetime(now));
        let lost = self.lost;
        let lines = if lost == 1 { "line is" } else { "lines are" };
        out.push_str(&format!(
            " [W] [log/writer.rs:{}] {lost} {lines} missing here: they came too fast or could not be written\n",
            line!()
        ));
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
        line::push_head(text, self.zone.to_datetime(now), metadata);
        let lines = if *count == 1 { "line" } else { "lines" };
        text.push_str(&format!("{count} more {lines} like this were left out"));
        if !source.is_empty() {
            text.push_str(&format!(", from {source}"));
        }
        if !example.is_empty() {
            text.push_str(&format!(": {example}"));
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

fn count_lines(text: &[u8]) -> u64 {
    text.iter().filter(|it| **it == b'\n').count() as u64
}

#[cfg(test)]
mod tests;
