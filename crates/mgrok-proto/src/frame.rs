//! A frame, however it is laid out, and what can be wrong with one.

use crate::message::{Kind, Message};

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

impl Frame<'_> {
    /// Reads the message.
    pub(crate) fn read(&self) -> Result<Message, DecodeError> {
        let kind = self.kind;
        Message::read(kind, self.body).map_err(|source| DecodeError::Body { kind, source })
    }
}

/// Why a message cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// A datagram that its framing cannot carry without the address of its user.
    #[error("a datagram without the address of a user")]
    NoUser,
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
    /// The body is not that of a datagram in frp's binary codec.
    #[error("malformed binary datagram: {0}")]
    BinaryPacket(&'static str),
    /// The body is not the JSON of this message.
    #[error("malformed {kind} message")]
    Body {
        /// The message that it should be.
        kind: Kind,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// A frame of kind 4 or 6 in mgrok's own framing that says it has no datagrams.
    #[error("a frame of kind {0} without datagrams")]
    Datagrams(u8),
    /// A frame in mgrok's own framing that would be longer than one may be.
    #[error("a frame of datagrams is longer than {limit} bytes")]
    DatagramFrame {
        /// The most that a frame may have.
        limit: usize,
    },
    /// No frame of mgrok's own framing has this kind.
    #[error("unknown kind {0} of a frame of datagrams")]
    DatagramKind(u8),
    /// No datagram is that long.
    #[error("datagram length {length} is not within 0..={limit}")]
    DatagramLength {
        /// The length that it is said to have.
        length: u16,
        /// The most that there is.
        limit: usize,
    },
    /// No frame has these flags: all bits are still to be given a meaning.
    #[error("unknown frame flags {0:#06x}")]
    Flags(u16),
    /// No frame has this type.
    #[error("unknown frame type {0}")]
    FrameType(u16),
    /// A datagram in JSON where frp's binary codec was settled on.
    #[error("a datagram in JSON, though the binary codec was settled on")]
    JsonPacket,
    /// No message is that long, or the length is negative.
    #[error("message length {length} is not within 0..={limit}")]
    Length {
        /// The length as far as it has arrived, with zeros for what has not.
        length: i64,
        /// The most that the framing allows.
        limit: usize,
    },
    /// A frame that is too short to say which message it holds.
    #[error("a frame with {len} bytes of payload holds no message")]
    NoId {
        /// Bytes of its payload.
        len: usize,
    },
    /// A datagram of QUIC that belongs to a stream with datagrams, and is not one whole frame of them.
    #[error("a datagram of QUIC that is not one whole frame of datagrams")]
    QuicDatagram,
    /// A message that has no place on this kind of stream.
    #[error("unexpected {kind} message")]
    Unexpected {
        /// The message.
        kind: Kind,
    },
    /// A hello where only messages have their place.
    #[error("unexpected hello")]
    UnexpectedHello,
    /// No message has this id.
    #[error("unknown message id {0}")]
    UnknownId(u16),
    /// No message has this type.
    #[error("unknown message type {0:#04x}")]
    UnknownType(u8),
}
