//! A session as its user holds it.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::coop;

use crate::error::SessionError;
use crate::shared::{Shared, now};

/// One KCP session: a full-duplex byte stream.
///
/// **It has no end of its own.** KCP cannot say that one end is gone or sends no more: reading
/// never returns 0 bytes. If the other end vanishes, reading and writing fail after
/// [`Config::idle_timeout`](crate::Config::idle_timeout). What is carried must say when it ends.
///
/// What was written is on its way without a flush, as soon as the window has room for it. Dropping the stream ends the
/// session when that has arrived, at the latest after [`Config::linger`](crate::Config::linger);
/// the other end does not learn of it.
#[derive(Debug)]
pub struct Stream {
    shared: Arc<Shared>,
    local: SocketAddr,
    peer: SocketAddr,
}

impl Stream {
    pub(crate) fn new(shared: Arc<Shared>, local: SocketAddr, peer: SocketAddr) -> Self {
        Self {
            shared,
            local,
            peer,
        }
    }

    /// Number of the conversation.
    pub fn conversation(&self) -> u32 {
        self.shared.lock().machine.conversation()
    }

    /// Address that the socket is bound to.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Address of the other end.
    pub fn peer_addr(&self) -> SocketAddr {
        self.peer
    }

    /// Why the session ended, if it did.
    pub fn ended(&self) -> Option<SessionError> {
        self.shared.lock().machine.ended().cloned()
    }

    /// Waits until the other end gives a sign of life, for which it is asked until then: that a session was begun says nothing of
    /// whether anybody is there. Begins a session at the other end, if that is a listener.
    ///
    /// # Errors
    ///
    /// The session has ended.
    pub async fn answered(&self) -> io::Result<()> {
        std::future::poll_fn(|cx| {
            let mut guard = self.shared.lock();
            let result = guard.machine.poll_answered(cx, now());
            guard.finish();
            result.map_err(|error| error.to_io())
        })
        .await
    }

    /// The next received bytes as an owned slice, never empty: up to 2 KiB, of which it pins no
    /// more than that.
    ///
    /// # Errors
    ///
    /// The session has ended. What arrived before is returned first.
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        let coop = ready!(coop::poll_proceed(cx));
        let mut guard = self.shared.lock();
        let result = guard.machine.poll_recv(cx, now());
        guard.finish();
        if result.is_ready() {
            coop.made_progress();
        }
        result.map_err(|error| error.to_io())
    }

    /// Hands bytes from the front of `chunk` to the session, which copies them; ready when
    /// `chunk` is empty.
    ///
    /// # Errors
    ///
    /// The session has ended, or the stream was shut down. Whether the other end received what
    /// was handed over before cannot be known.
    pub fn poll_send(&mut self, cx: &mut Context<'_>, chunk: &mut Bytes) -> Poll<io::Result<()>> {
        while !chunk.is_empty() {
            let count = ready!(self.poll_write_some(cx, chunk))?;
            chunk.advance(count);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write_some(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let coop = ready!(coop::poll_proceed(cx));
        let mut guard = self.shared.lock();
        let result = guard.machine.poll_send(cx, data, now());
        guard.finish();
        if result.is_ready() {
            coop.made_progress();
        }
        result
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let mut guard = self.shared.lock();
        guard.machine.close(now());
        guard.finish();
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let coop = ready!(coop::poll_proceed(cx));
        let mut guard = self.shared.lock();
        let result = guard.machine.poll_read(cx, buf, now());
        guard.finish();
        if result.is_ready() {
            coop.made_progress();
        }
        result.map_ok(|_| ()).map_err(|error| error.to_io())
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_write_some(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let coop = ready!(coop::poll_proceed(cx));
        let mut total = 0;
        let mut guard = this.shared.lock();
        let now = now();
        for buf in bufs.iter().filter(|buf| !buf.is_empty()) {
            match guard.machine.poll_send(cx, buf, now) {
                Poll::Ready(Ok(count)) => {
                    total += count;
                    if count < buf.len() {
                        break;
                    }
                }
                // Said again by the next call.
                Poll::Ready(Err(_)) | Poll::Pending if total > 0 => break,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
        guard.finish();
        coop.made_progress();
        Poll::Ready(Ok(total))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Ready at once: what was written is on its way already.
    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Ready at once: nothing can be written any more, but what was written is still sent. The
    /// other end does not learn of it, and reading goes on.
    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shared.lock().machine.close_write();
        Poll::Ready(Ok(()))
    }
}
