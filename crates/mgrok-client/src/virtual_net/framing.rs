//! Packets on a connection: each behind its length, four bytes, the lowest first.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// How long a length is.
pub(super) const HEADER: usize = 4;

/// The greatest length that is no mistake.
// frp: the same (pkg/vnet/message.go)
const MAX_LENGTH: usize = 1024 * 1024;

/// The longest packet that there can be: IPv6's, without jumbograms. What is longer is left out.
const MAX_PACKET: usize = 40 + 65_535;

/// Why a connection is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FrameError {
    #[error("a packet has no length")]
    Empty,
    #[error("a packet has a length of {0} bytes, more than {MAX_LENGTH}")]
    TooLong(usize),
}

/// Writes `packet`, which is not empty and no longer than a packet can be.
pub(super) fn put(packet: &[u8], out: &mut BytesMut) {
    // A packet is far shorter than 4 GiB.
    out.put_u32_le(packet.len() as u32);
    out.extend_from_slice(packet);
}

/// Takes packets out of the chunks that a connection brings.
#[derive(Debug, Default)]
pub(super) struct Deframer {
    /// The beginning of a packet whose end has not come yet, with its length.
    partial: Vec<u8>,
    /// How much is left of a packet that is too long.
    skip: usize,
}

impl Deframer {
    /// Takes all of `chunk`, and hands every packet that it completes to `packet`; `None` stands for one that is too long.
    pub(super) fn feed(
        &mut self,
        chunk: &mut Bytes,
        mut packet: impl FnMut(Option<&[u8]>),
    ) -> Result<(), FrameError> {
        while !chunk.is_empty() {
            if self.skip > 0 {
                let skipped = self.skip.min(chunk.len());
                self.skip -= skipped;
                chunk.advance(skipped);
            } else if !self.partial.is_empty() {
                self.complete(chunk, &mut packet)?;
            } else {
                let Some(header) = chunk.first_chunk() else {
                    self.partial.extend_from_slice(chunk);
                    chunk.clear();
                    break;
                };
                let length = length(header)?;
                if length > MAX_PACKET {
                    chunk.advance(HEADER);
                    self.skip = length;
                    packet(None);
                } else if let Some(whole) = chunk.get(HEADER..HEADER + length) {
                    packet(Some(whole));
                    chunk.advance(HEADER + length);
                } else {
                    self.partial.extend_from_slice(chunk);
                    chunk.clear();
                }
            }
        }
        Ok(())
    }

    /// Goes on with the packet that has begun.
    fn complete(
        &mut self,
        chunk: &mut Bytes,
        packet: &mut impl FnMut(Option<&[u8]>),
    ) -> Result<(), FrameError> {
        self.take(chunk, HEADER);
        let Some(header) = self.partial.first_chunk() else {
            return Ok(());
        };
        let length = length(header)?;
        if length > MAX_PACKET {
            self.partial.clear();
            self.skip = length;
            packet(None);
            return Ok(());
        }
        self.take(chunk, HEADER + length);
        if self.partial.len() == HEADER + length {
            packet(self.partial.get(HEADER..));
            self.partial.clear();
        }
        Ok(())
    }

    /// Takes as much of `chunk` as makes this many bytes of the packet.
    fn take(&mut self, chunk: &mut Bytes, wanted: usize) {
        let missing = wanted.saturating_sub(self.partial.len());
        let taken = missing.min(chunk.len());
        self.partial.extend_from_slice(&chunk[..taken]);
        chunk.advance(taken);
    }
}

fn length(header: &[u8; HEADER]) -> Result<usize, FrameError> {
    match u32::from_le_bytes(*header) as usize {
        0 => Err(FrameError::Empty),
        length if length > MAX_LENGTH => Err(FrameError::TooLong(length)),
        length => Ok(length),
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn feed(deframer: &mut Deframer, bytes: &[u8]) -> Result<Vec<Option<Vec<u8>>>, FrameError> {
        let mut packets = Vec::new();
        let mut chunk = Bytes::copy_from_slice(bytes);
        deframer.feed(&mut chunk, |packet| {
            packets.push(packet.map(<[u8]>::to_vec));
        })?;
        assert!(chunk.is_empty());
        Ok(packets)
    }

    #[test]
    fn a_packet_stands_behind_its_length() {
        let mut out = BytesMut::new();
        put(&[0x45, 0, 0, 4], &mut out);
        assert_eq!(out[..], [4, 0, 0, 0, 0x45, 0, 0, 4]);
        let packets = feed(&mut Deframer::default(), &out).unwrap();
        assert_eq!(packets, [Some(vec![0x45, 0, 0, 4])]);
    }

    #[test]
    fn lengths_that_are_none_end_the_connection() {
        let mut bytes = [0; HEADER];
        assert_eq!(
            feed(&mut Deframer::default(), &bytes),
            Err(FrameError::Empty)
        );
        for length in [MAX_LENGTH as u32 + 1, u32::MAX] {
            bytes = length.to_le_bytes();
            let error = FrameError::TooLong(length as usize);
            assert_eq!(feed(&mut Deframer::default(), &bytes), Err(error));
            let mut deframer = Deframer::default();
            assert_eq!(feed(&mut deframer, &bytes[..3]), Ok(vec![]));
            assert_eq!(feed(&mut deframer, &bytes[3..]), Err(error));
        }
    }

    #[test]
    fn what_is_no_packet_is_passed_over_without_being_kept() {
        let mut bytes = (MAX_LENGTH as u32).to_le_bytes().to_vec();
        bytes.resize(HEADER + MAX_LENGTH, 1);
        bytes.extend([1, 0, 0, 0, 7]);
        for piece in [3, 1000, bytes.len()] {
            let mut deframer = Deframer::default();
            let mut packets = Vec::new();
            for piece in bytes.chunks(piece) {
                packets.extend(feed(&mut deframer, piece).unwrap());
                assert!(deframer.partial.capacity() <= MAX_PACKET);
            }
            assert_eq!(packets, [None, Some(vec![7])]);
        }
    }

    proptest! {
        #[test]
        fn packets_come_out_however_chunks_are_cut(
            packets in vec(vec(any::<u8>(), 1..40), 0..10),
            cuts in vec(1..50_usize, 1..10),
        ) {
            let mut out = BytesMut::new();
            for packet in &packets {
                put(packet, &mut out);
            }
            let (mut deframer, mut found, mut at) = (Deframer::default(), Vec::new(), 0);
            for cut in cuts.iter().cycle() {
                if at == out.len() {
                    break;
                }
                let end = (at + cut).min(out.len());
                found.extend(feed(&mut deframer, &out[at..end]).unwrap());
                at = end;
            }
            let packets: Vec<_> = packets.into_iter().map(Some).collect();
            prop_assert_eq!(found, packets);
        }
    }
}
