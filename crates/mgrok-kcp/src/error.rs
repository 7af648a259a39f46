//! Why a session ended.

use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Why a session ended. What its stream is asked to do then fails with it, as an [`io::Error`]
/// that has this as its inner error.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SessionError {
    /// This end closed the session: the stream or the driver was dropped.
    #[error("the session is closed")]
    Closed,
    /// There were too many sessions, and the other end had not proved its address.
    #[error("its place was needed, and its address was not proved")]
    Evicted,
    /// Nothing was heard from the other end.
    #[error("nothing was heard from the other end for {} s", .after.as_secs_f32())]
    Idle {
        /// [`Config::idle_timeout`](crate::Config::idle_timeout).
        after: Duration,
    },
    /// The socket failed.
    #[error("the UDP socket failed")]
    Io(#[source] Arc<io::Error>),
    /// The other end began another conversation from the same address.
    #[error("the other end began a new session from the same address")]
    Replaced,
    /// The other end is heard, but does not acknowledge what it is sent. It may have begun anew.
    #[error("the other end acknowledged nothing for {} s", .after.as_secs_f32())]
    Unacknowledged {
        /// [`Config::acknowledgement_timeout`](crate::Config::acknowledgement_timeout).
        after: Duration,
    },
}

impl SessionError {
    /// The error that an operation on the session's stream returns.
    pub(crate) fn to_io(&self) -> io::Error {
        let kind = match self {
            Self::Closed | Self::Evicted => io::ErrorKind::ConnectionAborted,
            Self::Idle { .. } | Self::Unacknowledged { .. } => io::ErrorKind::TimedOut,
            Self::Io(error) => error.kind(),
            Self::Replaced => io::ErrorKind::ConnectionReset,
        };
        io::Error::new(kind, self.clone())
    }
}
