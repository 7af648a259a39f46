//! Buffers for received datagrams, used again when nobody holds a slice of them.
//!
//! Each holds one datagram: a slice that is kept for long pins no more than that.

use std::collections::VecDeque;

use bytes::BytesMut;

/// Room for one datagram: more than any that we take, so that longer ones are seen to be cut.
pub(crate) const BUFFER_SIZE: usize = 2048;

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
    /// An empty buffer with room for [`BUFFER_SIZE`] bytes.
    pub(crate) fn take(&mut self) -> BytesMut {
        for _ in 0..self.kept.len().min(MAX_LOOKED_AT) {
            let Some(mut buffer) = self.kept.pop_front() else {
                break;
            };
            if buffer.try_reclaim(BUFFER_SIZE) {
                return buffer;
            }
            self.kept.push_back(buffer);
        }
        BytesMut::with_capacity(BUFFER_SIZE)
    }

    /// Keeps a buffer, of which slices may be in use, for later.
    pub(crate) fn give_back(&mut self, mut buffer: BytesMut) {
        buffer.clear();
        if self.kept.len() < MAX_KEPT {
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
        let mut buffers = Buffers::default();
        let fill = |buffers: &mut Buffers| {
            let mut buffer = buffers.take();
            assert!(buffer.is_empty() && buffer.capacity() >= BUFFER_SIZE);
            buffer.extend_from_slice(&[7; 100]);
            let slice = buffer.split().freeze();
            buffers.give_back(buffer);
            slice
        };
        let first = fill(&mut buffers);
        let second = fill(&mut buffers);
        assert_ne!(first.as_ptr(), second.as_ptr());
        let freed = first.as_ptr();
        drop(first);
        assert_eq!(fill(&mut buffers).as_ptr(), freed);
        assert_eq!(second, [7; 100][..]);
    }
}
