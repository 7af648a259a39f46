//! The PROXY protocol: who the user is, said by a proxy ahead of the user's first byte.
//!
//! Both versions, both ways. Writing and reading are pure ([`encode`], [`parse`]); [`read`] takes a
//! header off a connection. The specification is HAProxy's (`doc/proxy-protocol.txt`); numbers here
//! that have no other source are its.
//!
//! Not by `proxy-header` (0.1.3). Speed does not decide: a line takes it 0.7 to 1.2 µs and us 1.6, a binary header 64 ns
//! and us 18, and neither allocates. But it waits for 64 KiB of a header where the limit here is
//! [`MAX_V2_LEN`], and for 15 bytes before it calls something else no header; its errors do not say what is wrong; it reads
//! `PROXYxTCP4` and ports such as `+1` and `02`; and it writes no header for two families or, in version 1, for
//! datagrams. Tests compare this module with `ppp`, in both directions.

mod v1;
mod v2;

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use bytes::BytesMut;

use crate::conn::Conn;

/// The most bytes of a version 1 header, with its line end.
pub const MAX_V1_LEN: usize = 107;
/// The most bytes of a version 2 header that is read. Addresses take 216 at most; the rest are
/// extensions, which are skipped. The same limit as nginx's.
pub const MAX_V2_LEN: usize = 4096;

/// How many bytes an error shows of what came instead of a header.
const MAX_SHOWN: usize = 16;

/// How a header is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Version {
    /// A line of text. It cannot speak of datagrams.
    V1,
    /// Binary.
    V2,
}

/// How the user speaks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TransportProtocol {
    /// A TCP connection.
    Tcp,
    /// Datagrams.
    Udp,
}

/// The two ends of a user's connection. IPv4-mapped IPv6 addresses count as the
/// IPv4 address.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Addresses {
    /// The user.
    pub source: SocketAddr,
    /// Where the user arrived.
    pub destination: SocketAddr,
}

/// A header that was read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Header {
    /// `None` if the header names no user: a health check of the balancer, or a user without an IP address. Then the addresses
    /// of the connection count.
    pub addresses: Option<Addresses>,
    /// How many bytes it takes; the user's begin after them.
    pub len: usize,
}

/// Why bytes are not a PROXY protocol header.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ParseError {
    /// A version 2 header has no room for the addresses of the family that it names.
    #[error("a PROXY protocol header of {len} bytes has no room for its addresses")]
    AddressesCut {
        /// What it says to be its length, without its first 16 bytes.
        len: u16,
    },
    /// A version 2 header with a command that there is not.
    #[error("unknown command {0} in a PROXY protocol header")]
    Command(u8),
    /// A version 2 header with a family or protocol that there is not.
    #[error("unknown address family and protocol {0:#04x} in a PROXY protocol header")]
    Family(u8),
    /// A version 1 header that is not as it must be.
    #[error("a PROXY protocol line has {0}")]
    Line(&'static str),
    /// There is something else.
    #[error("a PROXY protocol header is required here, but \"{begins}\" came")]
    Missing {
        /// Its first bytes, those that cannot be printed as escapes.
        begins: String,
    },
    /// It is longer than [`MAX_V1_LEN`] or [`MAX_V2_LEN`].
    #[error("a PROXY protocol header has more than the {limit} bytes allowed")]
    TooLong {
        /// Which of them.
        limit: usize,
    },
    /// A binary header of a version that is not known.
    #[error("unknown version {0} of the PROXY protocol")]
    Version(u8),
}

/// Why there is no header in front of a connection.
#[derive(Debug, thiserror::Error)]
pub enum ProxyProtocolError {
    /// The connection ended before or inside the header.
    #[error("the connection ended before its PROXY protocol header was complete")]
    Closed,
    /// The connection failed.
    #[error("cannot receive a PROXY protocol header")]
    Io(#[source] io::Error),
    /// What came is no header, or none that can be used.
    #[error(transparent)]
    Parse(#[from] ParseError),
}

impl Addresses {
    /// The same, with mapped IPv4 addresses as plain ones.
    fn canonical(self) -> Self {
        let canonical = |addr: SocketAddr| SocketAddr::new(addr.ip().to_canonical(), addr.port());
        Self {
            source: canonical(self.source),
            destination: canonical(self.destination),
        }
    }
}

/// Appends a header that introduces a user.
///
/// Version 1 has no word for datagrams: there it says that the user is unknown. When one address is
/// IPv4 and the other IPv6, the first is mapped into IPv6 (`::ffff:192.0.2.1`, in version 1 too),
/// which HAProxy, nginx and go-proxyproto all read.
// frp: a plain IPv4 address in a `TCP6` line, which HAProxy and go-proxyproto refuse, and no
// connection at all if it is the source (go-proxyproto, v1.go#formatVersion1).
pub fn encode(
    version: Version,
    protocol: TransportProtocol,
    addresses: &Addresses,
    out: &mut BytesMut,
) {
    let Addresses {
        source,
        destination,
    } = addresses.canonical();
    let ports = (source.port(), destination.port());
    match (source.ip(), destination.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => match version {
            Version::V1 => v1::encode("TCP4", protocol, source, destination, ports, out),
            Version::V2 => v2::encode(
                v2::FAMILY_V4,
                protocol,
                &source.octets(),
                &destination.octets(),
                ports,
                out,
            ),
        },
        (source, destination) => {
            let (source, destination) = (mapped(source), mapped(destination));
            match version {
                Version::V1 => v1::encode("TCP6", protocol, source, destination, ports, out),
                Version::V2 => v2::encode(
                    v2::FAMILY_V6,
                    protocol,
                    &source.octets(),
                    &destination.octets(),
                    ports,
                    out,
                ),
            }
        }
    }
}

/// The header that `bytes` begin with; `None` if more bytes are needed. Never looks at more
/// than [`MAX_V2_LEN`] of them, nor asks for more.
pub fn parse(bytes: &[u8]) -> Result<Option<Header>, ParseError> {
    match bytes.first() {
        None => Ok(None),
        Some(b'P') => v1::parse(bytes),
        Some(b'\r') => v2::parse(bytes),
        Some(_) => Err(missing(bytes)),
    }
}

/// Takes the header off `conn`, which must begin with one; all that follows it stays in front.
/// `None` as in [`Header::addresses`].
///
/// Waits for as long as the other side is silent: the caller sets the deadline. Not cancel-safe:
/// bytes may be lost.
pub async fn read(conn: &mut Conn) -> Result<Option<Addresses>, ProxyProtocolError> {
    let mut seen = BytesMut::new();
    loop {
        let mut chunk = conn.recv().await.map_err(ProxyProtocolError::Io)?;
        if chunk.is_empty() {
            return Err(ProxyProtocolError::Closed);
        }
        if !seen.is_empty() {
            seen.extend_from_slice(&chunk);
            chunk = seen.split().freeze();
        }
        if let Some(header) = parse(&chunk)? {
            conn.unread(chunk.split_off(header.len));
            return Ok(header.addresses);
        }
        seen.extend_from_slice(&chunk);
    }
}

fn mapped(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}

/// Whether all of `signature` is there; `None` if it may still come.
fn begins_with(bytes: &[u8], signature: &[u8]) -> Result<Option<()>, ParseError> {
    if bytes.starts_with(signature) {
        Ok(Some(()))
    } else if signature.starts_with(bytes) {
        Ok(None)
    } else {
        Err(missing(bytes))
    }
}

fn missing(bytes: &[u8]) -> ParseError {
    let begins = &bytes[..bytes.len().min(MAX_SHOWN)];
    ParseError::Missing {
        begins: begins.escape_ascii().to_string(),
    }
}

#[cfg(test)]
mod tests;
