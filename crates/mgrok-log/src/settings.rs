//! What may change of a log while it is written.

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Mutex, PoisonError};

use tracing::Level;

/// What a line looks like.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Format {
    /// An object of JSON for each line.
    Json,
    /// frp's lines.
    #[default]
    Text,
}

/// How much is kept of a log in a file. Midnight begins a new file in any case.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Rotation {
    /// How many days rotated files are kept; `None` keeps them all.
    pub max_days: Option<u32>,
    /// How many rotated files are kept; `None` is any number.
    pub max_files: Option<u32>,
    /// The size in bytes that a file has at most, beyond which a new one begins; `None` is any size. A single longer line is written
    /// whole.
    pub max_size: Option<NonZeroU64>,
}

/// Read by whoever logs and by the writer, changed by a reload.
#[derive(Debug)]
pub(crate) struct Settings {
    /// Whether lines that are text are coloured by level.
    color: AtomicBool,
    is_json: AtomicBool,
    level: AtomicU8,
    /// Read by the writer only.
    rotation: Mutex<Rotation>,
}

impl Settings {
    pub(crate) fn new(color: bool, format: Format, level: Level, rotation: Rotation) -> Self {
        Self {
            color: color.into(),
            is_json: (format == Format::Json).into(),
            level: number(level).into(),
            rotation: rotation.into(),
        }
    }

    pub(crate) fn format(&self) -> Format {
        match self.is_json.load(Ordering::Relaxed) {
            true => Format::Json,
            false => Format::Text,
        }
    }

    pub(crate) fn is_colored(&self) -> bool {
        self.color.load(Ordering::Relaxed)
    }

    pub(crate) fn level(&self) -> Level {
        match self.level.load(Ordering::Relaxed) {
            0 => Level::ERROR,
            1 => Level::WARN,
            2 => Level::INFO,
            3 => Level::DEBUG,
            _ => Level::TRACE,
        }
    }

    pub(crate) fn rotation(&self) -> Rotation {
        *self.rotation.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_color(&self, color: bool) {
        self.color.store(color, Ordering::Relaxed);
    }

    pub(crate) fn set_format(&self, format: Format) {
        self.is_json
            .store(format == Format::Json, Ordering::Relaxed);
    }

    /// Whoever logs learns of it when `tracing` asks again which events are wanted.
    pub(crate) fn set_level(&self, level: Level) {
        self.level.store(number(level), Ordering::Relaxed);
    }

    pub(crate) fn set_rotation(&self, rotation: Rotation) {
        *self.rotation.lock().unwrap_or_else(PoisonError::into_inner) = rotation;
    }
}

fn number(level: Level) -> u8 {
    match level {
        Level::ERROR => 0,
        Level::WARN => 1,
        Level::INFO => 2,
        Level::DEBUG => 3,
        Level::TRACE => 4,
    }
}
