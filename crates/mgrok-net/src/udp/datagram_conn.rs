//! The connection that carries the datagrams of many users: a stream, and optionally QUIC datagrams.

use std::collections::VecDeque;
use std::io;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use mgrok_proto::udp::{Carried, Decoder, Framing, Zones};
use mgrok_proto::{DecodeError, Negotiated};

use super::Datagrams;
use crate::conn::{ByteStream, Conn, Flow, FlowSender};

/// How many bytes are first appended to an incomplete frame before decoding is tried again.
const FIRST_STEP: usize = 2 * 1024;

/// Capacity for more QUIC datagrams than this is released when they have been taken.
const KEPT_ARRIVED: usize = 64;

/// Why no more datagrams can be received.
#[derive(Debug, thiserror::Error)]
pub enum RecvError {
    /// The received bytes are not a frame.
    #[error("malformed frame")]
    Decode(#[from] DecodeError),
    /// The connection failed.
    #[error("connection failed")]
    Io(#[from] io::Error),
}

/// The result of one read.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Received {
    /// Whether the connection has ended; nothing follows.
    pub ended: bool,
    /// How many QUIC datagrams, each with one user datagram or more, were dropped because they arrived faster than they
    /// were read.
    pub missed: u64,
    /// How many datagrams were lost because their user has no usable address.
    pub unaddressed: u64,
}

/// A work or visitor connection whose payload is datagrams.
///
/// If it is a QUIC stream and the session has negotiated it, payload also travels as QUIC datagrams, so that a lost one
/// delays no other. Datagrams that are too long for that, and pings, stay on the stream.
#[derive(Debug)]
pub struct DatagramConn {
    pub(super) stream: Conn,
    framing: Framing,
    inbound: Inbound,
    /// The beginning of an incomplete frame.
    partial: BytesMut,
    flow: Option<Flow>,
    /// Whether the flow has been announced to the other end.
    announced: bool,
    /// QUIC datagrams that have arrived; empty between calls.
    arrived: VecDeque<Bytes>,
}

/// The state of decoding the stream.
#[derive(Debug)]
struct Inbound {
    decoder: Decoder,
    /// Whether the peer accepts QUIC datagrams.
    quic_ready: bool,
}

impl DatagramConn {
    /// Carries datagrams on `stream`, framed in this way. Uses no QUIC datagrams, because an intermediary may relay
    /// only the stream.
    pub fn new(stream: Conn, framing: Framing) -> Self {
        Self {
            stream,
            framing,
            inbound: Inbound {
                decoder: Decoder::new(framing),
                quic_ready: false,
            },
            partial: BytesMut::new(),
            flow: None,
            announced: false,
            arrived: VecDeque::new(),
        }
    }

    /// Carries datagrams on `stream`, whose peer decodes them itself, as `negotiated` with that peer.
    pub fn direct(stream: Conn, negotiated: &Negotiated) -> Self {
        let flow = if negotiated.datagrams && negotiated.quic_datagrams {
            stream.flow()
        } else {
            None
        };
        Self {
            flow,
            ..Self::new(stream, negotiated.datagram_framing())
        }
    }

    /// The framing of the datagrams.
    pub fn framing(&self) -> Framing {
        self.framing
    }

    /// The zones of users that arrived on this connection.
    pub(super) fn zones(&self) -> &Zones {
        self.inbound.decoder.zones()
    }

    /// The stream below, for use without the framing.
    pub fn stream(&mut self) -> &mut Conn {
        &mut self.stream
    }

    /// Reads once, and appends the received datagrams to `datagrams`, with the addresses of their users. Pings are
    /// skipped.
    ///
    /// # Errors
    /// After an error the connection is unusable. Datagrams ahead of a malformed frame have been appended.
    pub fn poll_recv(
        &mut self,
        cx: &mut Context<'_>,
        datagrams: &mut Datagrams,
    ) -> Poll<Result<Received, RecvError>> {
        let mut received = Received::default();
        let by_quic = self.poll_quic(cx, datagrams, &mut received)?;
        match self.stream.poll_recv(cx)? {
            Poll::Ready(chunk) => {
                received.ended = chunk.is_empty();
                self.take(chunk, datagrams, &mut received)?;
            }
            Poll::Pending if by_quic.is_pending() => return Poll::Pending,
            Poll::Pending => {}
        }
        Poll::Ready(Ok(received))
    }

    /// Whether to announce now that this end accepts QUIC datagrams. True at most once.
    pub(super) fn announce(&mut self) -> bool {
        self.flow.is_some() && !std::mem::replace(&mut self.announced, true)
    }

    /// The sender of QUIC datagrams, once the peer has announced that it accepts them.
    pub(super) fn sender(&self) -> Option<FlowSender> {
        self.flow
            .as_ref()
            .filter(|_| self.inbound.quic_ready)
            .map(Flow::sender)
    }

    /// Takes all QUIC datagrams that have arrived.
    fn poll_quic(
        &mut self,
        cx: &Context<'_>,
        datagrams: &mut Datagrams,
        received: &mut Received,
    ) -> Poll<Result<(), DecodeError>> {
        let Some(flow) = &self.flow else {
            return Poll::Pending;
        };
        received.missed += ready!(flow.poll_recv(cx, &mut self.arrived));
        for frame in self.arrived.drain(..) {
            datagrams.push_frame(&frame)?;
        }
        if self.arrived.capacity() > KEPT_ARRIVED {
            self.arrived = VecDeque::new();
        }
        Poll::Ready(Ok(()))
    }

    /// Takes all frames that `chunk` completes.
    fn take(
        &mut self,
        mut chunk: Bytes,
        datagrams: &mut Datagrams,
        received: &mut Received,
    ) -> Result<(), DecodeError> {
        if !self.partial.is_empty() {
            let Some(len) = self.complete(&chunk, datagrams, received)? else {
                return Ok(());
            };
            chunk.advance(len);
            // Releases the buffer, since nothing is incomplete any more.
            self.partial = BytesMut::new();
        }
        let mut taken = 0;
        while let Some(len) = self
            .inbound
            .take_one(&chunk[taken..], datagrams, received)?
        {
            taken += len;
        }
        self.partial.extend_from_slice(&chunk[taken..]);
        Ok(())
    }

    /// Completes the frame that began in `partial`, and returns how many bytes of `chunk` that took. `None` if more
    /// bytes are needed: then `partial` holds the whole chunk. Copies little more of the chunk than needed.
    fn complete(
        &mut self,
        chunk: &[u8],
        datagrams: &mut Datagrams,
        received: &mut Received,
    ) -> Result<Option<usize>, DecodeError> {
        let before = self.partial.len();
        let (mut rest, mut step) = (chunk, FIRST_STEP);
        while !rest.is_empty() {
            let (next, later) = rest.split_at(rest.len().min(step));
            self.partial.extend_from_slice(next);
            (rest, step) = (later, step * 2);
            let taken = self.inbound.take_one(&self.partial, datagrams, received)?;
            if let Some(len) = taken {
                return Ok(Some(len - before));
            }
        }
        Ok(None)
    }
}

impl Inbound {
    /// Takes the first frame of `input`, if it is complete, and returns its length in bytes.
    fn take_one(
        &mut self,
        input: &[u8],
        datagrams: &mut Datagrams,
        received: &mut Received,
    ) -> Result<Option<usize>, DecodeError> {
        let bytes = datagrams.bytes_mut();
        let start = bytes.len();
        let Some((carried, len)) = self.decoder.decode(input, bytes)? else {
            return Ok(None);
        };
        match carried {
            Carried::Packet { user: Some(user) } => datagrams.push_from(start, user),
            Carried::Packet { user: None } => {
                datagrams.bytes_mut().truncate(start);
                received.unaddressed += 1;
            }
            Carried::Ping => {}
            Carried::QuicReady => self.quic_ready = true,
        }
        Ok(Some(len))
    }
}
