//! The queue of datagrams for the other end of a work connection.

use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use mgrok_proto::EncodeError;
use mgrok_proto::udp::{Carried, Decoder, Encoder, Framing};

use super::DatagramConn;
use super::quic_outbox::QuicOutbox;
use crate::conn::ByteStream;

/// The most datagrams that are queued.
// frp: the same (server/proxy/udp.go#Run, client/proxy/udp.go#InWorkConn).
const MAX_DATAGRAMS: usize = 1024;
/// The most bytes of frames that are queued.
const MAX_BYTES: usize = 1024 * 1024;
/// A larger buffer is released when it is empty, so that a burst does not occupy memory for ever. The next buffer is as
/// large as the last write was, up to [`MAX_FRESH`], so that it need not grow from nothing.
const KEPT_CAPACITY: usize = 16 * 1024;
const MAX_FRESH: usize = 64 * 1024;

/// Why a datagram was not queued.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// The datagram does not fit a frame.
    #[error("the datagram does not fit a frame")]
    Encode(#[from] EncodeError),
    /// Too many datagrams are queued already.
    #[error("{MAX_DATAGRAMS} datagrams or {MAX_BYTES} bytes are waiting already")]
    Full,
}

/// Datagrams that are queued, framed already, and the write in progress. Bounded: 1024 datagrams and 1 MiB, not
/// counting the write in progress.
///
/// Queued datagrams outlive the connection; a frame that was cut off by the connection's end is lost.
#[derive(Debug)]
pub struct Outbox {
    encoder: Encoder,
    waiting: BytesMut,
    /// How many datagrams and pings are queued.
    count: usize,
    writing: Bytes,
    /// The length of the last write.
    last_len: usize,
    unflushed: bool,
    /// The queue of QUIC datagrams, if the connection uses them.
    quic: Option<QuicOutbox>,
}

impl Outbox {
    /// An empty outbox.
    pub fn new(framing: Framing) -> Self {
        Self::with(Encoder::new(framing))
    }

    /// An empty outbox for `conn`. Restores the zones of users' addresses as they arrived on `conn`.
    pub fn answering(conn: &DatagramConn) -> Self {
        Self::with(Encoder::new(conn.framing()).with_zones(conn.zones().clone()))
    }

    fn with(encoder: Encoder) -> Self {
        Self {
            encoder,
            waiting: BytesMut::new(),
            count: 0,
            writing: Bytes::new(),
            last_len: 0,
            unflushed: false,
            quic: None,
        }
    }

    /// The framing of the datagrams.
    pub fn framing(&self) -> Framing {
        self.encoder.framing()
    }

    /// Whether nothing is queued, apart from the write in progress.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether there is room for what one call brings from a socket.
    pub fn has_room(&self) -> bool {
        self.count <= MAX_DATAGRAMS / 2 && self.waiting.len() <= MAX_BYTES / 2
    }

    /// Drops all queued datagrams, apart from the write in progress, and returns their number.
    pub(super) fn clear(&mut self) -> usize {
        self.encoder.end_frame();
        self.waiting = BytesMut::new();
        std::mem::take(&mut self.count)
    }

    /// Changes the framing, also of the queued datagrams, which are truncated to `packet_size` bytes. Returns how many
    /// do not fit the new frames and are lost. There must be no write in progress.
    pub(super) fn reframe(&mut self, framing: Framing, packet_size: usize) -> u64 {
        if framing == self.framing() {
            return 0;
        }
        let mut decoder = Decoder::new(self.framing());
        let mut before = std::mem::replace(self, Self::new(framing)).waiting;
        let (mut payload, mut lost) = (BytesMut::new(), 0);
        // Decoding cannot fail: these are complete frames of our own.
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

    /// Queues one datagram of `user`.
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
            self.waiting.reserve(self.last_len);
        }
        self.encoder
            .datagram(payload, Some(user), &mut self.waiting)?;
        self.count += 1;
        Ok(())
    }

    /// Queues a ping.
    pub fn ping(&mut self) -> Result<(), QueueError> {
        if self.count > MAX_DATAGRAMS {
            // The peer has not read for long, and would not read this ping either.
            return Err(QueueError::Full);
        }
        self.encoder.ping(&mut self.waiting)?;
        self.count += 1;
        Ok(())
    }

    /// Discards the write in progress, because its connection is gone.
    pub fn lose_connection(&mut self) {
        self.quic = None;
        self.writing = Bytes::new();
        self.unflushed = false;
    }

    /// Writes the whole queue, in one piece, to `conn`, which has the same framing. Ready when nothing is left. QUIC
    /// datagrams are sent at once.
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
                self.last_len = self.waiting.len().min(MAX_FRESH);
                self.writing = self.waiting.split().freeze();
                self.count = 0;
            }
            self.unflushed = true;
            ready!(conn.stream.poll_send(cx, &mut self.writing))?;
            // Releases this slice of the buffer, so that the buffer can be reused.
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
