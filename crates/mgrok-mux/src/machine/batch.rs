//! Frames on their way to the connection, in a form that one vectored write takes.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes};

use crate::frame::{HEADER_LEN, Header};

/// The most bytes of a batch: enough to make the cost of a write small, little enough for a pong to be sent soon. A batch that
/// is full is a number of full records of TLS.
const FULL_BYTES: usize = 256 * 1024;

/// A batch with less room than this is full, in bytes: a smaller body is not worth its header.
const MIN_ROOM: usize = 1024;

/// As much as that, if the connection takes less than it is offered: what is in a batch goes ahead of all that comes later.
const FULL_BYTES_WHEN_SLOW: usize = 64 * 1024;

/// A batch takes no further frame once it has this many segments.
const FULL_SEGMENTS: usize = 60;

/// A batch takes no further frame once it has copied this many bytes.
const FULL_COPIED: usize = 64 * 1024;

/// Bodies up to this size are copied next to their header if the connection takes vectored
/// writes: a slice more costs about as much as copying so many bytes.
const COPIED_BODY: usize = 1024;

/// An empty batch keeps a copy buffer up to this size.
const KEPT_COPY_BUFFER: usize = 4 * 1024;

/// Frames on their way to the connection.
#[derive(Debug)]
pub struct Batch {
    /// Whether bodies are handed to the connection where they lie.
    vectored: bool,
    segments: VecDeque<Segment>,
    /// Headers and small bodies; the copied segments are consecutive parts of it.
    copied: Vec<u8>,
    /// Bytes of `copied` that have been written.
    copied_done: usize,
    len: usize,
    full_bytes: usize,
}

#[derive(Debug)]
enum Segment {
    Body(Bytes),
    /// So many bytes of the copy buffer.
    Copied(usize),
}

impl Batch {
    /// An empty batch for a connection that takes vectored writes, or one that does not.
    pub fn new(vectored: bool) -> Self {
        Self {
            vectored,
            segments: VecDeque::new(),
            copied: Vec::new(),
            copied_done: 0,
            len: 0,
            full_bytes: FULL_BYTES,
        }
    }

    /// Whether the connection takes less than it is offered, so that what is in a batch waits.
    pub fn set_slow(&mut self, is_slow: bool) {
        self.full_bytes = if is_slow {
            FULL_BYTES_WHEN_SLOW
        } else {
            FULL_BYTES
        };
    }

    /// Takes note that the first `count` bytes have been written.
    pub fn advance(&mut self, mut count: usize) {
        self.len = self.len.saturating_sub(count);
        while count > 0
            && let Some(segment) = self.segments.front_mut()
        {
            let done = match segment {
                Segment::Body(body) => {
                    let done = count.min(body.len());
                    body.advance(done);
                    (done, body.is_empty())
                }
                Segment::Copied(left) => {
                    let done = count.min(*left);
                    *left -= done;
                    self.copied_done += done;
                    (done, *left == 0)
                }
            };
            count -= done.0;
            if done.1 {
                self.segments.pop_front();
            }
        }
        if self.segments.is_empty() {
            self.copied.clear();
            self.copied_done = 0;
        }
    }

    /// Gives back memory that an idle session does not need.
    pub fn release(&mut self) {
        if self.is_empty() {
            self.copied.shrink_to(KEPT_COPY_BUFFER);
        }
    }

    /// Points `slices` at the bytes that are to be written, as far as they reach, and returns
    /// how many are used.
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut at = self.copied_done;
        let mut used = 0;
        for (slice, segment) in slices.iter_mut().zip(&self.segments) {
            let bytes = match segment {
                Segment::Body(body) => body,
                Segment::Copied(length) => {
                    let bytes = &self.copied[at..at + length];
                    at += length;
                    bytes
                }
            };
            *slice = IoSlice::new(bytes);
            used += 1;
        }
        used
    }

    /// The bytes that are to be written, as far as they lie together.
    pub fn first(&self) -> &[u8] {
        match self.segments.front() {
            Some(Segment::Body(body)) => body,
            Some(Segment::Copied(length)) => &self.copied[self.copied_done..][..*length],
            None => &[],
        }
    }

    /// Bytes that are to be written.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether everything has been written.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn is_full(&self) -> bool {
        self.len + MIN_ROOM > self.full_bytes
            || self.segments.len() >= FULL_SEGMENTS
            || self.copied.len() >= FULL_COPIED
    }

    /// Bytes of a frame's body for which there is room. At least one: a batch that is not full has room for a frame.
    pub(super) fn room_for_body(&self) -> usize {
        let used = self.len + HEADER_LEN;
        self.full_bytes.saturating_sub(used).max(1)
    }

    pub(super) fn push_header(&mut self, header: Header) {
        self.copy(&header.encode());
    }

    pub(super) fn push_body(&mut self, body: Bytes) {
        if body.len() <= COPIED_BODY || !self.vectored {
            self.copy(&body);
        } else {
            self.len += body.len();
            self.segments.push_back(Segment::Body(body));
        }
    }

    fn copy(&mut self, bytes: &[u8]) {
        self.copied.extend_from_slice(bytes);
        self.len += bytes.len();
        if let Some(Segment::Copied(length)) = self.segments.back_mut() {
            *length += bytes.len();
        } else {
            self.segments.push_back(Segment::Copied(bytes.len()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(batch: &mut Batch, step: usize) -> Vec<u8> {
        let mut out = Vec::new();
        while !batch.is_empty() {
            let mut slices = [IoSlice::new(&[]); 3];
            let used = batch.slices(&mut slices);
            let all: Vec<u8> = slices[..used]
                .iter()
                .flat_map(|it| it.iter().copied())
                .collect();
            assert!(all.starts_with(batch.first()));
            let count = step.min(all.len());
            out.extend_from_slice(&all[..count]);
            batch.advance(count);
        }
        assert!(batch.first().is_empty());
        out
    }

    #[test]
    fn comes_out_as_it_went_in_whatever_is_written_at_a_time() {
        let large = Bytes::from(vec![5; 3000]);
        for vectored in [true, false] {
            for step in [1, 7, 12, 1000, 1 << 20] {
                let mut batch = Batch::new(vectored);
                let mut expect = Vec::new();
                for id in [1, 3] {
                    for body in [Bytes::from_static(b"small"), large.clone(), Bytes::new()] {
                        let header = Header::data(id, body.len() as u32);
                        expect.extend_from_slice(&header.encode());
                        expect.extend_from_slice(&body);
                        batch.push_header(header);
                        batch.push_body(body);
                    }
                }
                assert_eq!(batch.len(), expect.len());
                assert_eq!(batch.segments.len(), if vectored { 5 } else { 1 });
                assert_eq!(written(&mut batch, step), expect);
            }
        }
    }
}
