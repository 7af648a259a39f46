//! A stream of a QUIC connection.
//!
//! Chunks go into quinn without a copy. What comes out is copied once, into the thread's slab: quinn hands over packet by packet, and one
//! chunk of many packets costs one turn of its lock and one call of the system to pass it on. quinn's futures are created anew for
//! each poll: they only borrow the stream and keep no state between polls.

use std::io;
use std::pin::{Pin, pin};
use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use quinn::{ConnectionError, ReadError, RecvStream, SendStream, Side, VarInt, WriteError};
use tokio::io::{AsyncRead, ReadBuf};

use super::flow::{Flow, Flows};
use crate::printable::printable;

/// The code with which both frp and mgrok close streams and connections.
pub(crate) const NO_ERROR: VarInt = VarInt::from_u32(0);

/// The priority of a stream that goes ahead of the others, which have 0.
const HIGH_PRIORITY: i32 = 1;

/// A bidirectional stream.
///
/// Dropping it sends all accepted bytes and the end of the sending direction (FIN), and asks the peer to stop sending
/// (STOP_SENDING with code 0). quinn does this on drop, and frp does the same when it closes a stream.
pub(crate) struct QuicStream {
    send: SendStream,
    recv: RecvStream,
    closed: bool,
    flows: Arc<Flows>,
    /// Given back when the stream is dropped.
    _permit: Option<StreamPermit>,
}

/// A permit for one stream that the peer has opened.
pub(crate) struct StreamPermit(Arc<AtomicU64>);

impl StreamPermit {
    /// Takes a permit, and returns how many are then in use.
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

    /// The stream's datagram flow, if its kind of stream can have one.
    pub(super) fn flow(&self) -> Option<Flow> {
        let id = self.send.id();
        match id.initiator() {
            Side::Client => Some(self.flows.open(id.index())),
            Side::Server => None,
        }
    }

    pub(super) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        chunk: &mut Bytes,
    ) -> Poll<io::Result<()>> {
        while !chunk.is_empty() {
            let written = pin!(self.send.write_chunks(slice::from_mut(chunk))).poll(cx);
            if written.is_pending() {
                self.flows.fit_send_window();
            }
            ready!(written).map_err(write_error)?;
        }
        Poll::Ready(Ok(()))
    }

    pub(super) fn send_first(&mut self) {
        // Fails only if the sending direction is closed already.
        let _ = self.send.set_priority(HIGH_PRIORITY);
    }

    pub(super) fn close(&mut self) -> io::Result<()> {
        // Fails only if the stream was finished before.
        let _ = self.send.finish();
        self.closed = true;
        Ok(())
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

    /// Whether a failure counts as the end of the stream. Once this end has closed, a peer that has closed too may say
    /// so by a reset with code 0.
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

impl AsyncRead for QuicStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = ready!(self.recv.poll_read_buf(cx, buf));
        Poll::Ready(read.or_else(|error| self.reading_failed(error)))
    }
}

fn write_error(error: WriteError) -> io::Error {
    let kind = match &error {
        // The error of a socket whose peer has closed it.
        WriteError::Stopped(_) => io::ErrorKind::BrokenPipe,
        WriteError::ConnectionLost(error) => return connection_lost(error),
        WriteError::ClosedStream | WriteError::ZeroRttRejected => io::ErrorKind::NotConnected,
    };
    io::Error::new(kind, error)
}

/// The error of a stream whose connection is gone.
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
    // The text may contain a reason that the peer wrote.
    let error = printable(error.to_string().as_bytes());
    io::Error::new(kind, format!("QUIC connection {error}"))
}
