//! Buffers that are used again when nobody holds a slice of them.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// Kept buffers that are looked at for one that is free again.
const MAX_LOOKED_AT: usize = 4;

/// Buffers of one size.
#[derive(Debug)]
pub(crate) struct Buffers {
    /// Bytes of each.
    size: usize,
    /// Buffers that are kept at a time; more may be in use.
    most: usize,
    /// In the order of their use: the first is most likely free.
    kept: VecDeque<BytesMut>,
}

impl Buffers {
    /// None yet. Of those that are given back at most `most` are kept.
    pub(crate) fn new(size: usize, most: usize) -> Self {
        Self {
            size,
            most,
            kept: VecDeque::new(),
        }
    }

    /// A copy of `data`, in a buffer of its own: a slice that is kept for long pins no other.
    pub(crate) fn copy(&mut self, data: &[u8]) -> Bytes {
        let mut buffer = self.take();
        buffer.extend_from_slice(data);
        let copy = buffer.split().freeze();
        self.give(buffer);
        copy
    }

    /// An empty buffer with room for the size.
    pub(crate) fn take(&mut self) -> BytesMut {
        for _ in 0..self.kept.len().min(MAX_LOOKED_AT) {
            let Some(mut buffer) = self.kept.pop_front() else {
                break;
            };
            if buffer.try_reclaim(self.size) {
                return buffer;
            }
            self.kept.push_back(buffer);
        }
        BytesMut::with_capacity(self.size)
    }

    /// Takes what is left of a buffer back. What was split off may still be in use.
    pub(crate) fn give(&mut self, buffer: BytesMut) {
        if self.kept.len() < self.most {
            self.kept.push_back(buffer);
        }
    }

    /// Gives memory back.
    pub(crate) fn shrink(&mut self) {
        self.kept = VecDeque::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_used_again_once_its_slices_are_gone() {
        let mut buffers = Buffers::new(2048, 256);
        let first = buffers.copy(&[7; 100]);
        let second = buffers.copy(&[7; 100]);
        assert_ne!(first.as_ptr(), second.as_ptr());
        let freed = first.as_ptr();
        drop(first);
        assert_eq!(buffers.copy(&[1; 2048]).as_ptr(), freed);
        assert_eq!(second, [7; 100][..]);
    }

    #[test]
    fn no_more_buffers_are_kept_than_were_allowed() {
        let mut buffers = Buffers::new(64, 3);
        let _in_use: Vec<_> = (0..9).map(|_| buffers.copy(b"abc")).collect();
        assert_eq!(buffers.kept.len(), 3);
    }
}
