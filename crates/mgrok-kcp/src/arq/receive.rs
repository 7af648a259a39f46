//! What was received: segments until they are in order and read, and what is to be acknowledged.

use std::collections::VecDeque;

use bytes::Bytes;

use super::{ACKS_PER_DATAGRAM, KEPT_ROOM, diff};

/// Acknowledgements that wait to be sent; beyond, the oldest is dropped.
const MAX_ACKS: usize = 4 * ACKS_PER_DATAGRAM;

#[derive(Debug)]
pub(super) struct Receiver {
    pub(super) window: u16,
    /// Number of the next segment in order.
    pub(super) next: u32,
    /// Segments that came too early; the first one would have the number `next`.
    pub(super) early: VecDeque<Option<Bytes>>,
    /// Payloads in order, not empty, at most `window`.
    pub(super) ready: VecDeque<Bytes>,
    /// Numbers and timestamps to acknowledge.
    pub(super) acks: VecDeque<(u32, u32)>,
}

impl Receiver {
    /// Segments that there is room for.
    pub(super) fn free(&self) -> u16 {
        self.window - self.ready.len() as u16
    }

    /// Takes a segment in, unless it is beyond what we had room for; then returns false. Reading
    /// moves that limit up and nothing moves it down, so it is never less than was told.
    pub(super) fn push(&mut self, number: u32, timestamp: u32, payload: Bytes) -> bool {
        let at = diff(number, self.next);
        if at >= i32::from(self.free()) {
            return false;
        }
        self.push_ack(number, timestamp);
        let Ok(at) = usize::try_from(at) else {
            return true;
        };
        if self.early.len() <= at {
            self.early.resize(at + 1, None);
        }
        self.early[at].get_or_insert(payload);
        while let Some(payload) = self.early.front_mut().and_then(Option::take) {
            self.early.pop_front();
            self.next = self.next.wrapping_add(1);
            if !payload.is_empty() {
                self.ready.push_back(payload);
            }
        }
        true
    }

    /// Gives memory back that nothing is in.
    pub(super) fn release(&mut self) {
        self.early.shrink_to(KEPT_ROOM);
        self.ready.shrink_to(KEPT_ROOM);
        self.acks.shrink_to(KEPT_ROOM);
    }

    fn push_ack(&mut self, number: u32, timestamp: u32) {
        if self.acks.len() >= MAX_ACKS {
            self.acks.pop_front();
        }
        self.acks.push_back((number, timestamp));
    }

    /// Every segment says up to which number all have arrived. So only what is beyond is
    /// acknowledged by itself, and the last one for the sake of its timestamp.
    pub(super) fn forget_implied_acks(&mut self) {
        let last = self.acks.pop_back();
        let next = self.next;
        self.acks.retain(|&(number, _)| diff(number, next) >= 0);
        self.acks.extend(last);
    }
}
