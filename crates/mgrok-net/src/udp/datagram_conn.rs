//! The connection that carries the datagrams of many users: a stream, and what comes beside it.

use std::collections::VecDeque;
use std::io;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use mgrok_proto::udp::{Carried, Decoder, Framing, Zones};
use mgrok_proto::{DecodeError, Negotiated};

use super::Datagrams;
use crate::conn::{ByteStream, Conn, Flow, FlowSender};

/// How much is put behind the beginning of something incomplete before it is looked at again, at first.
const FIRST_STEP: usize = 2 * 1024;

/// Room for more datagrams of QUIC than these is given back when they are taken.
const KEPT_ARRIVED: usize = 64;

/// Why no more datagrams can come.
#[derive(Debug, thiserror::Error)]
pub enum RecvError {
    /// What came is no frame.
    #[error("malformed frame")]
    Decode(#[from] DecodeError),
    /// The connection failed.
    #[error("connection failed")]
    Io(#[from] io::Error),
}

/// What one read brought.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Received {
    /// Whether the connection has ended; nothing follows.
    pub ended: bool,
    /// How many datagrams of QUIC, each with one datagram or more, were dropped because they came faster than they were taken.
    pub missed: u64,
    /// Datagrams whose user has no usable address. They are lost.
    pub unaddressed: u64,
}

/// A work or visitor connection whose payload is datagrams.
///
/// If it is a stream of QUIC and the session has agreed on it, datagrams also travel as datagrams of QUIC, so that one which is lost delays no
/// other. Those that are too long for that, and signs of life, stay on the stream.
#[derive(Debug)]
pub struct DatagramConn {
    pub(super) stream: Conn,
    framing: Framing,
    inbound: Inbound,
    /// The beginning of something whose rest has yet to come.
    partial: BytesMut,
    flow: Option<Flow>,
    /// Whether the flow has been announced to the other end.
    announced: bool,
    /// Datagrams of QUIC that have arrived; empty between calls.
    arrived: VecDeque<Bytes>,
}

/// How far what comes on the stream has been understood.
#[derive(Debug)]
struct Inbound {
    decoder: Decoder,
    /// Whether the other end takes datagrams of QUIC.
    quic_ready: bool,
}

impl DatagramConn {
    /// Takes `stream`, on which datagrams are framed in this way from now on. Nothing travels beside it, as somebody on the way
    /// might know no more than the stream.
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

    /// Takes `stream`, which goes straight to an end that takes the datagrams apart, by what was `negotiated` with it.
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

    /// How datagrams are framed.
    pub fn framing(&self) -> Framing {
        self.framing
    }

    /// The zones of users that came on it.
    pub(super) fn zones(&self) -> &Zones {
        self.inbound.decoder.zones()
    }

    /// The stream below, for what goes past the framing.
    pub fn stream(&mut self) -> &mut Conn {
        &mut self.stream
    }

    /// Reads once, and appends the datagrams that came to `datagrams`, with the addresses of their users. Signs of life
    /// are passed over.
    ///
    /// # Errors
    /// After an error the connection is of no more use. Datagrams in front of a malformed frame have been appended.
    pub fn poll_recv(
        &mut self,
        cx: &mut Context<'_>,
        datagrams: &mut Datagrams,
    ) -> Poll<Result<Received, RecvError>> {
        let mut received = Received::default();
        let beside = self.poll_beside(cx, datagrams, &mut received)?;
        match self.stream.poll_recv(cx)? {
            Poll::Ready(chunk) => {
                received.ended = chunk.is_empty();
                self.take(chunk, datagrams, &mut received)?;
            }
            Poll::Pending if beside.is_pending() => return Poll::Pending,
            Poll::Pending => {}
        }
        Poll::Ready(Ok(received))
    }

    /// Whether it is time to announce to the other end that QUIC datagrams are accepted. This happens once.
    pub(super) fn announce(&mut self) -> bool {
        self.flow.is_some() && !std::mem::replace(&mut self.announced, true)
    }

    /// The way past the stream, once the other end is there as well.
    pub(super) fn sender(&self) -> Option<FlowSender> {
        self.flow
            .as_ref()
            .filter(|_| self.inbound.quic_ready)
            .map(Flow::sender)
    }

    /// Takes all datagrams of QUIC that are there.
    fn poll_beside(
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

    /// Takes all that `chunk` completes.
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
            // Nothing that waits, nothing kept.
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

    /// Takes what has begun in `partial`, and says how many bytes of `chunk` that needed. `None` if it needs more: then they are
    /// all in `partial`. Little more of the chunk is copied than it takes.
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
    /// Takes the first thing of `input`, if it is complete, and says how many bytes it has.
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
