//! The JSON of a datagram, in the one shape that frp writes.

use std::{
    fmt::Write,
    net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6},
};

use bytes::BytesMut;

use crate::decimal::decimal;
use crate::zones::Zones;
use crate::{go_base64, go_json};

const BEFORE_CONTENT: &[u8] = b"{\"c\":\"";
const BEFORE_IP: &[u8] = b"\"r\":{\"IP\":\"";
const BEFORE_PORT: &[u8] = b"\",\"Port\":";
const BEFORE_ZONE: &[u8] = b",\"Zone\":";
const END: &[u8] = b"}}";

/// Longest text of an address: an IPv4 address in the last 32 bits of an IPv6 address.
const MAX_IP_LEN: usize = "0000:0000:0000:0000:0000:ffff:255.255.255.255".len();
/// Longest text of a port, as a number of any.
const MAX_NUMBER_LEN: usize = "4294967295".len();
/// Longest zone that is read here: no interface has a longer name on Linux.
const MAX_ZONE_LEN: usize = "\"123456789abcdef\"".len();

/// Most bytes from the end of the content to the end of the body.
const MAX_TAIL_LEN: usize = "\",".len()
    + BEFORE_IP.len()
    + MAX_IP_LEN
    + BEFORE_PORT.len()
    + MAX_NUMBER_LEN
    + BEFORE_ZONE.len()
    + MAX_ZONE_LEN
    + END.len();

/// Appends the body of a datagram.
pub(super) fn write(payload: &[u8], user: Option<SocketAddr>, zones: &Zones, out: &mut BytesMut) {
    out.reserve(BEFORE_CONTENT.len() + go_base64::encoded_len(payload.len()) + MAX_TAIL_LEN);
    if payload.is_empty() {
        out.extend_from_slice(b"{");
    } else {
        out.extend_from_slice(BEFORE_CONTENT);
        write_base64(payload, out);
        out.extend_from_slice(if user.is_some() { b"\"," } else { b"\"" });
    }
    match user {
        Some(user) => write_user(user, zones, out),
        None => out.extend_from_slice(b"}"),
    }
}

fn write_base64(payload: &[u8], out: &mut BytesMut) {
    let start = out.len();
    out.resize(start + go_base64::encoded_len(payload.len()), 0);
    go_base64::encode(payload, &mut out[start..]);
}

#[expect(clippy::expect_used, reason = "memory takes every byte")]
fn write_user(user: SocketAddr, zones: &Zones, out: &mut BytesMut) {
    out.extend_from_slice(BEFORE_IP);
    match user.ip().to_canonical() {
        IpAddr::V4(ip) => {
            let [first, rest @ ..] = ip.octets();
            write_number(first.into(), out);
            for octet in rest {
                out.extend_from_slice(b".");
                write_number(octet.into(), out);
            }
        }
        IpAddr::V6(ip) => write!(out, "{ip}").expect("memory takes every byte"),
    }
    out.extend_from_slice(BEFORE_PORT);
    write_number(user.port().into(), out);
    out.extend_from_slice(BEFORE_ZONE);
    let scope_id = match user {
        SocketAddr::V4(_) => 0,
        SocketAddr::V6(user) => user.scope_id(),
    };
    match zones.name(scope_id) {
        Some(name) => go_json::write_str(&name, out),
        None => {
            out.extend_from_slice(b"\"");
            if scope_id != 0 {
                write_number(scope_id, out);
            }
            out.extend_from_slice(b"\"");
        }
    }
    out.extend_from_slice(END);
}

fn write_number(number: u32, out: &mut BytesMut) {
    out.extend_from_slice(decimal(number, &mut [0; MAX_NUMBER_LEN]));
}

/// Reads the body of a datagram: appends its content to `payload` and returns its user. `None`, with `payload` as it was:
/// not of the usual shape, which says nothing about whether it is good.
pub(super) fn read(body: &[u8], zones: &Zones, payload: &mut BytesMut) -> Option<SocketAddr> {
    let body = body.strip_prefix(BEFORE_CONTENT)?;
    // The end of the content is looked for from the end of the body, so that only the decoder looks at the content. It
    // refuses quotes and escapes, so what it accepts is the string that JSON has here.
    let tail_at = body.len().saturating_sub(MAX_TAIL_LEN);
    let tail = &body[tail_at..];
    let ip_at = tail
        .windows(BEFORE_IP.len())
        .rposition(|window| window == BEFORE_IP)?;
    let (content, user) = (&body[..tail_at + ip_at], &tail[ip_at + BEFORE_IP.len()..]);
    let content = content.strip_suffix(b"\",")?;
    let user = read_user(user, zones)?;
    read_base64(content, payload)?;
    Some(user)
}

fn read_base64(content: &[u8], payload: &mut BytesMut) -> Option<()> {
    let start = payload.len();
    payload.resize(start + go_base64::decoded_len(content.len()), 0);
    let decoded = go_base64::decode(content, &mut payload[start..]).ok();
    payload.truncate(start + decoded.unwrap_or(0));
    decoded.map(drop)
}

/// Reads what follows [`BEFORE_IP`].
fn read_user(user: &[u8], zones: &Zones) -> Option<SocketAddr> {
    let quote = user.iter().position(|&byte| byte == b'"')?;
    let (ip, user) = user.split_at(quote);
    let ip: IpAddr = std::str::from_utf8(ip).ok()?.parse().ok()?;
    let (port, user) = read_number(user.strip_prefix(BEFORE_PORT)?)?;
    let port = u16::try_from(port).ok()?;
    let zone = user.strip_prefix(BEFORE_ZONE)?.strip_suffix(END)?;
    let zone = zone.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    match ip.to_canonical() {
        IpAddr::V4(ip) if zone.is_empty() => Some((ip, port).into()),
        IpAddr::V4(_) => None,
        IpAddr::V6(ip) => with_zone(ip, port, zone, zones),
    }
}

fn with_zone(ip: Ipv6Addr, port: u16, zone: &[u8], zones: &Zones) -> Option<SocketAddr> {
    // Quotes, escapes and what is not ASCII are not usual in names of interfaces.
    let usual = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._:@".contains(byte);
    if !zone.iter().all(usual) {
        return None;
    }
    let scope_id = zones.scope_id(std::str::from_utf8(zone).ok()?)?;
    Some(SocketAddrV6::new(ip, port, 0, scope_id).into())
}

/// Reads a number as JSON writes it, that is, without leading zeros.
fn read_number(text: &[u8]) -> Option<(u32, &[u8])> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, rest) = text.split_at(digits);
    if number.len() > 1 && number.starts_with(b"0") {
        return None;
    }
    Some((std::str::from_utf8(number).ok()?.parse().ok()?, rest))
}
