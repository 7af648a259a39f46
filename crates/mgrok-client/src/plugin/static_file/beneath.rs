//! Opens what is beneath a directory, and nothing that is elsewhere: neither by `..` nor by a link. Nothing but files and directories is
//! opened, since to open a pipe or a device is to do something to it.

use std::ffi::CString;
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, open, openat, statat};
use rustix::io::Errno;

/// How files and directories are opened that were found to be such. Should it be a pipe by then, that blocks nobody.
const READ: OFlags = OFlags::RDONLY
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC);

/// What is at a path.
#[derive(Debug)]
pub(super) enum Found {
    Directory(File, Metadata),
    File(File, Metadata),
}

/// Opens what is at `path` beneath `root`. The path begins with a `/` and is clean. Links are followed as far as they stay beneath.
///
/// Blocks on the file system.
pub(super) fn find(root: &Path, path: &[u8]) -> io::Result<Found> {
    let relative = match path.strip_prefix(b"/").unwrap_or(path) {
        b"" => b".",
        path => path.strip_suffix(b"/").unwrap_or(path),
    };
    let relative = CString::new(relative)?;
    // The root itself may be a link, and may be replaced meanwhile.
    let root = open(root, DIRECTORY, Mode::empty())?;
    let opened = match open_beneath(root.as_fd(), &relative) {
        // A kernel before 5.6, or a sandbox that does not know the call.
        Err(Errno::NOSYS | Errno::PERM) => walk(root, relative.as_bytes())?,
        opened => opened?,
    };
    let opened = File::from(opened);
    let metadata = opened.metadata()?;
    if metadata.is_dir() {
        Ok(Found::Directory(opened, metadata))
    } else if metadata.is_file() {
        Ok(Found::File(opened, metadata))
    } else {
        Err(Errno::NOENT.into())
    }
}

#[cfg(target_os = "linux")]
fn open_beneath(root: rustix::fd::BorrowedFd<'_>, path: &CString) -> Result<OwnedFd, Errno> {
    use rustix::fs::{ResolveFlags, fstat, openat2};

    /// How often a path is tried that others move meanwhile.
    const TRIES: usize = 8;

    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let opened = |flags| {
        let mut tried = Err(Errno::AGAIN);
        for _ in 0..TRIES {
            tried = openat2(root, path.as_c_str(), flags, Mode::empty(), resolve);
            if !matches!(tried, Err(Errno::AGAIN)) {
                break;
            }
        }
        tried
    };
    // This opens nothing: it only finds it.
    let found = opened(OFlags::PATH | OFlags::CLOEXEC)?;
    is_readable(&fstat(&found)?)?;
    opened(READ)
}

#[cfg(not(target_os = "linux"))]
fn open_beneath(_root: rustix::fd::BorrowedFd<'_>, _path: &CString) -> Result<OwnedFd, Errno> {
    Err(Errno::NOSYS)
}

/// Goes down segment by segment, and follows no link at all.
fn walk(root: OwnedFd, path: &[u8]) -> Result<OwnedFd, Errno> {
    let mut at = root;
    let mut segments = path.split(|&byte| byte == b'/').peekable();
    while let Some(segment) = segments.next() {
        // A path that is clean has none; whoever calls need not be believed.
        if matches!(segment, b"" | b"..") {
            return Err(Errno::NOENT);
        }
        let flags = match segments.peek() {
            Some(_) => DIRECTORY,
            None => {
                is_readable(&statat(&at, segment, AtFlags::SYMLINK_NOFOLLOW)?)?;
                READ
            }
        };
        at = openat(&at, segment, flags | OFlags::NOFOLLOW, Mode::empty())?;
    }
    Ok(at)
}

/// Refuses what is neither a file nor a directory.
fn is_readable(stat: &Stat) -> Result<(), Errno> {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory | FileType::RegularFile => Ok(()),
        _ => Err(Errno::NOENT),
    }
}

#[cfg(test)]
mod tests;
