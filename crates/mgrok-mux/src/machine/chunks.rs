//! A queue of byte slices that bounds the memory it pins.
//!
//! A small slice can keep a whole slab from being used again. So slices below a size that the
//! queue's owner chooses are copied together into a tail of the queue's own; larger ones are
//! kept as they are. The memory behind a queue is then at most its length times slab size over
//! that size, plus one slab.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// A tail of this size is closed and a new one begun, in bytes.
const MAX_TAIL: usize = 16 * 1024;

/// A queue that had room for more slices than this gives the room back when it is empty.
const MAX_IDLE_ROOM: usize = 16;

/// Bytes in order, in slices. A queue of one slice, as most that are not empty are, takes no memory for it, so an idle stream that has
/// carried small messages keeps none.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    /// Empty only if nothing is queued.
    first: Bytes,
    rest: Option<Box<Rest>>,
    len: usize,
}

/// What follows the first slice.
#[derive(Debug, Default)]
struct Rest {
    slices: VecDeque<Bytes>,
    /// Follows `slices`.
    tail: BytesMut,
}

impl Chunks {
    /// Adds `slice` as it is.
    pub(super) fn push(&mut self, slice: Bytes) {
        self.len += slice.len();
        if self.first.is_empty() {
            self.first = slice;
            return;
        }
        let rest = self.rest.get_or_insert_default();
        rest.close_tail();
        rest.slices.push_back(slice);
    }

    /// Adds a copy of `slice`.
    pub(super) fn push_copy(&mut self, slice: &[u8]) {
        self.len += slice.len();
        if self.first.is_empty() {
            self.first = Bytes::copy_from_slice(slice);
            return;
        }
        let rest = self.rest.get_or_insert_default();
        rest.tail.extend_from_slice(slice);
        if rest.tail.len() >= MAX_TAIL {
            rest.close_tail();
        }
    }

    /// Takes `slices` back, which came from the front.
    pub(super) fn put_back(&mut self, slices: &mut VecDeque<Bytes>) {
        while let Some(slice) = slices.pop_back() {
            if slice.is_empty() {
                continue;
            }
            self.len += slice.len();
            let second = std::mem::replace(&mut self.first, slice);
            if !second.is_empty() {
                let rest = self.rest.get_or_insert_default();
                rest.slices.push_front(second);
            }
        }
    }

    /// Takes the first slice, but at most `max` bytes of it.
    pub(super) fn pop(&mut self, max: usize) -> Option<Bytes> {
        if self.is_empty() {
            return None;
        }
        let slice = if self.first.len() > max {
            self.first.split_to(max)
        } else {
            let next = self.rest.as_mut().and_then(|rest| rest.pop());
            std::mem::replace(&mut self.first, next.unwrap_or_default())
        };
        self.len -= slice.len();
        let room = self.rest.as_ref().map_or(0, |rest| rest.slices.capacity());
        if self.is_empty() && room > MAX_IDLE_ROOM {
            self.rest = None;
        }
        Some(slice)
    }

    /// Drops everything and returns how much it was.
    pub(super) fn clear(&mut self) -> usize {
        std::mem::take(self).len
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl Rest {
    fn pop(&mut self) -> Option<Bytes> {
        if self.slices.is_empty() {
            self.close_tail();
        }
        self.slices.pop_front()
    }

    fn close_tail(&mut self) {
        if !self.tail.is_empty() {
            self.slices
                .push_back(std::mem::take(&mut self.tail).freeze());
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Buf;

    use super::*;

    #[test]
    fn keeps_the_order_of_slices_and_copies() {
        let mut chunks = Chunks::default();
        chunks.push_copy(b"ab");
        chunks.push(Bytes::from_static(b"cde"));
        chunks.push_copy(b"f");
        chunks.push_copy(b"g");
        assert_eq!(chunks.len(), 7);
        let mut all = Vec::new();
        while let Some(slice) = chunks.pop(2) {
            assert!(slice.len() <= 2);
            all.extend_from_slice(&slice);
        }
        assert_eq!(all, b"abcdefg");
        assert!(chunks.is_empty());
    }

    #[test]
    fn what_is_put_back_comes_first() {
        let mut chunks = Chunks::default();
        for slice in ["ab", "cd", "ef"] {
            chunks.push(Bytes::from_static(slice.as_bytes()));
        }
        chunks.push_copy(b"gh");
        let mut taken: VecDeque<_> = (0..2).filter_map(|_| chunks.pop(usize::MAX)).collect();
        taken[0].advance(1);
        chunks.put_back(&mut taken);
        assert_eq!((chunks.len(), taken.len()), (7, 0));
        let mut all = Vec::new();
        while let Some(slice) = chunks.pop(usize::MAX) {
            all.extend_from_slice(&slice);
            if all == b"bcdefgh" {
                let mut last = VecDeque::from([slice]);
                chunks.put_back(&mut last);
                assert_eq!(chunks.pop(usize::MAX).unwrap(), "gh");
            }
        }
        assert_eq!(all, b"bcdefgh");
        assert!(chunks.is_empty());
    }

    #[test]
    fn copies_pin_little_more_than_they_hold() {
        let mut chunks = Chunks::default();
        let slab = Bytes::from(vec![7; 128 * 1024]);
        for at in 0..1000 {
            chunks.push_copy(&slab[at..at + 100]);
        }
        assert!(slab.is_unique());
        let rest = chunks.rest.as_ref().unwrap();
        assert!(rest.slices.len() <= 100_000 / MAX_TAIL + 1);
        assert_eq!(chunks.clear(), 100_000);
        assert!(chunks.is_empty());
    }
    #[test]
    fn one_slice_at_a_time_takes_no_memory() {
        let mut chunks = Chunks::default();
        for _ in 0..3 {
            chunks.push(Bytes::from_static(b"small"));
            assert_eq!(chunks.pop(usize::MAX).unwrap(), "small");
            assert!(chunks.pop(usize::MAX).is_none());
        }
        assert!(chunks.rest.is_none());
    }

    #[test]
    fn the_room_of_a_long_queue_is_given_back() {
        let mut chunks = Chunks::default();
        for _ in 0..=2 * MAX_IDLE_ROOM {
            chunks.push(Bytes::from_static(b"x"));
        }
        while chunks.pop(usize::MAX).is_some() {}
        assert!(chunks.rest.is_none());
    }
}
