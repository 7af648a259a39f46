//! The log: `tracing` events as the lines that frp's users know, to the console or to a file.
//!
//! ```text
//! 2026-11-23 23:40:01.123 [I] [server/session.rs:42] [3f0c9a7be1d24c55] [ssh] new proxy success port=6000
//! ```
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
//! In order, lowest first: `line` (what a line looks like), `limiter` (how many of them others may cause), `file` and `console` (where
//! they go), `queue`, `writer` (the thread), `layer` (what `tracing` calls).

mod console;
mod file;
mod layer;
mod limiter;
mod line;
mod queue;
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
use writer::{Sink, Writer};

/// How long the end of the program waits for the last lines to be written. A healthy disk needs
/// milliseconds; a blocked terminal would keep the program for ever.
const LAST_LINES_WAIT: Duration = Duration::from_secs(1);

/// Where the log goes and what is in it.
#[derive(Clone, Debug)]
pub struct Options {
    /// Colour the lines by level. Only a console that is a terminal is ever coloured.
    pub color: bool,
    /// The least important level that is written. Crates that are not mgrok's own are heard
    /// from `warn` on, whatever this says.
    pub level: Level,
    /// How many days rotated files are kept; `None` keeps them all.
    pub max_days: Option<u32>,
    /// Where the lines go.
    pub to: Target,
}

/// Where log lines go.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Target {
    /// Standard output.
    Console,
    /// A file that is appended to and rotated at local midnight.
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
    queue: Arc<Queue>,
}

/// Makes the log of this process, and takes every `tracing` event from now on.
///
/// # Errors
/// A process has one log, and needs a thread for it. That a file cannot be opened is no error:
/// standard error says so, and the log begins when the file can be opened.
pub fn start(options: Options) -> Result<Log, StartError> {
    // Go reads the time zone once as well. Its rules are all here, so a change to summer time
    // is followed; a change of the machine's zone is followed by the next start.
    let zone = TimeZone::system();
    let (sink, color) = match options.to {
        Target::Console => {
            let console = Console::stdout().map_err(StartError::Thread)?;
            let color = options.color && console.is_terminal();
            (Sink::Console(console), color)
        }
        Target::File(path) => {
            let file = LogFile::new(path, options.max_days, zone.clone(), Timestamp::now());
            (Sink::File(file), false)
        }
    };

    let queue = Arc::new(Queue::default());
    let limiter = Arc::new(Limiter::default());
    let layer = LineLayer {
        color,
        level: options.level,
        limiter: Arc::clone(&limiter),
        now: Timestamp::now,
        queue: Arc::clone(&queue),
        zone: zone.clone(),
    };
    let subscriber = tracing_subscriber::registry().with(layer.build());
    tracing::subscriber::set_global_default(subscriber).map_err(|_| StartError::AlreadyStarted)?;
    let log = Log {
        queue: Arc::clone(&queue),
    };
    Writer::new(sink, zone)
        .spawn(queue, limiter)
        .map_err(StartError::Thread)?;
    Ok(log)
}

impl Drop for Log {
    fn drop(&mut self) {
        self.queue.close(LAST_LINES_WAIT);
    }
}
