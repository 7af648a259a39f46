//! The connection to a backend, as hyper sees it.
//!
//! Two things happen to a backend's connection that hyper does not know how to take. A backend that refuses an upload answers and
//! closes while the request is still being sent: sending then fails, and hyper would give up with the answer unread. And a target
//! may have to leave as it came although hyper was shown another (see `raw_target`).

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use mgrok_net::conn::{ByteStream, Conn};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tracing::debug;

use crate::raw_target::RawTarget;

/// What those who use a connection know of it and tell it.
#[derive(Debug, Default)]
pub(crate) struct BackendState {
    /// The backend takes no more, and what is sent is thrown away.
    is_deaf: AtomicBool,
    /// The backend has said something.
    has_spoken: AtomicBool,
    has_target: AtomicBool,
    /// The target of the request that is sent next.
    target: Mutex<Option<RawTarget>>,
}

/// A connection to a backend.
#[derive(Debug)]
pub(crate) struct BackendIo {
    conn: Conn,
    state: Arc<BackendState>,
    /// The rest of a line that is sent in place of hyper's, and how long hyper's is.
    line: Option<(Bytes, usize)>,
}

impl BackendState {
    /// Whether the backend takes no more.
    pub(crate) fn is_deaf(&self) -> bool {
        self.is_deaf.load(Ordering::Relaxed)
    }

    /// Whether the backend has ever said anything.
    pub(crate) fn has_spoken(&self) -> bool {
        self.has_spoken.load(Ordering::Relaxed)
    }

    /// Has the next request leave with this target.
    pub(crate) fn set_target(&self, target: RawTarget) {
        *self.target.lock().unwrap_or_else(PoisonError::into_inner) = Some(target);
        self.has_target.store(true, Ordering::Release);
    }

    /// The line to send in place of the one at the front of `head`, once.
    fn line_for(&self, head: &[u8]) -> Option<(Bytes, usize)> {
        if !self.has_target.load(Ordering::Acquire) {
            return None;
        }
        let mut target = self.target.lock().unwrap_or_else(PoisonError::into_inner);
        let line = target.as_ref()?.put_back(head)?;
        *target = None;
        self.has_target.store(false, Ordering::Relaxed);
        Some(line)
    }
}

impl BackendIo {
    pub(crate) fn new(conn: Conn, state: Arc<BackendState>) -> Self {
        Self {
            conn,
            state,
            line: None,
        }
    }

    /// Writes what hyper has, of which `front` is the first piece and `len` the length of all.
    fn write(
        &mut self,
        cx: &mut Context<'_>,
        front: &[u8],
        len: usize,
        write: impl FnOnce(Pin<&mut Conn>, &mut Context<'_>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if self.state.is_deaf() {
            return Poll::Ready(Ok(len));
        }
        if self.line.is_none() {
            self.line = self.state.line_for(front);
        }
        let written = match &mut self.line {
            Some((line, stands_for)) => {
                let stands_for = *stands_for;
                let sent = ready!(self.conn.poll_send(cx, line));
                self.line = None;
                sent.map(|()| stands_for)
            }
            None => ready!(write(Pin::new(&mut self.conn), cx)),
        };
        Poll::Ready(Ok(written.unwrap_or_else(|error| {
            self.go_deaf(&error);
            len
        })))
    }

    /// The backend takes no more. What it has said before can still be read, or its end if it said nothing.
    fn go_deaf(&self, error: &io::Error) {
        debug!("a backend takes no more of a request: {error}");
        self.state.is_deaf.store(true, Ordering::Relaxed);
    }
}

impl From<BackendIo> for Conn {
    fn from(io: BackendIo) -> Self {
        io.conn
    }
}

impl AsyncRead for BackendIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.conn).poll_read(cx, buf))?;
        if !buf.filled().is_empty() {
            self.state.has_spoken.store(true, Ordering::Relaxed);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for BackendIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.write(cx, buf, buf.len(), |conn, cx| conn.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let front = bufs.iter().find(|buf| !buf.is_empty());
        let front = front.map_or(&[][..], |buf| buf);
        let len = bufs.iter().map(|buf| buf.len()).sum();
        self.write(cx, front, len, |conn, cx| {
            conn.poll_write_vectored(cx, bufs)
        })
    }

    fn is_write_vectored(&self) -> bool {
        self.conn.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.state.is_deaf()
            && let Err(error) = ready!(AsyncWrite::poll_flush(Pin::new(&mut self.conn), cx))
        {
            self.go_deaf(&error);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.state.is_deaf() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.conn).poll_shutdown(cx)
    }
}
