//! frp's first framing: a type byte, the length of the body as a signed 64-bit number, the body as JSON.

use bytes::{BufMut, BytesMut};

use crate::{
    frame::{DecodeError, EncodeError, Frame},
    message::Kind,
};

/// Bytes ahead of a body: type and length.
pub const HEADER_LEN: usize = TYPE_LEN + LENGTH_LEN;

/// The longest body of a datagram that a reader of datagrams accepts.
// frp: on work connections of UDP proxies, later than 0.71.0 (pkg/msg/udp_binary.go#maxV1UDPPacketMessageSize). The base64 of the
// longest datagram fits.
pub(crate) const MAX_PACKET_BODY_LEN: usize = 131_072;

/// The longest body that a reader accepts. frp writes longer ones without a check and loses the connection; we refuse to.
pub const MAX_BODY_LEN: usize = 10_240;

const TYPE_LEN: usize = 1;
const LENGTH_LEN: usize = size_of::<i64>();

/// Appends one frame whose body `write` appends.
pub(crate) fn encode_with(
    kind: Kind,
    out: &mut BytesMut,
    write: impl FnOnce(&mut BytesMut),
) -> Result<(), EncodeError> {
    let start = out.len();
    let body = start + HEADER_LEN;
    out.put_u8(type_byte(kind));
    out.put_bytes(0, LENGTH_LEN);
    write(out);
    let len = out.len() - body;
    if len > MAX_BODY_LEN {
        out.truncate(start);
        return Err(EncodeError::TooLong {
            kind,
            len,
            limit: MAX_BODY_LEN,
        });
    }
    out[start + TYPE_LEN..body].copy_from_slice(&(len as u64).to_be_bytes());
    Ok(())
}

/// Finds the first frame of `input`; `None` if it is not complete yet.
pub(crate) fn split(input: &[u8]) -> Result<Option<Frame<'_>>, DecodeError> {
    split_within(input, |_| MAX_BODY_LEN)
}

/// As [`split`], on a connection that carries datagrams.
pub(crate) fn split_packet(input: &[u8]) -> Result<Option<Frame<'_>>, DecodeError> {
    split_within(input, |kind| match kind {
        Kind::UdpPacket => MAX_PACKET_BODY_LEN,
        _ => MAX_BODY_LEN,
    })
}

fn split_within(
    input: &[u8],
    limit: impl FnOnce(Kind) -> usize,
) -> Result<Option<Frame<'_>>, DecodeError> {
    let Some((&byte, rest)) = input.split_first() else {
        return Ok(None);
    };
    let kind = kind(byte).ok_or(DecodeError::UnknownType(byte))?;

    // Bytes of the length that are still missing count as zero. That is the least it can become, so a hopeless length is
    // refused before it is complete.
    let mut length = [0; LENGTH_LEN];
    let arrived = rest.len().min(LENGTH_LEN);
    length[..arrived].copy_from_slice(&rest[..arrived]);
    let length = i64::from_be_bytes(length);
    let limit = limit(kind);
    let body_len = usize::try_from(length)
        .ok()
        .filter(|&len| len <= limit)
        .ok_or(DecodeError::Length { length, limit })?;

    let len = HEADER_LEN + body_len;
    Ok(input
        .get(HEADER_LEN..len)
        .map(|body| Frame { kind, body, len }))
}

/// frp: the types are printable characters without a system (`pkg/msg/msg.go`#TypeLogin and following).
fn type_byte(kind: Kind) -> u8 {
    match kind {
        Kind::Login => b'o',
        Kind::LoginResp => b'1',
        Kind::NewProxy => b'p',
        Kind::NewProxyResp => b'2',
        Kind::CloseProxy => b'c',
        Kind::NewWorkConn => b'w',
        Kind::ReqWorkConn => b'r',
        Kind::StartWorkConn => b's',
        Kind::NewVisitorConn => b'v',
        Kind::NewVisitorConnResp => b'3',
        Kind::Ping => b'h',
        Kind::Pong => b'4',
        Kind::UdpPacket => b'u',
        Kind::NatHoleVisitor => b'i',
        Kind::NatHoleClient => b'n',
        Kind::NatHoleResp => b'm',
        Kind::NatHoleSid => b'5',
        Kind::NatHoleReport => b'6',
    }
}

fn kind(byte: u8) -> Option<Kind> {
    Kind::ALL.into_iter().find(|&kind| type_byte(kind) == byte)
}
