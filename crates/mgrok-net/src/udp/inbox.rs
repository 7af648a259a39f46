//! Datagrams as they come out of a work connection.

use std::io;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use mgrok_proto::udp::{Carried, decode};
use mgrok_proto::{DecodeError, WireVersion};

use super::Datagrams;
use crate::conn::{ByteStream, Conn};

/// Why no more datagrams can come.
#[derive(Debug, thiserror::Error)]
pub enum InboxError {
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

/// Puts frames together and takes them apart.
#[derive(Debug)]
pub struct Inbox {
    wire: WireVersion,
    /// The beginning of a frame whose rest has yet to come.
    partial: BytesMut,
}

impl Inbox {
    /// An empty one, for a new connection.
    pub fn new(wire: WireVersion) -> Self {
        Self {
            wire,
            partial: BytesMut::new(),
        }
    }

    /// Reads once from `conn`, and appends the datagrams that came to `datagrams`, with the addresses of their users. Signs of life
    /// are passed over.
    ///
    /// # Errors
    /// After an error the connection is of no more use. Datagrams in front of a malformed frame have been appended.
    pub fn poll_recv(
        &mut self,
        cx: &mut Context<'_>,
        conn: &mut Conn,
        datagrams: &mut Datagrams,
    ) -> Poll<Result<Received, InboxError>> {
        let mut chunk = ready!(conn.poll_recv(cx))?;
        if chunk.is_empty() {
            return Poll::Ready(Ok(Received {
                ended: true,
                unaddressed: 0,
            }));
        }
        let mut unaddressed = 0;
        if self.partial.is_empty() {
            let used = take(self.wire, &chunk, datagrams, &mut unaddressed)?;
            chunk.advance(used);
            self.partial.extend_from_slice(&chunk);
        } else {
            self.partial.extend_from_slice(&chunk);
            let used = take(self.wire, &self.partial, datagrams, &mut unaddressed)?;
            self.partial.advance(used);
        }
        if self.partial.is_empty() {
            // Nothing that waits, nothing kept.
            self.partial = BytesMut::new();
        }
        Poll::Ready(Ok(Received {
            ended: false,
            unaddressed,
        }))
    }
}

/// Takes all complete frames of `input` apart, and says how many bytes they have.
fn take(
    wire: WireVersion,
    input: &[u8],
    datagrams: &mut Datagrams,
    unaddressed: &mut u64,
) -> Result<usize, DecodeError> {
    let mut used = 0;
    loop {
        let start = datagrams.bytes.len();
        let Some((carried, len)) = decode(wire, &input[used..], &mut datagrams.bytes)? else {
            return Ok(used);
        };
        used += len;
        match carried {
            Carried::Packet { user: Some(user) } => datagrams.push_from(start, user),
            Carried::Packet { user: None } => {
                datagrams.bytes.truncate(start);
                *unaddressed += 1;
            }
            Carried::Ping => {}
        }
    }
}
