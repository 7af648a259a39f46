//! What the session knows of one stream.

use std::collections::VecDeque;
use std::task::Waker;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use super::FIRST_BYTES;
use super::chunks::Chunks;
use crate::frame::INITIAL_WINDOW;

/// Received pieces of at least this size are kept where they lie, in bytes: an eighth of a slab,
/// so that unread data pins at most eight times its length. Smaller ones are copied unless
/// their reader is waiting.
const KEPT_RECEIVED: usize = crate::slab::LOCAL_SLAB_SIZE / 8;

/// Chunks to send of at least this size are kept where they lie even if others are queued
/// before them, in bytes.
const KEPT_SENT: usize = 2 * 1024;

/// A window that carries so many bytes per second over its round trip does not grow: 40 Gbit/s.
/// Over a path as short as the loopback, a much larger one makes data fall out of the processor's
/// caches before it is read; one that just carries what the path does stalls whenever a task runs
/// a little late (measured under TLS: a third less throughput at 10 Gbit/s).
const FAST_ENOUGH: u128 = 5_000_000_000;

/// A shorter round trip is taken for one of this length, over which a window of 2 MB is [`FAST_ENOUGH`]. What a ping takes over an idle
/// loopback is less than what credit takes when tasks wait for their turn (measured under TLS, one stream, medians of 16 rounds: 11 %
/// more upwards and 21 % downwards than without this, and no more with twice the time).
const SHORTEST_ROUND_TRIP: Duration = Duration::from_micros(400);

/// Up to this size a window grows generously, in bytes: as long as it is read within [`MOST_ROUND_TRIPS`]. A larger one is kept to what
/// the path carries in a round trip and little more: what it promises beyond that waits somewhere on the path, and small messages wait
/// behind it.
// frp: the window of every stream from its start on (client/connector.go)
const GENEROUS: u32 = 6 * 1024 * 1024;

/// So many of the shortest round trips, because on many paths most take a multiple of the shortest.
const MOST_ROUND_TRIPS: u32 = 4;

/// A window that is read for the first time grows to this at once over a long path, in bytes, so that what is soon over need not
/// wait for one round trip after the other.
const SECOND_WINDOW: u32 = 2 * 1024 * 1024;

/// The least time of a long path there and back.
const LONG_PATH: Duration = Duration::from_millis(5);

/// Over a short path a window shrinks to the initial one when reading it takes longer than it may take to grow, so many times in a row.
/// What is slow then is the reader, or the processors that other streams use as well, and a window that a stream got when it was alone
/// would be its share beside theirs: three times theirs, with fifteen others. It grows again when they are gone.
const CROWDED_TIMES: u8 = 4;

/// What the other end is asked to leave of its credit when a stream is held back, in bytes. 32 KiB of the first window remain.
const WITHHELD: u32 = INITIAL_WINDOW - 32 * 1024;

/// A window shrinks no further than this, in bytes: less is not worth the stalls.
const KEPT_WINDOW: u32 = 4 * INITIAL_WINDOW;

/// A window is too large if reading it takes longer than this, and longer than sixteen round trips.
const SLOW: Duration = Duration::from_millis(200);

/// How well a stream's window fits its path and its reader.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Fit {
    /// It is what limits the speed: it may grow by so many bytes.
    Short(u32),
    /// It is right, or that is not known yet.
    Right,
    /// It promises more than the path carries in a round trip, or its reader takes: it is to shrink, but no further than to so many
    /// bytes.
    Large(u32),
}

/// One stream, as the session sees it.
#[derive(Debug)]
pub(super) struct State {
    pub(super) recv: Receiving,
    pub(super) send: Sending,
    /// The SYN has not been sent yet.
    pub(super) syn_due: bool,
    /// The ACK has not been sent yet.
    pub(super) ack_due: bool,
    /// We opened it and the other end has not acknowledged it.
    pub(super) unacknowledged: bool,
    /// A `Stream` exists for it. Not so in the backlog and after the drop.
    pub(super) attached: bool,
    /// It waits to be accepted; with this it is found among those who do.
    pub(super) backlog_ticket: Option<u64>,
    /// It has been reset: nothing is sent or expected any more.
    pub(super) reset: bool,
    /// It is in the queue of streams that have a frame without data to send.
    pub(super) in_urgent: bool,
    /// What arrives when nobody owns it any more is refused, not drained.
    pub(super) refuses: bool,
    /// Something has arrived that is to be refused, once our FIN is sent.
    pub(super) has_refused: bool,
    /// When it is reset although the other end has not sent its FIN.
    pub(super) lingers_until: Option<Instant>,
}

/// The direction towards us.
#[derive(Debug)]
pub(super) struct Receiving {
    chunks: Chunks,
    /// Bytes that the other end may still send.
    credit: u32,
    /// Bytes that may be promised or lie unread at a time.
    window: u32,
    /// Bytes that were granted since `measured_from`.
    measured: u32,
    measured_from: Option<Instant>,
    /// How many times in a row reading the window over a short path took longer than [`MOST_ROUND_TRIPS`].
    crowded: u8,
    pub(super) update_due: bool,
    hold_back: HoldBack,
    pub(super) fin: bool,
    pub(super) waker: Option<Waker>,
}

/// Whether the other end is to leave a part of the window.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum HoldBack {
    No,
    /// It is yet to be asked.
    Due,
    /// It was asked.
    Asked,
}

/// The direction from us.
#[derive(Debug)]
pub(super) struct Sending {
    chunks: Chunks,
    /// Bytes that may still be queued before the other end grants more.
    credit: u32,
    /// The other end has asked us to hold back.
    is_held_back: bool,
    /// The FIN follows what is queued.
    pub(super) fin_wanted: bool,
    pub(super) fin_sent: bool,
    /// Its data goes ahead of others' for as long as it lives.
    pub(super) first: bool,
    /// How many of its bytes still go ahead because they are its first.
    pub(super) first_bytes_left: u16,
    /// It is in one of the two queues of streams that have data to send.
    pub(super) in_round: bool,
    /// It is in the queue of streams that wait for room in the session's queue.
    pub(super) awaits_room: bool,
    /// It was woken because there is room; if others were faster it does not lose its turn.
    pub(super) room_promised: bool,
    pub(super) waker: Option<Waker>,
}

impl State {
    fn new() -> Self {
        Self {
            recv: Receiving {
                chunks: Chunks::default(),
                credit: INITIAL_WINDOW,
                window: INITIAL_WINDOW,
                measured: 0,
                measured_from: None,
                crowded: 0,
                update_due: false,
                hold_back: HoldBack::No,
                fin: false,
                waker: None,
            },
            send: Sending {
                chunks: Chunks::default(),
                credit: INITIAL_WINDOW,
                is_held_back: false,
                fin_wanted: false,
                fin_sent: false,
                first: false,
                first_bytes_left: FIRST_BYTES,
                in_round: false,
                awaits_room: false,
                room_promised: false,
                waker: None,
            },
            syn_due: false,
            ack_due: false,
            unacknowledged: false,
            attached: false,
            backlog_ticket: None,
            reset: false,
            in_urgent: false,
            refuses: false,
            has_refused: false,
            lingers_until: None,
        }
    }

    /// A stream that we open.
    pub(super) fn opened() -> Self {
        Self {
            syn_due: true,
            unacknowledged: true,
            attached: true,
            ..Self::new()
        }
    }

    /// A stream that the other end opened.
    pub(super) fn incoming(backlog_ticket: u64) -> Self {
        Self {
            ack_due: true,
            backlog_ticket: Some(backlog_ticket),
            ..Self::new()
        }
    }

    /// Whether the two ends have nothing more to say about it.
    pub(super) fn is_over(&self) -> bool {
        self.reset || (self.recv.fin && self.send.fin_sent)
    }

    /// Whether a frame without data is to be sent.
    pub(super) fn has_urgent(&self) -> bool {
        self.syn_due
            || self.ack_due
            || self.recv.hold_back == HoldBack::Due
            || self.recv.update_due
            || self.send.is_fin_due()
    }
}

impl Receiving {
    /// Bytes that the other end may still send.
    pub(super) fn credit(&self) -> u32 {
        self.credit
    }

    /// Takes note of `length` bytes of a body whose length was found to be within the credit.
    pub(super) fn spend(&mut self, length: usize) {
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        self.credit = self.credit.saturating_sub(length);
    }

    /// Adds a piece of a frame's body, which is kept where it lies if that is large, unless there is to be no memory but for the
    /// bytes themselves (`is_tight`), or if it is about to be read.
    pub(super) fn push(&mut self, piece: Bytes, is_tight: bool) {
        self.spend(piece.len());
        let reader_waits = self.waker.is_some() && self.chunks.is_empty();
        if reader_waits || (piece.len() >= KEPT_RECEIVED && !is_tight) {
            self.chunks.push(piece);
        } else {
            self.chunks.push_copy(&piece);
        }
    }

    pub(super) fn pop(&mut self) -> Option<Bytes> {
        let piece = self.chunks.pop(usize::MAX);
        self.note_consumed();
        piece
    }

    /// Takes `slices` back, which were the last to be read; copied, if there is to be no memory but for the bytes themselves.
    pub(super) fn put_back(&mut self, slices: &mut VecDeque<Bytes>, is_tight: bool) {
        if is_tight {
            let mut copy = BytesMut::with_capacity(slices.iter().map(Bytes::len).sum());
            for slice in slices.drain(..) {
                copy.extend_from_slice(&slice);
            }
            slices.push_back(copy.freeze());
        }
        self.chunks.put_back(slices);
    }

    /// Drops what lies unread.
    pub(super) fn discard(&mut self) {
        self.chunks.clear();
        self.note_consumed();
    }

    /// Asks for a window update if it is worth one: half of the initial window, a quarter of one that has grown, or a 32nd of one that a
    /// long path needs. Credit that leaves early keeps a sender far away from running out of it, and has it send evenly; and a window is
    /// taken for large enough when it lasts for a tenth more than a round trip, of which waiting for credit must be a small part.
    pub(super) fn note_consumed(&mut self) {
        let window = self.used_window();
        let part = if window < GENEROUS { 4 } else { 32 };
        if !self.fin && self.grantable() >= (window / part).max(window.min(INITIAL_WINDOW) / 2) {
            self.update_due = true;
        }
    }

    /// Has the other end asked to leave a part of the window, once.
    pub(super) fn hold_back(&mut self) {
        if self.hold_back == HoldBack::No && !self.fin {
            self.hold_back = HoldBack::Due;
        }
    }

    /// Whether the other end is to be asked now. It is taken to do as it was asked.
    pub(super) fn take_hold_back(&mut self) -> bool {
        if self.hold_back != HoldBack::Due {
            return false;
        }
        self.hold_back = HoldBack::Asked;
        // It may wait from then on for credit that was not yet worth an update.
        self.note_consumed();
        !self.fin
    }

    /// How much of the window the other end is to use.
    fn used_window(&self) -> u32 {
        match self.hold_back {
            HoldBack::Asked => self.window - WITHHELD,
            HoldBack::No | HoldBack::Due => self.window,
        }
    }

    /// Bytes that the other end may be allowed in addition.
    fn grantable(&self) -> u32 {
        let unread = u32::try_from(self.chunks.len()).unwrap_or(u32::MAX);
        self.window
            .saturating_sub(self.credit)
            .saturating_sub(unread)
    }

    /// How the window fits, as seen now that an update is due. It is short if all of it was read within a round trip or little more
    /// and the path is long enough for more to matter; while data waits anywhere on its way, the window lasts longer than that.
    pub(super) fn fit(&mut self, now: Instant, round_trip: Option<Duration>) -> Fit {
        let (Some(from), Some(round_trip)) = (self.measured_from, round_trip) else {
            let is_first = self.measured_from.is_none() && self.used_window() == INITIAL_WINDOW;
            self.measure_from(now);
            return match round_trip {
                Some(time) if is_first && time >= LONG_PATH => {
                    Fit::Short(SECOND_WINDOW - INITIAL_WINDOW)
                }
                _ => Fit::Right,
            };
        };
        if now < from {
            return Fit::Right;
        }
        let round_trip = round_trip.max(SHORTEST_ROUND_TRIP);
        let window = self.used_window();
        self.measured = self.measured.saturating_add(self.grantable());
        let elapsed = now.saturating_duration_since(from);
        let is_read = self.measured >= window;
        let takes_long = elapsed > SLOW.max(round_trip * 16);
        if !is_read && !takes_long {
            return Fit::Right;
        }
        // What was read in excess of the window was read in that time as well.
        let time = elapsed.mul_f64(f64::from(window) / f64::from(self.measured.max(1)));
        self.measure_from(now);
        let is_slow = time > round_trip * MOST_ROUND_TRIPS;
        self.crowded = match is_slow && round_trip < LONG_PATH {
            true => self.crowded.saturating_add(1),
            false => 0,
        };
        let fast_enough = FAST_ENOUGH.saturating_mul(round_trip.as_micros()) / 1_000_000;
        let room = u32::try_from(fast_enough)
            .unwrap_or(u32::MAX)
            .saturating_sub(window);
        let fit = if !is_read {
            Fit::Large(KEPT_WINDOW)
        } else if self.crowded >= CROWDED_TIMES && window > INITIAL_WINDOW {
            Fit::Large(INITIAL_WINDOW.max(window - window / 4))
        } else if room == 0 {
            Fit::Right
        } else if window < GENEROUS {
            match is_slow {
                true => Fit::Right,
                false => Fit::Short(window.min(room)),
            }
        } else if time <= round_trip * 11 / 10 {
            Fit::Short((window / 3).min(room))
        } else if time >= round_trip * 6 / 5 {
            Fit::Large(GENEROUS.max(window - window / 8))
        } else {
            Fit::Right
        };
        if fit != Fit::Right && window >= GENEROUS / 2 {
            // What comes of it is seen one round trip later, and what is measured until then belongs to the old window.
            self.measure_from(now + round_trip);
        }
        fit
    }

    fn measure_from(&mut self, start: Instant) {
        self.measured = 0;
        self.measured_from = Some(start);
    }

    /// Makes the window smaller by what could be granted now, so that nothing is taken back of what was, but not smaller than
    /// `least`; by how much.
    pub(super) fn shrink(&mut self, least: u32) -> u32 {
        let bytes = self
            .grantable()
            .min(self.used_window().saturating_sub(least));
        self.window -= bytes;
        bytes
    }

    /// By how much a window grows at most while streams are held back.
    pub(super) fn careful_growth(&self) -> u32 {
        match self.used_window() {
            ..INITIAL_WINDOW => self.used_window() / 4,
            window => window,
        }
    }

    /// Makes the window larger.
    pub(super) fn grow(&mut self, bytes: u32) {
        self.window = self.window.saturating_add(bytes);
    }

    pub(super) fn window(&self) -> u32 {
        self.window
    }

    /// Bytes that lie unread.
    pub(super) fn unread(&self) -> usize {
        self.chunks.len()
    }

    /// What a window update now grants.
    pub(super) fn grant(&mut self) -> u32 {
        let bytes = self.grantable();
        self.credit += bytes;
        bytes
    }
}

impl Sending {
    /// Takes note of what the other end grants.
    pub(super) fn handle_credit(&mut self, credit: u32) {
        self.credit = self.credit.saturating_add(credit);
    }

    /// From now on leaves a part of the credit.
    pub(super) fn hold_back(&mut self) {
        self.is_held_back = true;
    }

    /// Bytes that may be queued now.
    pub(super) fn allowed(&self) -> u32 {
        match self.is_held_back {
            true => self.credit.saturating_sub(WITHHELD),
            false => self.credit,
        }
    }

    /// Takes `length` bytes of the credit; `None` if there are not so many. What is held back may be used by somebody who was allowed
    /// to before.
    pub(super) fn spend(&mut self, length: usize) -> Option<()> {
        let length = u32::try_from(length).ok()?;
        self.credit = self.credit.checked_sub(length)?;
        Some(())
    }

    /// Queues `chunk`.
    pub(super) fn push(&mut self, chunk: Bytes) {
        if self.chunks.is_empty() || chunk.len() >= KEPT_SENT {
            self.chunks.push(chunk);
        } else {
            self.chunks.push_copy(&chunk);
        }
    }

    pub(super) fn pop(&mut self, max: usize) -> Option<Bytes> {
        self.chunks.pop(max)
    }

    /// Whether what is queued next goes ahead of others' data.
    pub(super) fn is_express(&self) -> bool {
        self.first || self.first_bytes_left > 0
    }

    /// Drops what is queued and returns how much it was.
    pub(super) fn discard(&mut self) -> usize {
        self.chunks.clear()
    }

    /// Bytes that are queued.
    pub(super) fn queued(&self) -> usize {
        self.chunks.len()
    }

    /// Whether the FIN is the next thing to send.
    pub(super) fn is_fin_due(&self) -> bool {
        self.fin_wanted && !self.fin_sent && self.chunks.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_memory_is_tight_what_lies_unread_pins_no_more_than_it_is() {
        let slab = Bytes::from(vec![7; 2 * KEPT_RECEIVED]);
        let mut recv = State::incoming(1).recv;
        recv.push(slab.slice(..KEPT_RECEIVED), true);
        recv.push(slab.slice(..KEPT_RECEIVED), true);
        assert!(slab.is_unique());
        let mut taken = VecDeque::from([recv.pop().unwrap(), slab.slice(1..)]);
        recv.put_back(&mut taken, true);
        assert!(slab.is_unique());
        assert_eq!(recv.unread(), 4 * KEPT_RECEIVED - 1);
        // Otherwise nothing is copied.
        recv.push(slab.clone(), false);
        assert!(!slab.is_unique());
    }

    #[test]
    fn an_idle_stream_is_small() {
        let size = size_of::<State>();
        assert!(size <= 320, "{size}");
    }
}
