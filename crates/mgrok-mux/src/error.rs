//! Why a session ended, or a stream could not be opened.

use std::io;
use std::sync::Arc;

/// Why a session ended, if it was not closed in an orderly way.
///
/// Every stream that is still open then fails with it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SessionError {
    /// This end closed the session.
    #[error("the session is closed")]
    Closed,
    /// The other end closed the connection.
    #[error("the connection was closed by the other end")]
    Eof,
    /// The other end said that it ends the session because of an error.
    #[error("the other end gave the session up with code {code}")]
    GoneAway {
        /// 1: we broke the protocol; 2: an internal error over there.
        code: u32,
    },
    /// Reading or writing the connection failed.
    #[error("the connection failed")]
    Io(#[source] Arc<io::Error>),
    /// The other end gave no sign of life.
    #[error("no answer to a ping")]
    KeepaliveTimeout,
    /// The other end broke the protocol.
    #[error("the other end broke the multiplexing protocol")]
    Protocol(#[from] ProtocolError),
    /// The other end did more than [`UntrustedLimits`](crate::UntrustedLimits) allow before it was trusted.
    #[error("the other end opened streams or sent bytes without end before it showed who it is")]
    Untrusted,
}

impl SessionError {
    /// Whether what is queued, if only our reason to go, should still be sent.
    pub(crate) fn is_orderly(&self) -> bool {
        matches!(self, Self::Closed | Self::Protocol(_) | Self::Untrusted)
    }

    /// The error that an operation on a stream of the session returns.
    pub(crate) fn to_io(&self) -> io::Error {
        let kind = match self {
            Self::Closed => io::ErrorKind::ConnectionAborted,
            Self::Io(error) => error.kind(),
            Self::KeepaliveTimeout => io::ErrorKind::TimedOut,
            Self::Eof | Self::GoneAway { .. } | Self::Protocol(_) | Self::Untrusted => {
                io::ErrorKind::ConnectionReset
            }
        };
        io::Error::new(kind, self.clone())
    }
}

/// How the other end broke the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// A second stream with an id that is in use.
    #[error("stream {id} was opened twice")]
    DuplicateStream {
        /// The stream's id.
        id: u32,
    },
    /// A new stream with an id that is ours to give, or zero.
    #[error("stream id {id} does not belong to the other end")]
    ForeignId {
        /// The stream's id.
        id: u32,
    },
    /// A frame type that does not exist.
    #[error("unknown frame type {kind}")]
    UnknownType {
        /// The type found.
        kind: u8,
    },
    /// A protocol version that does not exist.
    #[error("unknown version {version}")]
    UnknownVersion {
        /// The version found.
        version: u8,
    },
    /// More data than was allowed.
    #[error("{length} bytes on stream {id} with a window of {window}")]
    WindowExceeded {
        /// The stream's id.
        id: u32,
        /// Bytes that the frame holds.
        length: u32,
        /// Bytes that it might have held.
        window: u32,
    },
}

/// Why a stream could not be opened.
#[derive(Clone, Debug, thiserror::Error)]
pub enum OpenError {
    /// Every stream id of this session has been used.
    #[error("the session has no stream ids left")]
    Exhausted,
    /// One of the two ends announced that there will be no new streams.
    #[error("the session takes no new streams")]
    GoingAway,
    /// The session has ended.
    #[error("the session has ended")]
    SessionEnded(#[source] SessionError),
    /// The other end did not acknowledge earlier streams in time.
    #[error("the other end does not acknowledge streams")]
    TimedOut,
    /// This end has as many streams as it may have.
    #[error("the session has {limit} streams, which is its limit")]
    TooManyStreams {
        /// [`Config::max_streams`](crate::Config::max_streams).
        limit: usize,
    },
    /// Too many opened streams wait for their acknowledgement. [`Opener`](crate::Opener) waits
    /// instead.
    #[error("too many streams wait to be acknowledged")]
    TooManyUnacknowledged,
}
