//! The connection to a backend, as hyper sees it.
//!
//! Three things happen to a backend's connection that hyper does not know how to take. A backend that refuses an upload answers and
//! closes while the request is still being sent: sending then fails, and hyper would give up with the answer unread. A target may
//! have to leave as it came although hyper was shown another (see `raw_target`). And a request may have to be sent again that hyper
//! has used up: its head is kept here as it was written, in place of a copy of the request.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
    /// Whether `next` says anything.
    has_next: AtomicBool,
    /// What is special about the head that is sent next.
    next: Mutex<NextHead>,
}

#[derive(Debug, Default)]
struct NextHead {
    /// Sent in place of hyper's.
    head: Option<Bytes>,
    /// Goes into the first line in place of the target that hyper knows.
    target: Option<RawTarget>,
    /// Whether the head is to be kept as it is sent.
    is_kept: bool,
    kept: Vec<u8>,
}

/// A connection to a backend.
#[derive(Debug)]
pub(crate) struct BackendIo {
    conn: Conn,
    state: Arc<BackendState>,
    /// What is left to send in place of what hyper has, and how long that is.
    instead: Option<(Bytes, usize)>,
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
        self.set_next(|next| next.target = Some(target));
    }

    /// Keeps the head of the next request, which has no body, for [`take_head`](Self::take_head).
    pub(crate) fn keep_head(&self) {
        self.set_next(|next| next.is_kept = true);
    }

    /// The head that was kept; `None` if nothing of the request has been written.
    pub(crate) fn take_head(&self) -> Option<Bytes> {
        let kept = std::mem::take(&mut self.next().kept);
        (!kept.is_empty()).then(|| kept.into())
    }

    /// Has the next request, which has no body, leave with this head in place of its own.
    pub(crate) fn set_head(&self, head: Bytes) {
        self.set_next(|next| next.head = Some(head));
    }

    fn set_next(&self, set: impl FnOnce(&mut NextHead)) {
        let mut next = self.next();
        next.kept.clear();
        set(&mut next);
        self.has_next.store(true, Ordering::Release);
    }

    /// What to send in place of the beginning of `head`, and how much of it that is. Once for each request.
    fn instead_of(&self, head: &[u8]) -> Option<(Bytes, usize)> {
        if !self.has_next.load(Ordering::Acquire) {
            return None;
        }
        self.has_next.store(false, Ordering::Relaxed);
        let mut next = self.next();
        let instead = match (next.head.take(), next.target.take()) {
            (Some(whole), _) => Some((whole, head.len())),
            (None, Some(target)) => target.put_back(head),
            (None, None) => None,
        };
        if std::mem::take(&mut next.is_kept) {
            let (front, rest) = match &instead {
                Some((front, stands_for)) => (&front[..], &head[*stands_for..]),
                None => (&[][..], head),
            };
            next.kept.extend_from_slice(front);
            next.kept.extend_from_slice(rest);
        }
        instead
    }

    fn next(&self) -> MutexGuard<'_, NextHead> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BackendIo {
    pub(crate) fn new(conn: Conn, state: Arc<BackendState>) -> Self {
        Self {
            conn,
            state,
            instead: None,
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
        if self.instead.is_none() {
            self.instead = self.state.instead_of(front);
        }
        let written = match &mut self.instead {
            Some((bytes, stands_for)) => {
                let stands_for = *stands_for;
                let sent = ready!(self.conn.poll_send(cx, bytes));
                self.instead = None;
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
