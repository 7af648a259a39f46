//! The connection that carries the datagrams of many users.

use std::io;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use mgrok_proto::DecodeError;
use mgrok_proto::udp::{Carried, Decoder, Framing};

use super::Datagrams;
use crate::conn::{ByteStream, Conn};

/// How much is put behind the beginning of something incomplete before it is looked at again, at first.
const FIRST_STEP: usize = 2 * 1024;

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
    /// Datagrams whose user has no usable address. They are lost.
    pub unaddressed: u64,
}

/// A work or visitor connection whose payload is datagrams.
#[derive(Debug)]
pub struct DatagramConn {
    pub(super) stream: Conn,
    framing: Framing,
    decoder: Decoder,
    /// The beginning of something whose rest has yet to come.
    partial: BytesMut,
}

impl DatagramConn {
    /// Takes `stream`, on which both ends frame datagrams in this way from now on.
    pub fn new(stream: Conn, framing: Framing) -> Self {
        Self {
            stream,
            framing,
            decoder: Decoder::new(framing),
            partial: BytesMut::new(),
        }
    }

    /// How datagrams are framed.
    pub fn framing(&self) -> Framing {
        self.framing
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
        let chunk = ready!(self.stream.poll_recv(cx))?;
        let mut received = Received {
            ended: chunk.is_empty(),
            ..Received::default()
        };
        self.take(chunk, datagrams, &mut received)?;
        Poll::Ready(Ok(received))
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
        while let Some(len) = take_one(&mut self.decoder, &chunk[taken..], datagrams, received)? {
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
            if let Some(len) = take_one(&mut self.decoder, &self.partial, datagrams, received)? {
                return Ok(Some(len - before));
            }
        }
        Ok(None)
    }
}

/// Takes the first thing of `input`, if it is complete, and says how many bytes it has.
fn take_one(
    decoder: &mut Decoder,
    input: &[u8],
    datagrams: &mut Datagrams,
    received: &mut Received,
) -> Result<Option<usize>, DecodeError> {
    let start = datagrams.bytes.len();
    let Some((carried, len)) = decoder.decode(input, &mut datagrams.bytes)? else {
        return Ok(None);
    };
    match carried {
        Carried::Packet { user: Some(user) } => datagrams.push_from(start, user),
        Carried::Packet { user: None } => {
            datagrams.bytes.truncate(start);
            received.unaddressed += 1;
        }
        Carried::Ping | Carried::QuicReady => {}
    }
    Ok(Some(len))
}
