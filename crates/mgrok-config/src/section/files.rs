//! Files that a configuration names, and what must be in them.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use super::Section;
use crate::io_reason::io_reason;

/// How much of a file is looked at. Bundles of all the world's authorities have a quarter of a megabyte.
const MAX_LOOK: u64 = 16 * 1024 * 1024;

/// What a file must have in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// Whatever it is.
    Any,
    /// Certificates, in PEM.
    Certificates,
    /// A private key, in PEM.
    PrivateKey,
}

impl Section<'_> {
    /// The path of a file that need not be there.
    pub(crate) fn path(&mut self, key: &'static str) -> Option<PathBuf> {
        let text = self.text(key)?;
        if let Some(control) = text.chars().find(|it| it.is_control()) {
            let control = control.escape_default();
            self.invalid(
                key,
                format!(
                    "has the control character `{control}` in it, because a `\\` in double quotes begins an escape: write the path in \
                     single quotes, or with `/`"
                ),
            );
            return None;
        }
        Some(PathBuf::from(text))
    }

    /// The path of a file that must be there with this content, if the configuration comes from a file itself.
    pub(crate) fn file(&mut self, key: &'static str, content: Content) -> Option<PathBuf> {
        let path = self.path(key)?;
        if let Err(why) = self.look(&path, content) {
            self.invalid(key, why);
        }
        Some(path)
    }

    /// As [`file`](Self::file), but a file that is missing, or has something else in it, is only warned of: the proxy that this section is
    /// of does not start as long as it is so, and the rest does.
    pub(crate) fn file_of_proxy(&mut self, key: &'static str, content: Content) -> Option<PathBuf> {
        let path = self.path(key)?;
        if let Err(why) = self.look(&path, content) {
            self.warn(key, format!("{why}; this proxy does not start before that"));
        }
        Some(path)
    }

    /// Says what is wrong with a file, if files are looked at.
    fn look(&self, path: &Path, content: Content) -> Result<(), String> {
        match self.judged && self.report.reads_files() {
            true => check(path, content),
            false => Ok(()),
        }
    }

    /// The path of a directory, which must be there if the configuration comes from a file itself.
    pub(crate) fn directory(&mut self, key: &'static str) -> Option<PathBuf> {
        let path = self.path(key)?;
        if self.judged && self.report.reads_files() && !path.is_dir() {
            let shown = path.display();
            let why = format!("{shown} is no directory; make it or mend the path");
            self.invalid(key, why);
        }
        Some(path)
    }
}

/// Says what is wrong with a file, and what to do.
fn check(path: &Path, content: Content) -> Result<(), String> {
    let shown = path.display();
    let metadata = fs::metadata(path).map_err(|error| {
        let from = match std::env::current_dir() {
            Ok(here) if path.is_relative() => format!(", seen from {}", here.display()),
            Ok(_) | Err(_) => String::new(),
        };
        let reason = io_reason(&error);
        format!("{shown} cannot be used{from}: {reason}; put the file there or mend the path")
    })?;
    if metadata.is_dir() {
        return Err(format!("{shown} is a directory; name the file in it"));
    }
    if !metadata.is_file() {
        // What comes out of a pipe can be read once, and the program needs it.
        return Ok(());
    }
    let unreadable = |error| {
        let reason = io_reason(&error);
        format!("{shown} cannot be read: {reason}; let the user who runs this program read it")
    };
    let file = File::open(path).map_err(unreadable)?;
    let (marker, what) = match content {
        Content::Any => return Ok(()),
        Content::Certificates => ("-----BEGIN CERTIFICATE-----", "certificate"),
        Content::PrivateKey => ("PRIVATE KEY-----", "private key"),
    };
    let mut text = Vec::new();
    file.take(MAX_LOOK)
        .read_to_end(&mut text)
        .map_err(unreadable)?;
    let marker = marker.as_bytes();
    if !text.windows(marker.len()).any(|part| part == marker) {
        return Err(format!("{shown} has no {what} in PEM format in it"));
    }
    Ok(())
}
