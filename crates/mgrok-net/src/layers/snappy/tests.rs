//! Tests the compression layer without a connection.

use std::io::{Read, Write};

use proptest::prelude::*;

use super::*;
use crate::testing::pattern;

const HELLO: &[u8] = b"\xff\x06\x00\x00sNaPpY\x01\x09\x00\x00\xbb\x1f\x1c\x19hello";

fn encode_all(snappy: &mut Snappy, plain: &[u8]) -> Vec<u8> {
    let mut plain = Bytes::copy_from_slice(plain);
    let mut coded = Vec::new();
    while !plain.is_empty() {
        coded.extend_from_slice(&snappy.encode(&mut plain).unwrap());
    }
    coded
}

/// Decodes `coded` in pieces of `piece` bytes.
fn decode_all(coded: &[u8], piece: usize) -> Result<Vec<u8>, Corrupt> {
    let mut snappy = Snappy::default();
    let mut plain = Vec::new();
    for part in coded.chunks(piece) {
        let mut part = Bytes::copy_from_slice(part);
        while let Some(bytes) = snappy.next_plain(&mut part)? {
            assert!(!bytes.is_empty(), "empty would mean the end");
            plain.extend_from_slice(&bytes);
        }
        assert!(part.is_empty());
    }
    Ok(plain)
}

#[track_caller]
fn check_corrupt(coded: &[u8], expect: Corrupt) {
    assert_eq!(decode_all(coded, usize::MAX), Err(expect));
}

fn after_identifier(rest: &[u8]) -> Vec<u8> {
    [IDENTIFIER_CHUNK, rest].concat()
}

#[test]
fn hello_has_its_golden_bytes() {
    assert_eq!(encode_all(&mut Snappy::default(), b"hello"), HELLO);
    for piece in 1..=HELLO.len() {
        assert_eq!(decode_all(HELLO, piece).unwrap(), b"hello");
    }
}

#[test]
fn the_identifier_is_sent_once() {
    let mut snappy = Snappy::default();
    assert!(encode_all(&mut snappy, b"one").starts_with(IDENTIFIER_CHUNK));
    assert_eq!(encode_all(&mut snappy, b"two")[0], UNCOMPRESSED);
}

#[test]
fn only_what_gains_an_eighth_is_compressed() {
    let mut snappy = Snappy {
        identifier_sent: true,
        ..Snappy::default()
    };
    assert_eq!(encode_all(&mut snappy, &[7; 1000])[0], COMPRESSED);
    assert_eq!(encode_all(&mut snappy, &pattern(1000))[0], UNCOMPRESSED);
    // Gains too little: the code of 800 random bytes and 80 equal ones is less than an eighth shorter.
    let barely = [&pattern(800)[..], &[7; 80]].concat();
    assert_eq!(encode_all(&mut snappy, &barely)[0], UNCOMPRESSED);
}

#[test]
fn long_payload_becomes_chunks_of_the_longest_kind() {
    let plain = pattern(2 * MAX_PLAIN + 1);
    let coded = encode_all(&mut Snappy::default(), &plain);
    let mut at = IDENTIFIER_CHUNK.len();
    for content in [MAX_PLAIN, MAX_PLAIN, 1] {
        assert_eq!(coded[at], UNCOMPRESSED);
        at += HEADER_LEN + CHECKSUM_LEN + content;
    }
    assert_eq!(at, coded.len());
    assert_eq!(decode_all(&coded, 1000).unwrap(), plain);
}

/// The longest bodies are larger than a slab.
#[test]
fn the_longest_chunks_may_arrive_in_parts() {
    let mut random = 1u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (random >> 56) as u8
    })
    .take(MAX_PLAIN)
    .collect();
    let coded = encode_all(&mut Snappy::default(), &noise);
    assert!(coded.len() > MAX_PLAIN, "noise does not compress");
    for piece in [1_000, 16_384, 65_000] {
        let coded = coded.clone();
        // On a new thread, whose slabs still have their first size.
        let decoded = std::thread::spawn(move || decode_all(&coded, piece));
        assert_eq!(decoded.join().unwrap().unwrap(), noise);
    }
}

#[test]
fn unknown_chunks_that_may_be_skipped_are_skipped() {
    for kind in 0x80..=0xfe {
        let coded = [
            IDENTIFIER_CHUNK,
            &[kind, 3, 0, 0, 1, 2, 3],
            &[kind, 0, 0, 0],
            HELLO,
        ]
        .concat();
        for piece in [1, 2, 5, 100] {
            assert_eq!(decode_all(&coded, piece).unwrap(), b"hello");
        }
    }
}

#[test]
fn chunks_without_payload_are_no_end() {
    let empty = [UNCOMPRESSED, 4, 0, 0, 0xd8, 0xea, 0x82, 0xa2];
    let coded = [IDENTIFIER_CHUNK, &empty, &empty, HELLO].concat();
    assert_eq!(decode_all(&coded, usize::MAX).unwrap(), b"hello");
}

#[test]
fn violations_are_refused() {
    check_corrupt(&HELLO[IDENTIFIER_CHUNK.len()..], Corrupt::Identifier);
    check_corrupt(b"\x80\x00\x00\x00", Corrupt::Identifier);
    check_corrupt(b"\xff\x05\x00\x00", Corrupt::Identifier);
    check_corrupt(b"\xff\x06\x00\x00sNaPpX", Corrupt::Identifier);
    check_corrupt(&after_identifier(&[0x02, 0, 0, 0]), Corrupt::Reserved(0x02));
    check_corrupt(&after_identifier(&[0x7f, 9, 0, 0]), Corrupt::Reserved(0x7f));

    let length = |kind, len: usize| {
        let [low, middle, high, ..] = len.to_le_bytes();
        let header = after_identifier(&[kind, low, middle, high]);
        check_corrupt(&header, Corrupt::Length { kind, len });
    };
    length(COMPRESSED, 3);
    length(UNCOMPRESSED, 3);
    length(COMPRESSED, CHECKSUM_LEN + MAX_COMPRESSED + 1);
    length(UNCOMPRESSED, CHECKSUM_LEN + MAX_PLAIN + 1);

    let mut wrong = HELLO.to_vec();
    wrong[HELLO.len() - 1] ^= 1;
    check_corrupt(&wrong, Corrupt::Checksum);
    // Claims 65537 bytes, then 2^32-1.
    check_corrupt(
        &after_identifier(b"\x00\x07\x00\x00\0\0\0\0\x81\x80\x04"),
        Corrupt::Code,
    );
    check_corrupt(
        &after_identifier(b"\x00\x09\x00\x00\0\0\0\0\xff\xff\xff\xff\x0f"),
        Corrupt::Code,
    );
}

#[test]
fn an_end_inside_a_chunk_is_noticed() {
    for len in 0..=HELLO.len() {
        let mut snappy = Snappy::default();
        let mut part = Bytes::copy_from_slice(&HELLO[..len]);
        let _ = snappy.next_plain(&mut part).unwrap();
        let complete = [0, IDENTIFIER_CHUNK.len(), HELLO.len()].contains(&len);
        assert_eq!(snappy.may_end(), complete, "after {len} bytes");
    }
}

/// Payload of all kinds: random, repetitive, and both.
fn payload() -> impl Strategy<Value = Vec<u8>> {
    let random = proptest::collection::vec(any::<u8>(), 0..2000);
    let run = (any::<u8>(), 0..100_000_usize).prop_map(|(byte, len)| vec![byte; len]);
    proptest::collection::vec(prop_oneof![random, run], 0..4).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_encoded_decodes(plain in payload(), piece in 1..100_000_usize) {
        let coded = encode_all(&mut Snappy::default(), &plain);
        prop_assert_eq!(decode_all(&coded, piece).unwrap(), plain);
    }

    #[test]
    fn another_implementation_understands_us(plain in payload()) {
        let coded = encode_all(&mut Snappy::default(), &plain);
        let mut decoded = Vec::new();
        snap::read::FrameDecoder::new(&coded[..]).read_to_end(&mut decoded).unwrap();
        prop_assert_eq!(decoded, plain);
    }

    #[test]
    fn we_understand_another_implementation(plain in payload(), piece in 1..100_000_usize) {
        let mut encoder = snap::write::FrameEncoder::new(Vec::new());
        encoder.write_all(&plain).unwrap();
        let coded = encoder.into_inner().unwrap();
        prop_assert_eq!(decode_all(&coded, piece).unwrap(), plain);
    }

    #[test]
    fn hostile_bytes_do_no_harm(
        rest in proptest::collection::vec(any::<u8>(), 0..300),
        kind in prop_oneof![Just(COMPRESSED), Just(UNCOMPRESSED), any::<u8>()],
        piece in 1..300_usize,
    ) {
        let _ = decode_all(&rest, piece);
        let len = u8::try_from(rest.len() / 2).unwrap();
        let _ = decode_all(&after_identifier(&[&[kind, len, 0, 0], &rest[..]].concat()), piece);
    }
}
