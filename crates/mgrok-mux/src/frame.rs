//! The twelve bytes in front of every frame.
//!
//! Big endian: `u8 version = 0, u8 type, u16 flags, u32 stream, u32 length`. Only data frames
//! have a body; the others use the length as a value.

use crate::error::ProtocolError;

/// Bytes of a frame's header.
pub const HEADER_LEN: usize = 12;

/// What each direction of a new stream may send before it hears from the other end, in bytes.
pub const INITIAL_WINDOW: u32 = 256 * 1024;

/// The frame opens a stream, or asks for a pong.
pub const SYN: u16 = 1;
/// The frame accepts a stream, or is a pong.
pub const ACK: u16 = 2;
/// The sender of the frame will send no more data on the stream.
pub const FIN: u16 = 4;
/// The stream ends at once, in both directions.
pub const RST: u16 = 8;

/// Go-away code: nothing is wrong, there will just be no new streams.
pub const GO_AWAY_NORMAL: u32 = 0;
/// Go-away code: the receiver of the frame broke the protocol.
pub const GO_AWAY_PROTOCOL: u32 = 1;

/// What a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Bytes of a stream.
    Data,
    /// The session takes no new streams; the length is the reason.
    GoAway,
    /// A question for a sign of life, or its answer; the length is the same in both.
    Ping,
    /// The length is what the receiver of the frame may send in addition on the stream.
    WindowUpdate,
}

/// A frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the frame is for.
    pub kind: Kind,
    /// Any of [`SYN`], [`ACK`], [`FIN`], [`RST`].
    pub flags: u16,
    /// The stream's id; 0 for frames that concern the session.
    pub stream: u32,
    /// Bytes of the body, or the frame's value.
    pub length: u32,
}

impl Header {
    /// The header of a data frame.
    pub const fn data(stream: u32, length: u32) -> Self {
        Self {
            kind: Kind::Data,
            flags: 0,
            stream,
            length,
        }
    }

    /// A frame that ends the session's life for new streams, or all of it.
    pub const fn go_away(code: u32) -> Self {
        Self {
            kind: Kind::GoAway,
            flags: 0,
            stream: 0,
            length: code,
        }
    }

    /// A ping ([`SYN`]) or a pong ([`ACK`]).
    pub const fn ping(flags: u16, value: u32) -> Self {
        Self {
            kind: Kind::Ping,
            flags,
            stream: 0,
            length: value,
        }
    }

    /// A window update, the carrier of flags as well.
    pub const fn window_update(flags: u16, stream: u32, credit: u32) -> Self {
        Self {
            kind: Kind::WindowUpdate,
            flags,
            stream,
            length: credit,
        }
    }

    /// Whether the frame has any of `flags`.
    pub const fn has(&self, flags: u16) -> bool {
        self.flags & flags != 0
    }

    /// The header as it travels.
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let kind = match self.kind {
            Kind::Data => 0,
            Kind::WindowUpdate => 1,
            Kind::Ping => 2,
            Kind::GoAway => 3,
        };
        let [f0, f1] = self.flags.to_be_bytes();
        let [s0, s1, s2, s3] = self.stream.to_be_bytes();
        let [l0, l1, l2, l3] = self.length.to_be_bytes();
        [0, kind, f0, f1, s0, s1, s2, s3, l0, l1, l2, l3]
    }

    /// Reads a header.
    pub fn decode(bytes: [u8; HEADER_LEN]) -> Result<Self, ProtocolError> {
        let [version, kind, f0, f1, s0, s1, s2, s3, l0, l1, l2, l3] = bytes;
        if version != 0 {
            return Err(ProtocolError::UnknownVersion { version });
        }
        let kind = match kind {
            0 => Kind::Data,
            1 => Kind::WindowUpdate,
            2 => Kind::Ping,
            3 => Kind::GoAway,
            _ => return Err(ProtocolError::UnknownType { kind }),
        };
        Ok(Self {
            kind,
            flags: u16::from_be_bytes([f0, f1]),
            stream: u32::from_be_bytes([s0, s1, s2, s3]),
            length: u32::from_be_bytes([l0, l1, l2, l3]),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(header: Header, hex: &str) {
        let bytes: Vec<u8> = (0..hex.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
            .collect();
        assert_eq!(header.encode().as_slice(), bytes);
        assert_eq!(Header::decode(bytes.try_into().unwrap()), Ok(header));
    }

    #[test]
    fn golden_headers() {
        check(
            Header::window_update(SYN, 1, 0x5c_0000),
            "0001000100000001005c0000",
        );
        check(
            Header::window_update(ACK, 1, 0x5c_0000),
            "0001000200000001005c0000",
        );
        check(Header::data(1, 11), "00000000000000010000000b");
        check(Header::window_update(FIN, 1, 0), "000100040000000100000000");
        check(Header::window_update(RST, 1, 0), "000100080000000100000000");
        check(Header::ping(SYN, 7), "000200010000000000000007");
        check(Header::ping(ACK, 7), "000200020000000000000007");
        check(Header::go_away(GO_AWAY_NORMAL), "000300000000000000000000");
    }

    #[test]
    fn what_does_not_exist_is_an_error() {
        let mut bytes = Header::data(1, 0).encode();
        bytes[0] = 1;
        assert_eq!(
            Header::decode(bytes),
            Err(ProtocolError::UnknownVersion { version: 1 })
        );
        bytes[0] = 0;
        bytes[1] = 4;
        assert_eq!(
            Header::decode(bytes),
            Err(ProtocolError::UnknownType { kind: 4 })
        );
    }
}
