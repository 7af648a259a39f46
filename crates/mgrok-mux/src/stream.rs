//! One stream of a session.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// One stream of a session: a full-duplex byte stream with one owner.
#[derive(Debug)]
pub struct Stream {
    id: u32,
}

impl Stream {
    /// The stream's number in its session.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// The next received bytes as an owned slice; empty means that the other end sends no more.
    pub fn poll_recv(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        Poll::Pending
    }

    /// Hands bytes from the front of `chunk` to the session, as many as window and queue allow;
    /// ready when `chunk` is empty.
    pub fn poll_send(&mut self, _cx: &mut Context<'_>, _chunk: &mut Bytes) -> Poll<io::Result<()>> {
        Poll::Pending
    }

    /// Ends our direction after what was sent; reading goes on.
    pub fn poll_close(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        _buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        _buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Pending
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}
