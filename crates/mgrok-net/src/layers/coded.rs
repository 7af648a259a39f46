//! A connection that encodes what it sends and decodes what it receives: the I/O that the layers share.

use std::io;
use std::task::{Context, Poll, ready};

use bytes::Bytes;

use crate::conn::{ByteStream, Conn};

/// Encodes one stream of bytes and decodes another, independent one. Does no I/O.
pub(super) trait Codec: Send {
    /// Consumes at least one byte from the front of `plain`, and returns the bytes to send for it. Fails if nothing
    /// more can be sent.
    fn encode(&mut self, plain: &mut Bytes) -> io::Result<Bytes>;

    /// Consumes bytes from the front of `coded` until it has the next payload, which is never empty. `None` if all
    /// bytes were consumed and no payload is complete yet.
    fn decode(&mut self, coded: &mut Bytes) -> io::Result<Option<Bytes>>;

    /// Whether the incoming stream may end here.
    fn may_end(&self) -> bool;
}

/// A connection through a codec.
pub(super) struct Coded<C> {
    below: Conn,
    codec: C,
    /// Received but not decoded yet.
    incoming: Bytes,
    /// Encoded but not yet accepted by the connection below: the code of one piece at most.
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
            if !self.incoming.is_empty() {
                let decoded = self.codec.decode(&mut self.incoming)?;
                if self.incoming.is_empty() {
                    // It was advanced to its end, and would still keep its slab.
                    self.incoming = Bytes::new();
                }
                if let Some(plain) = decoded {
                    return Poll::Ready(Ok(plain));
                }
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

    fn can_refuse(&self) -> bool {
        self.below.can_refuse()
    }
}
