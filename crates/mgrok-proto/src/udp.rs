//! Datagrams on work and visitor connections.
//!
//! frp carries each datagram in a message of its own, `{"c":"<base64>","r":{"IP":"…","Port":…,"Zone":""}}`, so this is the one
//! place where a message is traffic. What is here writes the same bytes as [`WireVersion::encode`] and gives the same answers as
//! [`WireVersion::decode`], but allocates nothing and looks at each byte once. JSON of an unusual shape is left to those.
//!
//! Two ends of mgrok have a framing of their own instead, without JSON and base64: [`binary`]. frp has had a binary codec since
//! 0.71.0, which is used where the other end is frp's. Which it is, [`Negotiated::datagram_framing`](crate::Negotiated::datagram_framing)
//! decides.

pub mod binary;
mod binary_v1;
mod body;
pub mod quarter_id;

use std::net::SocketAddr;

use bytes::BytesMut;

use crate::{
    frame::{DecodeError, EncodeError},
    message::{Kind, Message, Ping},
    v1,
    wire::WireVersion,
};

pub use crate::zones::Zones;

/// The longest datagram there is, in bytes: a UDP packet of IPv4 without its headers.
pub const MAX_DATAGRAM: usize = 65_507;

/// How datagrams are framed on one connection.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Framing {
    /// frp's messages in frames of v1: datagrams of up to some 7,600 bytes. Longer ones are taken, but not sent, as most peers
    /// would end the connection.
    V1,
    /// frp's messages in frames of v2: datagrams of up to some 49,000 bytes.
    V2,
    /// frp's messages in frames of v2, and datagrams in frp's binary codec: all datagrams.
    V2Binary,
    /// mgrok's own: all datagrams, many in a frame.
    Binary,
}

impl Framing {
    /// The longest datagram that is carried whole, in bytes, where `udpPacketSize` says `configured`. That is for both ends to
    /// agree on what they set aside for a datagram in JSON; binary framings need no such agreement.
    pub fn packet_size(self, configured: usize) -> usize {
        match self {
            Self::V1 | Self::V2 => configured,
            Self::V2Binary | Self::Binary => MAX_DATAGRAM,
        }
    }
}

impl From<WireVersion> for Framing {
    fn from(version: WireVersion) -> Self {
        match version {
            WireVersion::V1 => Self::V1,
            WireVersion::V2 => Self::V2,
        }
    }
}

/// What came on a connection that carries datagrams.
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
    /// From now on the other end takes datagrams that come beside this connection, as datagrams of QUIC.
    QuicReady,
}

/// Frames datagrams.
#[derive(Debug)]
pub struct Encoder {
    inner: Encoding,
    zones: Zones,
}

#[derive(Debug)]
enum Encoding {
    Messages(WireVersion),
    BinaryV1,
    Binary(binary::Encoder),
}

impl Encoder {
    /// One for a new connection.
    pub fn new(framing: Framing) -> Self {
        let inner = match framing {
            Framing::V1 => Encoding::Messages(WireVersion::V1),
            Framing::V2 => Encoding::Messages(WireVersion::V2),
            Framing::V2Binary => Encoding::BinaryV1,
            Framing::Binary => Encoding::Binary(binary::Encoder::new(binary::MAX_FRAME)),
        };
        Self {
            inner,
            zones: Zones::default(),
        }
    }

    /// The same, which gives users back the zones that a decoder with the same `zones` has read. Without, it writes numbers.
    pub fn with_zones(self, zones: Zones) -> Self {
        Self { zones, ..self }
    }

    /// How it frames.
    pub fn framing(&self) -> Framing {
        match self.inner {
            Encoding::Messages(version) => version.into(),
            Encoding::BinaryV1 => Framing::V2Binary,
            Encoding::Binary(_) => Framing::Binary,
        }
    }

    /// Appends one datagram to `out`, as a frame or to the frame that is open there. Between two calls that are not parted by
    /// [`Encoder::end_frame`] what is in `out` must stay.
    ///
    /// # Errors
    /// If a reader would not accept it; `out` is then as it was.
    pub fn datagram(
        &mut self,
        payload: &[u8],
        user: Option<SocketAddr>,
        out: &mut BytesMut,
    ) -> Result<(), EncodeError> {
        match &mut self.inner {
            Encoding::Messages(version) => {
                let zones = &self.zones;
                let write = |out: &mut BytesMut| body::write(payload, user, zones, out);
                version.encode_with(Kind::UdpPacket, out, write)
            }
            Encoding::BinaryV1 => {
                binary_v1::encode(payload, user.ok_or(EncodeError::NoUser)?, &self.zones, out)
            }
            Encoding::Binary(encoder) => {
                encoder.datagram(payload, user.ok_or(EncodeError::NoUser)?, out)
            }
        }
    }

    /// Appends a sign of life to `out`.
    pub fn ping(&mut self, out: &mut BytesMut) -> Result<(), EncodeError> {
        match &mut self.inner {
            Encoding::Messages(version) => version.encode(&Message::from(Ping::default()), out),
            Encoding::BinaryV1 => WireVersion::V2.encode(&Message::from(Ping::default()), out),
            Encoding::Binary(encoder) => {
                encoder.ping(out);
                Ok(())
            }
        }
    }

    /// Appends the word that this end takes datagrams of QUIC from now on, if the framing has one.
    pub fn quic_ready(&mut self, out: &mut BytesMut) {
        match &mut self.inner {
            Encoding::Messages(_) | Encoding::BinaryV1 => {}
            Encoding::Binary(encoder) => encoder.quic_ready(out),
        }
    }

    /// Takes note that what was written is taken away: the next datagram begins a frame.
    pub fn end_frame(&mut self) {
        match &mut self.inner {
            Encoding::Messages(_) | Encoding::BinaryV1 => {}
            Encoding::Binary(encoder) => encoder.end_frame(),
        }
    }
}

/// Takes frames of datagrams apart.
#[derive(Debug)]
pub struct Decoder {
    inner: Decoding,
    zones: Zones,
}

#[derive(Debug)]
enum Decoding {
    Messages(WireVersion),
    BinaryV1,
    Binary(binary::Decoder),
}

impl Decoder {
    /// One for a new connection.
    pub fn new(framing: Framing) -> Self {
        let inner = match framing {
            Framing::V1 => Decoding::Messages(WireVersion::V1),
            Framing::V2 => Decoding::Messages(WireVersion::V2),
            Framing::V2Binary => Decoding::BinaryV1,
            Framing::Binary => Decoding::Binary(binary::Decoder::default()),
        };
        Self {
            inner,
            zones: Zones::default(),
        }
    }

    /// The same, which remembers zones in `zones`.
    pub fn with_zones(self, zones: Zones) -> Self {
        Self { zones, ..self }
    }

    /// The zones that it has read.
    pub fn zones(&self) -> &Zones {
        &self.zones
    }

    /// Takes the first thing of `input`, which follows on what was taken before. Appends what is in a datagram to
    /// `payload`, and says how many bytes of `input` are done with. `None`: it is not yet complete; then the next call gets the
    /// same bytes and more.
    ///
    /// # Errors
    /// If these bytes are no frame, or one that has no place among datagrams; `payload` is then as it was.
    pub fn decode(
        &mut self,
        input: &[u8],
        payload: &mut BytesMut,
    ) -> Result<Option<(Carried, usize)>, DecodeError> {
        match &mut self.inner {
            Decoding::Messages(version) => decode_message(*version, input, &self.zones, payload),
            Decoding::BinaryV1 => binary_v1::decode(input, &self.zones, payload),
            Decoding::Binary(decoder) => decoder.decode(input, payload),
        }
    }

    /// Whether what was taken ends in the middle of a frame.
    pub fn in_frame(&self) -> bool {
        match &self.inner {
            Decoding::Messages(_) | Decoding::BinaryV1 => false,
            Decoding::Binary(decoder) => decoder.in_frame(),
        }
    }
}

fn decode_message(
    version: WireVersion,
    input: &[u8],
    zones: &Zones,
    payload: &mut BytesMut,
) -> Result<Option<(Carried, usize)>, DecodeError> {
    let frame = match version {
        WireVersion::V1 => v1::split_packet(input)?,
        WireVersion::V2 => version.split(input)?,
    };
    let Some(frame) = frame else {
        return Ok(None);
    };
    if frame.kind == Kind::UdpPacket
        && let Some(user) = body::read(frame.body, zones, payload)
    {
        let user = Some(user);
        return Ok(Some((Carried::Packet { user }, frame.len)));
    }
    let carried = match frame.read()? {
        Message::Ping(_) => Carried::Ping,
        Message::UdpPacket(packet) => {
            payload.extend_from_slice(&packet.content);
            let user = packet.user.and_then(|user| user.socket_addr(zones));
            Carried::Packet { user }
        }
        other => return Err(DecodeError::Unexpected { kind: other.kind() }),
    };
    Ok(Some((carried, frame.len)))
}
