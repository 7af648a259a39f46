//! Version 1: one line of text.

use std::fmt::{Display, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::{FromStr, Split};

use bytes::BytesMut;

use super::{Addresses, Header, MAX_V1_LEN, ParseError, TransportProtocol, begins_with};

const SIGNATURE: &[u8] = b"PROXY ";
const LINE_END: &str = "\r\n";

/// Appends a line. `ports` are those of the source and the destination.
pub(super) fn encode(
    family: &str,
    protocol: TransportProtocol,
    source: impl Display,
    destination: impl Display,
    ports: (u16, u16),
    out: &mut BytesMut,
) {
    out.reserve(MAX_V1_LEN);
    // Writing to memory does not fail.
    let _ = match protocol {
        TransportProtocol::Tcp => {
            let (from, to) = ports;
            write!(
                out,
                "PROXY {family} {source} {destination} {from} {to}{LINE_END}"
            )
        }
        TransportProtocol::Udp => write!(out, "PROXY UNKNOWN{LINE_END}"),
    };
}

pub(super) fn parse(bytes: &[u8]) -> Result<Option<Header>, ParseError> {
    if begins_with(bytes, SIGNATURE)?.is_none() {
        return Ok(None);
    }
    let seen = &bytes[..bytes.len().min(MAX_V1_LEN)];
    let Some(end) = seen.iter().position(|it| *it == b'\n') else {
        return if seen.len() == MAX_V1_LEN {
            Err(ParseError::TooLong { limit: MAX_V1_LEN })
        } else {
            Ok(None)
        };
    };
    let line = std::str::from_utf8(&seen[SIGNATURE.len()..=end])
        .map_err(|_| ParseError::Line("bytes that are no text"))?
        .strip_suffix(LINE_END)
        .ok_or(ParseError::Line("no carriage return at its end"))?;
    Ok(Some(Header {
        addresses: addresses(line)?,
        len: end + 1,
    }))
}

fn addresses(line: &str) -> Result<Option<Addresses>, ParseError> {
    let mut words = line.split(' ');
    let addresses = match words.next() {
        Some("TCP4") => both::<Ipv4Addr>(&mut words)?,
        Some("TCP6") => both::<Ipv6Addr>(&mut words)?,
        // The specification says to ignore the rest of the line.
        Some("UNKNOWN") => return Ok(None),
        Some(_) | None => return Err(ParseError::Line("neither TCP4 nor TCP6 nor UNKNOWN")),
    };
    match words.next() {
        None => Ok(Some(addresses.canonical())),
        Some(_) => Err(ParseError::Line("more than two addresses and ports")),
    }
}

fn both<Ip: FromStr + Into<IpAddr>>(words: &mut Split<'_, char>) -> Result<Addresses, ParseError> {
    let source = ip::<Ip>(words.next())?;
    let destination = ip::<Ip>(words.next())?;
    Ok(Addresses {
        source: SocketAddr::new(source, port(words.next())?),
        destination: SocketAddr::new(destination, port(words.next())?),
    })
}

fn ip<Ip: FromStr + Into<IpAddr>>(word: Option<&str>) -> Result<IpAddr, ParseError> {
    word.and_then(|word| word.parse::<Ip>().ok())
        .map(Into::into)
        .ok_or(ParseError::Line("no IP address of its family"))
}

/// Parses a port: digits without sign or leading zeros.
fn port(word: Option<&str>) -> Result<u16, ParseError> {
    word.filter(|word| word.starts_with(|it: char| it.is_ascii_digit()))
        .filter(|word| *word == "0" || !word.starts_with('0'))
        .and_then(|word| word.parse().ok())
        .ok_or(ParseError::Line("no port number"))
}
