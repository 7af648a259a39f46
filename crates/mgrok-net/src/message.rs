//! Messages over any connection.
//!
//! Two ends that both write and never read would wait for each other for ever. This module prevents that: a message to
//! send goes into a bounded queue, and every call on the connection writes the queue, above all [`MessageConn::recv`]
//! while it waits.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use mgrok_proto::message::Message;
use mgrok_proto::v2::{self, Content};
use mgrok_proto::{DecodeError, EncodeError, WireVersion};
use tokio::task::coop;

use crate::conn::{ByteStream, Conn};

/// The most bytes of encoded messages that may be queued. Some 25 of the longest messages (3 in v2), or thousands of
/// ordinary ones: a peer that lets so many pile up is not reading.
pub const MAX_QUEUED: usize = 256 * 1024;

/// A connection that carries messages.
pub struct MessageConn {
    conn: Conn,
    version: WireVersion,
    /// Received, not decoded yet. Empty while `partial` holds the start of a frame.
    incoming: Bytes,
    /// The start of a frame that arrived in several pieces, and the bytes that came with its end.
    partial: BytesMut,
    /// Being written to the connection.
    sending: Bytes,
    /// Encoded, waiting to be written.
    queued: BytesMut,
    /// Whether the connection may still buffer bytes that it accepted.
    unflushed: bool,
    /// The error of a failed write. Reported only when there is nothing more to read: a refusal that the peer sent
    /// before it closed matters more.
    broken: Option<io::Error>,
}

/// Why no message was received. The connection is unusable afterwards.
#[derive(Debug, thiserror::Error)]
pub enum RecvError {
    /// The received bytes are not a message.
    #[error("cannot decode a message")]
    Decode(#[source] DecodeError),
    /// The connection failed, in either direction.
    #[error("cannot receive a message")]
    Io(#[source] io::Error),
    /// The connection ended inside a message.
    #[error("the connection ended inside a message")]
    Truncated,
}

/// Why a message was not sent.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The message cannot be encoded. The connection stays usable.
    #[error("cannot encode a message of type {name}")]
    Encode {
        /// The message's type.
        name: &'static str,
        /// What is wrong with it.
        #[source]
        source: EncodeError,
    },
    /// [`MAX_QUEUED`] bytes are queued already. The message was not queued.
    #[error("the other side does not read: {MAX_QUEUED} bytes of messages wait")]
    Full,
    /// The connection failed.
    #[error("cannot send a message")]
    Io(#[source] io::Error),
}

/// Decodes the first frame of its input, and returns the frame's length, too.
type Decode<T> = fn(WireVersion, &[u8]) -> Result<Option<(T, usize)>, DecodeError>;

impl MessageConn {
    /// Speaks `version` over `conn`.
    pub fn new(conn: Conn, version: WireVersion) -> Self {
        Self {
            conn,
            version,
            incoming: Bytes::new(),
            partial: BytesMut::new(),
            sending: Bytes::new(),
            queued: BytesMut::new(),
            unflushed: false,
            broken: None,
        }
    }

    /// The wire version that frames messages on this connection.
    pub fn version(&self) -> WireVersion {
        self.version
    }

    /// Encodes `message` and puts it in the queue, which [`Self::recv`] and [`Self::flush`] write.
    pub fn queue(&mut self, message: &Message) -> Result<(), SendError> {
        let before = self.queued.len();
        self.version
            .encode(message, &mut self.queued)
            .map_err(|source| SendError::Encode {
                name: message.name(),
                source,
            })?;
        if self.sending.len() + self.queued.len() > MAX_QUEUED {
            self.queued.truncate(before);
            return Err(SendError::Full);
        }
        Ok(())
    }

    /// Queues the encoded hellos of v2: whole frames, and the magic ahead of them.
    pub fn queue_encoded(&mut self, encoded: &[u8]) -> Result<(), SendError> {
        if self.sending.len() + self.queued.len() + encoded.len() > MAX_QUEUED {
            return Err(SendError::Full);
        }
        self.queued.extend_from_slice(encoded);
        Ok(())
    }

    /// Queues `message` and writes everything that is queued.
    ///
    /// Cancel-safe in that no message is ever cut: unwritten bytes stay in the queue.
    pub async fn send(&mut self, message: &Message) -> Result<(), SendError> {
        self.queue(message)?;
        self.flush().await
    }

    /// Writes everything that is queued. Cancel-safe.
    pub async fn flush(&mut self) -> Result<(), SendError> {
        poll_fn(|cx| self.poll_flush(cx))
            .await
            .map_err(SendError::Io)
    }

    /// The next message; `None` when the peer has ended the connection between two messages. Writes the queue while it
    /// waits. Cancel-safe.
    pub async fn recv(&mut self) -> Result<Option<Message>, RecvError> {
        poll_fn(|cx| self.poll_recv(cx, WireVersion::decode)).await
    }

    /// As [`Self::recv`], for a v2 connection, which may begin with a hello.
    pub async fn recv_content(&mut self) -> Result<Option<Content>, RecvError> {
        poll_fn(|cx| self.poll_recv(cx, |_, input| v2::decode(input))).await
    }

    /// The connection, for the bytes that follow the messages; bytes that arrived early are in front. Flush first, or
    /// queued messages are lost.
    pub fn into_conn(mut self) -> Conn {
        debug_assert!(
            self.sending.is_empty() && self.queued.is_empty(),
            "messages are still queued"
        );
        self.conn.unread(self.incoming);
        self.conn.unread(self.partial.freeze());
        self.conn
    }

    fn poll_recv<T>(
        &mut self,
        cx: &mut Context<'_>,
        decode: Decode<T>,
    ) -> Poll<Result<Option<T>, RecvError>> {
        // Makes the task yield now and then, since otherwise it would handle all messages that arrived together in one
        // go.
        let progress = ready!(coop::poll_proceed(cx));
        if self.broken.is_none()
            && let Poll::Ready(Err(error)) = self.poll_flush(cx)
        {
            self.broken = Some(error);
        }
        loop {
            if let Some(message) = self.next_buffered(decode).map_err(RecvError::Decode)? {
                progress.made_progress();
                return Poll::Ready(Ok(Some(message)));
            }
            let chunk = match self.conn.poll_recv(cx) {
                Poll::Ready(chunk) => chunk.map_err(RecvError::Io)?,
                Poll::Pending => match self.broken.take() {
                    Some(error) => return Poll::Ready(Err(RecvError::Io(error))),
                    None => return Poll::Pending,
                },
            };
            if chunk.is_empty() {
                let clean = self.partial.is_empty();
                return Poll::Ready(if clean {
                    Ok(None)
                } else {
                    Err(RecvError::Truncated)
                });
            }
            if self.partial.is_empty() {
                self.incoming = chunk;
            } else {
                self.partial.extend_from_slice(&chunk);
            }
        }
    }

    /// Decodes the next message that has arrived. The decoder refuses an oversized frame at its header, so `partial`
    /// never holds more than one frame and the chunk that brought its end.
    fn next_buffered<T>(&mut self, decode: Decode<T>) -> Result<Option<T>, DecodeError> {
        if self.partial.is_empty() {
            if let Some((message, len)) = decode(self.version, &self.incoming)? {
                self.incoming.advance(len);
                return Ok(Some(message));
            }
            self.partial = BytesMut::from(&*std::mem::take(&mut self.incoming));
            return Ok(None);
        }
        let Some((message, len)) = decode(self.version, &self.partial)? else {
            return Ok(None);
        };
        self.partial.advance(len);
        // The rest is decoded in place from here on, and an idle connection keeps no buffer.
        self.incoming = std::mem::take(&mut self.partial).freeze();
        Ok(Some(message))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.sending.is_empty() {
                if self.queued.is_empty() {
                    break;
                }
                // The whole queue is sent in one write.
                self.sending = self.queued.split().freeze();
            }
            self.unflushed = true;
            ready!(self.conn.poll_send(cx, &mut self.sending))?;
        }
        if self.unflushed {
            ready!(self.conn.poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }
}

/// Omits the bytes, which contain credentials.
impl fmt::Debug for MessageConn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MessageConn")
            .field("conn", &self.conn)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
