//! The log as the configuration wants it, at the start and after a reload.

use std::num::NonZeroU64;

use anyhow::bail;
use mgrok_config::{AccessLog, Log, LogFormat, LogLevel, LogTarget};
use mgrok_log::{Format, LogControl, Options, RecordOptions, Rotation, Target};
use tracing::Level;

/// Changes the log of a program that runs. Clones are the same.
#[derive(Clone, Debug)]
pub struct LogReloader {
    control: LogControl,
    /// Where the log goes as long as the program runs.
    to: LogTarget,
}

impl LogReloader {
    pub(crate) fn new(log: &Log, control: LogControl) -> Self {
        Self {
            control,
            to: log.to.clone(),
        }
    }

    /// Whether the log can become what `log` says, for a reload that must change nothing if it fails.
    ///
    /// # Errors
    /// It is to go elsewhere, which takes a restart.
    pub fn check(&self, log: &Log) -> anyhow::Result<()> {
        if log.to != self.to {
            bail!("log.to cannot change while the program runs; restart it for that");
        }
        Ok(())
    }

    /// What changes the log and shows it, whatever the configuration says.
    pub fn control(&self) -> &LogControl {
        &self.control
    }

    /// Logs as `log` says from now on, but where it did.
    pub fn change(&self, log: &Log) {
        self.control.change(&options(log));
    }
}

pub(crate) fn options(log: &Log) -> Options {
    Options {
        color: log.color,
        format: format(log.format),
        level: match log.level {
            LogLevel::Trace => Level::TRACE,
            LogLevel::Debug => Level::DEBUG,
            LogLevel::Info => Level::INFO,
            LogLevel::Warn => Level::WARN,
            LogLevel::Error => Level::ERROR,
        },
        rotation: rotation(log.max_days, log.max_files, log.max_size),
        to: target(&log.to),
    }
}

/// How records are written for an access log.
pub(crate) fn record_options(log: &AccessLog) -> RecordOptions {
    RecordOptions {
        format: format(log.format),
        rotation: rotation(log.max_days, log.max_files, log.max_size),
        to: target(&log.to),
    }
}

fn format(format: LogFormat) -> Format {
    match format {
        LogFormat::Json => Format::Json,
        LogFormat::Text => Format::Text,
    }
}

fn rotation(
    max_days: Option<u32>,
    max_files: Option<u32>,
    max_size: Option<NonZeroU64>,
) -> Rotation {
    Rotation {
        max_days,
        max_files,
        max_size,
    }
}

fn target(target: &LogTarget) -> Target {
    match target {
        LogTarget::Console => Target::Console,
        LogTarget::File(path) => Target::File(path.clone()),
    }
}
