//! Every message, framed: there and back, in pieces, too long, and made of garbage.

use bytes::BytesMut;
use mgrok_proto::{
    DecodeError, EncodeError, WireVersion,
    message::{Kind, Login, Message, NewProxy, Pong},
    v1,
};
use proptest::{collection::vec, prelude::*};

use crate::{
    decode, encode, frame,
    samples::{SAMPLES, any_body},
};

#[test]
fn every_member_of_every_message_is_written_as_frp_writes_it() {
    assert_eq!(SAMPLES.len(), Kind::ALL.len());
    for (type_byte, kind, body) in SAMPLES {
        let message = decode(&frame(type_byte, body)).unwrap();
        assert_eq!(message.kind(), kind);
        assert_eq!(message.name(), kind.name());
        let written = encode(&message);
        assert_eq!(
            String::from_utf8_lossy(&written[v1::HEADER_LEN..]),
            body,
            "{kind}"
        );
        assert_eq!(written, frame(type_byte, body));
    }
}

#[test]
fn zero_values_are_left_out_but_objects_are_not() {
    for (type_byte, kind, _) in SAMPLES {
        let expected = match kind {
            Kind::Login => r#"{"client_spec":{}}"#,
            Kind::NatHoleResp => r#"{"detect_behavior":{}}"#,
            _ => "{}",
        };
        let message = decode(&frame(type_byte, "{}")).unwrap();
        assert_eq!(encode(&message), frame(type_byte, expected));
    }
}

#[test]
fn an_unknown_type_fails_before_the_length() {
    for type_byte in 0..=u8::MAX {
        let known = SAMPLES.iter().any(|sample| sample.0 == type_byte);
        match WireVersion::V1.decode(&[type_byte]) {
            Ok(None) => assert!(known),
            Err(DecodeError::UnknownType(byte)) => assert!(!known && byte == type_byte),
            other => panic!("{other:?}"),
        }
    }
    assert!(WireVersion::V1.decode(&[]).unwrap().is_none());
}

#[test]
fn a_bad_length_fails_as_soon_as_it_can_be_seen() {
    #[track_caller]
    fn check(length: &[u8], expected: Option<i64>) {
        let input = [b"h", length].concat();
        match (WireVersion::V1.decode(&input), expected) {
            (Ok(None), None) => {}
            (Err(DecodeError::Length { length, limit }), Some(expected)) => {
                assert_eq!((length, limit), (expected, 10_240));
            }
            (other, _) => panic!("{other:?}"),
        }
    }
    check(&[], None);
    check(&[0], None);
    check(&[1], Some(1 << 56));
    check(
        &[0xff],
        Some(i64::from_be_bytes([0xff, 0, 0, 0, 0, 0, 0, 0])),
    );
    check(&[0, 0, 0, 0, 0, 0, 0x28], None);
    check(&[0, 0, 0, 0, 0, 0, 0x29], Some(0x2900));
    check(&10_240_i64.to_be_bytes(), None);
    check(&10_241_i64.to_be_bytes(), Some(10_241));
    check(&(-1_i64).to_be_bytes(), Some(-1));
    check(&i64::MIN.to_be_bytes(), Some(i64::MIN));
}

#[test]
fn the_longest_message_passes_and_a_longer_one_is_refused() {
    let pong = |len: usize| {
        let overhead = r#"{"error":""}"#.len();
        Message::from(Pong {
            error: "e".repeat(len - overhead),
        })
    };
    let longest = pong(v1::MAX_BODY_LEN);
    assert_eq!(decode(&encode(&longest)).unwrap(), longest);

    let mut out = BytesMut::from("before");
    let error = WireVersion::V1
        .encode(&pong(v1::MAX_BODY_LEN + 1), &mut out)
        .unwrap_err();
    let EncodeError::TooLong { kind, len, limit } = error else {
        panic!("{error}");
    };
    assert_eq!(
        (kind, len, limit),
        (Kind::Pong, v1::MAX_BODY_LEN + 1, v1::MAX_BODY_LEN)
    );
    assert_eq!(out, "before");
}

#[test]
fn an_empty_body_is_no_message() {
    for (type_byte, kind, _) in SAMPLES {
        let error = decode(&frame(type_byte, "")).unwrap_err();
        assert!(matches!(error, DecodeError::Body { kind: of, .. } if of == kind));
    }
}

#[test]
fn secrets_are_not_shown() {
    let login = Login {
        privilege_key: "hidden".into(),
        ..Login::default()
    };
    let proxy = NewProxy {
        group_key: "hidden".into(),
        http_pwd: "hidden".into(),
        sk: "hidden".into(),
        ..NewProxy::default()
    };
    for message in [Message::from(login), Message::from(proxy)] {
        let shown = format!("{message:?}");
        assert!(
            shown.contains("***") && !shown.contains("hidden"),
            "{shown}"
        );
    }
}

#[test]
fn deep_nesting_is_skipped_without_recursion() {
    let depth = 5_000;
    let body = format!(
        r#"{{"x":{}{},"error":"e"}}"#,
        "[".repeat(depth),
        "]".repeat(depth)
    );
    let expected = Message::from(Pong { error: "e".into() });
    assert_eq!(decode(&frame(b'4', body)).unwrap(), expected);
    // Where a value is known it must not be taken for the value either.
    let body = format!(r#"{{"error":{}"#, "[".repeat(10_000));
    assert!(decode(&frame(b'4', body)).is_err());
    let body = format!(r#"{{"client_spec":{}"#, r#"{"client_spec":"#.repeat(600));
    assert!(decode(&frame(b'o', body)).is_err());
}

proptest! {
    #[test]
    fn messages_survive_the_wire((type_byte, body) in any_body()) {
        let message = decode(&frame(type_byte, body)).unwrap();
        prop_assert_eq!(decode(&encode(&message)).unwrap(), message);
    }

    #[test]
    fn a_frame_is_found_however_it_arrives(
        bodies in vec(any_body(), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let frames: Vec<_> = bodies.iter().map(|(type_byte, body)| frame(*type_byte, body)).collect();
        let stream = frames.concat();
        // All of a prefix that is not the whole first frame is waited for.
        let cut = cut.index(stream.len());
        prop_assert_eq!(
            WireVersion::V1.decode(&stream[..cut]).unwrap().is_some(),
            cut >= frames[0].len()
        );
        let mut rest = &stream[..];
        for frame in &frames {
            let (message, len) = WireVersion::V1.decode(rest).unwrap().unwrap();
            prop_assert_eq!(len, frame.len());
            prop_assert_eq!(message, decode(frame).unwrap());
            rest = &rest[len..];
        }
        prop_assert!(rest.is_empty());
    }

    #[test]
    fn garbage_never_panics(input in vec(any::<u8>(), 0..200)) {
        let _ = WireVersion::V1.decode(&input);
    }

    #[test]
    fn damaged_bodies_never_panic_and_what_is_read_can_be_written(
        (type_byte, body) in any_body(),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let mut body = body.into_bytes();
        for (at, byte) in damage {
            let at = at.index(body.len());
            body[at] = byte;
        }
        if let Ok(message) = decode(&frame(type_byte, body)) {
            prop_assert_eq!(decode(&encode(&message)).unwrap(), message);
        }
    }
}
