//! A connection whose bytes are translated on their way: the I/O that cipher and compression share.

use std::io;
use std::task::{Context, Poll, ready};

use bytes::Bytes;

use crate::conn::{ByteStream, Conn};

/// A translation of two independent streams of bytes. Does no I/O.
pub(super) trait Codec: Send {
    /// Takes bytes from the front of `plain`, at least one, and returns what is sent for them. Fails if nothing more can be sent.
    fn encode(&mut self, plain: &mut Bytes) -> io::Result<Bytes>;

    /// Takes bytes from the front of `coded` up to the next bytes of payload, which are not empty.
    /// `None` if all was taken and no payload is complete yet.
    fn decode(&mut self, coded: &mut Bytes) -> io::Result<Option<Bytes>>;

    /// Whether the incoming stream may end here.
    fn may_end(&self) -> bool;
}

/// A connection through a codec.
pub(super) struct Coded<C> {
    below: Conn,
    codec: C,
    /// Arrived, not decoded.
    incoming: Bytes,
    /// Encoded, not yet taken by the connection below: the code of one piece at most.
    outgoing: Bytes,
}

impl<C: Codec> Coded<C> {
    pub(super) fn new(below: Conn, codec: C) -> Self {
        Self {
            below,
            codec,
            incoming: Bytes::new(),
            outgoing: Bytes::new(),
        }
    }
}

impl<C: Codec> ByteStream for Coded<C> {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        loop {
            if !self.incoming.is_empty()
                && let Some(plain) = self.codec.decode(&mut self.incoming)?
            {
                return Poll::Ready(Ok(plain));
            }
            self.incoming = ready!(self.below.poll_recv(cx))?;
            if self.incoming.is_empty() {
                return Poll::Ready(match self.codec.may_end() {
                    true => Ok(Bytes::new()),
                    false => Err(io::ErrorKind::UnexpectedEof.into()),
                });
            }
        }
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, chunk: &mut Bytes) -> Poll<io::Result<()>> {
        loop {
            ready!(self.below.poll_send(cx, &mut self.outgoing))?;
            if chunk.is_empty() {
                return Poll::Ready(Ok(()));
            }
            self.outgoing = self.codec.encode(chunk)?;
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.below.poll_send(cx, &mut self.outgoing))?;
        self.below.poll_flush(cx)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.below.poll_send(cx, &mut self.outgoing))?;
        self.below.poll_close(cx)
    }
}
