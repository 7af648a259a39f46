//! The log: `tracing` events as the lines that frp's users know, to the console or to a file.
//!
//! ```text
//! 2026-11-23 23:40:01.123 [I] [server/session.rs:42] [3f0c9a7be1d24c55] [ssh] new proxy success port=6000
//! ```
//!
//! With [`Format::Json`] a line is an object instead, whose names stay the same from version to version:
//!
//! ```text
//! {"time":"2026-11-23T23:40:01.123+01:00","level":"info","target":"mgrok_server::session","caller":"server/session.rs:42",
//!  "run_id":"3f0c9a7be1d24c55","proxy":"ssh","message":"new proxy success","port":6000}
//! ```
//!
//! `time`, `level`, `target` (a module), `caller` (a place in the source, which may change) and `message` are always there; `run_id`, `proxy`
//! (a proxy's or a visitor's name) and `reqid` (of a plugin's question) where they are known; then the fields of the event. `source`
//! names who has caused it, where that may be a stranger. `cut` is how many bytes were left out of the line; `limited` says that it is the last one of
//! its `kind`, or of its `source`, that is written for a while; `left_out` counts, with an `example`, those that were not, and `missing` those
//! that came too fast or could not be written.
//!
//! The libraries know `tracing` only. Two kinds of span become prefixes of the lines inside
//! them: `session` with a field `run_id`, and `proxy` with a field `name`; they are made at level
//! info or above. Fields beside the message follow it as `key=value`.
//!
//! An event is formatted where it happens and handed to one writer thread through a bounded
//! queue, so a full disk or a terminal that nobody reads delays no connection. Lines that find
//! the queue full, or that could not be written, are counted, and the log says how many are
//! missing as soon as it can.
//!
//! A message is cut at 4 KiB, and nothing in it ends the line or steers a terminal. An event that somebody else can cause as often as
//! they like says so in a field that is not shown. `source` is for what whoever reaches a port can cause, and says who that is: an
//! address, or any short text. `per_session = true` is for what a client can cause in its session, which may be more. Such lines are
//! cut at 1 KiB, and those of one place in the code are limited for each source and in all; what is left out is counted, and the log
//! says so every minute.
//!
//! ```
//! # let from: std::net::SocketAddr = ([192, 0, 2, 7], 4000).into();
//! tracing::warn!(source = %from, "login of {from} refused");
//! ```
//!
//! [`Records`] are lines of another kind, of what is over, such as a user's connection. They go to a place of their own.
//!
//! In order, lowest first: `settings` (what may change meanwhile), `escaped` (text of others), `line` and `json` (what a line looks like), `limiter` (how many of them
//! others may cause), `tail` (the latest lines), `file` and `console` (where they go), `queue`, `writer` (the thread), `layer` (what `tracing` calls), `records`.

mod console;
mod escaped;
mod file;
mod json;
mod layer;
mod limiter;
mod line;
mod queue;
mod records;
mod settings;
mod tail;
mod writer;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use tracing::Level;
use tracing_subscriber::layer::SubscriberExt;

use console::Console;
use file::LogFile;
use layer::LineLayer;
use limiter::Limiter;
use queue::Queue;
use settings::Settings;
use tail::Tail;
use writer::{Content, Sink, Writer};

pub use records::{Record, RecordOptions, Records};
pub use settings::{Format, Rotation};
pub use tail::{LogFeed, LogLine};

/// How long the end of the program waits for the last lines to be written. A healthy disk needs
/// milliseconds; a blocked terminal would keep the program for ever.
const LAST_LINES_WAIT: Duration = Duration::from_secs(1);

/// Where the log goes and what is in it.
#[derive(Clone, Debug)]
pub struct Options {
    /// Colour the lines by level. Only a console that is a terminal is ever coloured.
    pub color: bool,
    /// What a line looks like.
    pub format: Format,
    /// The least important level that is written. Crates that are not mgrok's own are heard
    /// from `warn` on, whatever this says.
    pub level: Level,
    /// How much is kept of a file.
    pub rotation: Rotation,
    /// Where the lines go.
    pub to: Target,
}

/// Where log lines go.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Target {
    /// Standard output.
    Console,
    /// A file that is appended to and rotated at local midnight, or earlier if it gets too large.
    File(PathBuf),
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// This process has a log already.
    #[error("another logger is set up in this process")]
    AlreadyStarted,
    /// The thread that writes could not be started.
    #[error("cannot start the thread that writes the log")]
    Thread(#[source] io::Error),
}

/// The running log. Dropping it writes what is queued, for a second at most.
#[derive(Debug)]
pub struct Log {
    control: LogControl,
    queue: Arc<Queue>,
}

/// Changes what is logged while it is. Clones are the same.
#[derive(Clone, Debug)]
pub struct LogControl {
    /// Whether lines may be coloured where they go.
    may_be_colored: bool,
    settings: Arc<Settings>,
    tail: Arc<Tail>,
}

/// Makes the log of this process, and takes every `tracing` event from now on.
///
/// # Errors
/// A process has one log, and needs a thread for it. That a file cannot be opened is no error:
/// standard error says so, and the log begins when the file can be opened.
pub fn start(options: Options) -> Result<Log, StartError> {
    let Options {
        color,
        format,
        level,
        rotation,
        to,
    } = options;
    // Go reads the time zone once as well. Its rules are all here, so a change to summer time
    // is followed; a change of the machine's zone is followed by the next start.
    let zone = TimeZone::system();
    let sink = Sink::open(to, rotation, &zone)?;
    let may_be_colored = match &sink {
        Sink::Console(console) => console.is_terminal(),
        Sink::File(_) => false,
    };
    let color = color && may_be_colored;
    let settings = Arc::new(Settings::new(color, format, level, rotation));
    let queue = Arc::new(Queue::default());
    let limiter = Arc::new(Limiter::default());
    let tail = Arc::new(Tail::default());
    let layer = LineLayer {
        limiter: Arc::clone(&limiter),
        now: Timestamp::now,
        queue: Arc::clone(&queue),
        settings: Arc::clone(&settings),
        tail: Arc::clone(&tail),
        zone: zone.clone(),
    };
    let subscriber = tracing_subscriber::registry().with(layer.build());
    tracing::subscriber::set_global_default(subscriber).map_err(|_| StartError::AlreadyStarted)?;
    let log = Log {
        control: LogControl {
            may_be_colored,
            settings: Arc::clone(&settings),
            tail,
        },
        queue: Arc::clone(&queue),
    };
    Writer::new(Content::Log, sink, settings, zone)
        .spawn(queue, limiter)
        .map_err(StartError::Thread)?;
    Ok(log)
}

impl Sink {
    fn open(to: Target, rotation: Rotation, zone: &TimeZone) -> Result<Self, StartError> {
        Ok(match to {
            Target::Console => Self::Console(Console::stdout().map_err(StartError::Thread)?),
            Target::File(path) => {
                Self::File(LogFile::new(path, rotation, zone.clone(), Timestamp::now()))
            }
        })
    }
}

impl Log {
    /// What changes it.
    pub fn control(&self) -> LogControl {
        self.control.clone()
    }
}

impl LogControl {
    /// Logs as `options` say from now on, but where it did: a log has one target for its life.
    pub fn change(&self, options: &Options) {
        let Options {
            color,
            format,
            level,
            rotation,
            to: _,
        } = options;
        let settings = &self.settings;
        settings.set_color(*color && self.may_be_colored);
        settings.set_format(*format);
        settings.set_rotation(*rotation);
        self.set_level(*level);
    }

    /// The least important level that is written.
    pub fn level(&self) -> Level {
        self.settings.level()
    }

    /// Writes lines of `level` and above from now on.
    pub fn set_level(&self, level: Level) {
        if self.settings.level() != level {
            self.settings.set_level(level);
            // Each call site has kept the answer whether it is wanted.
            tracing::callsite::rebuild_interest_cache();
        }
    }

    /// Keeps the latest lines in memory from now on, for those who will [follow](Self::follow) the log.
    pub fn keep_lines(&self) {
        self.tail.keep();
    }

    /// The lines that are kept, and those that come.
    pub fn follow(&self) -> LogFeed {
        self.tail.follow()
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.queue.close(LAST_LINES_WAIT);
    }
}
