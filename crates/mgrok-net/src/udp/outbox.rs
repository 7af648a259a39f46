//! Datagrams on their way to the other end of a work connection.

use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use mgrok_proto::EncodeError;
use mgrok_proto::udp::{Carried, Decoder, Encoder, Framing};

use super::DatagramConn;
use super::quic_outbox::QuicOutbox;
use crate::conn::ByteStream;

/// How many datagrams wait at most.
// frp: the same (server/proxy/udp.go#Run, client/proxy/udp.go#InWorkConn).
const MAX_DATAGRAMS: usize = 1024;
/// How many bytes of frames wait at most.
const MAX_BYTES: usize = 1024 * 1024;
/// Buffers above this are given back when they are empty: what a burst needed is not kept for ever. The next one is as large as the last
/// piece was, up to [`MAX_FRESH`], so that it need not grow from nothing.
const KEPT_CAPACITY: usize = 16 * 1024;
const MAX_FRESH: usize = 64 * 1024;

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

/// Datagrams that wait to be written, framed, and those that are being written. Bounded: 1024 datagrams and 1 MiB, without the
/// write in progress.
///
/// What waits outlives the connection; a frame that was cut off by its end is lost.
#[derive(Debug)]
pub struct Outbox {
    encoder: Encoder,
    waiting: BytesMut,
    /// How many datagrams and signs of life wait.
    count: usize,
    writing: Bytes,
    /// How long the last piece was that was written.
    usual: usize,
    unflushed: bool,
    /// The way past the stream, if there is one.
    quic: Option<QuicOutbox>,
}

impl Outbox {
    /// An empty one.
    pub fn new(framing: Framing) -> Self {
        Self::with(Encoder::new(framing))
    }

    /// An empty one for `conn`, whose users get the zones of their addresses back as they came on it.
    pub fn answering(conn: &DatagramConn) -> Self {
        Self::with(Encoder::new(conn.framing()).with_zones(conn.zones().clone()))
    }

    fn with(encoder: Encoder) -> Self {
        Self {
            encoder,
            waiting: BytesMut::new(),
            count: 0,
            writing: Bytes::new(),
            usual: 0,
            unflushed: false,
            quic: None,
        }
    }

    /// How datagrams are framed.
    pub fn framing(&self) -> Framing {
        self.encoder.framing()
    }

    /// Whether nothing waits, apart from the write in progress.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Drops what waits, apart from the write in progress; says how many datagrams that were.
    pub(super) fn clear(&mut self) -> usize {
        self.encoder.end_frame();
        self.waiting = BytesMut::new();
        std::mem::take(&mut self.count)
    }

    /// Makes frames of another kind from now on, also of what waits, whose datagrams are cut to `packet_size` bytes. Says how many
    /// do not fit such frames and are lost. There must be no write in progress.
    pub(super) fn reframe(&mut self, framing: Framing, packet_size: usize) -> u64 {
        if framing == self.framing() {
            return 0;
        }
        let mut decoder = Decoder::new(self.framing());
        let mut before = std::mem::replace(self, Self::new(framing)).waiting;
        let (mut payload, mut lost) = (BytesMut::new(), 0);
        // These are our own frames, all of them complete.
        while let Ok(Some((carried, len))) = decoder.decode(&before, &mut payload) {
            before.advance(len);
            payload.truncate(packet_size);
            let encoded = match carried {
                Carried::Packet { user } => {
                    self.encoder.datagram(&payload, user, &mut self.waiting)
                }
                Carried::Ping => self.encoder.ping(&mut self.waiting),
                Carried::QuicReady => continue,
            };
            match encoded {
                Ok(()) => self.count += 1,
                Err(_) => lost += 1,
            }
            payload.clear();
        }
        lost
    }

    /// Queues one datagram of this user.
    pub fn push(&mut self, payload: &[u8], user: SocketAddr) -> Result<(), QueueError> {
        if let Some(quic) = &mut self.quic
            && quic.push(payload, user)?
        {
            return Ok(());
        }
        if self.count >= MAX_DATAGRAMS || self.waiting.len() >= MAX_BYTES {
            return Err(QueueError::Full);
        }
        if self.waiting.capacity() == 0 {
            self.waiting.reserve(self.usual);
        }
        self.encoder
            .datagram(payload, Some(user), &mut self.waiting)?;
        self.count += 1;
        Ok(())
    }

    /// Queues a sign of life.
    pub fn ping(&mut self) -> Result<(), QueueError> {
        if self.count > MAX_DATAGRAMS {
            // The other end has not read for long; it would not read this either.
            return Err(QueueError::Full);
        }
        self.encoder.ping(&mut self.waiting)?;
        self.count += 1;
        Ok(())
    }

    /// Forgets what was being written, as its connection is gone.
    pub fn lose_connection(&mut self) {
        self.quic = None;
        self.writing = Bytes::new();
        self.unflushed = false;
    }

    /// Writes all to `conn`, which has the same framing: everything that waits goes in one piece. Ready when nothing is left. What goes
    /// as datagrams of QUIC does so at once.
    pub fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        conn: &mut DatagramConn,
    ) -> Poll<io::Result<()>> {
        if conn.announce() {
            self.encoder.quic_ready(&mut self.waiting);
        }
        match &mut self.quic {
            Some(quic) => quic.send(),
            None => self.quic = conn.sender().map(QuicOutbox::new),
        }
        loop {
            if self.writing.is_empty() {
                if self.waiting.is_empty() {
                    break;
                }
                self.encoder.end_frame();
                self.usual = self.waiting.len().min(MAX_FRESH);
                self.writing = self.waiting.split().freeze();
                self.count = 0;
            }
            self.unflushed = true;
            ready!(conn.stream.poll_send(cx, &mut self.writing))?;
            // Gives its part of the buffer back, so that it can be used again.
            self.writing = Bytes::new();
        }
        if self.unflushed {
            ready!(conn.stream.poll_flush(cx))?;
            self.unflushed = false;
        }
        if self.waiting.try_reclaim(KEPT_CAPACITY + 1) {
            self.waiting = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}
