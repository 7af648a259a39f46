//! frp's second framing: 16 bits of type, 16 bits of flags, the length of the payload in 32 bits, the payload.
//!
//! Every stream of a v2 client begins with [`MAGIC`]. Messages are one type of frame, and say in two bytes of their own which
//! message they are. The other two types are hellos, with which a control connection begins; what is in them is the business of
//! [`hello`](crate::hello).

use bytes::{BufMut, Bytes, BytesMut};

use crate::{
    frame::{DecodeError, EncodeError, Frame},
    message::{Kind, Message},
};

/// What a v2 client sends first on each of its streams. No v1 message begins like this.
pub const MAGIC: &[u8] = b"FRP\0\x02\r\n";

/// Bytes ahead of a payload: type, flags and length.
pub const HEADER_LEN: usize = TYPE_LEN + FLAGS_LEN + LENGTH_LEN;

/// The longest payload that a reader accepts and a writer writes.
pub const MAX_PAYLOAD_LEN: usize = 65_536;

/// The longest JSON of a message.
pub const MAX_BODY_LEN: usize = MAX_PAYLOAD_LEN - ID_LEN;

const TYPE_LEN: usize = size_of::<u16>();
const FLAGS_LEN: usize = size_of::<u16>();
const LENGTH_LEN: usize = size_of::<u32>();

/// Bytes of a message's id, ahead of its JSON.
const ID_LEN: usize = size_of::<u16>();

/// The id of a message that is a datagram in frp's binary codec, and has a place only where that was settled on: everywhere else
/// it is unknown.
const BINARY_PACKET_ID: u16 = 19;

/// What a frame holds.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "there is one at a time, and it is taken apart at once"
)]
pub enum Content {
    /// What a client can do, as the very bytes that it sent: [`hello::answer`](crate::hello::answer) reads them.
    ClientHello(Bytes),
    /// A message.
    Message(Message),
    /// What the server chose, as the very bytes that it sent: [`Offer::agree`](crate::hello::Offer::agree) reads them.
    ServerHello(Bytes),
}

/// As [`WireVersion::decode`](crate::WireVersion::decode), for streams that may begin with a hello.
///
/// # Errors
/// If these bytes are no frame, which is said as soon as it can be seen, or the frame holds no message. What is in a hello is not
/// looked at.
pub fn decode(input: &[u8]) -> Result<Option<(Content, usize)>, DecodeError> {
    let Some(header) = Header::read(input)? else {
        return Ok(None);
    };
    let hello = match header.frame_type {
        FrameType::ClientHello => Content::ClientHello,
        FrameType::Message => {
            let Some(frame) = header.message(input)? else {
                return Ok(None);
            };
            return Ok(Some((Content::Message(frame.read()?), frame.len)));
        }
        FrameType::ServerHello => Content::ServerHello,
    };
    Ok(header
        .payload(input)
        .map(|payload| (hello(Bytes::copy_from_slice(payload)), header.frame_len())))
}

/// Appends one frame whose message `write` appends.
pub(crate) fn encode_with(
    kind: Kind,
    out: &mut BytesMut,
    write: impl FnOnce(&mut BytesMut),
) -> Result<(), EncodeError> {
    encode_id(kind, id(kind), out, write)
}

/// Appends one frame that is a datagram in frp's binary codec, whose body `write` appends.
pub(crate) fn encode_binary_packet(
    out: &mut BytesMut,
    write: impl FnOnce(&mut BytesMut),
) -> Result<(), EncodeError> {
    encode_id(Kind::UdpPacket, BINARY_PACKET_ID, out, write)
}

fn encode_id(
    kind: Kind,
    id: u16,
    out: &mut BytesMut,
    write: impl FnOnce(&mut BytesMut),
) -> Result<(), EncodeError> {
    let start = out.len();
    let payload = start + HEADER_LEN;
    out.put_bytes(0, HEADER_LEN);
    out.put_u16(id);
    write(out);
    let len = out.len() - payload;
    if len > MAX_PAYLOAD_LEN {
        out.truncate(start);
        return Err(EncodeError::TooLong {
            kind,
            len: len - ID_LEN,
            limit: MAX_BODY_LEN,
        });
    }
    out[start..payload].copy_from_slice(&header(FrameType::Message, len));
    Ok(())
}

/// Finds the first frame of `input`, which must be a message; `None` if it is not complete yet.
pub(crate) fn split(input: &[u8]) -> Result<Option<Frame<'_>>, DecodeError> {
    let Some(header) = Header::read(input)? else {
        return Ok(None);
    };
    match header.frame_type {
        FrameType::Message => header.message(input),
        FrameType::ClientHello | FrameType::ServerHello => Err(DecodeError::UnexpectedHello),
    }
}

/// Whether `input` begins with a datagram in frp's binary codec, as far as it has come.
pub(crate) fn is_binary_packet(input: &[u8]) -> bool {
    input.get(HEADER_LEN..HEADER_LEN + ID_LEN) == Some(&BINARY_PACKET_ID.to_be_bytes())
}

/// Takes the body of such a datagram from the beginning of `input`, and says how many bytes its frame has; `None` if it is not
/// complete yet.
pub(crate) fn split_binary_packet(input: &[u8]) -> Result<Option<(&[u8], usize)>, DecodeError> {
    let Some(header) = Header::read(input)? else {
        return Ok(None);
    };
    if header.frame_type != FrameType::Message {
        return Err(DecodeError::UnexpectedHello);
    }
    let Some(payload) = header.payload(input) else {
        return Ok(None);
    };
    let body = payload
        .get(ID_LEN..)
        .ok_or(DecodeError::NoId { len: payload.len() })?;
    Ok(Some((body, header.frame_len())))
}

/// The header of a frame whose payload has `len` bytes, which are no more than [`MAX_PAYLOAD_LEN`].
pub(crate) fn header(frame_type: FrameType, len: usize) -> [u8; HEADER_LEN] {
    let mut header = [0; HEADER_LEN];
    header[..TYPE_LEN].copy_from_slice(&(frame_type as u16).to_be_bytes());
    header[TYPE_LEN + FLAGS_LEN..].copy_from_slice(&(len as u32).to_be_bytes());
    header
}

/// frp: the types of frames (`pkg/proto/wire/wire.go`).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum FrameType {
    ClientHello = 1,
    ServerHello = 2,
    Message = 16,
}

struct Header {
    frame_type: FrameType,
    payload_len: usize,
}

impl Header {
    /// Reads the header at the beginning of `input`; `None` if it is not complete yet.
    fn read(input: &[u8]) -> Result<Option<Self>, DecodeError> {
        // Bytes that are still missing count as zero, the least that they can become: what is hopeless is refused early.
        let mut header = [0; HEADER_LEN];
        let arrived = input.len().min(HEADER_LEN);
        header[..arrived].copy_from_slice(&input[..arrived]);
        let [type_high, type_low, flags_high, flags_low, length @ ..] = header;

        let frame_type = u16::from_be_bytes([type_high, type_low]);
        let known = match frame_type {
            1 => Some(FrameType::ClientHello),
            2 => Some(FrameType::ServerHello),
            16 => Some(FrameType::Message),
            _ => None,
        };
        let flags = u16::from_be_bytes([flags_high, flags_low]);
        let length = u32::from_be_bytes(length);
        let payload_len = length as usize;
        if known.is_none() && (arrived >= TYPE_LEN || type_high != 0) {
            return Err(DecodeError::FrameType(frame_type));
        }
        if flags != 0 {
            return Err(DecodeError::Flags(flags));
        }
        if payload_len > MAX_PAYLOAD_LEN {
            return Err(DecodeError::Length {
                length: length.into(),
                limit: MAX_PAYLOAD_LEN,
            });
        }
        Ok(known
            .filter(|_| arrived == HEADER_LEN)
            .map(|frame_type| Self {
                frame_type,
                payload_len,
            }))
    }

    fn frame_len(&self) -> usize {
        HEADER_LEN + self.payload_len
    }

    /// The payload, once it is complete. `input` begins with this header.
    fn payload<'a>(&self, input: &'a [u8]) -> Option<&'a [u8]> {
        input.get(HEADER_LEN..self.frame_len())
    }

    /// The message in this frame, once it is complete. `input` begins with this header.
    fn message<'a>(&self, input: &'a [u8]) -> Result<Option<Frame<'a>>, DecodeError> {
        if self.payload_len < ID_LEN {
            return Err(DecodeError::NoId {
                len: self.payload_len,
            });
        }
        let Some((&id, _)) = input[HEADER_LEN..].split_first_chunk() else {
            return Ok(None);
        };
        let id = u16::from_be_bytes(id);
        let kind = kind(id).ok_or(DecodeError::UnknownId(id))?;
        Ok(self.payload(input).map(|payload| Frame {
            kind,
            body: &payload[ID_LEN..],
            len: self.frame_len(),
        }))
    }
}

/// frp: the ids count up from 1 (`pkg/msg/wire_v2.go`).
fn id(kind: Kind) -> u16 {
    match kind {
        Kind::Login => 1,
        Kind::LoginResp => 2,
        Kind::NewProxy => 3,
        Kind::NewProxyResp => 4,
        Kind::CloseProxy => 5,
        Kind::NewWorkConn => 6,
        Kind::ReqWorkConn => 7,
        Kind::StartWorkConn => 8,
        Kind::NewVisitorConn => 9,
        Kind::NewVisitorConnResp => 10,
        Kind::Ping => 11,
        Kind::Pong => 12,
        Kind::UdpPacket => 13,
        Kind::NatHoleVisitor => 14,
        Kind::NatHoleClient => 15,
        Kind::NatHoleResp => 16,
        Kind::NatHoleSid => 17,
        Kind::NatHoleReport => 18,
    }
}

fn kind(number: u16) -> Option<Kind> {
    Kind::ALL.into_iter().find(|&kind| id(kind) == number)
}
