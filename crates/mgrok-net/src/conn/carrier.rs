//! Receives and sends chunks on each carrier.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, Bytes};
use mgrok_mux::slab::{Slabs, with_local};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;

use super::{ByteStream, Io};

/// The least room for one read, so that the end of a slab does not make reads tiny.
const MIN_READ: usize = 32 * 1024;

/// The most chunks that one write takes.
const MAX_SLICES: usize = 16;

impl Io {
    pub(super) fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        match self {
            Self::Kcp(stream) => stream.poll_recv(cx),
            Self::Layered(stream) => stream.poll_recv(cx),
            Self::Mux(stream) => stream.poll_recv(cx),
            Self::Quic(stream) => with_local(|slabs| poll_read_chunk(slabs, &mut **stream, cx)),
            Self::Tcp(socket) => {
                // Waits for readiness first, so that an idle socket takes no memory from the slabs.
                ready!(socket.poll_read_ready(cx))?;
                poll_recv_tcp(socket, cx, usize::MAX)
            }
            Self::Tls(stream) => stream.poll_recv(cx),
        }
    }

    pub(super) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        chunk: &mut Bytes,
    ) -> Poll<io::Result<()>> {
        match self {
            Self::Kcp(stream) => stream.poll_send(cx, chunk),
            Self::Layered(stream) => stream.poll_send(cx, chunk),
            Self::Mux(stream) => stream.poll_send(cx, chunk),
            Self::Quic(stream) => stream.poll_send(cx, chunk),
            Self::Tcp(socket) => poll_write_chunk(socket, cx, chunk),
            Self::Tls(stream) => stream.poll_send(cx, chunk),
        }
    }

    pub(super) fn poll_recv_many(
        &mut self,
        cx: &mut Context<'_>,
        chunks: &mut VecDeque<Bytes>,
    ) -> Poll<io::Result<()>> {
        match self {
            Self::Layered(stream) => return stream.poll_recv_many(cx, chunks),
            Self::Mux(stream) => return stream.poll_recv_many(cx, chunks),
            Self::Kcp(_) | Self::Quic(_) | Self::Tcp(_) | Self::Tls(_) => {}
        }
        let chunk = ready!(self.poll_recv(cx))?;
        if !chunk.is_empty() {
            chunks.push_back(chunk);
        }
        Poll::Ready(Ok(()))
    }

    pub(super) fn poll_send_many(
        &mut self,
        cx: &mut Context<'_>,
        chunks: &mut VecDeque<Bytes>,
    ) -> Poll<io::Result<()>> {
        match self {
            Self::Layered(stream) => return stream.poll_send_many(cx, chunks),
            Self::Tcp(socket) => return poll_write_chunks(socket, cx, chunks),
            Self::Kcp(_) | Self::Mux(_) | Self::Quic(_) | Self::Tls(_) => {}
        }
        while let Some(chunk) = chunks.front_mut() {
            ready!(self.poll_send(cx, chunk))?;
            chunks.pop_front();
        }
        Poll::Ready(Ok(()))
    }

    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Layered(stream) => stream.poll_flush(cx),
            // These carriers do not hold bytes back: the session's driver or the kernel sends whatever they accepted.
            Self::Kcp(_) | Self::Mux(_) | Self::Quic(_) | Self::Tcp(_) => Poll::Ready(Ok(())),
            Self::Tls(stream) => stream.poll_flush(cx),
        }
    }

    pub(super) fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Kcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Layered(stream) => stream.poll_close(cx),
            Self::Mux(stream) => stream.poll_close(cx),
            Self::Quic(stream) => Poll::Ready(stream.close()),
            Self::Tcp(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Tls(stream) => stream.poll_close(cx),
        }
    }
}

/// Reads up to `most` bytes from a socket that is ready.
pub(super) fn poll_recv_tcp(
    socket: &mut TcpStream,
    cx: &mut Context<'_>,
    most: usize,
) -> Poll<io::Result<Bytes>> {
    with_local(|slabs| poll_read_some(slabs, socket, cx, most))
}

/// Reads once into a slab.
pub(super) fn poll_read_chunk(
    slabs: &mut Slabs,
    stream: &mut (impl AsyncRead + Unpin),
    cx: &mut Context<'_>,
) -> Poll<io::Result<Bytes>> {
    poll_read_some(slabs, stream, cx, usize::MAX)
}

/// Reads once, up to `most` bytes, into a slab.
fn poll_read_some(
    slabs: &mut Slabs,
    stream: &mut (impl AsyncRead + Unpin),
    cx: &mut Context<'_>,
    most: usize,
) -> Poll<io::Result<Bytes>> {
    slabs.read_with(MIN_READ.min(most), |slab| {
        // `read_buf` is the only way to make tokio read into spare capacity without initialising it first. The future
        // keeps no state between polls, so it can be created anew for each.
        let mut room = slab.limit(most);
        ready!(pin!(stream.read_buf(&mut room)).poll(cx))?;
        Poll::Ready(Ok(slab.split().freeze()))
    })
}

/// Writes until the chunk is empty or the stream has no room.
pub(super) fn poll_write_chunk(
    stream: &mut (impl AsyncWrite + Unpin),
    cx: &mut Context<'_>,
    chunk: &mut Bytes,
) -> Poll<io::Result<()>> {
    while !chunk.is_empty() {
        let written = ready!(Pin::new(&mut *stream).poll_write(cx, chunk))?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        chunk.advance(written);
    }
    Poll::Ready(Ok(()))
}

/// Writes until `chunks` is empty or the socket has no room, many of them with one call.
fn poll_write_chunks(
    socket: &mut TcpStream,
    cx: &mut Context<'_>,
    chunks: &mut VecDeque<Bytes>,
) -> Poll<io::Result<()>> {
    while chunks.len() > 1 {
        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
        let used = chunks.len().min(MAX_SLICES);
        for (slice, chunk) in slices.iter_mut().zip(chunks.iter()) {
            *slice = IoSlice::new(chunk);
        }
        let mut written = ready!(Pin::new(&mut *socket).poll_write_vectored(cx, &slices[..used]))?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        while let Some(chunk) = chunks.front_mut()
            && written > 0
        {
            let done = written.min(chunk.len());
            written -= done;
            chunk.advance(done);
            if chunk.is_empty() {
                chunks.pop_front();
            }
        }
    }
    if let Some(chunk) = chunks.front_mut() {
        ready!(poll_write_chunk(socket, cx, chunk))?;
        chunks.clear();
    }
    Poll::Ready(Ok(()))
}
