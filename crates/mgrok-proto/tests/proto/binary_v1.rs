//! frp's binary codec of datagrams: its bytes, its limits, and that nothing is lost between the two ends.

use std::net::SocketAddr;

use bytes::BytesMut;
use mgrok_proto::{
    DecodeError, WireVersion,
    message::{Kind, Message, Ping},
    udp::{Carried, Decoder, Encoder, Framing, MAX_DATAGRAM, Zones},
};
use proptest::{collection::vec, prelude::*};

use crate::{
    frame_of, hex,
    samples::SAMPLES,
    udp::{any_user, canonical},
    v2_frame, v2_message,
};

const ID: u16 = 19;

fn encoded(payload: &[u8], user: SocketAddr) -> BytesMut {
    let mut out = BytesMut::new();
    let mut encoder = Encoder::new(Framing::V2Binary);
    encoder.datagram(payload, Some(user), &mut out).unwrap();
    out
}

/// A user and what is in the datagram; `None` if more is to come.
fn decoded(input: &[u8]) -> Result<Option<(SocketAddr, Vec<u8>)>, DecodeError> {
    let mut payload = BytesMut::from("before");
    let decoded = Decoder::new(Framing::V2Binary).decode(input, &mut payload);
    let payload = payload.strip_prefix(b"before").unwrap().to_vec();
    match decoded? {
        None => {
            assert!(payload.is_empty());
            Ok(None)
        }
        Some((Carried::Packet { user: Some(user) }, len)) => {
            assert_eq!(len, input.len());
            Ok(Some((user, payload)))
        }
        Some(other) => panic!("{other:?}"),
    }
}

#[track_caller]
fn check(payload: &[u8], user: &str, expected: &str) {
    let (user, expected) = (user.parse().unwrap(), hex(expected));
    assert_eq!(encoded(payload, user), expected);
    let read = decoded(&expected).unwrap();
    assert_eq!(read, Some((canonical(user), payload.to_vec())));
}

#[test]
fn bytes_of_frp() {
    check(
        b"udp",
        "203.0.113.9:54321",
        "0010 0000 00000010 0013 02 04 cb007109 d431 00 0003 756470",
    );
    check(
        b"",
        "[2001:db8::1]:53",
        "0010 0000 00000019 0013 02 06 20010db8000000000000000000000001 0035 00 0000",
    );
    check(
        b"x",
        "[fe80::1%7]:53",
        "0010 0000 0000001b 0013 02 06 fe800000000000000000000000000001 0035 01 37 0001 78",
    );
    // An IPv4 user of a dual-stack socket.
    check(
        b"x",
        "[::ffff:192.0.2.1]:53",
        "0010 0000 0000000e 0013 02 04 c0000201 0035 00 0001 78",
    );
}

#[test]
fn a_local_address_is_passed_over() {
    let frame = hex(
        "0010 0000 00000028 0013 03 06 20010db8000000000000000000000001 04d2 03 656e30 \
         04 cb007109 d431 00 0004 70696e67",
    );
    let user = "203.0.113.9:54321".parse().unwrap();
    assert_eq!(decoded(&frame).unwrap(), Some((user, b"ping".to_vec())));
}

#[test]
fn an_ipv4_address_in_ipv6s_clothes_is_taken_for_what_it_is() {
    let frame =
        hex("0010 0000 0000001a 0013 02 06 00000000000000000000ffffc0000201 0035 00 0001 78");
    let user = "192.0.2.1:53".parse().unwrap();
    assert_eq!(decoded(&frame).unwrap(), Some((user, b"x".to_vec())));
}

#[test]
fn signs_of_life_are_json_as_ever() {
    let mut out = BytesMut::new();
    Encoder::new(Framing::V2Binary).ping(&mut out).unwrap();
    let mut frame = BytesMut::new();
    let ping = Message::from(Ping::default());
    WireVersion::V2.encode(&ping, &mut frame).unwrap();
    assert_eq!(out, frame);
    let read = Decoder::new(Framing::V2Binary).decode(&frame, &mut BytesMut::new());
    assert_eq!(read.unwrap(), Some((Carried::Ping, frame.len())));
}

#[test]
fn what_else_there_is_ends_the_connection() {
    for (_, kind, body) in SAMPLES {
        if kind == Kind::Ping {
            continue;
        }
        let error = decoded(&frame_of(WireVersion::V2, kind, body)).unwrap_err();
        match kind {
            Kind::UdpPacket => assert!(matches!(error, DecodeError::JsonPacket), "{error}"),
            _ => assert!(matches!(error, DecodeError::Unexpected { .. }), "{error}"),
        }
    }
    let error = decoded(&v2_message(20, "{}")).unwrap_err();
    assert!(matches!(error, DecodeError::UnknownId(20)), "{error}");
    for hello in [1, 2] {
        let error = decoded(&v2_frame(hello, [0, 19, 2])).unwrap_err();
        assert!(matches!(error, DecodeError::UnexpectedHello), "{error}");
    }
}

#[test]
fn elsewhere_it_is_an_unknown_message() {
    let frame = encoded(b"x", "192.0.2.1:53".parse().unwrap());
    let error = WireVersion::V2.decode(&frame).unwrap_err();
    assert!(matches!(error, DecodeError::UnknownId(ID)), "{error}");
    let error = Decoder::new(Framing::V2).decode(&frame, &mut BytesMut::new());
    assert!(
        matches!(error, Err(DecodeError::UnknownId(ID))),
        "{error:?}"
    );
}

#[test]
fn malformed_bodies_are_refused() {
    #[track_caller]
    fn check(body: &str, expected: &str) {
        let error = decoded(&v2_message(ID, hex(body))).unwrap_err();
        let expected = format!("malformed binary datagram: {expected}");
        assert_eq!(error.to_string(), expected);
    }
    check("", "it is empty");
    check("800000", "unknown flags");
    check("06 04 cb007109 d431 00 0000", "unknown flags");
    check("000000", "no address of a user");
    check("01 04 cb007109 d431 00 0000", "no address of a user");
    let cut = "an address is cut off";
    for body in [
        "02",
        "02 04 010200",
        "02 04 01020304 d4",
        "02 04 01020304 d431",
        "02 06 fe800000000000000000000000000001 0035 05 65746830",
        "03 04 cb007109 d431 00",
    ] {
        check(body, cut);
    }
    check("02 09 0000", "an address of an unknown family");
    check(
        "02 04 cb007109 d431 01 7a 0000",
        "an IPv4 address with a zone",
    );
    check(
        "02 06 fe800000000000000000000000000001 0035 01 ff 0000",
        "a zone that is not UTF-8",
    );
    check("02 04 cb007109 d431 00", "no length of its payload");
    check("02 04 cb007109 d431 00 00", "no length of its payload");
    let other = "its payload has another length than it says";
    check("02 04 cb007109 d431 00 0001", other);
    check("02 04 cb007109 d431 00 0001 7878", other);
    check("02 04 cb007109 d431 00 ffe4", "no datagram is that long");
}

#[test]
fn the_longest_datagram_fits_and_what_does_not_is_not_sent() {
    let user = "[2001:db8::1]:65535".parse().unwrap();
    for len in [0, 1, 1_472, 49_107, MAX_DATAGRAM] {
        let frame = encoded(&vec![7; len], user);
        assert!(decoded(&frame).unwrap() == Some((user, vec![7; len])));
    }
    let mut out = BytesMut::from("before");
    let mut encoder = Encoder::new(Framing::V2Binary);
    for len in [MAX_DATAGRAM + 1, 65_535, 65_536, 200_000] {
        let error = encoder
            .datagram(&vec![7; len], Some(user), &mut out)
            .unwrap_err();
        let expected = format!("UDPPacket message of {len} bytes exceeds the limit of 65507");
        assert_eq!(error.to_string(), expected);
    }
    encoder.datagram(b"whose?", None, &mut out).unwrap_err();
    assert_eq!(out, "before");

    // A long zone leaves less room: 65,534 bytes less 24 around a payload, and the zone.
    let zones = Zones::default();
    let scope_id = zones.scope_id(&"z".repeat(255)).unwrap();
    let user = std::net::SocketAddrV6::new("fe80::1".parse().unwrap(), 53, 0, scope_id).into();
    let mut encoder = Encoder::new(Framing::V2Binary).with_zones(zones);
    let longest = 65_534 - 1 - 20 - 255 - 2;
    encoder
        .datagram(&vec![7; longest + 1], Some(user), &mut out)
        .unwrap_err();
    assert_eq!(out, "before");
    encoder
        .datagram(&vec![7; longest], Some(user), &mut out)
        .unwrap();
}

proptest! {
    #[test]
    fn every_datagram_comes_back(payload in vec(any::<u8>(), 0..700), user in any_user()) {
        let frame = encoded(&payload, user);
        prop_assert_eq!(decoded(&frame).unwrap(), Some((canonical(user), payload)));
        for len in 0..frame.len() {
            prop_assert_eq!(decoded(&frame[..len]).unwrap(), None);
        }
    }

    #[test]
    fn no_body_does_harm(body in vec(any::<u8>(), 0..300)) {
        let _ = decoded(&v2_message(ID, &body));
        let _ = decoded(&v2_message(ID, [&[2, 6][..], &body].concat()));
    }
}
