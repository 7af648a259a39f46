//! STUN (RFC 8489) as far as it takes to learn one's own address: the binding request, its response, and the attributes that
//! say who asked and whom else to ask. No I/O; a server needs the same few bytes the other way round, which tests use.

use std::net::{Ipv4Addr, SocketAddrV4};

use mgrok_proto::cipher;

/// Bytes of a message without attributes, which is all of a request.
pub const HEADER_LEN: usize = 20;

const MAGIC_COOKIE: [u8; 4] = 0x2112_a442_u32.to_be_bytes();

const BINDING_REQUEST: u16 = 0x0001;
const BINDING_SUCCESS: u16 = 0x0101;
const BINDING_ERROR: u16 = 0x0111;

const MAPPED_ADDRESS: u16 = 0x0001;
/// Of RFC 3489; where it comes from, [`OTHER_ADDRESS`] had another name.
const CHANGED_ADDRESS: u16 = 0x0005;
const ERROR_CODE: u16 = 0x0009;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
/// Of RFC 5780.
const OTHER_ADDRESS: u16 = 0x802c;

const ATTRIBUTE_HEADER_LEN: usize = 4;
const IPV4: u8 = 1;
/// Bytes of an IPv4 address attribute: a zero, the family, port and address.
const ADDRESS_LEN: usize = 8;

/// Which request a response answers: 96 bits that nobody can guess who has not seen the request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TransactionId(pub [u8; 12]);

impl TransactionId {
    /// A new id.
    pub fn random() -> Self {
        let [bits @ .., _, _, _, _] = cipher::random_iv();
        Self(bits)
    }
}

/// What a server says to a binding request.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Response {
    /// Where the request came from: XOR-MAPPED-ADDRESS if there is one, else MAPPED-ADDRESS.
    pub mapped: Option<SocketAddrV4>,
    /// Another address of the server: OTHER-ADDRESS if there is one, else CHANGED-ADDRESS.
    pub other: Option<SocketAddrV4>,
}

/// Why a datagram is no answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ResponseError {
    /// It answers another request, as a late one does, or whoever sent it has not seen ours.
    #[error("answers another request")]
    Foreign,
    /// It is not STUN, or not whole.
    #[error("not a STUN binding response")]
    Malformed,
    /// The server understood and declined.
    #[error("the server refused with code {code}")]
    Refused {
        /// The number of the reason, 300 to 699; 0 if the server gave none.
        code: u16,
    },
}

/// The request: a header and nothing else.
pub fn binding_request(id: TransactionId) -> [u8; HEADER_LEN] {
    header(BINDING_REQUEST, 0, id)
}

/// Reads a datagram as the answer to the request `id`. IPv6 addresses and attributes that are not known are passed over.
///
/// # Errors
/// If it is none, which says nothing about whether one will still come, except for [`ResponseError::Refused`].
pub fn parse_response(datagram: &[u8], id: TransactionId) -> Result<Response, ResponseError> {
    let (kind, found, attributes) = split(datagram).ok_or(ResponseError::Malformed)?;
    if kind != BINDING_SUCCESS && kind != BINDING_ERROR {
        return Err(ResponseError::Malformed);
    }
    if found != id {
        return Err(ResponseError::Foreign);
    }
    let mut plain = None;
    let mut xored = None;
    let mut changed = None;
    let mut other = None;
    let mut code = 0;
    let mut rest = attributes;
    while !rest.is_empty() {
        let (kind, value) = next_attribute(&mut rest).ok_or(ResponseError::Malformed)?;
        // Where an attribute is there twice, only the first counts (RFC 8489, 14).
        let place = match kind {
            MAPPED_ADDRESS => &mut plain,
            XOR_MAPPED_ADDRESS => &mut xored,
            CHANGED_ADDRESS => &mut changed,
            OTHER_ADDRESS => &mut other,
            ERROR_CODE => {
                if let [_, _, class, number, ..] = value {
                    code = u16::from(class & 7) * 100 + u16::from(*number);
                }
                continue;
            }
            _ => continue,
        };
        *place = place.or(address(value)?);
    }
    if kind == BINDING_ERROR {
        return Err(ResponseError::Refused { code });
    }
    Ok(Response {
        mapped: xored.map(xor).or(plain),
        other: other.or(changed),
    })
}

/// Reads a datagram as a binding request, as a server does.
pub fn parse_request(datagram: &[u8]) -> Option<TransactionId> {
    let (kind, id, _) = split(datagram)?;
    (kind == BINDING_REQUEST).then_some(id)
}

/// The answer of a server, with XOR-MAPPED-ADDRESS and OTHER-ADDRESS.
pub fn binding_response(id: TransactionId, response: &Response) -> Vec<u8> {
    let attributes = [
        (XOR_MAPPED_ADDRESS, response.mapped.map(xor)),
        (OTHER_ADDRESS, response.other),
    ];
    let mut body = Vec::new();
    for (kind, addr) in attributes {
        let Some(addr) = addr else { continue };
        body.extend_from_slice(&kind.to_be_bytes());
        body.extend_from_slice(&(ADDRESS_LEN as u16).to_be_bytes());
        body.extend_from_slice(&[0, IPV4]);
        body.extend_from_slice(&addr.port().to_be_bytes());
        body.extend_from_slice(&addr.ip().octets());
    }
    let mut datagram = header(BINDING_SUCCESS, body.len() as u16, id).to_vec();
    datagram.append(&mut body);
    datagram
}

fn header(kind: u16, len: u16, TransactionId(id): TransactionId) -> [u8; HEADER_LEN] {
    let mut header = [0; HEADER_LEN];
    header[..2].copy_from_slice(&kind.to_be_bytes());
    header[2..4].copy_from_slice(&len.to_be_bytes());
    header[4..8].copy_from_slice(&MAGIC_COOKIE);
    header[8..].copy_from_slice(&id);
    header
}

/// Type, id and attributes of a message. What comes after its end is not looked at.
fn split(datagram: &[u8]) -> Option<(u16, TransactionId, &[u8])> {
    let (header, body) = datagram.split_first_chunk::<HEADER_LEN>()?;
    let [k0, k1, l0, l1, c0, c1, c2, c3, id @ ..] = *header;
    let len = usize::from(u16::from_be_bytes([l0, l1]));
    if [c0, c1, c2, c3] != MAGIC_COOKIE || !len.is_multiple_of(4) {
        return None;
    }
    let kind = u16::from_be_bytes([k0, k1]);
    Some((kind, TransactionId(id), body.get(..len)?))
}

/// Takes the first attribute off `rest`: its type and its value without the padding to a multiple of four.
fn next_attribute<'a>(rest: &mut &'a [u8]) -> Option<(u16, &'a [u8])> {
    let (&[k0, k1, l0, l1], tail) = rest.split_first_chunk::<ATTRIBUTE_HEADER_LEN>()?;
    let len = usize::from(u16::from_be_bytes([l0, l1]));
    let value = tail.get(..len)?;
    *rest = tail.get(len.next_multiple_of(4)..)?;
    Some((u16::from_be_bytes([k0, k1]), value))
}

/// The value of an address attribute; `None` if it is of IPv6.
fn address(value: &[u8]) -> Result<Option<SocketAddrV4>, ResponseError> {
    match *value {
        [_, IPV4, p0, p1, a, b, c, d] => Ok(Some(SocketAddrV4::new(
            Ipv4Addr::new(a, b, c, d),
            u16::from_be_bytes([p0, p1]),
        ))),
        [_, family, ..] if family != IPV4 => Ok(None),
        _ => Err(ResponseError::Malformed),
    }
}

/// Hides an address from NATs that rewrite addresses in payloads, or shows it again.
fn xor(addr: SocketAddrV4) -> SocketAddrV4 {
    let cookie = u32::from_be_bytes(MAGIC_COOKIE);
    SocketAddrV4::new(
        Ipv4Addr::from_bits(addr.ip().to_bits() ^ cookie),
        addr.port() ^ (cookie >> 16) as u16,
    )
}

#[cfg(test)]
mod tests;
