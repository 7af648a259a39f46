//! Encodes and decodes frames, RFC 6455 section 5. Does no I/O.
//!
//! Payload is passed on as it arrives, before its frame is complete, so the length of a frame needs no limit.

use std::io;

use aws_lc_rs::rand;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use mgrok_mux::slab::with_local;

/// The most payload in a frame that we send, in bytes.
pub(super) const MAX_PAYLOAD: usize = 64 * 1024;
/// The most payload in a control frame, fixed by the standard.
const MAX_CONTROL: usize = 125;
/// The longest header: two bytes, a length of eight and a mask of four.
const MAX_HEADER: usize = 14;

const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
const MASKED: u8 = 0x80;
/// A length of two bytes follows.
const LEN_16: u8 = 126;
/// A length of eight bytes follows.
const LEN_64: u8 = 127;

/// The role of this end: clients mask their payload, servers do not.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Role {
    Client,
    Server,
}

/// The kinds of frames that we send.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Opcode {
    Binary = 0x2,
    Close = 0x8,
    Pong = 0xa,
}

/// A decoded part of the incoming stream.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Event {
    /// The peer sends no more.
    Close,
    /// Payload, at least one byte.
    Data(Bytes),
    /// A ping, with the body that the pong must return.
    Ping(Vec<u8>),
}

/// How the incoming stream violates the format.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum Corrupt {
    #[error("WebSocket: a control frame is longer than 125 bytes or in pieces")]
    Control,
    #[error("WebSocket: a frame claims a length of more than 63 bits")]
    Length,
    #[error("WebSocket: a server's frame is masked")]
    Masked,
    #[error("WebSocket: unknown opcode {0:#x}")]
    Opcode(u8),
    #[error("WebSocket: a frame uses an extension that was not agreed on")]
    Reserved,
    #[error("WebSocket: a client's frame is not masked")]
    Unmasked,
}

/// Decodes frames.
pub(super) struct Decoder {
    role: Role,
    expected: Expected,
}

/// The next part of the incoming stream.
enum Expected {
    /// The body of a control frame, of which `body` has arrived.
    Control {
        kind: Control,
        len: usize,
        mask: Mask,
        body: Vec<u8>,
    },
    /// A header, of which `have` bytes have arrived.
    Header {
        bytes: [u8; MAX_HEADER],
        have: usize,
    },
    /// Payload. Not empty.
    Payload { left: u64, mask: Mask },
}

#[derive(Clone, Copy)]
enum Control {
    Close,
    Ping,
    Pong,
}

/// The mask of a payload, rotated so that its first byte applies to the next payload byte.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Mask([u8; 4]);

impl Decoder {
    /// A decoder for the frames that arrive at an end in this role.
    pub(super) fn new(role: Role) -> Self {
        Self {
            role,
            expected: Expected::default(),
        }
    }

    /// Consumes bytes from the front of `coded` until the next event; `None` if there is none in all of `coded`.
    pub(super) fn next(&mut self, coded: &mut Bytes) -> Result<Option<Event>, Corrupt> {
        loop {
            match &mut self.expected {
                Expected::Header { bytes, have } => {
                    let wanted = header_len(&bytes[..*have]);
                    let taken = coded.len().min(wanted - *have);
                    coded.copy_to_slice(&mut bytes[*have..][..taken]);
                    *have += taken;
                    if *have < wanted {
                        return Ok(None);
                    }
                    // The first two bytes determine the length of the header.
                    if *have == header_len(&bytes[..*have]) {
                        self.expected = after_header(self.role, &bytes[..*have])?;
                    }
                }
                Expected::Control {
                    kind,
                    len,
                    mask,
                    body,
                } => {
                    let arrived = coded.split_to(coded.len().min(*len - body.len()));
                    body.extend_from_slice(&arrived);
                    if body.len() < *len {
                        return Ok(None);
                    }
                    let (kind, mut body, mut mask) = (*kind, std::mem::take(body), *mask);
                    self.expected = Expected::default();
                    match kind {
                        Control::Close => return Ok(Some(Event::Close)),
                        Control::Ping => {
                            mask.apply(&mut body);
                            return Ok(Some(Event::Ping(body)));
                        }
                        Control::Pong => {}
                    }
                }
                Expected::Payload { left, mask } => {
                    let here = usize::try_from(*left).map_or(coded.len(), |it| it.min(coded.len()));
                    if here == 0 {
                        return Ok(None);
                    }
                    let data = match self.role {
                        Role::Client => coded.split_to(here),
                        Role::Server => unmask(coded.split_to(here), mask),
                    };
                    *left -= here as u64;
                    if *left == 0 {
                        self.expected = Expected::default();
                    }
                    return Ok(Some(Event::Data(data)));
                }
            }
        }
    }

    /// Whether no frame is incomplete.
    pub(super) fn is_between_frames(&self) -> bool {
        matches!(self.expected, Expected::Header { have: 0, .. })
    }
}

impl Default for Expected {
    fn default() -> Self {
        Self::Header {
            bytes: [0; MAX_HEADER],
            have: 0,
        }
    }
}

/// The length of a header that begins like this.
fn header_len(begin: &[u8]) -> usize {
    let &[_, second, ..] = begin else { return 2 };
    let len = match second & !MASKED {
        LEN_16 => 2,
        LEN_64 => 8,
        _ => 0,
    };
    2 + len + if second & MASKED == 0 { 0 } else { 4 }
}

/// The state after a complete header.
fn after_header(role: Role, mut header: &[u8]) -> Result<Expected, Corrupt> {
    let (first, second) = (header.get_u8(), header.get_u8());
    let masked = second & MASKED != 0;
    if first & RESERVED != 0 {
        return Err(Corrupt::Reserved);
    }
    match (role, masked) {
        (Role::Client, true) => return Err(Corrupt::Masked),
        (Role::Server, false) => return Err(Corrupt::Unmasked),
        (Role::Client, false) | (Role::Server, true) => {}
    }
    let left = match second & !MASKED {
        LEN_16 => u64::from(header.get_u16()),
        LEN_64 => header.get_u64(),
        len => u64::from(len),
    };
    let mut mask = Mask::default();
    if masked {
        header.copy_to_slice(&mut mask.0);
    }
    let kind = match first & 0x0f {
        // Text, binary and continuation frames are all payload.
        0x0..=0x2 if left > i64::MAX as u64 => return Err(Corrupt::Length),
        0x0..=0x2 if left == 0 => return Ok(Expected::default()),
        0x0..=0x2 => return Ok(Expected::Payload { left, mask }),
        0x8 => Control::Close,
        0x9 => Control::Ping,
        0xa => Control::Pong,
        opcode => return Err(Corrupt::Opcode(opcode)),
    };
    match usize::try_from(left) {
        Ok(len) if len <= MAX_CONTROL && first & FIN != 0 => Ok(Expected::Control {
            kind,
            len,
            mask,
            body: Vec::new(),
        }),
        _ => Err(Corrupt::Control),
    }
}

/// Encodes `payload` as one frame.
pub(super) fn encode(role: Role, opcode: Opcode, payload: &[u8]) -> io::Result<Bytes> {
    let mask = match role {
        Role::Client => Some(Mask::random()?),
        Role::Server => None,
    };
    Ok(with_local(|slabs| {
        slabs.read_with(MAX_HEADER + payload.len(), |out| {
            put_frame(out, opcode, payload, mask);
            out.split().freeze()
        })
    }))
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "each length is cast in the range of its type"
)]
fn put_frame(out: &mut BytesMut, opcode: Opcode, payload: &[u8], mask: Option<Mask>) {
    let masked = if mask.is_some() { MASKED } else { 0 };
    out.put_u8(FIN | opcode as u8);
    match payload.len() {
        len @ 0..=MAX_CONTROL => out.put_u8(masked | len as u8),
        len @ ..=0xffff => {
            out.put_u8(masked | LEN_16);
            out.put_u16(len as u16);
        }
        len => {
            out.put_u8(masked | LEN_64);
            out.put_u64(len as u64);
        }
    }
    if let Some(Mask(bytes)) = mask {
        out.put_slice(&bytes);
    }
    let start = out.len();
    out.put_slice(payload);
    if let Some(mut mask) = mask {
        mask.apply(&mut out[start..]);
    }
}

/// Removes the mask, in place if nothing else shares the memory.
fn unmask(masked: Bytes, mask: &mut Mask) -> Bytes {
    match masked.try_into_mut() {
        Ok(mut owned) => {
            mask.apply(&mut owned);
            owned.freeze()
        }
        Err(shared) => with_local(|slabs| {
            slabs.read_with(shared.len(), |out| {
                out.put_slice(&shared);
                mask.apply(out);
                out.split().freeze()
            })
        }),
    }
}

impl Mask {
    /// Unpredictable, as the standard demands: otherwise whoever chooses the payload also chooses the bytes that
    /// proxies on the path see.
    fn random() -> io::Result<Self> {
        let mut bytes = [0; 4];
        rand::fill(&mut bytes).map_err(|_| io::Error::other("no random numbers"))?;
        Ok(Self(bytes))
    }

    /// Applies the mask to the next bytes, which also removes it.
    fn apply(&mut self, bytes: &mut [u8]) {
        let [a, b, c, d] = self.0;
        let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
        let (words, rest) = bytes.as_chunks_mut();
        for word in words {
            *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
        }
        for (byte, mask) in rest.iter_mut().zip(self.0.iter().cycle()) {
            *byte ^= mask;
        }
        self.0.rotate_left(rest.len() % 4);
    }
}

#[cfg(test)]
mod tests;
