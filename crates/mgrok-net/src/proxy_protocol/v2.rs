//! Version 2: binary.

use std::net::{IpAddr, SocketAddr};

use bytes::{Buf, BufMut, BytesMut};

use super::{Addresses, Header, MAX_V2_LEN, ParseError, TransportProtocol, begins_with};

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// The signature, version and command, family and protocol, and the length of what follows.
const FIXED_LEN: usize = 16;

const VERSION: u8 = 2;
const COMMAND_LOCAL: u8 = 0;
const COMMAND_PROXY: u8 = 1;

pub(super) const FAMILY_V4: u8 = 1;
pub(super) const FAMILY_V6: u8 = 2;
const TRANSPORT_STREAM: u8 = 1;
const TRANSPORT_DATAGRAM: u8 = 2;

/// Appends a header. `source` and `destination` are the octets of two addresses of `family`, `ports` their ports.
pub(super) fn encode(
    family: u8,
    protocol: TransportProtocol,
    source: &[u8],
    destination: &[u8],
    ports: (u16, u16),
    out: &mut BytesMut,
) {
    let protocol = match protocol {
        TransportProtocol::Tcp => TRANSPORT_STREAM,
        TransportProtocol::Udp => TRANSPORT_DATAGRAM,
    };
    let len = source.len() + destination.len() + 4;
    out.reserve(FIXED_LEN + len);
    out.put_slice(SIGNATURE);
    out.put_u8(VERSION << 4 | COMMAND_PROXY);
    out.put_u8(family << 4 | protocol);
    // Fits: at most 36.
    out.put_u16(len as u16);
    out.put_slice(source);
    out.put_slice(destination);
    out.put_u16(ports.0);
    out.put_u16(ports.1);
}

pub(super) fn parse(bytes: &[u8]) -> Result<Option<Header>, ParseError> {
    if begins_with(bytes, SIGNATURE)?.is_none() {
        return Ok(None);
    }
    // Reports an error as early as possible: a sender of another version may send no more bytes.
    if let Some(version_and_command) = bytes.get(SIGNATURE.len()) {
        match (version_and_command >> 4, version_and_command & 0xf) {
            (VERSION, COMMAND_LOCAL | COMMAND_PROXY) => {}
            (VERSION, command) => return Err(ParseError::Command(command)),
            (version, _) => return Err(ParseError::Version(version)),
        }
    }
    let Some(mut fixed) = bytes.get(SIGNATURE.len()..FIXED_LEN) else {
        return Ok(None);
    };
    let command = fixed.get_u8() & 0xf;
    let family_and_transport = fixed.get_u8();
    let body_len = fixed.get_u16();
    let len = FIXED_LEN + usize::from(body_len);
    if len > MAX_V2_LEN {
        return Err(ParseError::TooLong { limit: MAX_V2_LEN });
    }
    let Some(body) = bytes.get(FIXED_LEN..len) else {
        return Ok(None);
    };
    let addresses = if command == COMMAND_LOCAL {
        // The specification says to ignore family and addresses of this command, even invalid ones.
        None
    } else {
        match family_and_transport {
            0x11 | 0x12 => Some(addresses::<4>(body, body_len)?),
            0x21 | 0x22 => Some(addresses::<16>(body, body_len)?),
            // Unspecified, or Unix sockets.
            0x00 | 0x31 | 0x32 => None,
            other => return Err(ParseError::Family(other)),
        }
    };
    Ok(Some(Header { addresses, len }))
}

/// The two addresses at the beginning of the body, with `OCTETS` octets each.
fn addresses<const OCTETS: usize>(mut body: &[u8], body_len: u16) -> Result<Addresses, ParseError>
where
    IpAddr: From<[u8; OCTETS]>,
{
    if body.len() < 2 * OCTETS + 4 {
        return Err(ParseError::AddressesCut { len: body_len });
    }
    let mut ip = || {
        let mut octets = [0; OCTETS];
        body.copy_to_slice(&mut octets);
        IpAddr::from(octets)
    };
    let (source, destination) = (ip(), ip());
    let addresses = Addresses {
        source: SocketAddr::new(source, body.get_u16()),
        destination: SocketAddr::new(destination, body.get_u16()),
    };
    Ok(addresses.canonical())
}
