//! What travels on the streams that a bonded connection is spread over.

use std::io;

/// Bytes ahead of data: kind (1), length (3), offset (8), big-endian.
pub(super) const HEADER_LEN: usize = 12;

/// The most bytes of data in one frame.
pub(super) const MAX_DATA: usize = 64 * 1024;

const BEGIN: u8 = 1;
const DATA: u8 = 2;
const END: u8 = 3;

/// One frame, or what is left of it. Offsets count the bytes of the direction from its first on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Frame {
    /// First on each stream: bytes up to `offset` come on the stream that there was before, which ends there.
    Begin { offset: u64 },
    /// The bytes from `offset` on.
    Data { offset: u64, len: usize },
    /// The direction ends at `offset`.
    End { offset: u64 },
}

impl Frame {
    /// The header.
    pub(super) fn header(self) -> [u8; HEADER_LEN] {
        let (kind, len, offset) = match self {
            Self::Begin { offset } => (BEGIN, 0, offset),
            Self::Data { offset, len } => (DATA, len, offset),
            Self::End { offset } => (END, 0, offset),
        };
        let mut header = [0; HEADER_LEN];
        header[..4].copy_from_slice(&(len as u32).to_be_bytes());
        header[0] = kind;
        header[4..].copy_from_slice(&offset.to_be_bytes());
        header
    }

    /// Reads a header.
    ///
    /// # Errors
    /// If it is none.
    pub(super) fn read(header: [u8; HEADER_LEN]) -> io::Result<Self> {
        let [kind, high, middle, low, offset @ ..] = header;
        let len = u32::from_be_bytes([0, high, middle, low]) as usize;
        let offset = u64::from_be_bytes(offset);
        match (kind, len) {
            (BEGIN, 0) => Ok(Self::Begin { offset }),
            (DATA, 1..=MAX_DATA) => Ok(Self::Data { offset, len }),
            (END, 0) => Ok(Self::End { offset }),
            _ => Err(wrong(format!(
                "a frame of kind {kind} with {len} bytes of data, which is none"
            ))),
        }
    }
}

/// The other end does not keep to the rules.
pub(super) fn wrong(what: String) -> io::Error {
    let text = format!("bonded connection: the other end sent {what}");
    io::Error::new(io::ErrorKind::InvalidData, text)
}
