//! Lines to a file that is rotated at local midnight.
//!
//! `mgroks.log` becomes `mgroks.20261124-000000.log`, and rotated files older than the configured
//! number of days are deleted. As with frp, a restart does not rotate, and size plays no part.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};

/// The time in the name of a rotated file.
const STAMP: &str = "%Y%m%d-%H%M%S";

/// How long a stamp is.
const STAMP_LEN: usize = "YYYYMMDD-hhmmss".len();

/// The longest time without a look at the clock: it may have been set, or the machine may have
/// slept, and neither shortens a wait.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// How many seconds of a rotated file's name are tried until one is free. More than one is
/// needed only after the clock was set back.
const STAMPS_TRIED: i64 = 60;

/// A log file, opened when there is something to write.
#[derive(Debug)]
pub(crate) struct LogFile {
    /// The day that the lines in the file are of.
    day: Date,
    file: Option<File>,
    max_days: Option<u32>,
    path: PathBuf,
    zone: TimeZone,
}

impl LogFile {
    /// The log at `path`. Touches no file yet.
    pub(crate) fn new(
        path: PathBuf,
        max_days: Option<u32>,
        zone: TimeZone,
        now: Timestamp,
    ) -> Self {
        Self {
            day: zone.to_datetime(now).date(),
            file: None,
            max_days,
            path,
            zone,
        }
    }

    /// Writes a part of `text` and says how much. After an error the file is opened anew, in
    /// case its disk or its directory was replaced.
    ///
    /// # Errors
    /// What the operating system says. The next call may well work.
    pub(crate) fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(open(&self.path)?),
        };
        let result = file.write(text);
        if result.is_err() {
            self.file = None;
        }
        result
    }

    /// Begins a new file if a day has passed.
    ///
    /// # Errors
    /// The old file could not be renamed and is written on; the next try is at the next midnight.
    pub(crate) fn rotate_if_due(&mut self, now: Timestamp) -> io::Result<()> {
        let local = self.zone.to_datetime(now);
        if local.date() == self.day {
            return Ok(());
        }
        self.day = local.date();
        // A device, a pipe or a terminal keeps its name.
        if fs::metadata(&self.path).is_ok_and(|it| it.is_file()) {
            fs::rename(&self.path, self.free_name(local)?)?;
        }
        self.file = None;
        self.prune(now);
        Ok(())
    }

    /// How long there is surely nothing to rotate.
    pub(crate) fn until_due(&self, now: Timestamp) -> Duration {
        let midnight = self
            .zone
            .to_datetime(now)
            .date()
            .tomorrow()
            .and_then(|tomorrow| self.zone.to_timestamp(tomorrow.at(0, 0, 0, 0)));
        midnight.map_or(LONGEST_WAIT, |midnight| {
            let left = midnight.duration_since(now);
            Duration::try_from(left)
                .unwrap_or_default()
                .min(LONGEST_WAIT)
        })
    }

    /// The file that the lines go to.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A name for the rotated file that no file has.
    fn free_name(&self, local: DateTime) -> io::Result<PathBuf> {
        let (stem, extension) = self.name_parts();
        for seconds in 0..STAMPS_TRIED {
            let Ok(stamp) = local.checked_add(seconds.seconds()) else {
                break;
            };
            let name = format!("{stem}.{}{extension}", stamp.strftime(STAMP));
            let candidate = self.path.with_file_name(name);
            if !candidate.try_exists()? {
                return Ok(candidate);
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// Deletes rotated files that are too old. One that cannot be read or deleted is left: the
    /// next midnight tries again, and no line of the log is worth less for it.
    fn prune(&self, now: Timestamp) {
        let Some(max_days) = self.max_days else {
            return;
        };
        let Ok(oldest) = now.checked_sub(SignedDuration::from_hours(i64::from(max_days) * 24))
        else {
            return;
        };
        let directory = match self.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let Ok(entries) = fs::read_dir(directory) else {
            return;
        };
        for entry in entries.flatten() {
            let rotated_at = entry
                .file_name()
                .to_str()
                .and_then(|it| self.rotated_at(it));
            if rotated_at.is_some_and(|it| it < oldest)
                && entry.file_type().is_ok_and(|it| it.is_file())
            {
                // See above.
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    /// When a file of this name was rotated, if it is one of this log's.
    fn rotated_at(&self, name: &str) -> Option<Timestamp> {
        let (stem, extension) = self.name_parts();
        let stamp = name
            .strip_prefix(&stem)?
            .strip_prefix('.')?
            .strip_suffix(&extension)?;
        if stamp.len() != STAMP_LEN {
            return None;
        }
        let stamp = DateTime::strptime(STAMP, stamp).ok()?;
        self.zone.to_timestamp(stamp).ok()
    }

    /// What stands before and after the stamp; the extension with its dot.
    fn name_parts(&self) -> (String, String) {
        let text =
            |part: Option<&std::ffi::OsStr>| part.map(|it| it.to_string_lossy().into_owned());
        let stem = text(self.path.file_stem()).unwrap_or_default();
        let extension = text(self.path.extension()).map(|it| format!(".{it}"));
        (stem, extension.unwrap_or_default())
    }
}

fn open(path: &Path) -> io::Result<File> {
    if let Some(parent) = path.parent().filter(|it| !it.as_os_str().is_empty()) {
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(parent)?;
    }
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
}

#[cfg(test)]
mod tests;
