//! The files that a pattern of `includes` means.

mod glob;

use std::fs;
use std::path::{Path, PathBuf};

use self::glob::matches;
use crate::io_reason::io_reason;

/// The files that a pattern matches, in the working directory or else next to the first file, in the order of their names.
// frp: in the working directory only, and only the last part of a path may be a pattern (pkg/config/load.go#LoadAdditionalClientConfigs)
pub(crate) fn find(pattern: &str, main: &Path) -> Result<Vec<PathBuf>, String> {
    let path = Path::new(pattern);
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
        return Err(format!(
            "must name a file or a pattern of files, like \"conf.d/*.toml\", not {pattern:?}"
        ));
    };
    let directory = path.parent().unwrap_or(Path::new(""));
    let beside = main.parent().unwrap_or(Path::new("")).join(directory);
    let mut unreadable = None;
    let mut found = Vec::new();
    for directory in [directory, &beside] {
        // An empty path is the working directory.
        let listed = match directory.as_os_str().is_empty() {
            true => Path::new("."),
            false => directory,
        };
        let entries = match fs::read_dir(listed) {
            Ok(entries) => entries,
            Err(error) => {
                unreadable.get_or_insert_with(|| {
                    // frp: the beginning of this wording
                    format!("stat {}: {}", listed.display(), io_reason(&error))
                });
                continue;
            }
        };
        for entry in entries.flatten() {
            let file_name = entry.file_name();
            let is_named = file_name.to_str().is_some_and(|it| matches(name, it));
            if is_named && !entry.path().is_dir() {
                // Without the `./` that may stand in it.
                let path = directory.join(file_name);
                found.push(path.components().collect());
            }
        }
        if !found.is_empty() {
            found.sort();
            return Ok(found);
        }
        unreadable.get_or_insert_default();
    }
    match unreadable {
        Some(why) if !why.is_empty() => Err(why),
        Some(_) | None => Ok(found),
    }
}
