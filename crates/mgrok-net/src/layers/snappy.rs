//! The compression layer: the snappy framing format, unbuffered.
//!
//! Each piece of payload is sent at once as one complete chunk, so that interactive traffic never waits for a chunk to
//! fill. The stream identifier precedes the first chunk; a direction that never sends payload sends no identifier.

use std::cell::RefCell;
use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use mgrok_mux::slab::with_local;
use snap::raw::{Decoder, Encoder, decompress_len, max_compress_len};

use super::coded::Codec;

/// The most payload in one chunk, fixed by the format.
const MAX_PLAIN: usize = 65_536;

/// The longest that snappy makes of [`MAX_PLAIN`] bytes (32 + n + n/6), and so the longest compressed body that an
/// honest sender can produce.
const MAX_COMPRESSED: usize = 76_490;

const HEADER_LEN: usize = 4;
const CHECKSUM_LEN: usize = 4;

const COMPRESSED: u8 = 0x00;
const UNCOMPRESSED: u8 = 0x01;
const IDENTIFIER: u8 = 0xff;

const MAGIC: &[u8] = b"sNaPpY";
const IDENTIFIER_CHUNK: &[u8] = b"\xff\x06\x00\x00sNaPpY";

/// Compresses what is sent and decompresses what arrives.
#[derive(Default)]
pub(super) struct Snappy {
    identifier_sent: bool,
    identifier_seen: bool,
    expected: Expected,
}

/// The next part of the incoming stream.
enum Expected {
    /// The header of a chunk, of which `have` bytes have arrived.
    Header {
        bytes: [u8; HEADER_LEN],
        have: usize,
    },
    /// The body of a chunk.
    Body {
        kind: Kind,
        len: usize,
        /// The beginning of a body that arrives in several pieces.
        partial: BytesMut,
    },
    /// The remaining bytes of a chunk that is ignored.
    Skipped { left: usize },
}

#[derive(Clone, Copy)]
enum Kind {
    Compressed,
    Identifier,
    Uncompressed,
}

/// How the incoming stream violates the format.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
enum Corrupt {
    #[error("snappy: the checksum of a chunk is wrong")]
    Checksum,
    #[error("snappy: a chunk does not decompress")]
    Code,
    #[error("snappy: the stream identifier is missing or wrong")]
    Identifier,
    #[error("snappy: a chunk of type {kind:#04x} with {len} bytes is out of bounds")]
    Length { kind: u8, len: usize },
    #[error("snappy: chunk type {0:#04x} is reserved")]
    Reserved(u8),
}

/// Working memory for compression. One per thread, because it keeps nothing between calls.
struct Compressor {
    encoder: Encoder,
    scratch: Vec<u8>,
}

thread_local! {
    static COMPRESSOR: RefCell<Compressor> = RefCell::new(Compressor {
        encoder: Encoder::new(),
        scratch: Vec::new(),
    });
}

impl Compressor {
    /// The compressed form of `plain`, if it is at least an eighth shorter; other snappy senders use the same
    /// threshold.
    fn compress(&mut self, plain: &[u8]) -> Option<&[u8]> {
        let room = max_compress_len(plain.len());
        if self.scratch.len() < room {
            self.scratch.resize(room, 0);
        }
        let len = self.encoder.compress(plain, &mut self.scratch).ok()?;
        (len < plain.len() - plain.len() / 8).then(|| &self.scratch[..len])
    }
}

impl Codec for Snappy {
    fn encode(&mut self, plain: &mut Bytes) -> io::Result<Bytes> {
        let piece = plain.split_to(plain.len().min(MAX_PLAIN));
        let identifier: &[u8] = match std::mem::replace(&mut self.identifier_sent, true) {
            false => IDENTIFIER_CHUNK,
            true => &[],
        };
        let room = identifier.len() + HEADER_LEN + CHECKSUM_LEN + piece.len();
        with_local(|slabs| {
            slabs.read_with(room, |out| {
                out.put_slice(identifier);
                COMPRESSOR.with_borrow_mut(|compressor| match compressor.compress(&piece) {
                    Some(code) => put_chunk(out, COMPRESSED, &piece, code),
                    None => put_chunk(out, UNCOMPRESSED, &piece, &piece),
                });
                Ok(out.split().freeze())
            })
        })
    }

    fn decode(&mut self, coded: &mut Bytes) -> io::Result<Option<Bytes>> {
        self.next_plain(coded)
            .map_err(|corrupt| io::Error::new(io::ErrorKind::InvalidData, corrupt))
    }

    fn may_end(&self) -> bool {
        matches!(self.expected, Expected::Header { have: 0, .. })
    }
}

impl Snappy {
    fn next_plain(&mut self, coded: &mut Bytes) -> Result<Option<Bytes>, Corrupt> {
        loop {
            match &mut self.expected {
                Expected::Header { bytes, have } => {
                    let taken = coded.len().min(HEADER_LEN - *have);
                    coded.copy_to_slice(&mut bytes[*have..][..taken]);
                    *have += taken;
                    if *have < HEADER_LEN {
                        return Ok(None);
                    }
                    let [kind, len @ ..] = *bytes;
                    let len =
                        usize::from(len[0]) | usize::from(len[1]) << 8 | usize::from(len[2]) << 16;
                    self.expected = self.after_header(kind, len)?;
                }
                Expected::Body { kind, len, partial } => {
                    let kind = *kind;
                    let Some(body) = take_body(coded, *len, partial) else {
                        return Ok(None);
                    };
                    self.expected = Expected::default();
                    let plain = match kind {
                        Kind::Compressed => decompress(body)?,
                        Kind::Identifier if body == MAGIC => {
                            self.identifier_seen = true;
                            continue;
                        }
                        Kind::Identifier => return Err(Corrupt::Identifier),
                        Kind::Uncompressed => {
                            let (checksum, plain) = split_checksum(body);
                            verify(checksum, &plain)?;
                            plain
                        }
                    };
                    if !plain.is_empty() {
                        return Ok(Some(plain));
                    }
                }
                Expected::Skipped { left } => {
                    let taken = coded.len().min(*left);
                    coded.advance(taken);
                    *left -= taken;
                    if *left > 0 {
                        return Ok(None);
                    }
                    self.expected = Expected::default();
                }
            }
        }
    }

    fn after_header(&self, kind: u8, len: usize) -> Result<Expected, Corrupt> {
        let body = |kind| Expected::Body {
            kind,
            len,
            partial: BytesMut::new(),
        };
        let checked = |longest: usize| match len.checked_sub(CHECKSUM_LEN) {
            Some(content) if content <= longest => Ok(()),
            _ => Err(Corrupt::Length { kind, len }),
        };
        match kind {
            IDENTIFIER if len == MAGIC.len() => Ok(body(Kind::Identifier)),
            IDENTIFIER => Err(Corrupt::Identifier),
            _ if !self.identifier_seen => Err(Corrupt::Identifier),
            COMPRESSED => checked(MAX_COMPRESSED).map(|()| body(Kind::Compressed)),
            UNCOMPRESSED => checked(MAX_PLAIN).map(|()| body(Kind::Uncompressed)),
            0x02..=0x7f => Err(Corrupt::Reserved(kind)),
            // Padding, and kinds of chunks that later versions of the format may add.
            0x80..=0xfe => Ok(Expected::Skipped { left: len }),
        }
    }
}

impl Default for Expected {
    fn default() -> Self {
        Self::Header {
            bytes: [0; HEADER_LEN],
            have: 0,
        }
    }
}

/// Writes one chunk whose body is `content` and whose checksum is that of `plain`.
fn put_chunk(out: &mut BytesMut, kind: u8, plain: &[u8], content: &[u8]) {
    let len = CHECKSUM_LEN + content.len();
    out.put_u8(kind);
    out.put_uint_le(len as u64, HEADER_LEN - 1);
    out.put_u32_le(masked_checksum(plain));
    out.put_slice(content);
}

/// The body of `len` bytes, as a slice of `coded` if it arrived in one piece.
fn take_body(coded: &mut Bytes, len: usize, partial: &mut BytesMut) -> Option<Bytes> {
    if partial.is_empty() {
        if coded.len() >= len {
            return Some(coded.split_to(len));
        }
        if coded.is_empty() {
            return None;
        }
        *partial = with_local(|slabs| {
            slabs.read_with(len, |slab| {
                let rest = slab.split_off(len);
                std::mem::replace(slab, rest)
            })
        });
    }
    let taken = coded.split_to(coded.len().min(len - partial.len()));
    partial.extend_from_slice(&taken);
    (partial.len() == len).then(|| std::mem::take(partial).freeze())
}

/// Splits the checksum off the front of a payload body. The header check has made sure that the body is long enough.
fn split_checksum(mut body: Bytes) -> (u32, Bytes) {
    let checksum = body.get_u32_le();
    (checksum, body)
}

fn decompress(body: Bytes) -> Result<Bytes, Corrupt> {
    let (checksum, code) = split_checksum(body);
    let len = decompress_len(&code).map_err(|_| Corrupt::Code)?;
    // The sender claims this length, so nothing is allocated before the check.
    if len > MAX_PLAIN {
        return Err(Corrupt::Code);
    }
    with_local(|slabs| {
        slabs.read_with(len, |out| {
            out.put_bytes(0, len);
            let written = Decoder::new().decompress(&code, out);
            if written.ok() != Some(len) {
                return Err(Corrupt::Code);
            }
            verify(checksum, out)?;
            Ok(out.split().freeze())
        })
    })
}

fn verify(checksum: u32, plain: &[u8]) -> Result<(), Corrupt> {
    match checksum == masked_checksum(plain) {
        true => Ok(()),
        false => Err(Corrupt::Checksum),
    }
}

/// CRC-32C, rotated and offset as the format demands, so that the checksum of data that contains checksums stays a good
/// one.
fn masked_checksum(plain: &[u8]) -> u32 {
    crc32c::crc32c(plain)
        .rotate_right(15)
        .wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests;
