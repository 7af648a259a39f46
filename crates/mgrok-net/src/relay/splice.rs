//! Makes the kernel move bytes between sockets: `splice(2)`, through a pipe.
//!
//! A direction borrows a pipe when its source has bytes and returns it when there are no more, so an idle connection
//! holds none. If there is no pipe, or the kernel cannot splice these sockets, the caller copies instead.

mod pipe;

use std::io;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::failure::Failure;
use pipe::Pipe;

/// Fewer bytes than this at once are cheaper to copy.
const MIN_SPLICED: usize = 4 * 1024;

/// How many times in a row so few bytes come before they are copied. A sender whose window is full cuts a small piece now and then in the
/// midst of bulk, and going back to splicing costs two reads and two writes.
const SMALL_FILLS: u8 = 4;

/// One direction's use of `splice(2)`.
#[derive(Debug, Default)]
pub(super) struct Splice {
    pipe: Option<Pipe>,
    /// How many fills in a row have brought less than [`MIN_SPLICED`].
    small_fills: u8,
    /// Whether the kernel has refused to splice these sockets.
    refused: bool,
}

/// The result of one call.
pub(super) enum Moved {
    /// The target accepted this many bytes.
    Bytes(usize),
    /// The source has ended, and all bytes before the end are delivered.
    End,
    /// Copying is better from here on. The caller first sends `unsent`, bytes that had already left the source.
    Nothing { unsent: Bytes },
}

impl Splice {
    /// Whether splicing may work: the kernel has not refused it yet.
    pub(super) fn is_possible(&self) -> bool {
        !self.refused
    }

    /// Whether the pipe contains bytes, which must be delivered before any others.
    pub(super) fn holds_bytes(&self) -> bool {
        self.pipe.as_ref().is_some_and(|pipe| pipe.held() > 0)
    }

    /// Whether a pipe is borrowed.
    pub(super) fn holds_pipe(&self) -> bool {
        self.pipe.is_some()
    }

    /// Moves bytes once from `source` to `target`. Keeps its pipe unless little has come several times.
    pub(super) fn poll_move(
        &mut self,
        source: &TcpStream,
        target: &TcpStream,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Moved, Failure>> {
        if !self.holds_bytes() {
            match ready!(self.poll_fill(source, cx)) {
                Ok(None) => {}
                Ok(Some(moved)) => return Poll::Ready(Ok(moved)),
                Err(error) => return Poll::Ready(Err(Failure::Read(error))),
            }
        }
        self.poll_drain(target, cx).map_err(Failure::Write)
    }

    /// Fills the empty pipe from `source`; `Some` if nothing could be filled.
    fn poll_fill(
        &mut self,
        source: &TcpStream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Option<Moved>>> {
        loop {
            let Poll::Ready(readable) = source.poll_read_ready(cx) else {
                self.give_back();
                return Poll::Pending;
            };
            readable?;
            let Some(pipe) = self.pipe.take().or_else(Pipe::take) else {
                return Poll::Ready(Ok(Some(Moved::nothing())));
            };
            let pipe = self.pipe.insert(pipe);
            // The pipe is empty, so `WouldBlock` can only come from the socket.
            match source.try_io(Interest::READABLE, || pipe.fill_from(source)) {
                Ok(0) => {
                    self.give_back();
                    return Poll::Ready(Ok(Some(Moved::End)));
                }
                Ok(filled) => {
                    self.small_fills = match filled < MIN_SPLICED {
                        true => self.small_fills + 1,
                        false => 0,
                    };
                    return Poll::Ready(Ok(None));
                }
                Err(error) if is_transient(&error) => {}
                Err(error) if is_refusal(&error) => {
                    self.give_back();
                    self.refused = true;
                    return Poll::Ready(Ok(Some(Moved::nothing())));
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Moves bytes from the pipe to `target`, as many as it accepts.
    fn poll_drain(&mut self, target: &TcpStream, cx: &mut Context<'_>) -> Poll<io::Result<Moved>> {
        while let Some(pipe) = &mut self.pipe {
            ready!(target.poll_write_ready(cx))?;
            // The pipe is not empty, so `WouldBlock` can only come from the socket.
            match target.try_io(Interest::WRITABLE, || pipe.drain_to(target)) {
                Ok(moved) => {
                    if pipe.held() == 0 && self.small_fills >= SMALL_FILLS {
                        self.small_fills = 0;
                        self.give_back();
                    }
                    return Poll::Ready(Ok(Moved::Bytes(moved)));
                }
                Err(error) if is_transient(&error) => {}
                Err(error) if is_refusal(&error) => break,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        self.refused = true;
        let unsent = self.pipe.take().map(Pipe::empty).transpose()?;
        Poll::Ready(Ok(Moved::Nothing {
            unsent: unsent.unwrap_or_default(),
        }))
    }

    fn give_back(&mut self) {
        if let Some(pipe) = self.pipe.take() {
            pipe.give_back();
        }
    }
}

impl Drop for Splice {
    fn drop(&mut self) {
        self.give_back();
    }
}

impl Moved {
    fn nothing() -> Self {
        Self::Nothing {
            unsent: Bytes::new(),
        }
    }
}

fn is_transient(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

/// Errors of the kernel for sockets that it cannot splice, and of a sandbox that forbids the call.
fn is_refusal(error: &io::Error) -> bool {
    [Errno::INVAL, Errno::NOSYS, Errno::PERM]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}
