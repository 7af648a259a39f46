//! frp's binary codec of datagrams, `binary-v1`, for two ends that have settled on it in their hellos
//! ([`Extension::BINARY_PACKETS`](crate::hello::Extension::BINARY_PACKETS)).
// frp: since 0.71.0 (pkg/msg/udp_binary.go)
//!
//! Each datagram is a message of v2 with an id of its own, whose body is, with all numbers big-endian:
//!
//! | bytes | meaning |
//! | ---: | --- |
//! | 1 | flags: bit 0, a local address follows; bit 1, the address of the user follows, which it must; no other |
//! | … | the local address: it is passed over, and not written |
//! | … | the address of the user |
//! | 2 | the length of the payload, at most [`MAX_DATAGRAM`] |
//! | n | the payload, with nothing behind it |
//!
//! An address is its family (1 byte: 4 or 6), the IP (4 or 16), the port (2), and the length (1) and text of its zone, which
//! IPv4 has not. An IPv4 address in IPv6's clothes is written as what it is. Other messages are JSON, as ever.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use bytes::{BufMut, BytesMut};

use super::{Carried, MAX_DATAGRAM};
use crate::decimal::decimal;
use crate::zones::Zones;
use crate::{
    frame::{DecodeError, EncodeError},
    message::{Kind, Message},
    v2,
};

const LOCAL: u8 = 1 << 0;
const USER: u8 = 1 << 1;

const IPV4: u8 = 4;
const IPV6: u8 = 6;

const LEN: usize = 2;

/// Appends one datagram to `out`.
pub(super) fn encode(
    payload: &[u8],
    user: SocketAddr,
    zones: &Zones,
    out: &mut BytesMut,
) -> Result<(), EncodeError> {
    let len = u16::try_from(payload.len())
        .ok()
        .filter(|&len| usize::from(len) <= MAX_DATAGRAM)
        .ok_or(EncodeError::TooLong {
            kind: Kind::UdpPacket,
            len: payload.len(),
            limit: MAX_DATAGRAM,
        })?;
    v2::encode_binary_packet(out, |out| {
        out.put_u8(USER);
        put_addr(user, zones, out);
        out.put_u16(len);
        out.extend_from_slice(payload);
    })
}

fn put_addr(addr: SocketAddr, zones: &Zones, out: &mut BytesMut) {
    match addr.ip().to_canonical() {
        IpAddr::V4(ip) => {
            out.put_u8(IPV4);
            out.put_slice(&ip.octets());
            out.put_u16(addr.port());
            out.put_u8(0);
        }
        IpAddr::V6(ip) => {
            out.put_u8(IPV6);
            out.put_slice(&ip.octets());
            out.put_u16(addr.port());
            put_zone(addr, zones, out);
        }
    }
}

fn put_zone(addr: SocketAddr, zones: &Zones, out: &mut BytesMut) {
    let scope_id = match addr {
        SocketAddr::V4(_) => 0,
        SocketAddr::V6(addr) => addr.scope_id(),
    };
    let (name, mut digits) = (zones.name(scope_id), [0; 10]);
    let zone = match &name {
        Some(name) => name.as_bytes(),
        None if scope_id == 0 => &[],
        None => decimal(scope_id, &mut digits),
    };
    // Names are no longer than this can say.
    out.put_u8(zone.len() as u8);
    out.put_slice(zone);
}

/// As [`super::Decoder::decode`].
pub(super) fn decode(
    input: &[u8],
    zones: &Zones,
    payload: &mut BytesMut,
) -> Result<Option<(Carried, usize)>, DecodeError> {
    if !v2::is_binary_packet(input) {
        // Nothing else is as frequent.
        let Some(frame) = v2::split(input)? else {
            return Ok(None);
        };
        if frame.kind == Kind::UdpPacket {
            return Err(DecodeError::JsonPacket);
        }
        return match frame.read()? {
            Message::Ping(_) => Ok(Some((Carried::Ping, frame.len))),
            other => Err(DecodeError::Unexpected { kind: other.kind() }),
        };
    }
    let Some((body, len)) = v2::split_binary_packet(input)? else {
        return Ok(None);
    };
    let (user, datagram) = read(body, zones).map_err(DecodeError::BinaryPacket)?;
    payload.extend_from_slice(datagram);
    Ok(Some((Carried::Packet { user }, len)))
}

/// Reads a body. The user is `None` if its zone is one too many.
fn read<'a>(body: &'a [u8], zones: &Zones) -> Result<(Option<SocketAddr>, &'a [u8]), &'static str> {
    let (&flags, mut rest) = body.split_first().ok_or("it is empty")?;
    if flags & !(LOCAL | USER) != 0 {
        return Err("unknown flags");
    }
    if flags & USER == 0 {
        return Err("no address of a user");
    }
    if flags & LOCAL != 0 {
        (_, rest) = read_addr(rest)?;
    }
    let (user, rest) = read_addr(rest)?;
    let (&len, datagram) = rest
        .split_first_chunk::<LEN>()
        .ok_or("no length of its payload")?;
    let len = usize::from(u16::from_be_bytes(len));
    if len > MAX_DATAGRAM {
        return Err("no datagram is that long");
    }
    if len != datagram.len() {
        return Err("its payload has another length than it says");
    }
    Ok((user.socket_addr(zones), datagram))
}

/// An address as it came.
struct Addr<'a> {
    ip: IpAddr,
    port: u16,
    zone: &'a str,
}

impl Addr<'_> {
    fn socket_addr(&self, zones: &Zones) -> Option<SocketAddr> {
        Some(match self.ip {
            IpAddr::V4(ip) => (ip, self.port).into(),
            IpAddr::V6(ip) => {
                SocketAddrV6::new(ip, self.port, 0, zones.scope_id(self.zone)?).into()
            }
        })
    }
}

fn read_addr(input: &[u8]) -> Result<(Addr<'_>, &[u8]), &'static str> {
    const CUT: &str = "an address is cut off";
    let (&family, input) = input.split_first().ok_or(CUT)?;
    let (ip, input): (IpAddr, _) = match family {
        IPV4 => {
            let (ip, rest) = input.split_first_chunk::<4>().ok_or(CUT)?;
            (Ipv4Addr::from(*ip).into(), rest)
        }
        IPV6 => {
            let (ip, rest) = input.split_first_chunk::<16>().ok_or(CUT)?;
            (Ipv6Addr::from(*ip).to_canonical(), rest)
        }
        _ => return Err("an address of an unknown family"),
    };
    let (&port, input) = input.split_first_chunk::<2>().ok_or(CUT)?;
    let (&zone_len, input) = input.split_first().ok_or(CUT)?;
    let (zone, rest) = input.split_at_checked(zone_len.into()).ok_or(CUT)?;
    if family == IPV4 && !zone.is_empty() {
        return Err("an IPv4 address with a zone");
    }
    let zone = str::from_utf8(zone).map_err(|_| "a zone that is not UTF-8")?;
    let port = u16::from_be_bytes(port);
    Ok((Addr { ip, port, zone }, rest))
}
