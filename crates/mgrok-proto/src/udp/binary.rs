//! mgrok's own framing of datagrams, for two ends that have both said at login that they have it
//! ([`Extension::DATAGRAMS`](crate::hello::Extension::DATAGRAMS)).
//!
//! Each direction of the connection is a sequence of frames, without anything before, between or behind them. All numbers are
//! big-endian and unsigned. The first byte of a frame is its kind:
//!
//! | kind | what follows it |
//! | ---: | --- |
//! | 0 | nothing: a sign of life |
//! | 1 | nothing: whoever sends it takes datagrams of QUIC from now on, see below |
//! | 4 | count (1 byte), IPv4 address (4), port (2), as many datagrams as the count says |
//! | 6 | count (1), IPv6 address (16), scope id (4), port (2), as many datagrams as the count says |
//!
//! A datagram is its length (2 bytes) and so many bytes of payload. All datagrams of a frame belong to the one user
//! whose address it has: from the server, it has sent them; from the client, they are for it. An empty datagram is a datagram.
//!
//! Limits: the count is at least 1; a datagram has at most [`MAX_DATAGRAM`] bytes; a frame of kind 4 or 6 has at most
//! [`MAX_FRAME`] bytes, which the largest datagram fits. Anything else is an error, after which the connection is of no more
//! use. IPv4 is written as kind 4, also if the user came to a dual-stack socket; an address of kind 6 that maps IPv4 is read as
//! the IPv4 address. The scope id is the number of an interface for link-local addresses, else 0.
//!
//! ```text
//! 04 02  c0 00 02 01  14 e9   00 02 68 69   00 00
//! kind   192.0.2.1    :5353   "hi"          an empty datagram
//! ```
//!
//! # Datagrams of QUIC
//!
//! Where the connection is a stream of QUIC and both ends have said that they know of this
//! ([`Extension::QUIC_DATAGRAMS`](crate::hello::Extension::QUIC_DATAGRAMS)), a frame of kind 4 or 6 may also travel in a datagram of
//! the same QUIC connection (RFC 9221), whose payload is
//!
//! - the id of the stream divided by four, as a variable-length integer of QUIC ([`quarter_id`](super::quarter_id)), then
//! - one frame, whole, with nothing behind it.
//!
//! Only streams that the end opened that has dialled the QUIC connection have this, so that the quarter of the id says which
//! one is meant. An end sends no such datagram before a frame of kind 1 has come on the stream: the other end might not have
//! found out yet what the stream is for, or might see only what layers (encryption, compression, a limit) have made of it. A frame of
//! kind 1 is sent at most once, each way for itself. Frames on the stream stay allowed, and a datagram that is
//! too long for a datagram of QUIC goes there, as signs of life do. Datagrams that go different ways may overtake each other.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use bytes::{BufMut, BytesMut};

use super::{Carried, MAX_DATAGRAM};
use crate::{
    frame::{DecodeError, EncodeError},
    message::Kind,
};

/// The most bytes of a frame.
pub const MAX_FRAME: usize = 65_536;

const PING: u8 = 0;
const QUIC_READY: u8 = 1;
const IPV4: u8 = 4;
const IPV6: u8 = 6;

const IPV4_HEAD: usize = 1 + 1 + 4 + 2;
const IPV6_HEAD: usize = 1 + 1 + 16 + 4 + 2;
const LEN: usize = 2;

/// Writes frames. Datagrams of one user that come in a row share one.
#[derive(Debug)]
pub struct Encoder {
    max_frame: usize,
    open: Option<Open>,
}

/// The frame at the end of what was written, to which more may be added.
#[derive(Clone, Copy, Debug)]
struct Open {
    user: SocketAddr,
    /// Where it begins and ends.
    start: usize,
    end: usize,
    count: u8,
}

impl Encoder {
    /// One whose frames have at most `max_frame` bytes, which are no more than [`MAX_FRAME`].
    pub fn new(max_frame: usize) -> Self {
        Self {
            max_frame: max_frame.min(MAX_FRAME),
            open: None,
        }
    }

    /// Whether a datagram of `len` bytes of this user fits a frame of its own.
    pub fn fits(&self, len: usize, user: SocketAddr) -> bool {
        let head = if user.ip().to_canonical().is_ipv4() {
            IPV4_HEAD
        } else {
            IPV6_HEAD
        };
        len <= MAX_DATAGRAM && head + LEN + len <= self.max_frame
    }

    /// Whether a datagram of `len` bytes of this user would be added to the open frame.
    pub fn joins(&self, len: usize, user: SocketAddr) -> bool {
        self.open.is_some_and(|open| {
            open.user == user
                && open.count < u8::MAX
                && open.end - open.start + LEN + len <= self.max_frame
        })
    }

    /// Appends one datagram to `out`, in the open frame or a new one. Between two calls that are not parted by
    /// [`Encoder::end_frame`] what is in `out` must stay.
    ///
    /// # Errors
    /// If it does not fit a frame; `out` is then as it was.
    pub fn datagram(
        &mut self,
        payload: &[u8],
        user: SocketAddr,
        out: &mut BytesMut,
    ) -> Result<(), EncodeError> {
        let len = match u16::try_from(payload.len()) {
            Ok(len) if self.fits(payload.len(), user) => len,
            Ok(_) | Err(_) => {
                return Err(EncodeError::TooLong {
                    kind: Kind::UdpPacket,
                    len: payload.len(),
                    limit: MAX_DATAGRAM.min(self.max_frame.saturating_sub(IPV6_HEAD + LEN)),
                });
            }
        };
        let open = match self.open {
            Some(open) if self.joins(payload.len(), user) && open.end == out.len() => Open {
                count: open.count + 1,
                ..open
            },
            Some(_) | None => begin(user, out),
        };
        out.put_u16(len);
        out.extend_from_slice(payload);
        out[open.start + 1] = open.count;
        self.open = Some(Open {
            end: out.len(),
            ..open
        });
        Ok(())
    }

    /// Appends a sign of life to `out`.
    pub fn ping(&mut self, out: &mut BytesMut) {
        self.end_frame();
        out.put_u8(PING);
    }

    /// Appends the word that this end takes datagrams of QUIC from now on.
    pub fn quic_ready(&mut self, out: &mut BytesMut) {
        self.end_frame();
        out.put_u8(QUIC_READY);
    }

    /// Takes note that what was written is taken away: the next datagram begins a frame.
    pub fn end_frame(&mut self) {
        self.open = None;
    }
}

/// Writes the head of a frame of one datagram.
fn begin(user: SocketAddr, out: &mut BytesMut) -> Open {
    let start = out.len();
    match user.ip().to_canonical() {
        IpAddr::V4(ip) => {
            out.put_slice(&[IPV4, 1]);
            out.put_slice(&ip.octets());
        }
        IpAddr::V6(ip) => {
            out.put_slice(&[IPV6, 1]);
            out.put_slice(&ip.octets());
            out.put_u32(match user {
                SocketAddr::V4(_) => 0,
                SocketAddr::V6(user) => user.scope_id(),
            });
        }
    }
    out.put_u16(user.port());
    Open {
        user,
        start,
        end: start,
        count: 1,
    }
}

/// Takes frames apart, datagram by datagram: no frame need be there as a whole.
#[derive(Clone, Copy, Debug)]
pub struct Decoder {
    /// Of the frame under way: its user, how many datagrams are left, and how many bytes those may have.
    user: SocketAddr,
    left: u8,
    room: usize,
}

impl Default for Decoder {
    fn default() -> Self {
        Self {
            user: SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0),
            left: 0,
            room: 0,
        }
    }
}

impl Decoder {
    /// As [`super::Decoder::decode`].
    pub fn decode(
        &mut self,
        input: &[u8],
        payload: &mut BytesMut,
    ) -> Result<Option<(Carried, usize)>, DecodeError> {
        // It is all done again if the datagram is not complete, but then there is not much of it.
        let (frame, head) = if self.left > 0 {
            (*self, 0)
        } else {
            match input {
                [] => return Ok(None),
                [PING, ..] => return Ok(Some((Carried::Ping, 1))),
                [QUIC_READY, ..] => return Ok(Some((Carried::QuicReady, 1))),
                [IPV4 | IPV6] => return Ok(None),
                [kind @ (IPV4 | IPV6), 0, ..] => return Err(DecodeError::Datagrams(*kind)),
                [IPV4, count, rest @ ..] => match read_ipv4(rest) {
                    Some(user) => (Self::begun(user, *count, IPV4_HEAD), IPV4_HEAD),
                    None => return Ok(None),
                },
                [IPV6, count, rest @ ..] => match read_ipv6(rest) {
                    Some(user) => (Self::begun(user, *count, IPV6_HEAD), IPV6_HEAD),
                    None => return Ok(None),
                },
                [kind, ..] => return Err(DecodeError::DatagramKind(*kind)),
            }
        };
        let Some((&length, rest)) = input[head..].split_first_chunk::<LEN>() else {
            return Ok(None);
        };
        let length = u16::from_be_bytes(length);
        let len = usize::from(length);
        if len > MAX_DATAGRAM {
            let limit = MAX_DATAGRAM;
            return Err(DecodeError::DatagramLength { length, limit });
        }
        let Some(room) = frame.room.checked_sub(LEN + len) else {
            return Err(DecodeError::DatagramFrame { limit: MAX_FRAME });
        };
        let Some(datagram) = rest.get(..len) else {
            return Ok(None);
        };
        payload.extend_from_slice(datagram);
        *self = Self {
            left: frame.left - 1,
            room,
            ..frame
        };
        let user = Some(frame.user);
        Ok(Some((Carried::Packet { user }, head + LEN + len)))
    }

    /// Whether what was taken ends in the middle of a frame.
    pub fn in_frame(&self) -> bool {
        self.left > 0
    }

    /// Takes what came in a datagram of QUIC: one whole frame. Appends each of its datagrams to `payload`, and calls `each` then with
    /// all of that and the user.
    ///
    /// # Errors
    /// If it is anything else. Datagrams in front of what is wrong have been taken.
    pub fn decode_quic(
        mut input: &[u8],
        payload: &mut BytesMut,
        mut each: impl FnMut(&BytesMut, SocketAddr),
    ) -> Result<(), DecodeError> {
        let mut frame = Self::default();
        loop {
            match frame.decode(input, payload)? {
                Some((Carried::Packet { user: Some(user) }, len)) => {
                    each(payload, user);
                    input = &input[len..];
                }
                Some(_) | None => return Err(DecodeError::QuicDatagram),
            }
            if !frame.in_frame() {
                break;
            }
        }
        match input {
            [] => Ok(()),
            [..] => Err(DecodeError::QuicDatagram),
        }
    }

    fn begun(user: SocketAddr, count: u8, head: usize) -> Self {
        Self {
            user,
            left: count,
            room: MAX_FRAME - head,
        }
    }
}

fn read_ipv4(input: &[u8]) -> Option<SocketAddr> {
    let (ip, rest) = input.split_first_chunk::<4>()?;
    let port = rest.first_chunk::<2>()?;
    Some((Ipv4Addr::from(*ip), u16::from_be_bytes(*port)).into())
}

fn read_ipv6(input: &[u8]) -> Option<SocketAddr> {
    let (ip, rest) = input.split_first_chunk::<16>()?;
    let (scope_id, rest) = rest.split_first_chunk::<4>()?;
    let port = u16::from_be_bytes(*rest.first_chunk::<2>()?);
    Some(match Ipv6Addr::from(*ip).to_canonical() {
        IpAddr::V4(ip) => (ip, port).into(),
        IpAddr::V6(ip) => SocketAddrV6::new(ip, port, 0, u32::from_be_bytes(*scope_id)).into(),
    })
}
