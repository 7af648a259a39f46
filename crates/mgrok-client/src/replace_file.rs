//! Puts a text into the place of a file in one step: whoever reads it, also after a crash, gets what was there or the whole of what is.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Replaces what `file` has by `text`; a new file, and its directories, are made. A new file is for its owner alone, as it may hold secrets.
///
/// # Errors
/// In words, with the file's name. It is what it was then.
pub(crate) fn replace_file(file: &Path, text: &[u8]) -> Result<(), String> {
    replace(file, text).map_err(|error| {
        let file = file.display();
        format!("{file} cannot be written and is as it was: {error}")
    })
}

fn replace(file: &Path, text: &[u8]) -> io::Result<()> {
    // The file may be known by a link, which stays.
    let file = match file.canonicalize() {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => file.to_owned(),
        Err(error) => return Err(error),
    };
    let directory = match file.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => directory,
        Some(_) | None => Path::new("."),
    };
    fs::create_dir_all(directory)?;
    let next = next_to(&file)?;
    let written = write(&next, &file, text).and_then(|()| fs::rename(&next, &file));
    if written.is_err() {
        // What is left of it would take room, and nobody looks for it.
        let _ = fs::remove_file(&next);
    }
    written?;
    sync_directory(directory)
}

/// Where the text is written first. It is always the same, so that what a crash leaves behind does not gather, and hidden, so that nobody
/// takes it for a configuration.
fn next_to(file: &Path) -> io::Result<PathBuf> {
    let Some(name) = file.file_name() else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "names no file"));
    };
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(".tmp");
    Ok(file.with_file_name(hidden))
}

fn write(next: &Path, file: &Path, text: &[u8]) -> io::Result<()> {
    match fs::remove_file(next) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut options = OpenOptions::new();
    // Never through a link that somebody else has put there.
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut next = options.open(next)?;
    next.write_all(text)?;
    if let Ok(before) = file.metadata() {
        next.set_permissions(before.permissions())?;
    }
    next.sync_all()
}

/// Has the system remember the new name of a file, where a directory can be asked to.
fn sync_directory(directory: &Path) -> io::Result<()> {
    match cfg!(unix) {
        true => File::open(directory)?.sync_all(),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let mut names: Vec<_> = entries
            .map(|it| it.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_made_with_its_directories_for_its_owner_alone() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a/b/store.json");
        replace_file(&file, b"one").unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"one");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
            fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
            replace_file(&file, b"two").unwrap();
            // Who may read it is its owner's decision from then on.
            assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o640);
        }
        assert_eq!(names(file.parent().unwrap()), ["store.json"]);
    }

    #[test]
    fn what_a_crash_has_left_is_in_nobodys_way() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("f");
        fs::write(directory.path().join(".f.tmp"), "half").unwrap();
        replace_file(&file, b"whole").unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"whole");
        assert_eq!(names(directory.path()), ["f"]);
    }

    #[cfg(unix)]
    #[test]
    fn links_stay() {
        let directory = tempfile::tempdir().unwrap();
        let (file, link) = (directory.path().join("f"), directory.path().join("l"));
        fs::write(&file, "old").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        replace_file(&link, b"new").unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"new");
        assert!(link.symlink_metadata().unwrap().is_symlink());
    }

    #[test]
    fn what_cannot_be_written_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("f/g");
        fs::write(directory.path().join("f"), "no directory").unwrap();
        let why = replace_file(&file, b"x").unwrap_err();
        assert!(
            why.contains("f/g cannot be written and is as it was"),
            "{why}"
        );
    }
}
