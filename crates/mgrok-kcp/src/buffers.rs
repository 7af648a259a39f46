//! Buffers for received datagrams, used again when nobody holds a slice of them.
//!
//! Each holds one datagram: a slice that is kept for long pins no more than that.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use crate::socket::MAX_RECEIVED;

/// Buffers kept while slices of them are in use (512 KiB).
const MAX_KEPT: usize = 256;

/// Kept buffers that are looked at for one that is free again.
const MAX_LOOKED_AT: usize = 4;

/// The buffers of one socket.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    /// In the order of their use: the first is most likely free.
    kept: VecDeque<BytesMut>,
}

impl Buffers {
    /// A copy of a datagram, of at most [`MAX_RECEIVED`] bytes.
    pub(crate) fn copy(&mut self, datagram: &[u8]) -> Bytes {
        let mut buffer = self.take();
        buffer.extend_from_slice(datagram);
        let copy = buffer.split().freeze();
        if self.kept.len() < MAX_KEPT {
            self.kept.push_back(buffer);
        }
        copy
    }

    /// An empty buffer.
    fn take(&mut self) -> BytesMut {
        for _ in 0..self.kept.len().min(MAX_LOOKED_AT) {
            let Some(mut buffer) = self.kept.pop_front() else {
                break;
            };
            if buffer.try_reclaim(MAX_RECEIVED) {
                return buffer;
            }
            self.kept.push_back(buffer);
        }
        BytesMut::with_capacity(MAX_RECEIVED)
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
        let mut buffers = Buffers::default();
        let first = buffers.copy(&[7; 100]);
        let second = buffers.copy(&[7; 100]);
        assert_ne!(first.as_ptr(), second.as_ptr());
        let freed = first.as_ptr();
        drop(first);
        assert_eq!(buffers.copy(&[1; 1400]).as_ptr(), freed);
        assert_eq!(second, [7; 100][..]);
    }
}
