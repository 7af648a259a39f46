//! Unix sockets, on which some local services listen.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use mgrok_mux::slab::with_local;
use tokio::io::AsyncWrite;
use tokio::net::UnixStream;

use super::carrier::{poll_read_chunk, poll_write_chunk};
use super::{ByteStream, Conn};

/// A Unix socket. Not a variant of `Io`: few connections use one, and none of them needs the shortcuts that `Io`
/// offers.
struct Unix(UnixStream);

impl ByteStream for Unix {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        // As with TCP, an idle socket takes no memory from the slabs.
        ready!(self.0.poll_read_ready(cx))?;
        with_local(|slabs| poll_read_chunk(slabs, &mut self.0, cx))
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, chunk: &mut Bytes) -> Poll<io::Result<()>> {
        poll_write_chunk(&mut self.0, cx, chunk)
    }

    fn poll_flush(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

impl From<UnixStream> for Conn {
    fn from(socket: UnixStream) -> Self {
        Self::layered(Box::new(Unix(socket)))
    }
}
