//! What the session knows of one stream.

use std::task::Waker;
use std::time::{Duration, Instant};

use bytes::Bytes;

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

/// Up to this size a window grows generously, in bytes: as long as it is read within four of the shortest round trips, because on
/// many paths most take a multiple of the shortest.
// frp: the window of every stream from its start on (client/connector.go)
const GENEROUS: u32 = 6 * 1024 * 1024;

/// A window shrinks no further than this, in bytes: less is not worth the stalls.
const KEPT_WINDOW: u32 = 4 * INITIAL_WINDOW;

/// A window is too large if reading it takes longer than this, and longer than sixteen round trips.
const SLOW: Duration = Duration::from_millis(200);

/// How well a stream's window fits its path and its reader.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Fit {
    /// It is what limits the speed.
    Short,
    /// It is right, or that is not known yet.
    Right,
    /// It promises many times what the path carries in a round trip, or its reader takes.
    Large,
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
    pub(super) update_due: bool,
    pub(super) fin: bool,
    pub(super) waker: Option<Waker>,
}

/// The direction from us.
#[derive(Debug)]
pub(super) struct Sending {
    chunks: Chunks,
    /// Bytes that may still be queued before the other end grants more.
    pub(super) credit: u32,
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
                update_due: false,
                fin: false,
                waker: None,
            },
            send: Sending {
                chunks: Chunks::default(),
                credit: INITIAL_WINDOW,
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
        self.syn_due || self.ack_due || self.recv.update_due || self.send.is_fin_due()
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

    /// Adds a piece of a frame's body.
    pub(super) fn push(&mut self, piece: Bytes) {
        self.spend(piece.len());
        let reader_waits = self.waker.is_some() && self.chunks.is_empty();
        if reader_waits || piece.len() >= KEPT_RECEIVED {
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

    /// Drops what lies unread.
    pub(super) fn discard(&mut self) {
        self.chunks.clear();
        self.note_consumed();
    }

    /// Asks for a window update if it is worth one: half of the initial window, or an eighth of one that has grown. Credit that
    /// leaves early keeps a sender far away from running out of it, and has it send evenly.
    pub(super) fn note_consumed(&mut self) {
        if !self.fin && self.grantable() >= (self.window / 8).max(INITIAL_WINDOW / 2) {
            self.update_due = true;
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
        self.measured = self.measured.saturating_add(self.grantable());
        let (Some(from), Some(round_trip)) = (self.measured_from, round_trip) else {
            self.measure_anew(now);
            return Fit::Right;
        };
        let elapsed = now.saturating_duration_since(from);
        let is_read = self.measured >= self.window;
        let takes_long = elapsed > SLOW.max(round_trip * 16);
        if !is_read && !takes_long {
            return Fit::Right;
        }
        self.measure_anew(now);
        let short_time = if self.window < GENEROUS {
            round_trip * 4
        } else {
            round_trip * 3 / 2
        };
        let fast_path = FAST_ENOUGH.saturating_mul(round_trip.as_micros()) / 1_000_000;
        if !is_read {
            Fit::Large
        } else if elapsed <= short_time && u128::from(self.window) < fast_path {
            Fit::Short
        } else {
            Fit::Right
        }
    }

    fn measure_anew(&mut self, now: Instant) {
        self.measured = 0;
        self.measured_from = Some(now);
    }

    /// Makes the window smaller by what could be granted now, so that nothing is taken back of what was; by how much.
    pub(super) fn shrink(&mut self) -> u32 {
        let bytes = self
            .grantable()
            .min(self.window.saturating_sub(KEPT_WINDOW));
        self.window -= bytes;
        bytes
    }

    /// By how much a short window grows if nothing speaks against it: to the double, but with more care once it is large.
    pub(super) fn growth(&self) -> u32 {
        if self.window < GENEROUS {
            self.window
        } else {
            self.window / 2
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
    fn an_idle_stream_is_small() {
        let size = size_of::<State>();
        assert!(size <= 320, "{size}");
    }
}
