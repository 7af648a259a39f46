//! One session without socket, task and clock: datagrams in, datagrams out, bytes for the user.
//!
//! The owner hands in what arrived and the time, and asks when to come back. After each call
//! [`Machine::poll_transmit`] may have datagrams and [`Machine::timeout_at`] an earlier time.

use std::io;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};

use crate::arq::Arq;
use crate::config::Config;
use crate::error::SessionError;
use crate::fec::{Decoder, Encoder};
use crate::packet::{CHALLENGE_NUMBER, Command, FEC_HEADER_SIZE, Packet, SegmentHeader};

/// How often the other end is asked for a sign of life before it is given up.
const ASKS: u32 = 4;

/// How long an answer is waited for before it is asked for again, at first and at most.
const FIRST_PROBE: Duration = Duration::from_millis(200);
const MAX_PROBE: Duration = Duration::from_secs(1);

/// After so long without a datagram the packets kept for error correction are of no more use, and memory for the next ones is given
/// back.
const KEEP_PACKETS: Duration = Duration::from_secs(1);

/// A new session begins with a segment whose number is below this: less than any window, so that
/// it need not be the first one that arrives, and few enough to tell it from an old session.
const FIRST_NUMBERS: u32 = 128;

/// What a datagram says of a session to which it could belong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peek {
    /// Number of the conversation.
    pub conversation: u32,
    /// Whether it may be the beginning of a conversation: data from the sender's start that was
    /// sent before anything was received.
    pub may_begin: bool,
    /// Whether it holds the very first data.
    pub is_first: bool,
    /// Whether it asks for a sign of life before there is a session.
    pub asks: bool,
    /// The timestamp that it gives back of a segment with [`CHALLENGE_NUMBER`].
    pub proof: Option<u32>,
}

/// Looks at a datagram's first segment; `None` for parity and for what is not of KCP.
pub fn peek(datagram: &[u8]) -> Option<Peek> {
    let header = SegmentHeader::parse(Packet::segments(datagram)?)?;
    let is_push = header.command == Command::Push;
    let is_proof = header.command == Command::Acknowledge && header.number == CHALLENGE_NUMBER;
    Some(Peek {
        conversation: header.conversation,
        may_begin: is_push && header.number < FIRST_NUMBERS && header.next == 0,
        is_first: is_push && header.number == 0,
        asks: header.command == Command::AskWindow && header.next == 0,
        proof: is_proof.then_some(header.timestamp),
    })
}

/// One end of a session.
#[derive(Debug)]
pub struct Machine {
    config: Config,
    arq: Arq,
    encoder: Encoder,
    decoder: Decoder,
    began_at: Instant,
    /// What the clock on the wire was then.
    origin: u32,
    heard_at: Instant,
    /// When a datagram last came or went.
    active_at: Instant,
    /// Signs of life asked for since.
    asks: u32,
    /// Set when the stream was dropped.
    linger_until: Option<Instant>,
    /// The user sends no more.
    is_write_closed: bool,
    ended: Option<SessionError>,
    /// Of which the reader has taken a part.
    unread: Bytes,
    reader: Option<Waker>,
    writer: Option<Waker>,
    answer: Answer,
}

/// Whether anything was ever heard from the other end.
#[derive(Debug, Default)]
struct Answer {
    has_come: bool,
    /// When it is asked for again, and how long that wait was; `None` if nobody waits for it.
    probe: Option<(Instant, Duration)>,
    waiter: Option<Waker>,
}

impl Machine {
    /// A session that begins now, with another end that needs no proof: we chose its address. Both ends must use the same
    /// `conversation`.
    pub fn new(conversation: u32, config: Config, now: Instant) -> Self {
        Self::begin(Arq::new(conversation, &config), config, 0, now)
    }

    /// A session that another end begins, whose address may be forged: until it gives one of our timestamps back, it has
    /// [`UNPROVED_WINDOW`](crate::UNPROVED_WINDOW) and no error correction. `origin` is what the clock on the wire begins with; it
    /// must be a number that nobody can guess.
    pub fn unproved(conversation: u32, config: Config, origin: u32, now: Instant) -> Self {
        let arq = Arq::unproved(conversation, &config, origin);
        Self::begin(arq, config, origin, now)
    }

    fn begin(arq: Arq, config: Config, origin: u32, now: Instant) -> Self {
        Self {
            arq,
            encoder: Encoder::new(config.send_parity),
            decoder: Decoder::new(),
            config,
            began_at: now,
            origin,
            heard_at: now,
            active_at: now,
            asks: 0,
            linger_until: None,
            is_write_closed: false,
            ended: None,
            unread: Bytes::new(),
            reader: None,
            writer: None,
            answer: Answer::default(),
        }
    }

    /// Number of the conversation.
    pub fn conversation(&self) -> u32 {
        self.arq.conversation()
    }

    /// Whether the other end has shown that it receives what is sent to its address.
    pub fn is_proved(&self) -> bool {
        self.arq.is_proved()
    }

    /// Takes a datagram in. What is not of this conversation is ignored.
    pub fn handle_datagram(&mut self, datagram: Bytes, now: Instant) {
        if self.ended.is_some() {
            return;
        }
        let Some(packet) = Packet::parse(datagram) else {
            return;
        };
        self.active_at = now;
        let clock = self.clock(now);
        let is_good = match &packet {
            Packet::Data { shard, .. } => self.arq.input(shard.slice(2..), false, clock),
            Packet::Plain(segments) => self.arq.input(segments.clone(), false, clock),
            // It names no conversation. Alone it can do no harm.
            Packet::Parity { .. } => true,
        };
        if !is_good {
            return;
        }
        if !matches!(packet, Packet::Parity { .. }) {
            self.heard_at = now;
            self.asks = 0;
            self.answer.has_come = true;
            self.answer.probe = None;
        }
        // Packets that are kept for their group are memory that strangers get nothing of.
        if self.arq.is_proved() {
            for segments in self.decoder.push(&packet).into_iter().flatten() {
                self.arq.input(segments, true, clock);
            }
        }
        if self.linger_until.is_some() {
            self.arq.discard(clock);
            self.end_if_all_sent();
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) or [`poll_transmit`](Self::poll_transmit)
    /// should be called again, if nothing else happens before; `None` if the session has ended.
    pub fn timeout_at(&self) -> Option<Instant> {
        if self.ended.is_some() {
            return None;
        }
        let mut at = match self.asks {
            ASKS => self.heard_at + self.config.idle_timeout,
            asks => self.heard_at + self.config.idle_timeout / ASKS * (asks + 1),
        };
        if self.holds_memory() {
            at = at.min(self.active_at + KEEP_PACKETS);
        }
        if let Some(until) = self.linger_until {
            at = at.min(until);
        }
        if let Some((probe_at, _)) = self.answer.probe {
            at = at.min(probe_at);
        }
        if let Some(clock) = self.arq.flush_at() {
            at = at.min(self.instant(clock));
        }
        Some(at)
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.ended.is_some() {
            return;
        }
        let silence = now.saturating_duration_since(self.heard_at);
        let clock = self.clock(now);
        let unacknowledged = self.arq.unacknowledged_for(clock).unwrap_or(0);
        let limit = self.config.acknowledgement_timeout;
        if silence >= self.config.idle_timeout {
            self.end(SessionError::Idle {
                after: self.config.idle_timeout,
            });
        } else if Duration::from_millis(unacknowledged.into()) >= limit {
            self.end(SessionError::Unacknowledged { after: limit });
        } else if self.linger_until.is_some_and(|until| until <= now) {
            self.end(SessionError::Closed);
        }
        let interval = self.config.idle_timeout / ASKS;
        if self.asks < ASKS && silence >= interval * (self.asks + 1) {
            while self.asks < ASKS && silence >= interval * (self.asks + 1) {
                self.asks += 1;
            }
            self.arq.ask(clock);
        }
        if let Some((at, wait)) = self.answer.probe
            && at <= now
        {
            let wait = (wait * 2).min(MAX_PROBE);
            self.answer.probe = Some((now + wait, wait));
            self.arq.ask(clock);
        }
        if now.saturating_duration_since(self.active_at) >= KEEP_PACKETS {
            self.decoder.clear();
            self.encoder.release();
            self.arq.release();
        }
    }

    /// Appends the next datagram to `out` and returns whether there was one.
    pub fn poll_transmit(&mut self, out: &mut Vec<u8>, now: Instant) -> bool {
        if self.ended.is_some() {
            return false;
        }
        if self.encoder.take_parity(out) {
            self.active_at = now;
            return true;
        }
        let start = out.len();
        out.resize(start + FEC_HEADER_SIZE, 0);
        if !self.arq.poll_transmit(out, self.clock(now)) {
            out.truncate(start);
            return false;
        }
        self.encoder.encode(&mut out[start..], now);
        self.active_at = now;
        true
    }

    /// Ready when anything was heard from the other end, which is asked for a sign of life until then.
    ///
    /// # Errors
    ///
    /// The session has ended.
    pub fn poll_answered(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
    ) -> Poll<Result<(), SessionError>> {
        if self.answer.has_come {
            return Poll::Ready(Ok(()));
        }
        if let Some(error) = &self.ended {
            return Poll::Ready(Err(error.clone()));
        }
        if self.answer.probe.is_none() {
            self.answer.probe = Some((now + FIRST_PROBE, FIRST_PROBE));
            self.arq.ask(self.clock(now));
        }
        register(&mut self.answer.waiter, cx);
        Poll::Pending
    }

    /// The next received bytes, never none: the other end cannot say that it sends no more.
    ///
    /// # Errors
    ///
    /// The session has ended. What arrived before is returned first.
    pub fn poll_recv(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
    ) -> Poll<Result<Bytes, SessionError>> {
        if !self.unread.is_empty() {
            return Poll::Ready(Ok(std::mem::take(&mut self.unread)));
        }
        if let Some(payload) = self.arq.read(self.clock(now)) {
            return Poll::Ready(Ok(payload));
        }
        match &self.ended {
            Some(error) => Poll::Ready(Err(error.clone())),
            None => {
                register(&mut self.reader, cx);
                Poll::Pending
            }
        }
    }

    /// As [`poll_recv`](Self::poll_recv), but copies into `buffer` as much as it takes, and
    /// returns how much.
    pub fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut impl bytes::BufMut,
        now: Instant,
    ) -> Poll<Result<usize, SessionError>> {
        let before = buffer.remaining_mut();
        let mut next = std::task::ready!(self.poll_recv(cx, now))?;
        loop {
            let count = next.len().min(buffer.remaining_mut());
            buffer.put_slice(&next[..count]);
            next.advance(count);
            if !next.is_empty() {
                self.unread = next;
                break;
            }
            match self.arq.read(self.clock(now)) {
                Some(payload) => next = payload,
                None => break,
            }
        }
        Poll::Ready(Ok(before - buffer.remaining_mut()))
    }

    /// Takes bytes from the front of `data`, at least one, and returns how many. Waits while
    /// [`Config::send_window`] segments are not acknowledged.
    ///
    /// # Errors
    ///
    /// The session has ended, or [`close_write`](Self::close_write) was called.
    pub fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        data: &[u8],
        now: Instant,
    ) -> Poll<io::Result<usize>> {
        if let Some(error) = &self.ended {
            return Poll::Ready(Err(error.to_io()));
        }
        if self.is_write_closed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let count = self.arq.write(data, self.clock(now));
        if count == 0 && !data.is_empty() {
            register(&mut self.writer, cx);
            return Poll::Pending;
        }
        Poll::Ready(Ok(count))
    }

    /// Takes no more bytes to send. Nothing is said to the other end.
    pub fn close_write(&mut self) {
        self.is_write_closed = true;
    }

    /// The user is gone: what was written is still sent, for at most [`Config::linger`], then
    /// the session ends.
    pub fn close(&mut self, now: Instant) {
        self.is_write_closed = true;
        self.unread = Bytes::new();
        self.arq.discard(self.clock(now));
        self.linger_until.get_or_insert(now + self.config.linger);
        self.end_if_all_sent();
    }

    /// Ends the session at once, if it has not ended already.
    pub fn end(&mut self, reason: SessionError) {
        self.ended.get_or_insert(reason);
        self.decoder.clear();
        self.encoder.release();
    }

    /// Why the session ended, if it did.
    pub fn ended(&self) -> Option<&SessionError> {
        self.ended.as_ref()
    }

    /// Bytes of payload that the session holds, for both directions.
    pub fn held(&self) -> usize {
        self.arq.held() + self.unread.len()
    }

    /// Whoever waits and can go on now.
    pub(crate) fn take_wakes(&mut self) -> [Option<Waker>; 3] {
        let is_over = self.ended.is_some();
        let reader = (is_over || self.arq.can_read()).then(|| self.reader.take());
        let writer = (is_over || self.arq.has_room()).then(|| self.writer.take());
        let has_answer = is_over || self.answer.has_come;
        let answer = has_answer.then(|| self.answer.waiter.take());
        [reader.flatten(), writer.flatten(), answer.flatten()]
    }

    fn end_if_all_sent(&mut self) {
        if self.arq.is_all_sent() {
            self.end(SessionError::Closed);
        }
    }

    /// Whether there is memory to be given back when nothing comes or goes for a while.
    fn holds_memory(&self) -> bool {
        !self.decoder.is_empty() || self.encoder.holds_memory() || self.arq.holds_memory()
    }

    /// The time on the wire: ms, wrapping.
    fn clock(&self, now: Instant) -> u32 {
        let passed = now.saturating_duration_since(self.began_at).as_millis();
        self.origin.wrapping_add(passed as u32)
    }

    /// When the time on the wire, which is near the last of them that was seen, will be `clock`.
    fn instant(&self, clock: u32) -> Instant {
        // The clock wraps after 49 days; what it was when something was last heard is less than
        // a wrap away.
        let heard = self.heard_at.saturating_duration_since(self.began_at);
        let heard = heard.as_millis() as u64;
        let heard_clock = self.origin.wrapping_add(heard as u32);
        let ahead = clock.wrapping_sub(heard_clock) as i32;
        self.began_at + Duration::from_millis(heard.saturating_add_signed(ahead.into()))
    }
}

fn register(slot: &mut Option<Waker>, cx: &Context<'_>) {
    match slot {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *slot = Some(cx.waker().clone()),
    }
}
