//! Datagrams on their way to the other end of a work connection.

use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use mgrok_proto::message::{Message, Ping};
use mgrok_proto::{EncodeError, WireVersion, udp};

use crate::conn::{ByteStream, Conn};

/// How many datagrams wait at most.
// frp: the same (server/proxy/udp.go#Run, client/proxy/udp.go#InWorkConn).
const MAX_DATAGRAMS: usize = 1024;
/// How many bytes of frames wait at most.
const MAX_BYTES: usize = 1024 * 1024;
/// Buffers above this are given back when they are empty: what a burst needed is not kept for ever.
const KEPT_CAPACITY: usize = 16 * 1024;

/// Why a datagram was not queued.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// It does not fit a frame.
    #[error("the datagram does not fit a frame")]
    Encode(#[from] EncodeError),
    /// Too many wait already.
    #[error("{MAX_DATAGRAMS} datagrams or {MAX_BYTES} bytes are waiting already")]
    Full,
}

/// Frames that wait to be written, and those that are being written. Bounded: 1024 datagrams and 1 MiB, without the write
/// in progress.
///
/// What waits outlives the connection; a frame that was cut off by its end is lost.
#[derive(Debug)]
pub struct Outbox {
    wire: WireVersion,
    waiting: BytesMut,
    /// How many frames wait.
    frames: usize,
    writing: Bytes,
    unflushed: bool,
}

impl Outbox {
    /// An empty one.
    pub fn new(wire: WireVersion) -> Self {
        Self {
            wire,
            waiting: BytesMut::new(),
            frames: 0,
            writing: Bytes::new(),
            unflushed: false,
        }
    }

    /// How the frames are made.
    pub(super) fn wire(&self) -> WireVersion {
        self.wire
    }

    /// Whether nothing waits, apart from the write in progress.
    pub fn is_empty(&self) -> bool {
        self.frames == 0
    }

    /// Drops what waits, apart from the write in progress; says how many datagrams that were.
    pub(super) fn clear(&mut self) -> usize {
        self.waiting = BytesMut::new();
        std::mem::take(&mut self.frames)
    }

    /// Queues one datagram of this user.
    pub fn push(&mut self, payload: &[u8], user: SocketAddr) -> Result<(), QueueError> {
        if self.frames >= MAX_DATAGRAMS || self.waiting.len() >= MAX_BYTES {
            return Err(QueueError::Full);
        }
        udp::encode(self.wire, payload, Some(user), &mut self.waiting)?;
        self.frames += 1;
        Ok(())
    }

    /// Queues a sign of life.
    pub fn ping(&mut self) -> Result<(), QueueError> {
        if self.frames > MAX_DATAGRAMS {
            // The other end has not read for long; it would not read this either.
            return Err(QueueError::Full);
        }
        let ping = Message::from(Ping::default());
        self.wire.encode(&ping, &mut self.waiting)?;
        self.frames += 1;
        Ok(())
    }

    /// Forgets what was being written, as its connection is gone.
    pub fn lose_connection(&mut self) {
        self.writing = Bytes::new();
        self.unflushed = false;
    }

    /// Writes all to `conn`: everything that waits goes in one piece. Ready when nothing is left.
    pub fn poll_write(&mut self, cx: &mut Context<'_>, conn: &mut Conn) -> Poll<io::Result<()>> {
        loop {
            if self.writing.is_empty() {
                if self.waiting.is_empty() {
                    break;
                }
                self.writing = self.waiting.split().freeze();
                self.frames = 0;
            }
            self.unflushed = true;
            ready!(conn.poll_send(cx, &mut self.writing))?;
            // Gives its part of the buffer back, so that it can be used again.
            self.writing = Bytes::new();
        }
        if self.unflushed {
            ready!(conn.poll_flush(cx))?;
            self.unflushed = false;
        }
        if self.waiting.try_reclaim(KEPT_CAPACITY + 1) {
            self.waiting = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}
