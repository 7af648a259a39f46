//! Repetition until acknowledged: numbers, windows, timers and acknowledgements of segments.
//!
//! Time is a `u32` of milliseconds that wraps, as on the wire; so do segment numbers. Differences
//! count, never values: [`diff`].

mod receive;
mod round_trip;

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use crate::buffers::Buffers;
use crate::config::Config;
use crate::packet::{
    CHALLENGE_NUMBER, Command, MAX_PAYLOAD, MAX_SEGMENTS_SIZE, SEGMENT_HEADER_SIZE, SegmentHeader,
};

use receive::Receiver;
use round_trip::{FIRST_RTO, MAX_RTO, RoundTrip};

/// What may be a loss and may be a delay is looked at again after so many ms: the other end flushes as often.
// frp: sets this interval (pkg/util/net/kcp.go)
const FLUSH_INTERVAL: u32 = 20;

/// Segments are acknowledged when so many have come, or after so many ms, unless something is sent before. The one is less than any
/// window, so that no sender stands still for it, the other well within the interval that senders allow for.
const ACK_BATCH: usize = 8;
const ACK_DELAY: u32 = 10;

/// A segment is sent again at once when so many that were sent after it have arrived.
// frp: sets this (pkg/util/net/kcp.go)
const FAST_RESEND: u32 = 2;

/// What the other end is thought to have room for before it says so, in segments.
// kcp-go: kcp.go#IKCP_WND_RCV
const FIRST_REMOTE_WINDOW: u16 = 32;

/// Received segments that may wait for the reader while the other end has not proved its address. It is what KCP's senders take for
/// granted before they are told, so that an honest one never notices.
// kcp-go: kcp.go#IKCP_WND_RCV
pub const UNPROVED_WINDOW: u16 = 32;

/// Acknowledgements that fill a datagram. When there are so many they are sent at once.
const ACKS_PER_DATAGRAM: usize = MAX_SEGMENTS_SIZE / SEGMENT_HEADER_SIZE;

/// The first and the longest wait before the other end is asked whether it has room again, in ms.
const MIN_PROBE: u32 = 1_000;
const MAX_PROBE: u32 = 15_000;

/// Written bytes are gathered in blocks of this size, from which segments are cut.
const BLOCK_SIZE: usize = 16 * 1024;

/// Blocks that are kept while segments of them are in flight: what the largest window of 1,024 segments takes, and some.
const MAX_BLOCKS: usize = 96;

/// Segments that queues of an idle session have room for.
const KEPT_ROOM: usize = 8;

/// How much later `later` is than `earlier`; negative if it is earlier.
fn diff(later: u32, earlier: u32) -> i32 {
    later.wrapping_sub(earlier) as i32
}

/// The state of both directions of one conversation.
#[derive(Debug)]
pub(crate) struct Arq {
    conversation: u32,
    send: Sender,
    receive: Receiver,
    round_trip: RoundTrip,
    flush: Flush,
    /// While the other end's address may be forged.
    unproved: Option<Unproved>,
    /// Something has passed since memory was given back.
    holds_memory: bool,
}

#[derive(Debug)]
struct Unproved {
    /// Our first timestamp.
    origin: u32,
    /// The receive window that there is to be afterwards.
    window: u16,
}

#[derive(Debug)]
struct Sender {
    window: u16,
    remote_window: u16,
    /// Complete segments that have no number yet.
    queue: VecDeque<Bytes>,
    /// The incomplete segment after them, and behind it the rest of its block.
    tail: BytesMut,
    /// Whether there is such a block.
    has_block: bool,
    /// Blocks before it.
    blocks: Buffers,
    /// Bytes in `queue`, `tail` and `in_flight`.
    held: usize,
    /// Segments that are not acknowledged, or after such ones.
    in_flight: VecDeque<Segment>,
    /// Number of the first segment in flight.
    first: u32,
    /// Number of the first of them that was never sent.
    unsent: u32,
    /// One was overtaken: it may be lost.
    overtaken: bool,
    /// No segment is due to be sent again before this.
    resend_at: Option<u32>,
    /// When the other end last acknowledged something new, or had nothing to acknowledge.
    progress_at: u32,
    /// When to ask for the window, and how long that wait was.
    probe: Option<(u32, u32)>,
}

#[derive(Debug)]
struct Segment {
    /// Empty once it is acknowledged.
    payload: Bytes,
    acknowledged: bool,
    sent: bool,
    /// Segments that were sent later and acknowledged earlier, since it was last sent.
    overtaken: u32,
    sent_at: u32,
    rto: u32,
    resend_at: u32,
}

/// When and what to send.
#[derive(Debug, Default)]
struct Flush {
    /// Number of the segment from which the flush that is under way goes on.
    cursor: Option<u32>,
    /// Segments that were overtaken once are sent again, because there are no new ones.
    early_resend: bool,
    at: Option<u32>,
    /// When all segments in flight were last looked at.
    last: Option<u32>,
    ask_window: bool,
    tell_window: bool,
    challenge: bool,
}

impl Flush {
    /// As soon as the interval allows.
    fn request(&mut self, now: u32) {
        let at = match self.last {
            Some(last) if diff(now, last) < FLUSH_INTERVAL as i32 => {
                last.wrapping_add(FLUSH_INTERVAL)
            }
            _ => now,
        };
        self.request_at(at);
    }

    fn request_at(&mut self, at: u32) {
        if self.at.is_none_or(|current| diff(at, current) < 0) {
            self.at = Some(at);
        }
    }
}

impl Arq {
    pub(crate) fn new(conversation: u32, config: &Config) -> Self {
        Self {
            conversation,
            send: Sender {
                window: config.send_window.max(1),
                remote_window: FIRST_REMOTE_WINDOW,
                queue: VecDeque::new(),
                tail: BytesMut::new(),
                has_block: false,
                blocks: Buffers::new(BLOCK_SIZE, MAX_BLOCKS),
                held: 0,
                in_flight: VecDeque::new(),
                first: 0,
                unsent: 0,
                overtaken: false,
                resend_at: None,
                progress_at: 0,
                probe: None,
            },
            receive: Receiver {
                window: config.receive_window.max(1),
                next: 0,
                early: VecDeque::new(),
                ready: VecDeque::new(),
                acks: VecDeque::new(),
            },
            round_trip: RoundTrip {
                smoothed: None,
                rto: FIRST_RTO,
            },
            flush: Flush::default(),
            unproved: None,
            holds_memory: false,
        }
    }

    /// With another end that may not be where its datagrams say. `origin` is our first timestamp.
    pub(crate) fn unproved(conversation: u32, config: &Config, origin: u32) -> Self {
        let mut arq = Self::new(conversation, config);
        let window = arq.receive.window;
        arq.unproved = Some(Unproved { origin, window });
        arq.receive.window = window.min(UNPROVED_WINDOW);
        arq.flush.challenge = true;
        arq
    }

    pub(crate) fn is_proved(&self) -> bool {
        self.unproved.is_none()
    }

    /// Takes note that the other end gave the timestamp of a segment of ours back.
    fn prove(&mut self, timestamp: u32, now: u32) {
        let is_ours = |origin| diff(timestamp, origin) >= 0 && diff(now, timestamp) >= 0;
        if let Some(unproved) = self.unproved.take_if(|it| is_ours(it.origin)) {
            self.receive.window = unproved.window;
            self.flush.challenge = false;
            // The other end may think that there is little room.
            self.flush.tell_window = self.can_read();
        }
    }

    pub(crate) fn conversation(&self) -> u32 {
        self.conversation
    }

    /// Queues bytes from the front of `data`, as many as there is room for, and returns how many.
    pub(crate) fn write(&mut self, data: &[u8], now: u32) -> usize {
        let count = data.len().min(self.send.room());
        if count > 0 {
            self.holds_memory = true;
            self.send.push(&data[..count]);
            // Without room there, a probe has to be begun.
            if self.send.can_number() || (self.send.remote_window == 0 && self.send.probe.is_none())
            {
                self.flush.request_at(now);
            }
        }
        count
    }

    pub(crate) fn has_room(&self) -> bool {
        self.send.room() > 0
    }

    /// Whether the other end has acknowledged everything that was written.
    pub(crate) fn is_all_sent(&self) -> bool {
        self.send.is_empty()
    }

    /// The next payload.
    pub(crate) fn read(&mut self, now: u32) -> Option<Bytes> {
        let was_full = self.receive.free() == 0;
        let payload = self.receive.ready.pop_front()?;
        if was_full {
            self.flush.tell_window = true;
            self.flush.request(now);
        }
        Some(payload)
    }

    /// Drops what can be read.
    pub(crate) fn discard(&mut self, now: u32) {
        while self.read(now).is_some() {}
    }

    pub(crate) fn can_read(&self) -> bool {
        !self.receive.ready.is_empty()
    }

    /// Asks the other end for a sign of life.
    pub(crate) fn ask(&mut self, now: u32) {
        self.flush.ask_window = true;
        self.flush.challenge = !self.is_proved();
        self.flush.request(now);
    }

    /// When [`poll_transmit`](Self::poll_transmit) will have something to do.
    pub(crate) fn flush_at(&self) -> Option<u32> {
        self.flush.at
    }

    /// How long the other end has acknowledged nothing although it should have, in ms.
    pub(crate) fn unacknowledged_for(&self, now: u32) -> Option<u32> {
        let expects = !self.send.in_flight.is_empty() && self.send.remote_window > 0;
        expects.then(|| diff(now, self.send.progress_at).max(0) as u32)
    }

    /// Takes the segments of a datagram in; what is behind a bad one is ignored. If they were
    /// `recovered` by the erasure code they may be old: they say nothing about windows and times.
    /// Returns whether one was good.
    pub(crate) fn input(&mut self, mut segments: Bytes, recovered: bool, now: u32) -> bool {
        let mut any = false;
        let first_before = self.send.first;
        let mut latest = None;
        let mut has_pushed = false;
        while let Some(header) = SegmentHeader::parse(&segments) {
            let sent_end = self.send.end();
            if header.conversation != self.conversation || diff(header.next, sent_end) > 0 {
                break;
            }
            any = true;
            let _header = segments.split_to(SEGMENT_HEADER_SIZE);
            let payload = segments.split_to(header.length as usize);
            if !recovered {
                if self.send.remote_window == 0 {
                    // It could not acknowledge anything. Now that it may have room, its time begins.
                    self.send.progress_at = now;
                }
                self.send.remote_window = header.window;
            }
            self.send.acknowledge_before(header.next);
            match header.command {
                Command::Push => {
                    if self.receive.push(header.number, header.timestamp, payload) {
                        has_pushed = true;
                    } else {
                        // Sent on old news of our window: here is the latest.
                        self.flush.tell_window = true;
                        self.flush.request(now);
                    }
                }
                Command::Acknowledge => {
                    self.send.acknowledge(header.number, header.timestamp);
                    self.prove(header.timestamp, now);
                    latest = Some(header.timestamp);
                }
                Command::AskWindow => {
                    self.flush.tell_window = true;
                    self.flush.request(now);
                }
                Command::TellWindow => {}
            }
        }
        self.holds_memory |= any;
        if let Some(latest) = latest.filter(|_| !recovered) {
            self.round_trip.sample(diff(now, latest));
        }
        if self.send.first != first_before {
            self.send.progress_at = now;
        }
        let send = &self.send;
        let needs_probe = send.remote_window == 0 && send.probe.is_none() && !send.is_empty();
        if any && (send.can_number() || needs_probe) {
            self.flush.request_at(now);
        } else if self.send.overtaken {
            self.flush.request(now);
        }
        if has_pushed {
            // The other end needs so many to see that one is missing.
            let batch = if self.receive.early.is_empty() {
                ACK_BATCH
            } else {
                FAST_RESEND as usize
            };
            let is_full = self.receive.acks.len() >= batch;
            let delay = if is_full { 0 } else { ACK_DELAY };
            self.flush.request_at(now.wrapping_add(delay));
        }
        if self.is_at_rest() {
            // There may have been a time to send again what has arrived now.
            self.flush.at = None;
            self.send.resend_at = None;
        }
        any
    }

    /// Whether there is nothing to send before something happens.
    fn is_at_rest(&self) -> bool {
        let flush = &self.flush;
        let owes = flush.ask_window || flush.tell_window || flush.challenge;
        self.send.is_empty() && self.receive.acks.is_empty() && !owes && flush.cursor.is_none()
    }

    /// Appends the next datagram's segments to `out` and returns whether there were any.
    pub(crate) fn poll_transmit(&mut self, out: &mut Vec<u8>, now: u32) -> bool {
        if self.flush.cursor.is_none() {
            if self.flush.at.is_none_or(|at| diff(now, at) < 0) {
                return false;
            }
            self.begin_flush(now);
        }
        let start = out.len();
        let mut header = SegmentHeader {
            conversation: self.conversation,
            command: Command::Acknowledge,
            window: self.receive.free(),
            timestamp: 0,
            number: 0,
            next: self.receive.next,
            length: 0,
        };
        let has_room = |out: &Vec<u8>, length| out.len() - start + length <= MAX_SEGMENTS_SIZE;
        while has_room(out, SEGMENT_HEADER_SIZE) {
            if let Some((number, timestamp)) = self.receive.acks.pop_front() {
                header.number = number;
                header.timestamp = timestamp;
            } else if std::mem::take(&mut self.flush.ask_window) {
                header.command = Command::AskWindow;
            } else if std::mem::take(&mut self.flush.tell_window) {
                header.command = Command::TellWindow;
            } else if std::mem::take(&mut self.flush.challenge) {
                header.command = Command::Push;
                header.number = CHALLENGE_NUMBER;
                header.timestamp = now;
            } else {
                break;
            }
            header.write(out);
        }
        header.command = Command::Push;
        header.timestamp = now;
        self.send_due(header, out, has_room);
        out.len() > start
    }

    /// Decides what the flush will send.
    fn begin_flush(&mut self, now: u32) {
        let send = &mut self.send;
        self.flush.at = None;
        let has_new = send.number_queued(now) > 0;
        let is_due = send.resend_at.is_some_and(|at| diff(now, at) >= 0);
        let last = self.flush.last;
        let may_be_lost =
            send.overtaken && last.is_none_or(|last| diff(now, last) >= FLUSH_INTERVAL as i32);
        if is_due || may_be_lost {
            self.flush.last = Some(now);
            self.flush.cursor = Some(send.first);
            self.flush.early_resend = !has_new;
            send.resend_at = None;
            send.overtaken = false;
        } else {
            self.flush.cursor = Some(send.unsent);
            self.flush.early_resend = false;
        }
        self.receive.forget_implied_acks();
        if send.remote_window > 0 || send.is_empty() {
            send.probe = None;
        } else {
            let wait = match send.probe {
                None => MIN_PROBE,
                Some((at, wait)) if diff(now, at) >= 0 => {
                    self.flush.ask_window = true;
                    (wait + wait / 2).min(MAX_PROBE)
                }
                Some((at, wait)) => {
                    self.flush.request_at(at);
                    send.probe = Some((at, wait));
                    return;
                }
            };
            let at = now.wrapping_add(wait);
            send.probe = Some((at, wait));
            self.flush.request_at(at);
        }
    }

    /// Sends the segments whose turn it is, from the cursor until the datagram is full or the
    /// flush is done.
    fn send_due(
        &mut self,
        mut header: SegmentHeader,
        out: &mut Vec<u8>,
        has_room: impl Fn(&Vec<u8>, usize) -> bool,
    ) {
        let now = header.timestamp;
        let Some(cursor) = self.flush.cursor else {
            return;
        };
        let rto = self.round_trip.rto;
        let first = self.send.first;
        let skipped = diff(cursor, first).max(0) as usize;
        for (at, segment) in self.send.in_flight.iter_mut().enumerate().skip(skipped) {
            if segment.acknowledged {
                continue;
            }
            let next_rto = if !segment.sent
                || segment.overtaken >= FAST_RESEND
                || (segment.overtaken > 0 && self.flush.early_resend)
            {
                Some(rto)
            } else if diff(now, segment.resend_at) >= 0 {
                Some((segment.rto + rto / 2).min(MAX_RTO))
            } else {
                None
            };
            if let Some(next_rto) = next_rto {
                header.number = first.wrapping_add(at as u32);
                if !has_room(out, SEGMENT_HEADER_SIZE + segment.payload.len()) {
                    self.flush.cursor = Some(header.number);
                    return;
                }
                header.length = segment.payload.len() as u32;
                header.write(out);
                out.extend_from_slice(&segment.payload);
                if !std::mem::replace(&mut segment.sent, true) {
                    self.send.unsent = header.number.wrapping_add(1);
                }
                segment.overtaken = 0;
                segment.sent_at = now;
                segment.rto = next_rto;
                segment.resend_at = now.wrapping_add(next_rto);
            }
            if self
                .send
                .resend_at
                .is_none_or(|at| diff(segment.resend_at, at) < 0)
            {
                self.send.resend_at = Some(segment.resend_at);
            }
            self.send.overtaken |= segment.overtaken > 0;
        }
        self.flush.cursor = None;
        if let Some(at) = self.send.resend_at {
            self.flush.request_at(at);
        }
        if self.send.overtaken {
            self.flush.request(now);
        }
    }

    /// Whether [`release`](Self::release) may give memory back.
    pub(crate) fn holds_memory(&self) -> bool {
        self.holds_memory
    }

    /// Gives memory back that was kept for more of what has passed.
    pub(crate) fn release(&mut self) {
        self.holds_memory = false;
        self.send.release();
        self.receive.release();
    }

    /// Bytes of payload that are held, for both directions.
    pub(crate) fn held(&self) -> usize {
        let receive = &self.receive;
        let early = receive.early.iter().flatten();
        self.send.held + early.chain(&receive.ready).map(Bytes::len).sum::<usize>()
    }
}

impl Sender {
    /// Number after the last segment in flight.
    fn end(&self) -> u32 {
        self.first.wrapping_add(self.in_flight.len() as u32)
    }

    fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.tail.is_empty() && self.in_flight.is_empty()
    }

    /// Bytes that may be queued. Segments in flight count as full ones.
    fn room(&self) -> usize {
        let queued = self.queue.len() * MAX_PAYLOAD + self.tail.len();
        let limit = usize::from(self.window) * MAX_PAYLOAD;
        limit.saturating_sub(queued + self.in_flight.len() * MAX_PAYLOAD)
    }

    fn push(&mut self, mut data: &[u8]) {
        self.held += data.len();
        while !data.is_empty() {
            if self.tail.is_empty() && self.tail.capacity() < MAX_PAYLOAD {
                self.begin_block();
            }
            let (front, rest) = data.split_at(data.len().min(MAX_PAYLOAD - self.tail.len()));
            self.tail.extend_from_slice(front);
            data = rest;
            if self.tail.len() == MAX_PAYLOAD {
                self.queue.push_back(self.tail.split().freeze());
            }
        }
    }

    /// Makes room for segments behind the last one, of which there is nothing left in `tail`.
    fn begin_block(&mut self) {
        // Where messages are short, all of the last block has arrived by now.
        if self.tail.try_reclaim(BLOCK_SIZE) {
            return;
        }
        let used = std::mem::replace(&mut self.tail, self.blocks.take());
        if std::mem::replace(&mut self.has_block, true) {
            self.blocks.give(used);
        }
    }

    /// Gives memory back. What is in use goes when it has arrived.
    fn release(&mut self) {
        self.blocks.shrink();
        if self.tail.is_empty() {
            self.tail = BytesMut::new();
            self.has_block = false;
        }
        self.in_flight.shrink_to(KEPT_ROOM);
        self.queue.shrink_to(KEPT_ROOM);
    }

    /// Whether there is something to send and room for it.
    fn can_number(&self) -> bool {
        let has_any = !self.queue.is_empty() || !self.tail.is_empty();
        has_any && self.in_flight.len() < usize::from(self.window.min(self.remote_window))
    }

    /// Puts queued segments in flight and returns how many.
    fn number_queued(&mut self, now: u32) -> usize {
        let before = self.in_flight.len();
        if before == 0 {
            self.progress_at = now;
        }
        while self.can_number() {
            let payload = match self.queue.pop_front() {
                Some(payload) => payload,
                None => self.tail.split().freeze(),
            };
            self.in_flight.push_back(Segment {
                payload,
                acknowledged: false,
                sent: false,
                overtaken: 0,
                sent_at: now,
                rto: 0,
                resend_at: now,
            });
        }
        self.in_flight.len() - before
    }

    /// Everything before `number`, which is not after the end, has arrived.
    fn acknowledge_before(&mut self, number: u32) {
        while diff(number, self.first) > 0 {
            self.remove_first();
        }
        self.remove_acknowledged();
    }

    /// The segment `number`, last sent at `timestamp`, has arrived.
    fn acknowledge(&mut self, number: u32, timestamp: u32) {
        let Ok(at) = usize::try_from(diff(number, self.first)) else {
            return;
        };
        // Once per segment, which also bounds the work below.
        let Some(segment) = self.in_flight.get_mut(at).filter(|s| !s.acknowledged) else {
            return;
        };
        segment.acknowledged = true;
        self.held -= std::mem::take(&mut segment.payload).len();
        for earlier in self.in_flight.range_mut(..at) {
            if !earlier.acknowledged && diff(timestamp, earlier.sent_at) >= 0 {
                earlier.overtaken += 1;
                self.overtaken = true;
            }
        }
        self.remove_acknowledged();
    }

    fn remove_acknowledged(&mut self) {
        while self.in_flight.front().is_some_and(|s| s.acknowledged) {
            self.remove_first();
        }
    }

    fn remove_first(&mut self) {
        if let Some(segment) = self.in_flight.pop_front() {
            self.held -= segment.payload.len();
        }
        self.first = self.first.wrapping_add(1);
    }
}
