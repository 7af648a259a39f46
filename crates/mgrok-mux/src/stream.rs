//! One stream of a session, as its owner holds it.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::coop;

use crate::shared::Shared;
use crate::slab;

/// Most bytes that one `poll_write` copies: what one frame can carry.
const MAX_WRITE: usize = 64 * 1024;

/// Most slices that [`Stream::poll_recv_many`] appends: what one vectored write takes without effort.
const MAX_SLICES: usize = 16;

/// One stream of a session: a full-duplex byte stream with one owner.
///
/// [`poll_recv`](Self::poll_recv) and [`poll_send`](Self::poll_send) move owned slices without
/// copying; the stream is an [`AsyncRead`] and [`AsyncWrite`] as well, at the price of a copy.
///
/// What was sent is on its way without a flush. Dropping the stream sends a FIN after it; what
/// the other end still sends is drained until its FIN, so that it can come to its end, or
/// [refused](Self::refuse_after_drop).
#[derive(Debug)]
pub struct Stream {
    shared: Arc<Shared>,
    id: u32,
    /// Received bytes of which `poll_read` has returned a part.
    unread: Bytes,
}

impl Stream {
    pub(crate) fn new(shared: Arc<Shared>, id: u32) -> Self {
        Self {
            shared,
            id,
            unread: Bytes::new(),
        }
    }

    /// The stream's number in its session.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Waits until the other end has acknowledged the stream, if there is reason to doubt that it will: it has answered nothing for a second
    /// that it should have. A stream that was opened can be used at once; this is for whoever would rather not if nobody is there.
    ///
    /// Cancel-safe. Not beside a pending [`poll_recv`](Self::poll_recv), whose waker it takes.
    ///
    /// # Errors
    ///
    /// The stream was reset, or the session has ended.
    pub async fn answered(&mut self) -> io::Result<()> {
        let is_answered = || {
            let now = tokio::time::Instant::now().into_std();
            self.shared.lock().machine.is_answered(self.id, now)
        };
        if is_answered()? {
            return Ok(());
        }
        poll_fn(|cx| self.shared.lock().machine.poll_acknowledged(self.id, cx)).await;
        is_answered().map(|_| ())
    }

    /// The next received bytes as an owned slice; empty means that the other end sends no more.
    ///
    /// The slice is a part of a buffer of up to [`slab::LOCAL_SLAB_SIZE`] bytes, which is not
    /// used again before all its slices are dropped: do not keep small ones for long.
    ///
    /// # Errors
    ///
    /// The stream was reset, or the session ended before the other end's FIN. Bytes that arrived
    /// before are returned first.
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        if !self.unread.is_empty() {
            return Poll::Ready(Ok(std::mem::take(&mut self.unread)));
        }
        let coop = ready!(coop::poll_proceed(cx));
        let mut guard = self.shared.lock();
        let result = guard.machine.poll_recv(self.id, cx);
        guard.finish();
        if result.is_ready() {
            coop.made_progress();
        }
        result
    }

    /// Appends to `slices` what has been received, as much as makes one good write; nothing if the other end sends no more.
    ///
    /// # Errors
    ///
    /// As [`poll_recv`](Self::poll_recv).
    pub fn poll_recv_many(
        &mut self,
        cx: &mut Context<'_>,
        slices: &mut VecDeque<Bytes>,
    ) -> Poll<io::Result<()>> {
        if !self.unread.is_empty() {
            slices.push_back(std::mem::take(&mut self.unread));
            return Poll::Ready(Ok(()));
        }
        let coop = ready!(coop::poll_proceed(cx));
        let mut guard = self.shared.lock();
        let result =
            guard
                .machine
                .poll_recv_many(self.id, cx, slices, MAX_SLICES, slab::LOCAL_SLAB_SIZE);
        guard.finish();
        if result.is_ready() {
            coop.made_progress();
        }
        result
    }

    /// Hands bytes from the front of `chunk` to the session, as many as window and queue allow;
    /// ready when `chunk` is empty.
    ///
    /// # Errors
    ///
    /// The stream was closed or reset, or the session ended. Whether the other end received what
    /// was handed over before cannot be known.
    pub fn poll_send(&mut self, cx: &mut Context<'_>, chunk: &mut Bytes) -> Poll<io::Result<()>> {
        let coop = ready!(coop::poll_proceed(cx));
        let mut guard = self.shared.lock();
        let result = guard.machine.poll_send(self.id, cx, chunk);
        guard.finish();
        if result.is_ready() {
            coop.made_progress();
        }
        result
    }

    /// From now on, what is not read before the stream is dropped is answered with a reset, behind all
    /// that was sent: whoever sends it learns that nobody reads, as with TCP. For other ends that take a
    /// FIN as the end of one direction only, and would go on sending. Those of frp take it as
    /// the end of both, and what they have not yet read is lost to them by a reset.
    pub fn refuse_after_drop(&mut self) {
        self.shared.lock().machine.refuse_after_drop(self.id);
    }

    /// From now on, what is sent goes ahead of what other streams send: for one that carries few and small messages, which
    /// others wait for.
    pub fn send_first(&mut self) {
        self.shared.lock().machine.send_first(self.id);
    }

    /// Ends our direction after what was sent; reading goes on.
    ///
    /// # Errors
    ///
    /// The stream was reset or the session ended before.
    pub fn poll_close(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut guard = self.shared.lock();
        let result = guard.machine.close_stream(self.id);
        guard.finish();
        Poll::Ready(result)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let now = tokio::time::Instant::now().into_std();
        let mut guard = self.shared.lock();
        guard.machine.drop_stream(self.id, now);
        if guard.is_abandoned() {
            guard.finish_and_wake_driver();
        } else {
            guard.finish();
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let mut bytes = ready!(this.poll_recv(cx))?;
        // Unlike `advance`, this lets the slab go with the last byte.
        let taken = bytes.split_to(bytes.len().min(buf.remaining()));
        buf.put_slice(&taken);
        this.unread = bytes;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let coop = ready!(coop::poll_proceed(cx));
        let wanted = buf.len().min(MAX_WRITE);
        let room = ready!(
            this.shared
                .lock()
                .machine
                .poll_send_room(this.id, cx, wanted)
        )?;
        coop.made_progress();
        // Copied without the lock: the room stays ours, because the stream has one owner.
        let chunk = slab::with_local(|slabs| slabs.copy(&buf[..room]));
        let mut guard = this.shared.lock();
        let result = guard.machine.push(this.id, chunk);
        guard.finish();
        Poll::Ready(result.map(|()| room))
    }

    /// Ready at once: what was written is on its way already.
    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_close(cx)
    }
}
