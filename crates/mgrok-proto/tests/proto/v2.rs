//! What is particular to v2 frames: their header, their ids, their limit, and hellos among them.

use bytes::{Bytes, BytesMut};
use mgrok_proto::{
    DecodeError, EncodeError, WireVersion,
    message::{Kind, Message, Ping, Pong},
    v2::{self, Content},
};
use proptest::{collection::vec, prelude::*};

use crate::{
    frame_of, hex,
    samples::{SAMPLES, any_body},
    v2_frame, v2_message,
};

const V2: WireVersion = WireVersion::V2;

/// Decodes a frame that is expected to be whole.
fn decode(frame: &[u8]) -> Result<Message, DecodeError> {
    V2.decode(frame).map(|decoded| {
        let (message, len) = decoded.expect("the frame is whole");
        assert_eq!(len, frame.len());
        message
    })
}

fn encode(message: &Message) -> BytesMut {
    let mut frame = BytesMut::new();
    V2.encode(message, &mut frame).unwrap();
    frame
}

#[test]
fn every_message_has_its_id() {
    for (number, (_, kind, body)) in (1..).zip(SAMPLES) {
        let frame = v2_message(number, body);
        let message = decode(&frame).unwrap();
        assert_eq!(message.kind(), kind);
        assert_eq!(encode(&message), frame);
    }
    for unknown in [0, 19, 256, u16::MAX] {
        let error = decode(&v2_message(unknown, "{}")).unwrap_err();
        assert!(matches!(error, DecodeError::UnknownId(id) if id == unknown));
    }
}

#[test]
fn what_is_hopeless_fails_as_soon_as_it_can_be_seen() {
    /// `expected` is what is wrong; nothing if the frame can still be a good one.
    #[track_caller]
    fn check(input: &str, expected: Option<&str>) {
        let input = hex(input);
        let shown = |result: Result<bool, DecodeError>| result.map_err(|error| error.to_string());
        let expected = match expected {
            None => Ok(false),
            Some(text) => Err(text.to_owned()),
        };
        let message = V2.decode(&input).map(|decoded| decoded.is_some());
        assert_eq!(shown(message), expected);
        let any = v2::decode(&input).map(|decoded| decoded.is_some());
        assert_eq!(shown(any), expected);
    }
    check("", None);
    check("00", None);
    check("01", Some("unknown frame type 256"));
    check("0000", Some("unknown frame type 0"));
    check("0003", Some("unknown frame type 3"));
    check("0010", None);
    check("0011", Some("unknown frame type 17"));
    check("0010 00", None);
    check("0010 80", Some("unknown frame flags 0x8000"));
    check("0010 0001", Some("unknown frame flags 0x0001"));
    check("0010 0000 0001", None);
    check(
        "0010 0000 0002",
        Some("message length 131072 is not within 0..=65536"),
    );
    check("0010 0000 00010000", None);
    check(
        "0010 0000 00010001",
        Some("message length 65537 is not within 0..=65536"),
    );
    check(
        "0010 0000 ffffffff",
        Some("message length 4294967295 is not within 0..=65536"),
    );
    check(
        "0010 0000 00000001",
        Some("a frame with 1 bytes of payload holds no message"),
    );
    check("0010 0000 00000004 00", None);
    check("0010 0000 00000004 0000", Some("unknown message id 0"));
    check("0010 0000 00000004 000b 7b", None);
}

#[test]
fn the_longest_message_passes_and_a_longer_one_is_refused() {
    let pong = |len: usize| {
        let overhead = r#"{"error":""}"#.len();
        Message::from(Pong {
            error: "e".repeat(len - overhead),
        })
    };
    let longest = pong(v2::MAX_BODY_LEN);
    let frame = encode(&longest);
    assert_eq!(frame.len(), v2::HEADER_LEN + v2::MAX_PAYLOAD_LEN);
    assert_eq!(decode(&frame).unwrap(), longest);

    let mut out = BytesMut::from("before");
    let error = V2.encode(&pong(65_535), &mut out).unwrap_err();
    let EncodeError::TooLong { kind, len, limit } = error else {
        panic!("{error}");
    };
    assert_eq!((kind, len, limit), (Kind::Pong, 65_535, 65_534));
    assert_eq!(out, "before");
}

#[test]
fn hellos_are_found_where_they_may_come_and_only_there() {
    for (frame_type, expected) in [
        (1, Content::ClientHello(Bytes::from_static(b"{ }"))),
        (2, Content::ServerHello(Bytes::from_static(b"{ }"))),
    ] {
        let frame = v2_frame(frame_type, "{ }");
        let input = [&frame[..], b"rest"].concat();
        assert_eq!(v2::decode(&input).unwrap(), Some((expected, frame.len())));
        assert_eq!(v2::decode(&frame[..10]).unwrap(), None);
        let error = V2.decode(&frame[..v2::HEADER_LEN]).unwrap_err();
        assert!(matches!(error, DecodeError::UnexpectedHello));
    }
    let ping = frame_of(V2, Kind::Ping, "{}");
    let expected = Content::Message(Ping::default().into());
    assert_eq!(v2::decode(&ping).unwrap(), Some((expected, ping.len())));
}

#[test]
fn the_first_version_frames_payload_as_v1_does() {
    for version in ["0.69.1", "0.70.1", "0.68.0", "0.69.00", ""] {
        assert_eq!(V2.of_payload(version), V2, "{version}");
    }
    assert_eq!(V2.of_payload("0.69.0"), WireVersion::V1);
    assert_eq!(WireVersion::V1.of_payload("0.70.1"), WireVersion::V1);
}

proptest! {
    #[test]
    fn a_frame_is_found_however_it_arrives(
        (type_byte, body) in any_body(),
        cut in any::<prop::sample::Index>(),
    ) {
        let kind = SAMPLES.iter().find(|sample| sample.0 == type_byte).unwrap().1;
        let frame = frame_of(V2, kind, &body);
        let cut = cut.index(frame.len());
        prop_assert!(V2.decode(&frame[..cut]).unwrap().is_none());
        prop_assert!(v2::decode(&frame[..cut]).unwrap().is_none());
        let message = decode(&frame).unwrap();
        prop_assert_eq!(decode(&encode(&message)).unwrap(), message);
    }

    #[test]
    fn garbage_never_panics(mut input in vec(any::<u8>(), 0..200), header in any::<bool>()) {
        if header && input.len() > 8 {
            // Far enough in to reach the ids.
            input[..8].copy_from_slice(&[0, 16, 0, 0, 0, 0, 0, 5]);
            input[8] = 0;
        }
        let _ = V2.decode(&input);
        let _ = v2::decode(&input);
    }
}
