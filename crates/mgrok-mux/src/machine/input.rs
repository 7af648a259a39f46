//! What arrives: from bytes to changes of state.
//!
//! Bodies are handed to their streams as they arrive, frames need not be complete. Frames for
//! streams that are unknown, or over, are drained and ignored, because they may have been under
//! way when the stream ended.

use std::time::Instant;

use bytes::{Buf, Bytes};

use super::{HELD_BACK_AT, MAX_FRAMES_AT_ONCE, MAX_PENDING_REPLIES, Machine, State};
use crate::config::Role;
use crate::error::{ProtocolError, SessionError};
use crate::frame::{ACK, FIN, GO_AWAY_NORMAL, HEADER_LEN, Header, Kind, RST, SYN};

/// Where in a frame the input stands.
#[derive(Debug, Default)]
pub(super) struct Parser {
    header: [u8; HEADER_LEN],
    /// Bytes of `header` that have arrived.
    header_len: usize,
    body: Option<Body>,
}

/// A body of which a part has not arrived.
#[derive(Clone, Copy, Debug)]
struct Body {
    stream: u32,
    left: u32,
    /// The stream's FIN follows.
    fin: bool,
    /// Nobody wants it.
    ignored: bool,
}

impl Parser {
    pub(super) fn is_between_frames(&self) -> bool {
        self.header_len == 0 && self.body.is_none()
    }

    /// Takes a header's bytes from the front of `input`, if there are enough of them by now.
    fn take_header(&mut self, input: &mut Bytes) -> Option<[u8; HEADER_LEN]> {
        let count = input.len().min(HEADER_LEN - self.header_len);
        self.header[self.header_len..][..count].copy_from_slice(&input[..count]);
        self.header_len += count;
        input.advance(count);
        if self.header_len < HEADER_LEN {
            return None;
        }
        self.header_len = 0;
        Some(self.header)
    }
}

impl Machine {
    /// Takes in bytes from the connection, up to [`MAX_FRAMES_AT_ONCE`]; the caller hands in what is left of `input` when others
    /// have had their turn. If the bytes break the protocol, the session ends.
    pub fn handle_input(&mut self, input: &mut Bytes, now: Instant) {
        self.keepalive.handle_sign_of_life(now);
        self.keepalive.note_carried(input.len());
        let before = input.len();
        let mut frames = 0;
        while self.ended.is_none() && !input.is_empty() && frames < MAX_FRAMES_AT_ONCE {
            if let Some(body) = self.parser.body {
                self.take_body(body, input);
            } else if let Some(header) = self.parser.take_header(input) {
                frames += 1;
                let result =
                    Header::decode(header).and_then(|header| self.handle_header(header, now));
                if let Err(error) = result {
                    self.end(SessionError::Protocol(error));
                }
            }
        }
        if let Some(left) = &mut self.untrusted {
            match left.input.checked_sub(before - input.len()) {
                Some(bytes) => left.input = bytes,
                None => self.end(SessionError::Untrusted),
            }
        }
        if self.ended.is_some() {
            // Nobody needs it any more.
            input.clear();
        }
    }

    /// Whether more input is welcome: not while the other end leaves our replies unread.
    pub fn wants_input(&self) -> bool {
        self.control.len() < MAX_PENDING_REPLIES
            && self.urgent.len() < MAX_PENDING_REPLIES + self.streams.len()
    }

    fn take_body(&mut self, mut body: Body, input: &mut Bytes) {
        let count = input.len().min(body.left as usize);
        let piece = input.split_to(count);
        body.left -= count as u32;
        if !body.ignored
            && let Some(state) = self.streams.get_mut(&body.stream)
        {
            if state.attached || state.backlog_ticket.is_some() {
                state.recv.push(piece);
                let unread = state.recv.unread();
                self.wakes.extend(state.recv.waker.take());
                self.note_unread(unread - count, unread);
                if unread >= HELD_BACK_AT && self.lacks_memory() {
                    self.hold_back(body.stream);
                }
            } else if state.refuses {
                state.recv.spend(count);
                state.has_refused = true;
                self.reset_if_refused(body.stream);
            } else {
                // The stream was dropped; the other end must be able to go on to its FIN.
                state.recv.spend(count);
                state.recv.note_consumed();
                self.note_urgent(body.stream);
            }
        }
        self.parser.body = (body.left > 0).then_some(body);
        if body.left == 0 && body.fin {
            self.handle_fin(body.stream);
        }
    }

    fn handle_header(&mut self, header: Header, now: Instant) -> Result<(), ProtocolError> {
        match header.kind {
            Kind::Data | Kind::WindowUpdate => self.handle_stream_header(header),
            Kind::GoAway => {
                if header.length == GO_AWAY_NORMAL {
                    self.received_go_away = true;
                } else {
                    self.end(SessionError::GoneAway {
                        code: header.length,
                    });
                }
                Ok(())
            }
            Kind::Ping => {
                if header.has(SYN) {
                    self.control.push_back(Header::ping(ACK, header.length));
                } else {
                    self.keepalive.handle_pong(header.length, now);
                }
                Ok(())
            }
        }
    }

    fn handle_stream_header(&mut self, header: Header) -> Result<(), ProtocolError> {
        let id = header.stream;
        if header.has(SYN) {
            self.handle_syn(id)?;
        }
        if header.has(ACK) {
            self.handle_ack(id);
        }
        if header.has(RST) {
            self.handle_reset(id);
        }
        if header.kind == Kind::WindowUpdate {
            self.handle_credit(id, header);
            if header.has(FIN) {
                self.handle_fin(id);
            }
            return Ok(());
        }
        let receiving = self
            .streams
            .get(&id)
            .filter(|state| !state.reset && !state.recv.fin);
        if let Some(state) = receiving
            && header.length > state.recv.credit()
        {
            return Err(ProtocolError::WindowExceeded {
                id,
                length: header.length,
                window: state.recv.credit(),
            });
        }
        let body = Body {
            stream: id,
            left: header.length,
            fin: header.has(FIN),
            ignored: receiving.is_none(),
        };
        if body.left > 0 {
            self.parser.body = Some(body);
        } else if body.fin {
            self.handle_fin(id);
        }
        Ok(())
    }

    fn handle_syn(&mut self, id: u32) -> Result<(), ProtocolError> {
        let parity_of_others = match self.config.role {
            Role::Client => 0,
            Role::Server => 1,
        };
        if id == 0 || id % 2 != parity_of_others {
            return Err(ProtocolError::ForeignId { id });
        }
        if self.streams.contains_key(&id) {
            return Err(ProtocolError::DuplicateStream { id });
        }
        if let Some(left) = &mut self.untrusted {
            match left.streams.checked_sub(1) {
                Some(streams) => left.streams = streams,
                None => {
                    self.end(SessionError::Untrusted);
                    return Ok(());
                }
            }
        }
        let refused = self.sent_go_away
            || self.backlog.closed
            || self.backlog.len() >= self.config.accept_backlog
            || self.streams.len() >= self.config.max_streams;
        if refused {
            self.control.push_back(Header::window_update(RST, id, 0));
            return Ok(());
        }
        let ticket = self.backlog.push(id);
        let mut state = State::incoming(ticket);
        if self.lacks_memory() {
            state.recv.hold_back();
        }
        self.streams.insert(id, Box::new(state));
        self.wakes.extend(self.backlog.waker.take());
        self.note_urgent(id);
        Ok(())
    }

    fn handle_ack(&mut self, id: u32) {
        if let Some(state) = self.streams.get_mut(&id)
            && std::mem::take(&mut state.unacknowledged)
        {
            self.wakes.extend(state.recv.waker.take());
            self.note_acknowledged();
        }
    }

    fn handle_credit(&mut self, id: u32, header: Header) {
        let Some(state) = self.streams.get_mut(&id) else {
            return;
        };
        if header.length > 0 {
            state.send.handle_credit(header.length);
            self.wakes.extend(state.send.waker.take());
        } else if header.flags == 0 {
            state.send.hold_back();
        }
    }

    /// Asks the other end to hold back, unless it was asked before.
    fn hold_back(&mut self, id: u32) {
        if let Some(state) = self.streams.get_mut(&id) {
            state.recv.hold_back();
            self.note_urgent(id);
        }
    }

    fn handle_fin(&mut self, id: u32) {
        let Some(state) = self.streams.get_mut(&id) else {
            return;
        };
        if state.reset || state.recv.fin {
            return;
        }
        state.recv.fin = true;
        state.recv.update_due = false;
        self.wakes.extend(state.recv.waker.take());
        self.forget_if_over(id);
    }

    fn handle_reset(&mut self, id: u32) {
        let Some(state) = self.streams.get_mut(&id) else {
            return;
        };
        if let Some(ticket) = state.backlog_ticket.take() {
            self.backlog.remove(ticket);
        }
        state.reset = true;
        self.queued -= state.send.discard();
        self.wakes.extend(state.recv.waker.take());
        self.wakes.extend(state.send.waker.take());
        if std::mem::take(&mut state.unacknowledged) {
            self.note_acknowledged();
        }
        self.forget_if_over(id);
    }

    /// Takes a stream out of the books that neither the two ends nor anyone here needs.
    pub(super) fn forget_if_over(&mut self, id: u32) {
        if let Some(state) = self.streams.get(&id)
            && !state.attached
            && state.backlog_ticket.is_none()
            && state.is_over()
        {
            self.forget(id);
        }
    }
}
