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

/// Bytes in order, in slices.
#[derive(Debug, Default)]
pub(super) struct Chunks {
    slices: VecDeque<Bytes>,
    /// Follows `slices`.
    tail: BytesMut,
    len: usize,
}

impl Chunks {
    /// Adds `slice` as it is.
    pub(super) fn push(&mut self, slice: Bytes) {
        self.close_tail();
        self.len += slice.len();
        self.slices.push_back(slice);
    }

    /// Adds a copy of `slice`.
    pub(super) fn push_copy(&mut self, slice: &[u8]) {
        self.len += slice.len();
        self.tail.extend_from_slice(slice);
        if self.tail.len() >= MAX_TAIL {
            self.close_tail();
        }
    }

    /// Takes the first slice, but at most `max` bytes of it.
    pub(super) fn pop(&mut self, max: usize) -> Option<Bytes> {
        if self.slices.is_empty() {
            self.close_tail();
        }
        let first = self.slices.front_mut()?;
        let slice = if first.len() > max {
            first.split_to(max)
        } else {
            self.slices.pop_front()?
        };
        self.len -= slice.len();
        if self.len == 0 && self.slices.capacity() > MAX_IDLE_ROOM {
            self.slices = VecDeque::new();
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

    fn close_tail(&mut self) {
        if !self.tail.is_empty() {
            self.slices
                .push_back(std::mem::take(&mut self.tail).freeze());
        }
    }
}

#[cfg(test)]
mod tests {
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
    fn copies_pin_little_more_than_they_hold() {
        let mut chunks = Chunks::default();
        let slab = Bytes::from(vec![7; 128 * 1024]);
        for at in 0..1000 {
            chunks.push_copy(&slab[at..at + 100]);
        }
        assert!(slab.is_unique());
        assert!(chunks.slices.len() <= 100_000 / MAX_TAIL + 1);
        assert_eq!(chunks.clear(), 100_000);
        assert!(chunks.is_empty());
    }
}
