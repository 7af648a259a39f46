//! Forward error correction: three parity packets after ten data packets, out of which the
//! other end makes up to three of the ten that were lost.
//!
//! The packets of a group have successive numbers. Where groups begin is not said anywhere.
//! Senders that always number in steps of 13 (we are one) begin them at multiples of 13. But
//! kcp-go 5.6.13 leaves parity out after a pause without leaving its numbers out, so from then on
//! its groups begin elsewhere. **A group that is taken for another one gives packets that look
//! right**: the code is linear and its rows add up to one, so whatever is the same in all
//! packets (conversation, command, lengths) is the same in a wrong result too. No check of the
//! result would do. The [`Decoder`] therefore uses a group only after its place is proved by the
//! types of packets that arrived.

mod field;

use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::packet::{self, Packet, SHARD_OFFSET};
use field::{PARITY, add_multiple, add_multiples, inverse, mul};

/// Data packets in a group.
pub(crate) const DATA_SHARDS: usize = 10;

/// Parity packets in a group.
pub(crate) const PARITY_SHARDS: usize = 3;

/// Numbers in a group.
const GROUP: u32 = (DATA_SHARDS + PARITY_SHARDS) as u32;

/// Numbers are below this, the largest multiple of the group's size.
const NUMBERS: u32 = u32::MAX / GROUP * GROUP;

/// A group with such a pause between its data packets gets no parity: whoever waits for it has
/// had its retransmission by now.
// kcp-go: 500 ms, of the last pause (sess.go#maxFECEncodeLatency)
const MAX_PAUSE: Duration = Duration::from_millis(500);

/// Packets that a decoder keeps: more than two groups, so that late ones still help.
const HISTORY: usize = 32;

/// Numbers data packets and makes parity packets.
#[derive(Debug)]
pub(crate) struct Encoder {
    makes_parity: bool,
    next: u32,
    /// Data packets in the group so far.
    count: usize,
    /// When the last of them was encoded.
    last: Option<Instant>,
    /// The group in progress gets no parity.
    spoiled: bool,
    /// Sums so far; as long as the longest shard of the group.
    codes: [Vec<u8>; PARITY_SHARDS],
    /// Parity packets of the last group that were not taken yet.
    ready: usize,
}

impl Encoder {
    pub(crate) fn new(makes_parity: bool) -> Self {
        Self {
            makes_parity,
            next: 0,
            count: 0,
            last: None,
            spoiled: false,
            codes: Default::default(),
            ready: 0,
        }
    }

    /// Completes a datagram that has room for the header in front. The parity of the group
    /// before must have been taken.
    pub(crate) fn encode(&mut self, datagram: &mut [u8], now: Instant) {
        debug_assert_eq!(self.ready, 0);
        packet::write_data_header(datagram, self.next);
        self.next += 1;
        let pause = self.last.map(|last| now.saturating_duration_since(last));
        if self.count > 0 && pause.is_some_and(|pause| pause >= MAX_PAUSE) {
            self.spoiled = true;
        }
        self.last = Some(now);
        let wants_parity = self.makes_parity && !self.spoiled;
        if wants_parity {
            let shard = &datagram[SHARD_OFFSET..];
            for code in &mut self.codes {
                if code.len() < shard.len() {
                    code.resize(shard.len(), 0);
                }
            }
            let sums = self.codes.each_mut().map(Vec::as_mut_slice);
            add_multiples(sums, shard, PARITY.map(|row| row[self.count]));
        }
        self.count += 1;
        if self.count == DATA_SHARDS {
            self.count = 0;
            self.spoiled = false;
            if wants_parity {
                self.ready = PARITY_SHARDS;
            } else {
                // The numbers are used up all the same: groups stay where they are expected.
                self.advance(PARITY_SHARDS as u32);
                self.codes.iter_mut().for_each(Vec::clear);
            }
        }
    }

    /// Appends the next parity packet to `out`, if there is one.
    pub(crate) fn take_parity(&mut self, out: &mut Vec<u8>) -> bool {
        if self.ready == 0 {
            return false;
        }
        let code = &mut self.codes[PARITY_SHARDS - self.ready];
        packet::write_parity(out, self.next, code);
        code.clear();
        self.ready -= 1;
        self.advance(1);
        true
    }

    /// Whether [`release`](Self::release) would give memory back.
    pub(crate) fn holds_memory(&self) -> bool {
        self.ready == 0 && self.codes.iter().any(|code| code.capacity() > 0)
    }

    /// Gives memory back, for which the group in progress gets no parity.
    pub(crate) fn release(&mut self) {
        if self.ready == 0 {
            self.spoiled = self.count > 0;
            self.codes = Default::default();
        }
    }

    fn advance(&mut self, by: u32) {
        // Groups end at the wrap, so it is met exactly.
        self.next = (self.next + by) % NUMBERS;
    }
}

/// Collects packets and makes those that were lost.
#[derive(Debug)]
pub(crate) struct Decoder {
    /// A packet is at its number modulo [`HISTORY`]. Empty before the first one.
    kept: Vec<Option<Kept>>,
    /// Beginning of the last group whose place was proved, and which had parity.
    anchor: Option<u32>,
}

#[derive(Clone, Debug)]
struct Kept {
    number: u32,
    is_parity: bool,
    shard: Bytes,
}

/// Segments of packets that were lost.
pub(crate) type Recovered = [Option<Bytes>; PARITY_SHARDS];

impl Decoder {
    pub(crate) fn new() -> Self {
        Self {
            kept: Vec::new(),
            // Numbers begin at 0, so the group before it, had it existed, ended there.
            anchor: Some(0u32.wrapping_sub(GROUP)),
        }
    }

    /// Takes a packet in and returns what can be made now.
    pub(crate) fn push(&mut self, packet: &Packet) -> Recovered {
        let (number, is_parity, shard) = match packet {
            Packet::Data { number, shard } => (*number, false, shard),
            Packet::Parity { number, shard } => (*number, true, shard),
            Packet::Plain(_) => return Recovered::default(),
        };
        if self.get(number).is_some() {
            return Recovered::default();
        }
        self.keep(Kept {
            number,
            is_parity,
            shard: shard.clone(),
        });
        let Some(base) = self.locate(number, is_parity) else {
            return Recovered::default();
        };
        self.anchor = Some(base);
        self.recover(base).unwrap_or_default()
    }

    /// Forgets all packets, for their memory. Where groups are stays known.
    pub(crate) fn clear(&mut self) {
        self.kept = Vec::new();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    fn keep(&mut self, packet: Kept) {
        if self.kept.is_empty() {
            self.kept.resize(HISTORY, None);
        }
        let at = packet.number as usize % HISTORY;
        self.kept[at] = Some(packet);
    }

    fn get(&self, number: u32) -> Option<&Kept> {
        let kept = self.kept.get(number as usize % HISTORY)?.as_ref()?;
        (kept.number == number).then_some(kept)
    }

    /// The beginning of the group that `number` belongs to or, if that is data, that is made
    /// recoverable by it; `None` unless it is proved.
    ///
    /// Parity comes in runs of three after ten data packets or more. So both ends of a run show
    /// where it is, and so do two of it that are two apart. Between the end of one run and the
    /// end of the next there are 13 numbers, or at least 23: a parity packet less than that
    /// after a known run shows that the run is the next one.
    fn locate(&self, number: u32, is_parity: bool) -> Option<u32> {
        let is = |offset: i32, parity: bool| {
            self.get(number.wrapping_add_signed(offset))
                .is_some_and(|kept| kept.is_parity == parity)
        };
        let from_anchor = self.anchor.map(|anchor| number.wrapping_sub(anchor));
        let back = match (is_parity, from_anchor) {
            // The run begins, ends, or has its middle here.
            (true, _) if is(-1, false) || is(2, true) => 10,
            (true, _) if is(1, false) || is(-2, true) => 12,
            (true, _) if is(-1, true) && is(1, true) => 11,
            (true, Some(offset @ 10..=12)) => offset,
            (true, Some(offset @ 23..=25)) => offset - GROUP,
            // The run begins or ended next to here.
            (false, _) if is(1, true) => 9,
            (false, _) if is(-1, true) => GROUP,
            (false, Some(offset @ 0..=9)) => offset,
            _ => return None,
        };
        Some(number.wrapping_sub(back))
    }

    /// Makes what is missing in the group that begins at `base`, if enough of it is here.
    fn recover(&mut self, base: u32) -> Option<Recovered> {
        let mut missing = [0; PARITY_SHARDS];
        let mut missing_count = 0;
        let mut longest = 0;
        for at in 0..DATA_SHARDS {
            match self.get(base.wrapping_add(at as u32)) {
                Some(kept) if kept.is_parity => return self.distrust(),
                Some(kept) => longest = longest.max(kept.shard.len()),
                None => {
                    *missing.get_mut(missing_count)? = at;
                    missing_count += 1;
                }
            }
        }
        let missing = &missing[..missing_count];
        let mut rows = [0; PARITY_SHARDS];
        let mut row_count = 0;
        let mut length = None;
        for row in 0..PARITY_SHARDS {
            match self.get(base.wrapping_add((DATA_SHARDS + row) as u32)) {
                Some(kept) if !kept.is_parity => return self.distrust(),
                Some(kept) => {
                    if *length.get_or_insert(kept.shard.len()) != kept.shard.len() {
                        return self.distrust();
                    }
                    rows[row_count] = row;
                    row_count += 1;
                }
                None => {}
            }
        }
        if missing.is_empty() || row_count < missing.len() {
            return None;
        }
        // Parity is as long as the longest shard that it covers.
        let length = length.filter(|&length| length >= longest)?;
        let shards = self.solve(base, missing, &rows[..missing.len()], length)?;

        let mut recovered = Recovered::default();
        for ((shard, &at), slot) in shards.into_iter().zip(missing).zip(&mut recovered) {
            // As the sender made it: a length, so many bytes, zeros.
            let Some(size) = packet::u16_at(&shard, 0).map(usize::from) else {
                continue;
            };
            if size < 2 || size > length || shard[size..].iter().any(|&byte| byte != 0) {
                continue;
            }
            let mut shard = Bytes::from(shard);
            shard.truncate(size);
            *slot = Some(shard.slice(2..));
            self.keep(Kept {
                number: base.wrapping_add(at as u32),
                is_parity: false,
                shard,
            });
        }
        Some(recovered)
    }

    /// The group has packets that cannot be there: nothing is known any more.
    fn distrust(&mut self) -> Option<Recovered> {
        self.anchor = None;
        None
    }

    /// Solves the equations that the parity in `rows` gives for the shards in `missing`, which
    /// are as many.
    fn solve(
        &self,
        base: u32,
        missing: &[usize],
        rows: &[usize],
        length: usize,
    ) -> Option<[Vec<u8>; PARITY_SHARDS]> {
        let count = missing.len();
        let mut sums: [Vec<u8>; PARITY_SHARDS] = Default::default();
        let mut matrix = [[0; PARITY_SHARDS]; PARITY_SHARDS];
        for (at, &row) in rows.iter().enumerate() {
            let parity = self.get(base.wrapping_add((DATA_SHARDS + row) as u32))?;
            sums[at] = parity.shard.to_vec();
            for (column, factor) in PARITY[row].into_iter().enumerate() {
                if let Some(unknown) = missing.iter().position(|&m| m == column) {
                    matrix[at][unknown] = factor;
                } else {
                    let data = self.get(base.wrapping_add(column as u32))?;
                    add_multiple(&mut sums[at], &data.shard, factor);
                }
            }
        }
        // Every square part of the parity matrix can be inverted, or the code would not repair
        // any three losses. So Gauss finds a pivot in each column.
        for column in 0..count {
            let pivot = (column..count).find(|&row| matrix[row][column] != 0)?;
            matrix.swap(column, pivot);
            sums.swap(column, pivot);
            let scale = inverse(matrix[column][column]);
            matrix[column] = matrix[column].map(|factor| mul(factor, scale));
            let mut scaled = vec![0; length];
            add_multiple(&mut scaled, &sums[column], scale);
            for row in (0..count).filter(|&row| row != column) {
                let factor = matrix[row][column];
                let pivots = matrix[column];
                for (entry, pivot) in matrix[row].iter_mut().zip(pivots) {
                    *entry ^= mul(factor, pivot);
                }
                add_multiple(&mut sums[row], &scaled, factor);
            }
            sums[column] = scaled;
        }
        Some(sums)
    }
}

#[cfg(test)]
mod tests;
