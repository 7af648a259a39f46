//! A stream of a QUIC connection.
//!
//! Chunks go in and out of quinn as they are. Futures of quinn are made for one poll each: they only
//! borrow the stream and keep nothing between polls.

use std::io;
use std::pin::{Pin, pin};
use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use quinn::{ConnectionError, ReadError, RecvStream, SendStream, Side, VarInt, WriteError};
use tokio::io::ReadBuf;

use super::flow::{Flow, Flows};
use crate::printable::printable;

/// What both frp and we close with, streams and connections.
pub(crate) const NO_ERROR: VarInt = VarInt::from_u32(0);

/// The priority of what goes ahead of other streams, which have 0.
const FIRST: i32 = 1;

/// A bidirectional stream.
///
/// Dropping it sends what was taken and the end of our direction (FIN), and tells the peer not to send any
/// more (STOP_SENDING with code 0). That is quinn's doing, and just what frp does when it closes a stream.
pub(crate) struct QuicStream {
    send: SendStream,
    recv: RecvStream,
    closed: bool,
    flows: Arc<Flows>,
    /// Given back when the stream is dropped.
    _permit: Option<StreamPermit>,
}

/// A permit for one stream that a peer has open.
pub(crate) struct StreamPermit(Arc<AtomicU64>);

impl StreamPermit {
    /// Takes one more, and returns how many are then taken.
    pub(crate) fn take(taken: &Arc<AtomicU64>) -> (Self, u64) {
        let now = taken.fetch_add(1, Ordering::Relaxed) + 1;
        (Self(taken.clone()), now)
    }
}

impl Drop for StreamPermit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl QuicStream {
    pub(crate) fn new(
        (send, recv): (SendStream, RecvStream),
        flows: Arc<Flows>,
        permit: Option<StreamPermit>,
    ) -> Self {
        Self {
            send,
            recv,
            closed: false,
            flows,
            _permit: permit,
        }
    }

    /// Its datagrams, if it is one of the streams that can have some.
    pub(super) fn flow(&self) -> Option<Flow> {
        let id = self.send.id();
        match id.initiator() {
            Side::Client => Some(self.flows.open(id.index())),
            Side::Server => None,
        }
    }

    pub(super) fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        let chunk = ready!(pin!(self.recv.read_chunk(usize::MAX, true)).poll(cx));
        Poll::Ready(match chunk {
            Ok(chunk) => Ok(chunk.map(|chunk| chunk.bytes).unwrap_or_default()),
            Err(error) => self.reading_failed(error).map(|()| Bytes::new()),
        })
    }

    pub(super) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        chunk: &mut Bytes,
    ) -> Poll<io::Result<()>> {
        while !chunk.is_empty() {
            let written = pin!(self.send.write_chunks(slice::from_mut(chunk))).poll(cx);
            ready!(written).map_err(write_error)?;
        }
        Poll::Ready(Ok(()))
    }

    pub(super) fn send_first(&mut self) {
        // It fails only if nothing more is sent.
        let _ = self.send.set_priority(FIRST);
    }

    pub(super) fn close(&mut self) -> io::Result<()> {
        // It fails only if this was done before.
        let _ = self.send.finish();
        self.closed = true;
        Ok(())
    }

    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = ready!(self.recv.poll_read_buf(cx, buf));
        Poll::Ready(read.or_else(|error| self.reading_failed(error)))
    }

    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.send)
            .poll_write(cx, buf)
            .map_err(write_error)
    }

    /// Whether a failure is the end of the stream. Once we are done, a peer that is done too may say so by
    /// a reset with code 0.
    fn reading_failed(&self, error: ReadError) -> io::Result<()> {
        let kind = match &error {
            ReadError::Reset(NO_ERROR) if self.closed => return Ok(()),
            ReadError::Reset(_) => io::ErrorKind::ConnectionReset,
            ReadError::ConnectionLost(error) => return Err(connection_lost(error)),
            ReadError::ClosedStream
            | ReadError::IllegalOrderedRead
            | ReadError::ZeroRttRejected => io::ErrorKind::NotConnected,
        };
        Err(io::Error::new(kind, error))
    }
}

fn write_error(error: WriteError) -> io::Error {
    let kind = match &error {
        // What a socket says whose peer has closed it.
        WriteError::Stopped(_) => io::ErrorKind::BrokenPipe,
        WriteError::ConnectionLost(error) => return connection_lost(error),
        WriteError::ClosedStream | WriteError::ZeroRttRejected => io::ErrorKind::NotConnected,
    };
    io::Error::new(kind, error)
}

/// What a stream says whose connection is gone.
pub(crate) fn connection_lost(error: &ConnectionError) -> io::Error {
    let kind = match error {
        ConnectionError::TimedOut => io::ErrorKind::TimedOut,
        ConnectionError::LocallyClosed => io::ErrorKind::NotConnected,
        ConnectionError::ApplicationClosed(_)
        | ConnectionError::ConnectionClosed(_)
        | ConnectionError::Reset => io::ErrorKind::ConnectionReset,
        ConnectionError::TransportError(_)
        | ConnectionError::VersionMismatch
        | ConnectionError::CidsExhausted => io::ErrorKind::ConnectionAborted,
    };
    // Some of it may be the peer's words.
    let error = printable(error.to_string().as_bytes());
    io::Error::new(kind, format!("QUIC connection {error}"))
}
