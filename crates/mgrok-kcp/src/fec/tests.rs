//! Error correction against golden codes, all losses, and senders whose groups move.

use proptest::prelude::*;

use super::*;
use crate::packet::FEC_HEADER_SIZE;

/// A datagram with this payload, without a number yet.
fn datagram(payload: &[u8]) -> Vec<u8> {
    let mut datagram = vec![0; FEC_HEADER_SIZE];
    datagram.extend_from_slice(payload);
    datagram
}

/// Payloads that differ in length and content.
fn payload(at: usize) -> Vec<u8> {
    (0..20 + at * 7 % 30)
        .map(|i| (at * 31 + i * 11) as u8)
        .collect()
}

/// What an encoder makes of payloads sent at once, all together.
fn encode(encoder: &mut Encoder, payloads: &[Vec<u8>]) -> Vec<Packet> {
    let now = Instant::now();
    let mut packets = Vec::new();
    let mut parity = Vec::new();
    for payload in payloads {
        let mut datagram = datagram(payload);
        encoder.encode(&mut datagram, now);
        packets.extend(Packet::parse(datagram.into()));
        while encoder.take_parity(&mut parity) {
            packets.extend(Packet::parse(Bytes::copy_from_slice(&parity)));
            parity.clear();
        }
    }
    packets
}

fn number(packet: &Packet) -> u32 {
    match packet {
        Packet::Data { number, .. } | Packet::Parity { number, .. } => *number,
        Packet::Plain(_) => unreachable!("an encoder was here"),
    }
}

fn push_all<'a>(
    decoder: &mut Decoder,
    packets: impl IntoIterator<Item = &'a Packet>,
) -> Vec<Bytes> {
    let recovered = packets.into_iter().map(|packet| decoder.push(packet));
    recovered.flatten().flatten().collect()
}

#[test]
fn parity_has_the_bytes_that_kcp_go_sends() {
    // By klauspost/reedsolomon 1.12, New(10, 3), of the shards of these payloads.
    let golden = [
        "7a002141243e8e027033870a8560abc524b6489ed8da7ff6a2\
         4655bca84437cdb6301503fa9b18dcca6571f48ecc986096b3",
        "d900a360ceb6dde3d7120464520196e4bb31767f88fb830e6f\
         91511243ffb0d939113c0b90f4e277810a381a3dc7571e8c6a",
        "5a00a38f2a2eae5313a6eba505626003808394c7e4fcd7f98b\
         0ed60424d851d26711d4e78570beffcbb970ef5851d63b2921",
    ];
    let payloads: Vec<_> = (0..10).map(payload).collect();
    let packets = encode(&mut Encoder::new(true), &payloads);
    for ((packet, golden), at) in packets[10..].iter().zip(golden).zip(10..) {
        let Packet::Parity { number, shard } = packet else {
            panic!("{packet:?} in the place of parity");
        };
        let hex: String = shard.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!((*number, hex.as_str()), (at, golden));
    }
}

#[test]
fn any_three_losses_of_a_group_are_made_good() {
    let payloads: Vec<_> = (0..10).map(payload).collect();
    let packets = encode(&mut Encoder::new(true), &payloads);
    assert_eq!(packets.len(), 13);
    for a in 0..13 {
        for b in a..13 {
            for c in b..13 {
                let mut decoder = Decoder::new();
                let left = packets.iter().enumerate();
                let left = left.filter(|(at, _)| ![a, b, c].contains(at));
                let mut recovered = push_all(&mut decoder, left.map(|(_, packet)| packet));
                recovered.sort();
                let mut lost = vec![a, b, c];
                lost.dedup();
                let mut lost: Vec<_> = lost
                    .into_iter()
                    .filter(|&at| at < 10)
                    .map(|at| payloads[at].clone())
                    .collect();
                lost.sort();
                assert_eq!(recovered, lost, "of {a}, {b}, {c}");
            }
        }
    }
}

#[test]
fn a_fourth_loss_is_not_guessed() {
    let payloads: Vec<_> = (0..10).map(payload).collect();
    let packets = encode(&mut Encoder::new(true), &payloads);
    assert!(push_all(&mut Decoder::new(), &packets[4..]).is_empty());
}

#[test]
fn packets_may_come_in_any_order_and_twice() {
    let payloads: Vec<_> = (0..10).map(payload).collect();
    let mut packets = encode(&mut Encoder::new(true), &payloads);
    packets.remove(4);
    packets.reverse();
    let twice: Vec<_> = packets.iter().chain(&packets).collect();
    let recovered = push_all(&mut Decoder::new(), twice);
    // The two that come last could be made before they came.
    let expected = [0, 1, 4].map(|at| payloads[at].clone());
    assert_eq!(recovered, expected);
}

#[test]
fn groups_stay_in_place_when_parity_is_left_out() {
    let payloads: Vec<_> = (0..20).map(payload).collect();
    let packets = encode(&mut Encoder::new(false), &payloads);
    let numbers: Vec<_> = packets.iter().map(number).collect();
    assert_eq!(
        numbers,
        [Vec::from_iter(0..10), (13..23).collect()].concat()
    );

    let mut encoder = Encoder::new(true);
    let now = Instant::now();
    for (at, payload) in payloads[..10].iter().enumerate() {
        let pause = if at >= 5 { MAX_PAUSE } else { Duration::ZERO };
        encoder.encode(&mut datagram(payload), now + pause);
    }
    let mut parity = Vec::new();
    assert!(!encoder.take_parity(&mut parity), "parity after a pause");
    let packets = encode(&mut encoder, &payloads[10..]);
    assert_eq!(number(&packets[0]), 13);
    assert_eq!(packets.len(), 13);
    // Giving memory back costs the parity of the group in progress, not more.
    assert_eq!(encode(&mut encoder, &payloads[..1]).len(), 1);
    encoder.release();
    assert!(!encoder.holds_memory());
    assert_eq!(encode(&mut encoder, &payloads[..9]).len(), 9);
    assert_eq!(encode(&mut encoder, &payloads[..10]).len(), 13);
}

#[test]
fn numbers_wrap_where_those_of_kcp_go_do() {
    let payloads: Vec<_> = (0..20).map(payload).collect();
    let mut encoder = Encoder::new(true);
    encoder.next = 4_294_967_287 - 13;
    let packets = encode(&mut encoder, &payloads);
    assert_eq!(number(&packets[12]), 4_294_967_286);
    assert_eq!(number(&packets[13]), 0);
    let mut decoder = Decoder::new();
    let left = packets
        .iter()
        .enumerate()
        .filter(|(at, _)| *at != 3 && *at != 18);
    let recovered = push_all(&mut decoder, left.map(|(_, packet)| packet));
    assert_eq!(recovered, [payloads[3].clone(), payloads[15].clone()]);
}

/// A sender that leaves parity out without leaving its numbers out, as kcp-go 5.6.13 does.
fn encode_moving(groups: &[bool], payloads: &[Vec<u8>]) -> Vec<Packet> {
    let mut encoder = Encoder::new(true);
    let mut packets = Vec::new();
    for (payloads, has_parity) in payloads.chunks(10).zip(groups) {
        let start = encoder.next;
        let group = encode(&mut encoder, payloads);
        let kept = if *has_parity { 13 } else { 10 };
        encoder.next = start + kept as u32;
        packets.extend(group.into_iter().take(kept));
    }
    packets
}

#[test]
fn a_group_that_moved_is_used_once_its_place_is_proved() {
    let payloads: Vec<_> = (0..40).map(payload).collect();
    let packets = encode_moving(&[true, false, true, true], &payloads);
    // One of the third group, found by its parity; one of the fourth, which follows on it.
    let left = packets
        .iter()
        .enumerate()
        .filter(|(at, _)| ![25, 38].contains(at));
    let recovered = push_all(&mut Decoder::new(), left.map(|(_, packet)| packet));
    assert_eq!(recovered, [payloads[22].clone(), payloads[32].clone()]);
}

#[test]
fn hostile_groups_give_nothing_or_little() {
    let mut decoder = Decoder::new();
    let shard = |length| Bytes::from(vec![0xff; length]);
    for number in 0..9 {
        decoder.push(&Packet::Data {
            number,
            shard: shard(number as usize),
        });
    }
    // Parity that is shorter than data, empty, or in a place of data.
    for (number, length) in [(10, 3), (11, 0), (12, 3), (9, 5)] {
        let shard = shard(length);
        let recovered = decoder.push(&Packet::Parity { number, shard });
        assert_eq!(recovered, Recovered::default());
    }
    assert!(decoder.kept.len() <= HISTORY);
    decoder.clear();
    assert!(decoder.is_empty());
}

proptest! {
    /// Packets look alike here, as those of a bulk transfer do: a group that was mistaken for
    /// another would give something that passes for a packet.
    #[test]
    fn nothing_is_ever_recovered_that_was_not_sent(
        groups in prop::collection::vec(any::<bool>(), 1..30),
        lost in prop::collection::vec(prop::bool::weighted(0.25), 390),
        swaps in prop::collection::vec((0usize..390, 1usize..20), 0..40),
    ) {
        let payloads: Vec<_> = (0..groups.len() * 10)
            .map(|at| vec![81, 0, at as u8, (at >> 8) as u8, at as u8 ^ 0x5a, 0, 0, 1])
            .collect();
        let mut packets = encode_moving(&groups, &payloads);
        for (at, by) in swaps {
            if at + by < packets.len() {
                packets.swap(at, at + by);
            }
        }
        let mut decoder = Decoder::new();
        let left = packets.iter().zip(lost).filter(|(_, lost)| !lost);
        let recovered = push_all(&mut decoder, left.map(|(packet, _)| packet));
        for recovered in recovered {
            prop_assert!(payloads.contains(&recovered.to_vec()), "made up {recovered:?}");
        }
    }
}
