//! Lines to standard output.

use std::fs::File;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// How long the writer pauses when standard output takes nothing at the moment. It does that
/// only if somebody set it to non-blocking, as programs that share a terminal may.
const BUSY_PAUSE: Duration = Duration::from_millis(10);

/// Standard output without the buffer of the standard library, which would keep a part of what
/// could not be written, and write it a second time later.
#[derive(Debug)]
pub(crate) struct Console {
    stdout: File,
}

impl Console {
    /// Opens it.
    ///
    /// # Errors
    /// The process may have no file descriptor left.
    pub(crate) fn stdout() -> io::Result<Self> {
        let stdout = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        Ok(Self { stdout })
    }

    /// Standard output for one writer alone, until this is dropped.
    pub(crate) fn turn() -> MutexGuard<'static, ()> {
        static TURN: Mutex<()> = Mutex::new(());
        TURN.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a person may be looking.
    pub(crate) fn is_terminal(&self) -> bool {
        self.stdout.is_terminal()
    }

    /// Writes a part of `text` and says how much.
    pub(crate) fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        loop {
            match self.stdout.write(text) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(BUSY_PAUSE),
                result => return result,
            }
        }
    }
}
