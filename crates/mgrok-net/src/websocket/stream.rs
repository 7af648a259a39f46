//! A connection whose bytes travel in frames.

use std::io;
use std::task::{Context, Poll, ready};

use bytes::Bytes;

use super::frame::{self, Decoder, Event, MAX_PAYLOAD, Opcode, Role};
use crate::conn::{ByteStream, Conn};

/// The status of a normal closure.
const NORMAL_CLOSURE: &[u8] = &1000_u16.to_be_bytes();

/// The connection after the handshake.
pub(super) struct WebSocket {
    below: Conn,
    role: Role,
    decoder: Decoder,
    /// Received, not decoded yet.
    incoming: Bytes,
    /// The rest of a frame that has been sent in part.
    outgoing: Bytes,
    /// The body for the next pong. Only the latest ping needs an answer.
    pong: Option<Vec<u8>>,
    /// Whether a pong may be queued or unflushed.
    pong_under_way: bool,
    /// Whether a task that sends is waiting for room. It sends the pong, too.
    sender_waits: bool,
    /// Whether the peer has sent a close frame.
    ended: bool,
    close_sent: bool,
}

impl WebSocket {
    /// Puts frames on `conn`.
    pub(super) fn conn(conn: Conn, role: Role) -> Conn {
        Conn::layered(Box::new(Self {
            below: conn,
            role,
            decoder: Decoder::new(role),
            incoming: Bytes::new(),
            outgoing: Bytes::new(),
            pong: None,
            pong_under_way: false,
            sender_waits: false,
            ended: false,
            close_sent: false,
        }))
    }

    /// The next payload among the received bytes.
    fn next_payload(&mut self) -> io::Result<Option<Bytes>> {
        while !self.ended {
            let event = self.decoder.next(&mut self.incoming);
            match event.map_err(|corrupt| io::Error::new(io::ErrorKind::InvalidData, corrupt))? {
                None => return Ok(None),
                Some(Event::Close) => {
                    self.ended = true;
                    self.incoming = Bytes::new();
                }
                Some(Event::Data(payload)) => return Ok(Some(payload)),
                Some(Event::Ping(body)) => {
                    self.pong = Some(body);
                    self.pong_under_way = true;
                }
            }
        }
        Ok(None)
    }

    /// Ready once the current frame and any pong have been sent.
    fn poll_frames(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.below.poll_send(cx, &mut self.outgoing))?;
            match self.pong.take() {
                // No frame may follow a close frame.
                Some(body) if !self.close_sent => {
                    self.outgoing = frame::encode(self.role, Opcode::Pong, &body)?;
                }
                Some(_) | None => return Poll::Ready(Ok(())),
            }
        }
    }

    /// Sends a pong from within a read. Does nothing while a task waits to send, because only the last task to poll is
    /// woken when there is room.
    fn poll_pong(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.pong_under_way && !self.sender_waits {
            ready!(self.poll_frames(cx))?;
            ready!(self.below.poll_flush(cx))?;
            self.pong_under_way = false;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_send_frames(
        &mut self,
        cx: &mut Context<'_>,
        chunk: &mut Bytes,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_frames(cx))?;
            if chunk.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let payload = chunk.split_to(chunk.len().min(MAX_PAYLOAD));
            self.outgoing = frame::encode(self.role, Opcode::Binary, &payload)?;
        }
    }

    fn poll_send_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_frames(cx))?;
        if !self.close_sent {
            self.close_sent = true;
            self.outgoing = frame::encode(self.role, Opcode::Close, NORMAL_CLOSURE)?;
            ready!(self.poll_frames(cx))?;
        }
        self.below.poll_close(cx)
    }
}

impl ByteStream for WebSocket {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        loop {
            let payload = self.next_payload()?;
            // An error is ignored here: the next send reports it.
            let _ = self.poll_pong(cx);
            if let Some(payload) = payload {
                return Poll::Ready(Ok(payload));
            }
            if self.ended {
                return Poll::Ready(Ok(Bytes::new()));
            }
            self.incoming = ready!(self.below.poll_recv(cx))?;
            if self.incoming.is_empty() {
                if !self.decoder.is_between_frames() {
                    return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                }
                self.ended = true;
            }
        }
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, chunk: &mut Bytes) -> Poll<io::Result<()>> {
        let sent = self.poll_send_frames(cx, chunk);
        self.sender_waits = sent.is_pending();
        sent
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let sent = self.poll_frames(cx);
        self.sender_waits = sent.is_pending();
        ready!(sent)?;
        self.below.poll_flush(cx)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let closed = self.poll_send_close(cx);
        self.sender_waits = closed.is_pending();
        closed
    }
}
