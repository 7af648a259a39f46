//! Datagrams on the work connection of a UDP proxy.
//!
//! frp carries each datagram in a message of its own, `{"c":"<base64>","r":{"IP":"…","Port":…,"Zone":""}}`, so this is the one
//! place where a message is traffic. What is here writes the same bytes as [`WireVersion::encode`] and gives the same answers as
//! [`WireVersion::decode`], but allocates nothing and looks at each byte once. JSON of an unusual shape is left to those.

mod body;

use std::net::SocketAddr;

use bytes::BytesMut;

use crate::{
    frame::{DecodeError, EncodeError},
    message::{Kind, Message},
    wire::WireVersion,
};

/// What came on the work connection of a UDP proxy.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Carried {
    /// A datagram.
    Packet {
        /// The user that sent it, or that it is for. `None`: an address that no socket can have, or none.
        ///
        /// IPv4 is always plain IPv4, also for users that came to a dual-stack socket.
        user: Option<SocketAddr>,
    },
    /// The client's sign of life.
    Ping,
}

/// Appends one datagram to `out` as a frame.
///
/// # Errors
/// If the frame would be longer than a reader accepts; `out` is then as it was.
pub fn encode(
    version: WireVersion,
    payload: &[u8],
    user: Option<SocketAddr>,
    out: &mut BytesMut,
) -> Result<(), EncodeError> {
    version.encode_with(Kind::UdpPacket, out, |out| body::write(payload, user, out))
}

/// Takes the first frame of `input` apart, appends what is in the datagram to `payload`, and says how many bytes the frame has.
/// `None`: the frame is not yet complete.
///
/// # Errors
/// If these bytes are no frame, or the frame is neither a datagram nor a sign of life; `payload` is then as it was.
pub fn decode(
    version: WireVersion,
    input: &[u8],
    payload: &mut BytesMut,
) -> Result<Option<(Carried, usize)>, DecodeError> {
    let Some(frame) = version.split(input)? else {
        return Ok(None);
    };
    if frame.kind == Kind::UdpPacket
        && let Some(user) = body::read(frame.body, payload)
    {
        let user = Some(user);
        return Ok(Some((Carried::Packet { user }, frame.len)));
    }
    let carried = match frame.read()? {
        Message::Ping(_) => Carried::Ping,
        Message::UdpPacket(packet) => {
            payload.extend_from_slice(&packet.content);
            let user = packet.user.and_then(|user| user.socket_addr());
            Carried::Packet { user }
        }
        other => return Err(DecodeError::Unexpected { kind: other.kind() }),
    };
    Ok(Some((carried, frame.len)))
}
