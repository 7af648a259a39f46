use proptest::prelude::*;

use super::*;
use crate::testing::pattern;

/// The mask of the examples in RFC 6455 section 5.7.
const MASK: Mask = Mask([0x37, 0xfa, 0x21, 0x3d]);
const HELLO: &[u8] = b"\x48\x65\x6c\x6c\x6f";
const MASKED_HELLO: &[u8] = b"\x7f\x9f\x4d\x51\x58";

/// All events in `bytes`, and whether `bytes` end between frames.
fn decode(role: Role, bytes: &[u8], piece: usize) -> Result<(Vec<Event>, bool), Corrupt> {
    let mut decoder = Decoder::new(role);
    let mut events = Vec::new();
    for part in bytes.chunks(piece.max(1)) {
        let mut part = Bytes::copy_from_slice(part);
        while let Some(event) = decoder.next(&mut part)? {
            match (events.last_mut(), event) {
                (Some(Event::Data(before)), Event::Data(after)) => {
                    *before = [&before[..], &after].concat().into();
                }
                (_, event) => events.push(event),
            }
        }
        assert!(part.is_empty());
    }
    Ok((events, decoder.is_between_frames()))
}

#[track_caller]
fn check(role: Role, bytes: &[u8], expect: Result<&[Event], Corrupt>) {
    for piece in 1..=bytes.len() {
        let got = decode(role, bytes, piece).map(|(events, _)| events);
        assert_eq!(
            got.as_deref(),
            expect.as_ref().copied(),
            "pieces of {piece}"
        );
    }
}

fn data(bytes: &[u8]) -> Event {
    Event::Data(Bytes::copy_from_slice(bytes))
}

#[test]
fn the_examples_of_the_standard_are_read() {
    // A text frame, unmasked and masked.
    check(
        Role::Client,
        b"\x81\x05\x48\x65\x6c\x6c\x6f",
        Ok(&[data(HELLO)]),
    );
    let masked = [b"\x81\x85\x37\xfa\x21\x3d", MASKED_HELLO].concat();
    check(Role::Server, &masked, Ok(&[data(HELLO)]));
    // Two fragments with a ping between them.
    check(
        Role::Client,
        b"\x01\x03\x48\x65\x6c\x80\x02\x6c\x6f",
        Ok(&[data(HELLO)]),
    );
    check(
        Role::Client,
        b"\x01\x03\x48\x65\x6c\x89\x05\x48\x65\x6c\x6c\x6f\x80\x02\x6c\x6f",
        Ok(&[data(b"Hel"), Event::Ping(HELLO.to_vec()), data(b"lo")]),
    );
    // A pong is ignored.
    let pong = [b"\x8a\x85\x37\xfa\x21\x3d", MASKED_HELLO].concat();
    check(Role::Server, &pong, Ok(&[]));
    // Payloads of 256 bytes and of 64 KiB.
    for header in [&b"\x82\x7e\x01\x00"[..], b"\x82\x7f\0\0\0\0\0\x01\0\0"] {
        let payload = vec![7; if header.len() == 4 { 256 } else { 65536 }];
        let (events, _) = decode(Role::Client, &[header, &payload].concat(), 1000).unwrap();
        assert_eq!(events, [data(&payload)]);
    }
}

#[test]
fn frames_are_these_bytes() {
    let frame = |opcode, payload: &[u8], mask| {
        let mut out = BytesMut::new();
        put_frame(&mut out, opcode, payload, mask);
        out
    };
    assert_eq!(frame(Opcode::Binary, HELLO, None)[..], *b"\x82\x05Hello");
    assert_eq!(
        frame(Opcode::Pong, HELLO, Some(MASK))[..],
        [b"\x8a\x85\x37\xfa\x21\x3d", MASKED_HELLO].concat()
    );
    assert_eq!(
        frame(Opcode::Close, b"\x03\xe8", None)[..],
        *b"\x88\x02\x03\xe8"
    );
    for (len, header) in [
        (125, &b"\x82\x7d"[..]),
        (126, b"\x82\x7e\0\x7e"),
        (0xffff, b"\x82\x7e\xff\xff"),
        (0x10000, b"\x82\x7f\0\0\0\0\0\x01\0\0"),
    ] {
        let frame = frame(Opcode::Binary, &vec![0; len], None);
        assert_eq!(frame[..header.len()], *header);
        assert_eq!(frame.len(), header.len() + len);
    }
}

#[test]
fn bytes_that_are_no_text_are_fine_as_text() {
    check(Role::Client, b"\x81\x02\xff\xfe", Ok(&[data(b"\xff\xfe")]));
}

#[test]
fn empty_frames_are_passed_over() {
    check(
        Role::Client,
        b"\x82\x00\x80\x00\x82\x01a",
        Ok(&[data(b"a")]),
    );
}

#[test]
fn a_frame_is_delivered_as_it_arrives() {
    // The header announces 2^63-1 bytes.
    let mut decoder = Decoder::new(Role::Client);
    let mut start = Bytes::from_static(b"\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xffabc");
    assert_eq!(decoder.next(&mut start), Ok(Some(data(b"abc"))));
    assert_eq!(decoder.next(&mut start), Ok(None));
    assert!(!decoder.is_between_frames());
}

#[test]
fn a_close_says_so() {
    check(Role::Client, b"\x88\x00", Ok(&[Event::Close]));
    check(
        Role::Server,
        b"\x88\x82\0\0\0\0\x03\xe8",
        Ok(&[Event::Close]),
    );
}

#[test]
fn violations_are_errors() {
    check(Role::Client, b"\x82\x81\0\0\0\0a", Err(Corrupt::Masked));
    check(Role::Server, b"\x82\x01a", Err(Corrupt::Unmasked));
    check(Role::Client, b"\xc2\x01a", Err(Corrupt::Reserved));
    check(Role::Client, b"\x83\x01a", Err(Corrupt::Opcode(3)));
    check(Role::Client, b"\x8f\x01a", Err(Corrupt::Opcode(15)));
    check(Role::Client, b"\x09\x01a", Err(Corrupt::Control));
    check(Role::Client, b"\x89\x7e\0\x7e", Err(Corrupt::Control));
    check(
        Role::Client,
        b"\x82\x7f\x80\0\0\0\0\0\0\0",
        Err(Corrupt::Length),
    );
}

#[test]
fn shared_bytes_are_not_written_to() {
    let masked = Bytes::copy_from_slice(MASKED_HELLO);
    assert_eq!(unmask(masked.clone(), &mut MASK.clone()), HELLO);
    assert_eq!(masked, MASKED_HELLO);
}

proptest! {
    #[test]
    fn a_mask_goes_on_and_off_however_it_is_cut(
        mask in any::<[u8; 4]>(),
        bytes in proptest::collection::vec(any::<u8>(), 0..100),
        cut in 0..100_usize,
    ) {
        let mut masked = bytes.clone();
        Mask(mask).apply(&mut masked);
        for (at, byte) in masked.iter().enumerate() {
            prop_assert_eq!(*byte, bytes[at] ^ mask[at % 4]);
        }
        let (front, back) = masked.split_at_mut(cut.min(bytes.len()));
        let mut mask = Mask(mask);
        mask.apply(front);
        mask.apply(back);
        prop_assert_eq!(masked, bytes);
    }

    #[test]
    fn any_bytes_are_read_alike_however_they_are_cut(
        // Some of these headers are valid.
        frames in proptest::collection::vec(
            (any::<u8>(), 0..140_u8, proptest::collection::vec(any::<u8>(), 0..140)),
            0..6,
        ),
        role in prop_oneof![Just(Role::Client), Just(Role::Server)],
        piece in 1..60_usize,
    ) {
        let mut bytes = Vec::new();
        for (first, second, payload) in frames {
            bytes.push(first & 0x8f);
            bytes.push(second);
            bytes.extend(payload);
        }
        prop_assert_eq!(decode(role, &bytes, piece), decode(role, &bytes, bytes.len()));
    }

    #[test]
    fn what_is_encoded_is_decoded(
        // Random lengths: random bytes would take seconds to make.
        lens in proptest::collection::vec(0..70_000_usize, 1..4),
        to in prop_oneof![Just(Role::Client), Just(Role::Server)],
        piece in 1..70_000_usize,
    ) {
        let from = if to == Role::Client { Role::Server } else { Role::Client };
        let chunks: Vec<_> = lens.into_iter().map(pattern).collect();
        let mut bytes = Vec::new();
        for chunk in &chunks {
            bytes.extend(encode(from, Opcode::Binary, chunk).unwrap());
        }
        let (events, whole) = decode(to, &bytes, piece).unwrap();
        let all = chunks.concat();
        prop_assert!(whole);
        let expect = if all.is_empty() { vec![] } else { vec![data(&all)] };
        prop_assert!(events == expect);
    }
}
