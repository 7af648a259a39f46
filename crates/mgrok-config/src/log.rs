//! What is logged, and where to.

use std::fmt;
use std::num::NonZeroU64;
use std::path::PathBuf;

/// How many days a rotated file is kept unless the configuration says so.
pub(crate) const DEFAULT_MAX_DAYS: u32 = 3;

/// How many rotated files are kept where files have a largest size, unless the configuration says so: with it, what others cause cannot
/// fill a disk.
pub(crate) const DEFAULT_MAX_FILES: u32 = 10;

/// The smallest size that a file may be limited to, in bytes: some hundred lines.
const SMALLEST_MAX_SIZE: u64 = 64 << 10;

/// The `log` section, the same on both ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Where lines go.
    pub to: LogTarget,
    /// The least important lines that are still written.
    pub level: LogLevel,
    /// What a line looks like.
    pub format: LogFormat,
    /// How many days a rotated file is kept; `None` keeps all.
    pub max_days: Option<u32>,
    /// How many rotated files are kept; `None` is any number.
    pub max_files: Option<u32>,
    /// How large a file gets, in bytes, before a new one begins; `None` is any size.
    pub max_size: Option<NonZeroU64>,
    /// Whether the console may be coloured.
    pub color: bool,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            to: LogTarget::Console,
            level: LogLevel::Info,
            format: LogFormat::Text,
            // frp: 3
            max_days: Some(DEFAULT_MAX_DAYS),
            max_files: None,
            max_size: None,
            color: true,
        }
    }
}

/// The `accessLog` section: where there is a line for each connection and each HTTP request of a user that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessLog {
    /// Where lines go.
    pub to: LogTarget,
    /// What a line looks like.
    pub format: LogFormat,
    /// As in [`Log`].
    pub max_days: Option<u32>,
    /// As in [`Log`].
    pub max_files: Option<u32>,
    /// As in [`Log`].
    pub max_size: Option<NonZeroU64>,
}

/// What a log line looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// An object of JSON.
    Json,
    /// As frp's lines look.
    #[default]
    Text,
}

impl LogFormat {
    /// All formats, in the order of the file format's documentation.
    pub(crate) const ALL: [Self; 2] = [Self::Text, Self::Json];

    /// The word that configuration files use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Text => "text",
        }
    }
}

/// Reads a size such as `100MB`, where a KB is 1024 bytes. Nothing may stand between number and unit.
pub(crate) fn parse_max_size(text: &str) -> Result<NonZeroU64, String> {
    NonZeroU64::new(parse_size(text)?)
        .filter(|it| it.get() >= SMALLEST_MAX_SIZE)
        .ok_or_else(|| format!("must be {}KB or more", SMALLEST_MAX_SIZE >> 10))
}

/// As [`parse_max_size`], of any size.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is no size, write one like \"100MB\", in KB, MB or GB");
    let units = [("KB", 1 << 10), ("MB", 1 << 20), ("GB", 1 << 30)];
    let (number, unit) = units
        .into_iter()
        .find_map(|(unit, bytes)| Some((text.strip_suffix(unit)?, bytes)))
        .ok_or_else(wrong)?;
    let number: u64 = number.parse().map_err(|_| wrong())?;
    Ok(number.saturating_mul(unit))
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
