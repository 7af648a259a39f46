//! Which stream a datagram of QUIC belongs to: the id of the stream divided by four, as a variable-length integer of
//! QUIC (RFC 9000, section 16). HTTP/3 calls that the quarter stream id (RFC 9297, section 2.1).

use bytes::{BufMut, BytesMut};

/// The most bytes of one.
pub const MAX_LEN: usize = 8;

/// What the first two bits say of the length: one, two, four and eight bytes.
const LENGTH_SHIFT: u32 = 6;

/// Appends one; `id` is less than 2^60, as ids of streams are less than 2^62.
pub fn encode(id: u64, out: &mut BytesMut) {
    match id {
        0..0x40 => out.put_u8(id as u8),
        0x40..0x4000 => out.put_u16(0x4000 | id as u16),
        0x4000..0x4000_0000 => out.put_u32(0x8000_0000 | id as u32),
        _ => out.put_u64(0xc000_0000_0000_0000 | id),
    }
}

/// Reads the one at the beginning of `input`, and says how many bytes it has. `None`: it is cut off.
pub fn decode(input: &[u8]) -> Option<(u64, usize)> {
    let first = *input.first()?;
    let len = 1 << (first >> LENGTH_SHIFT);
    let rest = input.get(1..len)?;
    let high = u64::from(first & !(0b11 << LENGTH_SHIFT));
    let id = rest
        .iter()
        .fold(high, |id, &byte| id << 8 | u64::from(byte));
    Some((id, len))
}
