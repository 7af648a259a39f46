//! A connection behind tokio's traits, for what is built on those: TLS and the multiplexer.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use mgrok_mux::slab::Slabs;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{ByteStream, Conn, Io};

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
                Io::Mux(stream) => return Pin::new(stream).poll_read(cx, buf),
                Io::Tcp(socket) => return Pin::new(socket).poll_read(cx, buf),
                Io::Tls(stream) => return Pin::new(&mut **stream).poll_read(cx, buf),
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
            Io::Layered(_) => Poll::Pending,
            Io::Mux(stream) => Pin::new(stream).poll_write(cx, buf),
            Io::Tcp(socket) => Pin::new(socket).poll_write(cx, buf),
            Io::Tls(stream) => Pin::new(&mut **stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.io {
            Io::Layered(_) => {
                let first = bufs.iter().find(|buf| !buf.is_empty());
                self.poll_write(cx, first.map_or(&[], |buf| &**buf))
            }
            Io::Mux(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Io::Tcp(socket) => Pin::new(socket).poll_write_vectored(cx, bufs),
            Io::Tls(stream) => Pin::new(&mut **stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.io {
            Io::Layered(_) => false,
            Io::Mux(stream) => stream.is_write_vectored(),
            Io::Tcp(socket) => socket.is_write_vectored(),
            Io::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ByteStream::poll_flush(&mut *self, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_close(cx)
    }
}
