//! One message, one frame: the ways to frame a message, behind one choice that a connection makes once.

use bytes::BytesMut;

use crate::{
    message::{Kind, Message},
    v1,
};

/// How messages are framed. All connections of a session use the same version.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum WireVersion {
    /// A type byte and a 64-bit length; every frp speaks it.
    V1,
}

impl WireVersion {
    /// Appends `message` to `out` as one frame.
    ///
    /// # Errors
    /// If the frame would be longer than a reader accepts; `out` is then as it was.
    pub fn encode(self, message: &Message, out: &mut BytesMut) -> Result<(), EncodeError> {
        self.encode_with(message.kind(), out, |out| message.write(out))
    }

    /// Takes the first frame of `input` apart, and says how many bytes it has. `None`: the frame is not yet complete.
    ///
    /// # Errors
    /// If these bytes are no frame, which is said as soon as it can be seen, or the frame holds no message.
    pub fn decode(self, input: &[u8]) -> Result<Option<(Message, usize)>, DecodeError> {
        let Some(frame) = self.split(input)? else {
            return Ok(None);
        };
        Ok(Some((Message::read(frame.kind, frame.body)?, frame.len)))
    }

    /// Appends a frame whose body `write` appends.
    pub(crate) fn encode_with(
        self,
        kind: Kind,
        out: &mut BytesMut,
        write: impl FnOnce(&mut BytesMut),
    ) -> Result<(), EncodeError> {
        match self {
            Self::V1 => v1::encode_with(kind, out, write),
        }
    }

    /// Finds the first frame of `input`.
    pub(crate) fn split(self, input: &[u8]) -> Result<Option<Frame<'_>>, DecodeError> {
        match self {
            Self::V1 => v1::split(input),
        }
    }
}

/// A complete frame at the beginning of some input.
#[derive(Debug)]
pub(crate) struct Frame<'a> {
    /// The message that it says it holds.
    pub(crate) kind: Kind,
    /// The message as JSON.
    pub(crate) body: &'a [u8],
    /// Bytes of the whole frame.
    pub(crate) len: usize,
}

/// Why a message cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// A reader would refuse it, and the stream with it.
    #[error("{kind} message of {len} bytes exceeds the limit of {limit}")]
    TooLong {
        /// The message.
        kind: Kind,
        /// Bytes of its body.
        len: usize,
        /// The most that its framing allows.
        limit: usize,
    },
}

/// Why received bytes are no message. The stream is of no more use then: nobody knows where the next frame begins.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The body is not the JSON of this message.
    #[error("malformed {kind} message")]
    Body {
        /// The message that it should be.
        kind: Kind,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// No message is that long, or the length is negative.
    #[error("message length {length} is not within 0..={limit}")]
    Length {
        /// The length as far as it has arrived, with zeros for what has not.
        length: i64,
        /// The most that the framing allows.
        limit: usize,
    },
    /// A message that has no place on this kind of stream.
    #[error("unexpected {kind} message")]
    Unexpected {
        /// The message.
        kind: Kind,
    },
    /// No message has this type.
    #[error("unknown message type {0:#04x}")]
    UnknownType(u8),
}
