//! Pipes for `splice(2)`: few, shared by all relays of the process, and reused.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use rustix::pipe::{
    PipeFlags, SpliceFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with, splice,
};

/// The requested size: the most that Linux grants unprivileged users (`fs.pipe-max-size`), and the most that one call
/// moves.
const WANTED_SIZE: usize = 1024 * 1024;

/// The smallest accepted size. A system user with many pipes gets tiny ones (`fs.pipe-user-pages-soft`), which are
/// slower than copying.
const MIN_SIZE: usize = 64 * 1024;

/// The most pipes in the process, in use or idle. Each takes two descriptors, and connections need plenty of those; a
/// direction that gets no pipe copies.
const MAX_PIPES: usize = 256;

/// The most idle pipes that are kept.
const MAX_WAITING: usize = 32;

static WAITING: Mutex<Vec<Pipe>> = Mutex::new(Vec::new());

static PIPES: AtomicUsize = AtomicUsize::new(0);

/// A pipe, and how many bytes are in it.
#[derive(Debug)]
pub(super) struct Pipe {
    entry: OwnedFd,
    exit: OwnedFd,
    held: usize,
    _permit: PipePermit,
}

/// A permit for one of [`MAX_PIPES`].
#[derive(Debug)]
struct PipePermit;

impl Pipe {
    /// Takes an empty pipe; `None` if there are too many already or the system has no more.
    pub(super) fn take() -> Option<Self> {
        let waiting = waiting().pop();
        waiting.or_else(Self::new)
    }

    fn new() -> Option<Self> {
        let permit = PipePermit::take()?;
        let (exit, entry) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok()?;
        // A failure does not matter: the resulting size is checked next.
        let _best_effort = fcntl_setpipe_size(&entry, WANTED_SIZE);
        let size = fcntl_getpipe_size(&entry).ok()?;
        (size >= MIN_SIZE).then_some(Self {
            entry,
            exit,
            held: 0,
            _permit: permit,
        })
    }

    /// Keeps the pipe for reuse if possible, closes it otherwise.
    pub(super) fn give_back(self) {
        if self.held == 0 {
            let mut waiting = waiting();
            if waiting.len() < MAX_WAITING {
                waiting.push(self);
            }
        }
    }

    /// Bytes in the pipe.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// Moves bytes from `source` into the pipe, which must be empty. 0 at the end of `source`.
    pub(super) fn fill_from(&mut self, source: impl AsFd) -> io::Result<usize> {
        self.held = splice(source, None, &self.entry, None, WANTED_SIZE, flags())?;
        Ok(self.held)
    }

    /// Moves bytes from the pipe, which must not be empty, to `target`.
    pub(super) fn drain_to(&mut self, target: impl AsFd) -> io::Result<usize> {
        let moved = splice(&self.exit, None, target, None, self.held, flags())?;
        self.held -= moved;
        Ok(moved)
    }

    /// Reads all bytes out of the pipe.
    pub(super) fn empty(mut self) -> io::Result<Bytes> {
        let mut bytes = BytesMut::zeroed(self.held);
        while self.held > 0 {
            let start = bytes.len() - self.held;
            self.held -= rustix::io::read(&self.exit, &mut bytes[start..])?;
        }
        self.give_back();
        Ok(bytes.freeze())
    }
}

impl PipePermit {
    fn take() -> Option<Self> {
        let permit = Self;
        // Incremented before the check, so that two threads cannot both take the last one.
        (PIPES.fetch_add(1, Ordering::Relaxed) < MAX_PIPES).then_some(permit)
    }
}

impl Drop for PipePermit {
    fn drop(&mut self) {
        PIPES.fetch_sub(1, Ordering::Relaxed);
    }
}

fn waiting() -> MutexGuard<'static, Vec<Pipe>> {
    // A panic cannot leave this list inconsistent.
    WAITING.lock().unwrap_or_else(PoisonError::into_inner)
}

fn flags() -> SpliceFlags {
    SpliceFlags::MOVE | SpliceFlags::NONBLOCK
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn filled(bytes: &[u8]) -> Pipe {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (far, _) = listener.accept().unwrap();
        near.write_all(bytes).unwrap();
        let mut pipe = Pipe::new().unwrap();
        assert_eq!(pipe.fill_from(&far).unwrap(), bytes.len());
        pipe
    }

    /// The fallback of a relay when the kernel does not splice into its target.
    #[test]
    fn a_refusal_leaves_the_bytes_where_they_can_be_read() {
        let mut pipe = filled(b"hello");
        let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        let appended = std::fs::OpenOptions::new()
            .append(true)
            .open(&path)
            .unwrap();
        let error = pipe.drain_to(&appended).unwrap_err();
        assert!(super::super::is_refusal(&error), "{error}");
        assert_eq!(pipe.held(), 5);
        assert_eq!(pipe.empty().unwrap(), "hello");
    }

    #[test]
    fn only_an_empty_pipe_is_used_again() {
        filled(b"hello").give_back();
        let mut taken = Vec::new();
        for _ in 0..MAX_WAITING {
            taken.extend(Pipe::take());
        }
        for pipe in taken {
            assert_eq!(pipe.held(), 0);
            let nothing = rustix::io::read(&pipe.exit, &mut [0; 1][..]);
            assert_eq!(nothing, Err(rustix::io::Errno::AGAIN));
            pipe.give_back();
        }
        assert!(waiting().len() <= MAX_WAITING);
    }
}
