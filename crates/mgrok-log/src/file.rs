//! Lines to a file that is rotated at local midnight.
//!
//! `mgroks.log` becomes `mgroks.20261124-000000.log`, and rotated files older than the configured
//! number of days are deleted. As with frp, a restart does not rotate. Beyond frp, a file may have a largest size, and rotated files a
//! largest number.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};

use crate::settings::Rotation;

/// The time in the name of a rotated file.
const STAMP: &str = "%Y%m%d-%H%M%S";

/// How long a stamp is.
const STAMP_LEN: usize = "YYYYMMDD-hhmmss".len();

/// The longest time without a look at the clock: it may have been set, or the machine may have
/// slept, and neither shortens a wait.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// How many seconds of a rotated file's name are tried until one is free. More than one is
/// needed after the clock was set back, and where files of the largest size follow each other fast.
const STAMPS_TRIED: i64 = 60;

/// How far the name of a rotated file may be ahead of the time. One that is more so is of a clock that was wrong.
const LONGEST_AHEAD: SignedDuration = SignedDuration::from_hours(1);

/// A log file, opened when there is something to write.
#[derive(Debug)]
pub(crate) struct LogFile {
    /// The day that the lines in the file are of.
    day: Date,
    file: Option<File>,
    /// What was written last ended a line.
    is_at_line_start: bool,
    /// How large the open file is; `None` if it is a device or the like, which is not measured.
    len: Option<u64>,
    path: PathBuf,
    /// Why the last rotation by size failed, if that was not told yet.
    problem: Option<io::Error>,
    rotation: Rotation,
    zone: TimeZone,
}

impl LogFile {
    /// The log at `path`. Touches no file yet.
    pub(crate) fn new(path: PathBuf, rotation: Rotation, zone: TimeZone, now: Timestamp) -> Self {
        Self {
            day: zone.to_datetime(now).date(),
            file: None,
            is_at_line_start: true,
            len: None,
            path,
            problem: None,
            rotation,
            zone,
        }
    }

    /// Keeps as much from now on.
    pub(crate) fn set_rotation(&mut self, rotation: Rotation) {
        self.rotation = rotation;
    }

    /// Writes a part of `text` and says how much. Begins a new file first if this one has no room. After an error the file is opened
    /// anew, in case its disk or its directory was replaced.
    ///
    /// # Errors
    /// What the operating system says. The next call may well work.
    pub(crate) fn write(&mut self, text: &[u8], now: Timestamp) -> io::Result<usize> {
        self.open()?;
        let mut part = self.part_that_fits(text);
        if part == 0 {
            if let Err(error) = self.rotate(now) {
                // The next try is when as much again is written.
                self.len = Some(0);
                self.problem = Some(error);
            }
            self.open()?;
            part = self.part_that_fits(text);
        }
        let Some(file) = &mut self.file else {
            return Ok(0);
        };
        let result = file.write(&text[..part]);
        match result {
            Ok(written) => {
                self.len = self.len.map(|len| len + written as u64);
                if let Some(last) = text[..written].last() {
                    self.is_at_line_start = *last == b'\n';
                }
            }
            Err(_) => self.file = None,
        }
        result
    }

    /// How much of `text` goes into the open file: whole lines, as far as that can be.
    fn part_that_fits(&self, text: &[u8]) -> usize {
        let (Some(max_size), Some(len)) = (self.rotation.max_size, self.len) else {
            return text.len();
        };
        let room = usize::try_from(max_size.get().saturating_sub(len)).unwrap_or(usize::MAX);
        if text.len() <= room {
            return text.len();
        }
        let end_of_line = |it: &u8| *it == b'\n';
        if let Some(last) = text[..room].iter().rposition(end_of_line) {
            return last + 1;
        }
        match len > 0 && self.is_at_line_start {
            true => 0,
            false => text
                .iter()
                .position(end_of_line)
                .map_or(text.len(), |it| it + 1),
        }
    }

    fn open(&mut self) -> io::Result<()> {
        if self.file.is_none() {
            let file = open(&self.path)?;
            let metadata = file.metadata()?;
            self.len = metadata.is_file().then_some(metadata.len());
            self.file = Some(file);
        }
        Ok(())
    }

    /// Begins a new file if a day has passed.
    ///
    /// # Errors
    /// The old file could not be renamed and is written on; the next try is at the next midnight.
    pub(crate) fn rotate_if_due(&mut self, now: Timestamp) -> io::Result<()> {
        let today = self.zone.to_datetime(now).date();
        if today == self.day {
            return Ok(());
        }
        self.day = today;
        self.rotate(now)
    }

    /// Why a new file could not be begun when this one had its largest size, once.
    pub(crate) fn take_problem(&mut self) -> Option<io::Error> {
        self.problem.take()
    }

    fn rotate(&mut self, now: Timestamp) -> io::Result<()> {
        // A device, a pipe or a terminal keeps its name.
        if fs::metadata(&self.path).is_ok_and(|it| it.is_file()) {
            fs::rename(&self.path, self.free_name(self.zone.to_datetime(now))?)?;
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

    /// A name for the rotated file that no file has. It is later than those of the others, of which the oldest are deleted first.
    fn free_name(&self, local: DateTime) -> io::Result<PathBuf> {
        let (stem, extension) = self.name_parts();
        let stamps = self.rotated().into_iter();
        let ahead = stamps
            .map(|(at, _)| self.zone.to_datetime(at))
            .filter(|at| local.checked_add(LONGEST_AHEAD).is_ok_and(|end| *at < end))
            .max();
        let local = ahead
            .and_then(|newest| newest.checked_add(1.second()).ok())
            .map_or(local, |next| next.max(local));
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

    /// Deletes rotated files that are too old or too many. One that cannot be read or deleted is left: the
    /// next rotation tries again, and no line of the log is worth less for it.
    fn prune(&self, now: Timestamp) {
        let Rotation {
            max_days,
            max_files,
            max_size: _,
        } = self.rotation;
        if max_days.is_none() && max_files.is_none() {
            return;
        }
        let oldest = max_days.and_then(|days| {
            let age = SignedDuration::from_hours(i64::from(days) * 24);
            now.checked_sub(age).ok()
        });
        let mut rotated = self.rotated();
        rotated.sort();
        let most = max_files.map_or(usize::MAX, |it| usize::try_from(it).unwrap_or(usize::MAX));
        let too_many = rotated.len().saturating_sub(most);
        for (place, (at, path)) in rotated.iter().enumerate() {
            if place < too_many || oldest.is_some_and(|oldest| *at < oldest) {
                // See above.
                let _ = fs::remove_file(path);
            }
        }
    }

    /// The rotated files, each with the time in its name.
    fn rotated(&self) -> Vec<(Timestamp, PathBuf)> {
        let directory = match self.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        let rotated = entries.filter_map(|entry| {
            let at = self.rotated_at(entry.file_name().to_str()?)?;
            let is_file = entry.file_type().is_ok_and(|it| it.is_file());
            is_file.then(|| (at, entry.path()))
        });
        rotated.collect()
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
