//! Implements tokio's I/O traits for connections, for the code that needs them: the multiplexer and libraries.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use mgrok_mux::slab::with_local;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{ByteStream, Conn, Io};

/// The most bytes that a layer accepts in one write; the caller offers the rest again.
const MAX_WRITE: usize = 64 * 1024;

impl AsyncRead for Conn {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let conn = &mut *self;
        if conn.unread.is_empty() {
            match &mut conn.io {
                Io::Layered(stream) => conn.unread = ready!(stream.poll_recv(cx))?,
                Io::Tls(stream) => conn.unread = ready!(stream.poll_recv(cx))?,
                Io::Kcp(stream) => return Pin::new(stream).poll_read(cx, buf),
                Io::Mux(stream) => return Pin::new(stream).poll_read(cx, buf),
                Io::Quic(stream) => return Pin::new(&mut **stream).poll_read(cx, buf),
                Io::Tcp(socket) => return Pin::new(socket).poll_read(cx, buf),
            }
        }
        let taken = conn.unread.split_to(conn.unread.len().min(buf.remaining()));
        buf.put_slice(&taken);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Conn {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.io {
            Io::Layered(stream) => poll_write_copy(&mut **stream, cx, buf),
            Io::Kcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Io::Mux(stream) => Pin::new(stream).poll_write(cx, buf),
            Io::Quic(stream) => stream.poll_write(cx, buf),
            Io::Tcp(socket) => Pin::new(socket).poll_write(cx, buf),
            Io::Tls(stream) => stream.poll_write(cx, &[IoSlice::new(buf)]),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.io {
            Io::Layered(_) | Io::Quic(_) => {
                let first = bufs.iter().find(|buf| !buf.is_empty());
                self.poll_write(cx, first.map_or(&[], |buf| &**buf))
            }
            Io::Kcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Io::Mux(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Io::Tcp(socket) => Pin::new(socket).poll_write_vectored(cx, bufs),
            Io::Tls(stream) => stream.poll_write(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.io {
            Io::Layered(_) | Io::Quic(_) => false,
            Io::Kcp(stream) => stream.is_write_vectored(),
            Io::Mux(stream) => stream.is_write_vectored(),
            Io::Tcp(socket) => socket.is_write_vectored(),
            Io::Tls(_) => true,
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ByteStream::poll_flush(&mut *self, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_close(cx)
    }
}

/// Writes borrowed bytes to a stream that takes owned chunks.
fn poll_write_copy(
    stream: &mut dyn ByteStream,
    cx: &mut Context<'_>,
    buf: &[u8],
) -> Poll<io::Result<usize>> {
    let offered = &buf[..buf.len().min(MAX_WRITE)];
    let mut chunk = with_local(|slabs| slabs.copy(offered));
    let sent = stream.poll_send(cx, &mut chunk)?;
    let taken = offered.len() - chunk.len();
    // Accepted bytes are on their way even if the stream returned `Pending` for the rest.
    if sent.is_pending() && taken == 0 {
        return Poll::Pending;
    }
    Poll::Ready(Ok(taken))
}
