//! What is logged, and where to.

use std::fmt;
use std::path::PathBuf;

/// The `log` section, the same on both ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Where lines go.
    pub to: LogTarget,
    /// The least important lines that are still written.
    pub level: LogLevel,
    /// How many days a rotated file is kept; `None` keeps all.
    pub max_days: Option<u32>,
    /// Whether the console may be coloured.
    pub color: bool,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            to: LogTarget::Console,
            level: LogLevel::Info,
            // frp: 3
            max_days: Some(3),
            color: true,
        }
    }
}

/// Where log lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTarget {
    /// The standard output.
    Console,
    /// A file that is rotated at midnight; relative to the working directory.
    File(PathBuf),
}

/// How important a log line is, the least important first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Everything, down to single packets.
    Trace,
    /// Decisions off the main path.
    Debug,
    /// States that a user would notice.
    Info,
    /// Odd, but still working.
    Warn,
    /// Broken.
    Error,
}

impl LogLevel {
    /// All levels, in the order of the file format's documentation.
    pub(crate) const ALL: [Self; 5] = [
        Self::Trace,
        Self::Debug,
        Self::Info,
        Self::Warn,
        Self::Error,
    ];

    /// The word that configuration files use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
