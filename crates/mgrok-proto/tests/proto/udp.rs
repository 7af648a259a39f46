//! The fast way with datagrams of frp gives the same answers as the general one.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV6};

use bytes::BytesMut;
use mgrok_proto::{
    DecodeError, EncodeError, WireVersion,
    message::{Kind, Message, UdpPacket},
    udp::{Carried, Decoder, Encoder, Framing, Zones},
};
use proptest::{collection::vec, prelude::*};

use crate::{VERSIONS, frame_of, samples::SAMPLES};

/// What the general decoder makes of a frame, in the fast decoder's terms.
fn general(
    version: WireVersion,
    input: &[u8],
) -> Result<Option<(Carried, usize, Vec<u8>)>, String> {
    let decoded = version.decode(input).map_err(|error| error.to_string())?;
    let Some((message, len)) = decoded else {
        return Ok(None);
    };
    match message {
        Message::Ping(_) => Ok(Some((Carried::Ping, len, Vec::new()))),
        Message::UdpPacket(packet) => {
            let zones = Zones::default();
            let user = packet.user.and_then(|user| user.socket_addr(&zones));
            Ok(Some((
                Carried::Packet { user },
                len,
                packet.content.to_vec(),
            )))
        }
        other => Err(DecodeError::Unexpected { kind: other.kind() }.to_string()),
    }
}

fn fast(version: WireVersion, input: &[u8]) -> Result<Option<(Carried, usize, Vec<u8>)>, String> {
    let mut payload = BytesMut::from("before");
    let decoded = Decoder::new(version.into()).decode(input, &mut payload);
    let payload = payload.strip_prefix(b"before").unwrap().to_vec();
    if !matches!(decoded, Ok(Some(_))) {
        assert!(payload.is_empty());
    }
    let decoded = decoded.map_err(|error| error.to_string())?;
    Ok(decoded.map(|(carried, len)| (carried, len, payload)))
}

fn encode(
    version: WireVersion,
    payload: &[u8],
    user: Option<SocketAddr>,
    out: &mut BytesMut,
) -> Result<(), EncodeError> {
    Encoder::new(version.into()).datagram(payload, user, out)
}

fn any_version() -> impl Strategy<Value = WireVersion> {
    prop::sample::select(&VERSIONS)
}

pub(crate) fn any_user() -> impl Strategy<Value = SocketAddr> {
    let users = prop_oneof![
        any::<SocketAddr>(),
        // Shapes with rules of their own: IPv4 in IPv6, and zones.
        (any::<Ipv4Addr>(), any::<u16>()).prop_map(|(ip, port)| (ip.to_ipv6_mapped(), port).into()),
        (any::<u64>(), any::<u16>(), any::<u32>()).prop_map(|(host, port, scope_id)| {
            let ip = ((0xfe80 << 112) | u128::from(host)).into();
            SocketAddrV6::new(ip, port, 0, scope_id).into()
        }),
    ];
    users.prop_map(|mut user| {
        if let SocketAddr::V6(user) = &mut user {
            // No interface has a number beyond.
            user.set_scope_id(user.scope_id() & 0x7fff_ffff);
        }
        user
    })
}

/// The user as it comes back: as plain IPv4 if it is IPv4 at all, and without a flow label.
pub(crate) fn canonical(user: SocketAddr) -> SocketAddr {
    match user {
        SocketAddr::V6(user) if user.ip().to_ipv4_mapped().is_none() => {
            SocketAddrV6::new(*user.ip(), user.port(), 0, user.scope_id()).into()
        }
        SocketAddr::V4(_) | SocketAddr::V6(_) => {
            SocketAddr::new(user.ip().to_canonical(), user.port())
        }
    }
}

proptest! {
    #[test]
    fn both_write_the_same_and_read_it_back(
        version in any_version(),
        payload in vec(any::<u8>(), 0..700),
        user in prop::option::of(any_user()),
    ) {
        let user = user.map(canonical);
        let mut fast_frame = BytesMut::from("before");
        encode(version, &payload, user, &mut fast_frame).unwrap();
        let message = Message::from(UdpPacket {
            content: payload.clone().into(),
            user: user.map(Into::into),
            ..UdpPacket::default()
        });
        let mut frame = BytesMut::from("before");
        version.encode(&message, &mut frame).unwrap();
        prop_assert_eq!(&fast_frame, &frame);

        let frame = &frame[b"before".len()..];
        let expected = Ok(Some((Carried::Packet { user }, frame.len(), payload)));
        prop_assert_eq!(&fast(version, frame), &expected);
        prop_assert_eq!(&general(version, frame), &expected);
        prop_assert_eq!(fast(version, &frame[..frame.len() - 1]), Ok(None));
    }

    #[test]
    fn every_user_comes_back_as_itself(version in any_version(), user in any_user()) {
        let mut frame = BytesMut::new();
        encode(version, b"x", Some(user), &mut frame).unwrap();
        let (carried, ..) = fast(version, &frame).unwrap().unwrap();
        prop_assert_eq!(carried, Carried::Packet { user: Some(canonical(user)) });
    }

    #[test]
    fn both_read_the_same_of_damaged_frames(
        version in any_version(),
        payload in vec(any::<u8>(), 0..40),
        user in any_user(),
        damage in vec((any::<prop::sample::Index>(), "[\"\\\\,:{}=A-Za-z0-9 \r\n.]"), 0..4),
    ) {
        let mut body = BytesMut::new();
        encode(WireVersion::V1, &payload, Some(user), &mut body).unwrap();
        let mut body = body[9..].to_vec();
        for (at, byte) in damage {
            let at = at.index(body.len());
            body[at] = byte.as_bytes()[0];
        }
        let frame = frame_of(version, Kind::UdpPacket, body);
        prop_assert_eq!(fast(version, &frame), general(version, &frame));
    }
}

#[test]
fn both_read_the_same_of_unusual_bodies() {
    let tail = r#""r":{"IP":"127.0.0.1","Port":53,"Zone":""}}"#;
    let bodies = [
        "{}".to_owned(),
        "null".into(),
        "".into(),
        r#"{"c":"aGk="}"#.into(),
        format!("{{{tail}"),
        format!(r#"{{"c":"",{tail}"#),
        format!(r#"{{"c":"aGk",{tail}"#),
        format!(r#"{{"c":"aGl=",{tail}"#),
        format!(r#"{{"c":"aG\nk=",{tail}"#),
        format!(r#"{{"c":"aGk=\r\n",{tail}"#),
        format!(r#"{{"c":"\u0061Gk=",{tail}"#),
        format!(r#"{{"c":"aGk=", {tail}"#),
        format!(r#"{{"C":"aGk=",{tail}"#),
        format!(r#"{{"c":null,{tail}"#),
        format!(r#"{{"c":5,{tail}"#),
        format!(r#"{{"c":"aGk=",{tail} "#),
        format!(r#"{{"c":"aGk=",{tail}x"#),
        format!(r#"{{"c":"aGk=","r":null,{tail}"#),
        format!(r#"{{"c":"aGk=","c":"aG8=",{tail}"#),
        format!(r#"{{"c":"aGk=","x":{{{tail},{tail}"#),
        r#"{"c":"aGk=","r":{"IP":"","Port":53,"Zone":""}}"#.into(),
        r#"{"c":"aGk=","r":{"IP":"x","Port":53,"Zone":""}}"#.into(),
        r#"{"c":"aGk=","r":{"IP":"127.0.0.01","Port":53,"Zone":""}}"#.into(),
        r#"{"c":"aGk=","r":{"IP":"127.0.0.1","Port":65536,"Zone":""}}"#.into(),
        r#"{"c":"aGk=","r":{"IP":"127.0.0.1","Port":-1,"Zone":""}}"#.into(),
        r#"{"c":"aGk=","r":{"IP":"127.0.0.1","Port":053,"Zone":""}}"#.into(),
        r#"{"c":"aGk=","r":{"IP":"127.0.0.1","Port":1.5,"Zone":""}}"#.into(),
        r#"{"c":"aGk=","r":{"IP":"127.0.0.1","Port":,"Zone":""}}"#.into(),
        r#"{"c":"aGk=","r":{"IP":"127.0.0.1","Port":53,"Zone":"1"}}"#.into(),
        r#"{"c":"aGk=","r":{"IP":"fe80::1","Port":53,"Zone":"1"}}"#.into(),
        r#"{"c":"aGk=","r":{"IP":"fe80::1","Port":53,"Zone":"01"}}"#.into(),
        r#"{"c":"aGk=","r":{"IP":"fe80::1","Port":53,"Zone":"+1"}}"#.into(),
        r#"{"c":"aGk=","r":{"IP":"fe80::1","Port":53,"Zone":"99999999999"}}"#.into(),
        r#"{"c":"aGk=","r":{"IP":"fe80::1","Port":53,"Zone":"eth0"}}"#.into(),
        r#"{"c":"aGk=","r":{"IP":"::ffff:1.2.3.4","Port":53,"Zone":""}}"#.into(),
        r#"{"c":"aGk=","r":{"IP":"fe80::1%eth0","Port":53,"Zone":""}}"#.into(),
        r#"{"r":{"ip":"127.0.0.1","PORT":53},"c":"aGk="}"#.into(),
    ];
    for body in bodies {
        for version in VERSIONS {
            let frame = frame_of(version, Kind::UdpPacket, &body);
            assert_eq!(fast(version, &frame), general(version, &frame), "{body}");
        }
    }
}

#[test]
fn other_messages_have_no_place_among_datagrams() {
    for (_, kind, body) in SAMPLES {
        for version in VERSIONS {
            let frame = frame_of(version, kind, body);
            assert_eq!(fast(version, &frame), general(version, &frame));
            let carried = matches!(kind, Kind::Ping | Kind::UdpPacket);
            assert_eq!(fast(version, &frame).is_ok(), carried);
        }
    }
}

#[test]
fn a_user_gets_the_name_of_its_zone_back() {
    let body =
        |zone: &str| format!(r#"{{"c":"aGk=","r":{{"IP":"fe80::1","Port":53,"Zone":"{zone}"}}}}"#);
    for zone in [
        "",
        "7",
        "eth0",
        "07",
        "wlp0s20f3",
        "enx0123456789abcdef",
        "3000000000",
        "é\\\"",
    ] {
        for version in VERSIONS {
            let frame = frame_of(version, Kind::UdpPacket, body(zone));
            let mut decoder = Decoder::new(version.into());
            let mut payload = BytesMut::new();
            let decoded = decoder.decode(&frame, &mut payload).unwrap();
            let Some((Carried::Packet { user: Some(user) }, _)) = decoded else {
                panic!("{decoded:?}");
            };
            let mut encoder = Encoder::new(version.into()).with_zones(decoder.zones().clone());
            let mut back = BytesMut::new();
            encoder.datagram(b"hi", Some(user), &mut back).unwrap();
            assert_eq!(back, frame, "{zone}");
        }
    }
}

#[test]
fn users_of_more_zones_than_there_are_cannot_be_answered() {
    let mut decoder = Decoder::new(Framing::V1);
    let mut known = 0;
    for zone in 0..1000 {
        let body = format!(r#"{{"c":"aGk=","r":{{"IP":"fe80::1","Port":53,"Zone":"eth{zone}"}}}}"#);
        let frame = frame_of(WireVersion::V1, Kind::UdpPacket, body);
        let decoded = decoder.decode(&frame, &mut BytesMut::new()).unwrap();
        match decoded.unwrap().0 {
            Carried::Packet { user: Some(_) } => known += 1,
            Carried::Packet { user: None } => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(known, 64);
}

#[test]
fn a_datagram_of_any_length_is_taken_in_v1_and_nothing_else_that_is_long() {
    let (base64, user) = (
        "A".repeat(87_344),
        r#""r":{"IP":"192.0.2.1","Port":53,"Zone":""}"#,
    );
    let body = format!(r#"{{"c":"{}=",{user}}}"#, &base64[1..]);
    let frame = frame_of(WireVersion::V1, Kind::UdpPacket, &body);
    let (carried, len, payload) = fast(WireVersion::V1, &frame).unwrap().unwrap();
    assert!(matches!(carried, Carried::Packet { user: Some(_) }));
    assert_eq!((len, payload.len()), (frame.len(), 65_507));
    // The general decoder, which control connections have, keeps its limit.
    let limit = "is not within 0..=10240";
    assert!(
        general(WireVersion::V1, &frame)
            .unwrap_err()
            .contains(limit)
    );

    for (kind, len, refused) in [
        (Kind::UdpPacket, 131_072, false),
        (Kind::UdpPacket, 131_073, true),
        (Kind::Ping, 10_240, false),
        (Kind::Ping, 10_241, true),
    ] {
        let whole = frame_of(WireVersion::V1, kind, " ".repeat(len));
        // Known as soon as the head is there.
        let head = fast(WireVersion::V1, &whole[..9]);
        assert_eq!(head.is_err(), refused, "{kind} {len}");
    }
}

#[test]
fn a_datagram_that_no_reader_accepts_is_not_written() {
    #[track_caller]
    fn check(version: WireVersion, longest: usize, refused_body: usize) {
        let user = Some(SocketAddr::from(([255; 4], 65_535)));
        let mut out = BytesMut::from("before");
        encode(version, &vec![0; longest], user, &mut out).unwrap();
        out.truncate(6);
        let error = encode(version, &vec![0; longest + 1], user, &mut out).unwrap_err();
        let expected = format!("UDPPacket message of {refused_body} bytes");
        assert!(error.to_string().contains(&expected), "{error}");
        assert_eq!(out, "before");
    }
    // The limit less 60 for everything around the content, in base64: 10,240 and 65,534 bytes of JSON.
    check(WireVersion::V1, 7_635, 10_244);
    check(WireVersion::V2, 49_104, 65_536);
}
