//! The queue of user datagrams that travel as QUIC datagrams.

use std::net::SocketAddr;

use bytes::BytesMut;
use mgrok_proto::udp::binary::Encoder;

use super::QueueError;
use crate::conn::FlowSender;

/// The most bytes of a frame besides its first payload, and of the prefix.
const MAX_HEAD: usize = 64;

/// The datagrams to send in one turn, one frame for each QUIC datagram.
#[derive(Debug)]
pub(super) struct QuicOutbox {
    sender: FlowSender,
    encoder: Encoder,
    bytes: BytesMut,
    /// The offset of each frame but the first.
    parts: Vec<usize>,
    /// How many more bytes the connection can queue.
    room: usize,
}

impl QuicOutbox {
    pub(super) fn new(sender: FlowSender) -> Self {
        Self {
            sender,
            encoder: Encoder::new(0),
            bytes: BytesMut::new(),
            parts: Vec::new(),
            room: 0,
        }
    }

    /// Queues one datagram of `user`; `false` if it is too long for a QUIC datagram.
    ///
    /// # Errors
    /// If the connection cannot queue more now.
    pub(super) fn push(&mut self, payload: &[u8], user: SocketAddr) -> Result<bool, QueueError> {
        let prefix = self.sender.prefix();
        if self.bytes.is_empty() {
            let max_frame = self.sender.max_len().saturating_sub(prefix.len());
            self.encoder = Encoder::new(max_frame);
            self.room = self.sender.room();
        }
        if !self.encoder.fits(payload.len(), user) {
            return Ok(false);
        }
        let joins = self.encoder.joins(payload.len(), user);
        let cost = if joins {
            size_of::<u16>() + payload.len()
        } else {
            FlowSender::cost(MAX_HEAD + payload.len())
        };
        self.room = self.room.checked_sub(cost).ok_or(QueueError::Full)?;
        if !joins {
            self.encoder.end_frame();
            if !self.bytes.is_empty() {
                self.parts.push(self.bytes.len());
            }
            self.bytes.extend_from_slice(prefix);
        }
        self.encoder.datagram(payload, user, &mut self.bytes)?;
        Ok(true)
    }

    /// Sends all frames without waiting.
    pub(super) fn send(&mut self) {
        if self.bytes.is_empty() {
            return;
        }
        let mut rest = self.bytes.split().freeze();
        let mut start = 0;
        for begin in self.parts.drain(..) {
            self.sender.send(rest.split_to(begin - start));
            start = begin;
        }
        self.sender.send(rest);
    }
}

#[cfg(test)]
mod tests;
