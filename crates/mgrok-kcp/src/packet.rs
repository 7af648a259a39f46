//! The layout of datagrams: the header of forward error correction, and segments.
//!
//! ```text
//! 4 LE  sequence number of the packet        |  absent in packets
//! 2 LE  0x00f1 data, 0x00f2 parity           |  without forward
//! 2 LE  length of what follows, plus 2       |  error correction
//!
//! segments, one or more:
//! 4 LE  conversation
//! 1     command: 81 push, 82 acknowledge, 83 ask for the window, 84 tell the window
//! 1     fragments that follow; always 0 in stream mode
//! 2 LE  free receive window, in segments
//! 4 LE  clock of the sender in ms; in an acknowledgement that of what is acknowledged
//! 4 LE  number of the segment
//! 4 LE  number of the next segment that the sender waits for
//! 4 LE  length of the payload
//! ```
//!
//! A parity packet has a code after its type, which covers data packets from their length on.

use bytes::Bytes;

/// Bytes before a datagram's segments.
pub const FEC_HEADER_SIZE: usize = 8;

/// Bytes before the part of a packet that the erasure code covers.
pub(crate) const SHARD_OFFSET: usize = 6;

/// Bytes before a segment's payload.
pub const SEGMENT_HEADER_SIZE: usize = 24;

/// Bytes of segments in one datagram, at most.
// frp: sets this on every session; kcp-go does not take its header off it.
pub const MAX_SEGMENTS_SIZE: usize = 1350;

/// Bytes of payload in one segment, at most.
pub const MAX_PAYLOAD: usize = MAX_SEGMENTS_SIZE - SEGMENT_HEADER_SIZE;

/// Bytes in a datagram that we send, at most.
pub const MAX_DATAGRAM: usize = FEC_HEADER_SIZE + MAX_SEGMENTS_SIZE;

/// The number of the segment by which an address is proved: the one before the first. Whoever receives it takes it for data that
/// arrived long ago, and so acknowledges it, with the timestamp that it carries, and hands nothing to its reader.
// kcp-go: acknowledges every segment below its window, also those before it (kcp.go#Input)
pub const CHALLENGE_NUMBER: u32 = u32::MAX;

/// The types of [`Packet`] with a header. They cannot be mistaken for what is in their place in
/// a packet without one: a command and a count of fragments.
const DATA: u16 = 0x00f1;
const PARITY: u16 = 0x00f2;

/// A datagram, after its first header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Packet {
    /// Segments that an erasure code covers. The shard is what is covered.
    Data { number: u32, shard: Bytes },
    /// A code.
    Parity { number: u32, shard: Bytes },
    /// Segments alone.
    Plain(Bytes),
}

impl Packet {
    /// Parses a datagram; `None` if it is none of ours. What a packet without a header holds is
    /// not looked at.
    pub(crate) fn parse(datagram: Bytes) -> Option<Self> {
        let number = u32_at(&datagram, 0)?;
        let kind = u16_at(&datagram, 4)?;
        match kind {
            DATA => {
                let shard = datagram.slice(SHARD_OFFSET..);
                (usize::from(u16_at(&shard, 0)?) == shard.len())
                    .then_some(Self::Data { number, shard })
            }
            PARITY => {
                let shard = datagram.slice(SHARD_OFFSET..);
                Some(Self::Parity { number, shard })
            }
            _ => Some(Self::Plain(datagram)),
        }
    }

    /// The segments of a datagram; `None` for parity.
    pub(crate) fn segments(datagram: &[u8]) -> Option<&[u8]> {
        match u16_at(datagram, 4)? {
            DATA => datagram.get(FEC_HEADER_SIZE..),
            PARITY => None,
            _ => Some(datagram),
        }
    }
}

/// Writes the header of a data packet into the first bytes of a complete datagram.
pub(crate) fn write_data_header(datagram: &mut [u8], number: u32) {
    let size = datagram.len() - SHARD_OFFSET;
    datagram[..4].copy_from_slice(&number.to_le_bytes());
    datagram[4..6].copy_from_slice(&DATA.to_le_bytes());
    datagram[6..8].copy_from_slice(&(size as u16).to_le_bytes());
}

/// Appends a parity packet.
pub(crate) fn write_parity(out: &mut Vec<u8>, number: u32, code: &[u8]) {
    out.extend_from_slice(&number.to_le_bytes());
    out.extend_from_slice(&PARITY.to_le_bytes());
    out.extend_from_slice(code);
}

/// What a segment is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Command {
    Push = 81,
    Acknowledge = 82,
    AskWindow = 83,
    TellWindow = 84,
}

/// The beginning of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) conversation: u32,
    pub(crate) command: Command,
    pub(crate) window: u16,
    pub(crate) timestamp: u32,
    pub(crate) number: u32,
    /// Everything before this number was received by the sender of the segment.
    pub(crate) next: u32,
    pub(crate) length: u32,
}

impl SegmentHeader {
    /// Parses the beginning of `segments`. `None` if it is too short, the command unknown or the
    /// payload incomplete.
    pub(crate) fn parse(segments: &[u8]) -> Option<Self> {
        let command = match segments.get(4)? {
            81 => Command::Push,
            82 => Command::Acknowledge,
            83 => Command::AskWindow,
            84 => Command::TellWindow,
            _ => return None,
        };
        let header = Self {
            conversation: u32_at(segments, 0)?,
            command,
            window: u16_at(segments, 6)?,
            timestamp: u32_at(segments, 8)?,
            number: u32_at(segments, 12)?,
            next: u32_at(segments, 16)?,
            length: u32_at(segments, 20)?,
        };
        let rest = segments.len() - SEGMENT_HEADER_SIZE;
        (header.length as usize <= rest).then_some(header)
    }

    /// Appends the header.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.conversation.to_le_bytes());
        out.extend_from_slice(&[self.command as u8, 0]);
        out.extend_from_slice(&self.window.to_le_bytes());
        out.extend_from_slice(&self.timestamp.to_le_bytes());
        out.extend_from_slice(&self.number.to_le_bytes());
        out.extend_from_slice(&self.next.to_le_bytes());
        out.extend_from_slice(&self.length.to_le_bytes());
    }
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let (bytes, _) = bytes.get(at..)?.split_first_chunk()?;
    Some(u16::from_le_bytes(*bytes))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let (bytes, _) = bytes.get(at..)?.split_first_chunk()?;
    Some(u32::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first datagram of a frp client, with another payload.
    const FIRST: &[u8] = b"\0\0\0\0\xf1\0\x1d\0\xea\xad\x95\xfc\x51\0\0\x02\x17\0\0\0\
                           \0\0\0\0\0\0\0\0\x03\0\0\0abc";

    #[test]
    fn the_first_datagram_of_a_client_has_its_golden_bytes() {
        let packet = Packet::parse(Bytes::from_static(FIRST)).unwrap();
        let shard = Bytes::from_static(&FIRST[6..]);
        assert_eq!(packet, Packet::Data { number: 0, shard });
        let header = SegmentHeader::parse(Packet::segments(FIRST).unwrap()).unwrap();
        assert_eq!(
            header,
            SegmentHeader {
                conversation: 0xfc95_adea,
                command: Command::Push,
                window: 512,
                timestamp: 23,
                number: 0,
                next: 0,
                length: 3,
            }
        );
        let mut datagram = vec![0; FEC_HEADER_SIZE];
        header.write(&mut datagram);
        datagram.extend_from_slice(b"abc");
        write_data_header(&mut datagram, 0);
        assert_eq!(datagram, FIRST);
    }

    #[test]
    fn parity_and_plain_packets_are_told_apart() {
        let mut datagram = Vec::new();
        write_parity(&mut datagram, 10, b"code");
        assert_eq!(datagram, b"\x0a\0\0\0\xf2\0code");
        assert_eq!(Packet::segments(&datagram), None);
        let parsed = Packet::parse(datagram.into());
        let shard = Bytes::from_static(b"code");
        assert_eq!(parsed, Some(Packet::Parity { number: 10, shard }));
        let plain = &FIRST[FEC_HEADER_SIZE..];
        assert_eq!(Packet::segments(plain), Some(plain));
        let plain = Bytes::from_static(plain);
        assert_eq!(Packet::parse(plain.clone()), Some(Packet::Plain(plain)));
    }

    #[test]
    fn what_is_cut_short_or_lies_about_its_length_is_refused() {
        for end in 0..FIRST.len() {
            let datagram = Bytes::from_static(&FIRST[..end]);
            assert!(!matches!(
                Packet::parse(datagram),
                Some(Packet::Data { .. })
            ));
            let segments = FIRST[..end].get(FEC_HEADER_SIZE..).unwrap_or_default();
            assert_eq!(SegmentHeader::parse(segments), None);
        }
    }
}
