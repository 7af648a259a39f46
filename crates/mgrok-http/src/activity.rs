//! What is under way on a user's connection, so that it can be told when nothing is.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use mgrok_net::conn::Conn;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What is under way on one connection.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    /// Requests and answers of which something is still to come.
    in_flight: AtomicUsize,
    /// Requests that have been answered, perhaps without the body.
    answered: AtomicUsize,
    /// A body was left before its end, so that what follows may be the rest of it.
    is_torn: AtomicBool,
    /// Bytes may wait for the user to take them.
    is_behind: AtomicBool,
}

/// A request or an answer that is under way, as long as this lives.
#[derive(Debug)]
pub(crate) struct InFlight(Arc<Activity>);

/// A connection that notes when bytes wait for the user.
#[derive(Debug)]
pub(crate) struct Watched {
    conn: Conn,
    activity: Arc<Activity>,
}

impl Activity {
    pub(crate) fn begin(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(Arc::clone(self))
    }

    /// Notes that a request has its answer.
    pub(crate) fn note_answer(&self) {
        self.answered.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn answered(&self) -> usize {
        self.answered.load(Ordering::Relaxed)
    }

    pub(crate) fn has_requests(&self) -> bool {
        self.in_flight.load(Ordering::Acquire) > 0
    }

    /// Whether nothing is between two requests but, perhaps, the beginning of the next head.
    pub(crate) fn is_between_requests(&self) -> bool {
        !self.has_requests()
            && !self.is_torn.load(Ordering::Relaxed)
            && !self.is_behind.load(Ordering::Relaxed)
    }
}

impl InFlight {
    /// Notes that a body is left before its end.
    pub(crate) fn tear(&self) {
        self.0.is_torn.store(true, Ordering::Relaxed);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Release);
    }
}

impl Watched {
    pub(crate) fn new(conn: Conn, activity: Arc<Activity>) -> Self {
        Self { conn, activity }
    }

    fn write<T>(
        &mut self,
        write: impl FnOnce(Pin<&mut Conn>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        // Until the flush that follows when everything is written.
        self.activity.is_behind.store(true, Ordering::Relaxed);
        write(Pin::new(&mut self.conn))
    }
}

impl From<Watched> for Conn {
    fn from(watched: Watched) -> Self {
        watched.conn
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.conn).poll_read(cx, buf)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.write(|conn| conn.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.write(|conn| conn.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        self.conn.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = AsyncWrite::poll_flush(Pin::new(&mut self.conn), cx);
        if flushed.is_ready() {
            self.activity.is_behind.store(false, Ordering::Relaxed);
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.conn).poll_shutdown(cx)
    }
}
