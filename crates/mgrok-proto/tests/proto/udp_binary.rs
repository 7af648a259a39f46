//! mgrok's own framing of datagrams: its bytes, its limits, and that nothing is lost between the two ends.

use std::net::SocketAddr;

use bytes::{Buf, BytesMut};
use mgrok_proto::{
    DecodeError, EncodeError, Negotiated, WireVersion,
    hello::Extension,
    udp::{
        Carried, Decoder, Encoder, Framing, MAX_DATAGRAM,
        binary::{self, MAX_FRAME},
        quarter_id,
    },
};
use proptest::{collection::vec, prelude::*};

use crate::{
    hex,
    udp::{any_user, canonical},
};

/// What an end says, or has heard.
#[derive(Clone, Debug, PartialEq)]
enum Said {
    Datagram(SocketAddr, Vec<u8>),
    Ping,
    QuicReady,
}

fn write(said: &[Said]) -> BytesMut {
    let (mut encoder, mut out) = (Encoder::new(Framing::Binary), BytesMut::new());
    for said in said {
        match said {
            Said::Datagram(user, payload) => {
                encoder.datagram(payload, Some(*user), &mut out).unwrap();
            }
            Said::Ping => encoder.ping(&mut out).unwrap(),
            Said::QuicReady => encoder.quic_ready(&mut out),
        }
    }
    out
}

/// What is heard when `input` comes in pieces of these sizes, over and over again, and whether it ends in the middle of a frame.
fn read_any(input: &[u8], pieces: &[usize]) -> Result<(Vec<Said>, bool), DecodeError> {
    let mut decoder = Decoder::new(Framing::Binary);
    let (mut heard, mut partial) = (Vec::new(), BytesMut::new());
    let mut input = input;
    for &piece in pieces.iter().cycle() {
        let (now, later) = input.split_at(input.len().min(piece));
        partial.extend_from_slice(now);
        let mut payload = BytesMut::from("before");
        while let Some((carried, len)) = decoder.decode(&partial, &mut payload)? {
            partial.advance(len);
            let payload = payload.split_off(b"before".len());
            heard.push(match carried {
                Carried::Packet { user } => Said::Datagram(user.unwrap(), payload.to_vec()),
                Carried::Ping => Said::Ping,
                Carried::QuicReady => Said::QuicReady,
            });
        }
        assert_eq!(payload, "before");
        input = later;
        if input.is_empty() {
            break;
        }
    }
    Ok((heard, decoder.in_frame() || !partial.is_empty()))
}

/// The same of whole frames.
fn read(input: &[u8], pieces: &[usize]) -> Result<Vec<Said>, DecodeError> {
    let (heard, in_frame) = read_any(input, pieces)?;
    assert!(!in_frame, "frames end in the middle: {input:?}");
    Ok(heard)
}

fn datagram(user: &str, payload: &[u8]) -> Said {
    Said::Datagram(user.parse().unwrap(), payload.to_vec())
}

#[track_caller]
fn check_bytes(said: &[Said], bytes: &str) {
    let bytes = hex(&bytes.replace(' ', ""));
    assert_eq!(write(said), bytes);
    for pieces in [1, 3, 1000] {
        assert_eq!(read(&bytes, &[pieces]).unwrap(), said);
    }
}

#[test]
fn golden_bytes() {
    let v4 = |payload: &[u8]| datagram("192.0.2.1:5353", payload);
    check_bytes(&[v4(b"hi"), v4(b"")], "04 02 c0000201 14e9 0002 6869 0000");
    let v6 = |payload: &[u8]| datagram("[fe80::1%7]:53", payload);
    check_bytes(
        &[v6(b"six")],
        "06 01 fe800000000000000000000000000001 00000007 0035 0003 736978",
    );
    check_bytes(&[Said::Ping, Said::QuicReady, Said::Ping], "00 01 00");
    // Each change begins a frame.
    check_bytes(
        &[
            v4(b"a"),
            Said::Ping,
            v4(b"b"),
            datagram("192.0.2.1:1", b"c"),
        ],
        "04 01 c0000201 14e9 0001 61  00  04 01 c0000201 14e9 0001 62  04 01 c0000201 0001 0001 63",
    );
}

#[test]
fn an_end_in_the_middle_of_a_frame_is_seen() {
    let bytes = hex("0402c000020114e9000268690000");
    let first = datagram("192.0.2.1:5353", b"hi");
    for (len, heard, in_frame) in [
        (0, 0, false),
        (1, 0, true),
        (8, 0, true),
        (11, 0, true),
        // A whole datagram of the two.
        (12, 1, true),
        (13, 1, true),
    ] {
        let expected = (vec![first.clone(); heard], in_frame);
        assert_eq!(read_any(&bytes[..len], &[5]).unwrap(), expected, "{len}");
    }
    assert!(!read_any(&bytes, &[5]).unwrap().1);
}

#[test]
fn ipv4_is_always_plain_ipv4() {
    let plain = datagram("192.0.2.1:5353", b"hi");
    assert_eq!(
        write(&[datagram("[::ffff:192.0.2.1]:5353", b"hi")]),
        write(std::slice::from_ref(&plain))
    );
    let mapped = hex("060100000000000000000000ffffc00002010000000714e900026869");
    assert_eq!(read(&mapped, &[100]).unwrap(), [plain]);
}

#[test]
fn a_frame_holds_no_more_than_it_may() {
    let many = vec![datagram("192.0.2.1:1", b""); 256];
    let bytes = write(&many);
    assert_eq!(bytes.len(), 8 + 255 * 2 + 8 + 2);
    assert_eq!(bytes[1], 255);
    assert_eq!(read(&bytes, &[7]).unwrap(), many);

    // The first two fill a frame to the last byte.
    let len = MAX_FRAME - 8 - 2 - 2 - 40_000;
    let large = [40_000, len, 0].map(|len| datagram("192.0.2.1:1", &vec![7; len]));
    let bytes = write(&large);
    assert_eq!((bytes[1], bytes[MAX_FRAME]), (2, 4));
    assert_eq!(read(&bytes, &[1000]).unwrap(), large);
}

#[test]
fn the_largest_datagram_fits_and_a_larger_one_does_not() {
    for user in ["192.0.2.1:1", "[2001:db8::1]:1"] {
        let largest = [datagram(user, &vec![7; MAX_DATAGRAM])];
        assert_eq!(read(&write(&largest), &[9999]).unwrap(), largest);

        let mut out = BytesMut::from("before");
        for len in [MAX_DATAGRAM + 1, 65_536, 70_000] {
            let error = Encoder::new(Framing::Binary)
                .datagram(&vec![7; len], user.parse().ok(), &mut out)
                .unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("UDPPacket message of {len} bytes exceeds the limit of 65507")
            );
            assert_eq!(out, "before");
        }
    }
}

#[test]
fn a_datagram_of_nobody_cannot_be_framed() {
    let mut out = BytesMut::new();
    let error = Encoder::new(Framing::Binary).datagram(b"whose?", None, &mut out);
    assert!(matches!(error, Err(EncodeError::NoUser)));
    assert!(out.is_empty());
}

#[test]
fn an_ended_frame_is_not_added_to() {
    let (mut encoder, mut out) = (Encoder::new(Framing::Binary), BytesMut::new());
    let user: SocketAddr = "192.0.2.1:1".parse().unwrap();
    for payload in [b"one", b"two"] {
        encoder.datagram(payload, Some(user), &mut out).unwrap();
        encoder.end_frame();
        assert_eq!(out.split().len(), 8 + 2 + 3);
    }
}

#[test]
fn smaller_frames_can_be_asked_for() {
    let user: SocketAddr = "192.0.2.1:1".parse().unwrap();
    let mut encoder = binary::Encoder::new(100);
    assert!(encoder.fits(90, user) && !encoder.fits(91, user));
    assert!(encoder.fits(74, "[2001:db8::1]:1".parse().unwrap()));
    assert!(!encoder.fits(75, "[2001:db8::1]:1".parse().unwrap()));
    let mut out = BytesMut::new();
    assert!(!encoder.joins(0, user));
    encoder.datagram(&[7; 50], user, &mut out).unwrap();
    assert!(encoder.joins(38, user) && !encoder.joins(39, user));
    assert!(!encoder.joins(1, "192.0.2.1:2".parse().unwrap()));
    encoder.datagram(&[7; 38], user, &mut out).unwrap();
    assert_eq!(out.len(), 100);
    encoder.datagram(&[7; 91], user, &mut out).unwrap_err();
    assert_eq!(out.len(), 100);
}

#[test]
fn what_is_malformed_is_said_as_soon_as_it_can_be_seen() {
    #[track_caller]
    fn check(bytes: &[u8], said: &str) {
        for pieces in [1, 5, 100_000] {
            let error = read(bytes, &[pieces]).err().map(|it| it.to_string());
            assert_eq!(error.as_deref(), Some(said));
        }
    }
    check(&hex("02"), "unknown kind 2 of a frame of datagrams");
    check(&hex("ff"), "unknown kind 255 of a frame of datagrams");
    check(&hex("0007"), "unknown kind 7 of a frame of datagrams");
    check(&hex("0400"), "a frame of kind 4 without datagrams");
    check(&hex("0600"), "a frame of kind 6 without datagrams");
    let too_long = "datagram length 65508 is not within 0..=65507";
    check(&hex("0401c00002010001ffe4"), too_long);
    let second = write(&[datagram("192.0.2.1:1", &vec![7; 40_000])]);
    let mut second = second.to_vec();
    second[1] = 2;
    second.extend_from_slice(&25_525_u16.to_be_bytes());
    check(&second, "a frame of datagrams is longer than 65536 bytes");
}

#[test]
fn both_ends_must_have_it() {
    let framing = |streams, extensions: &[Extension]| {
        Negotiated::new(streams, "0.70.1", extensions).datagram_framing()
    };
    assert_eq!(framing(WireVersion::V1, &[]), Framing::V1);
    assert_eq!(
        framing(WireVersion::V2, &[Extension::HALF_CLOSE]),
        Framing::V2
    );
    assert_eq!(
        framing(WireVersion::V2, &[Extension::DATAGRAMS]),
        Framing::Binary
    );
    assert_eq!(
        framing(WireVersion::V2, &[Extension::BINARY_PACKETS]),
        Framing::V2Binary
    );
    assert_eq!(
        framing(
            WireVersion::V2,
            &[Extension::BINARY_PACKETS, Extension::DATAGRAMS]
        ),
        Framing::Binary
    );
    assert_eq!(
        Negotiated::new(WireVersion::V2, "0.69.0", &[]).datagram_framing(),
        Framing::V1
    );
}

/// What is in a datagram of QUIC.
fn read_quic(input: &[u8]) -> Result<Vec<Said>, DecodeError> {
    let (mut heard, mut payload) = (Vec::new(), BytesMut::from("before"));
    binary::Decoder::decode_quic(input, &mut payload, |all, user| {
        let before: usize = heard
            .iter()
            .map(|it| match it {
                Said::Datagram(_, payload) => payload.len(),
                Said::Ping | Said::QuicReady => 0,
            })
            .sum();
        heard.push(Said::Datagram(
            user,
            all[b"before".len() + before..].to_vec(),
        ));
    })?;
    Ok(heard)
}

#[test]
fn a_datagram_of_quic_is_one_frame() {
    let said = [
        datagram("192.0.2.1:1", b"one"),
        datagram("192.0.2.1:1", b""),
        datagram("192.0.2.1:1", b"three"),
    ];
    let frame = write(&said);
    assert_eq!(read_quic(&frame).unwrap(), said);

    for len in 0..frame.len() {
        let error = read_quic(&frame[..len]).unwrap_err();
        assert!(matches!(error, DecodeError::QuicDatagram), "{error}");
    }
    let more = [&frame[..], b"\0"].concat();
    for not_one_frame in [&more[..], &[&frame[..], &frame].concat(), b"\0", b"\x01"] {
        let error = read_quic(not_one_frame).unwrap_err();
        assert!(matches!(error, DecodeError::QuicDatagram), "{error}");
    }
    assert!(matches!(
        read_quic(b"\x07"),
        Err(DecodeError::DatagramKind(7))
    ));
}

#[test]
fn golden_ids_of_streams() {
    // The last three are RFC 9000's own (appendix A.1), but for the ids that streams cannot have.
    for (id, bytes) in [
        (0, "00"),
        (63, "3f"),
        (64, "4040"),
        (16_384, "80004000"),
        (1 << 30, "c000000040000000"),
        (37, "25"),
        (15_293, "7bbd"),
        (494_878_333, "9d7f3e7d"),
    ] {
        let mut out = BytesMut::new();
        quarter_id::encode(id, &mut out);
        assert_eq!(out, hex(bytes));
        out.extend_from_slice(b"more");
        assert_eq!(quarter_id::decode(&out), Some((id, out.len() - 4)));
    }
    // Longer than it need be.
    assert_eq!(quarter_id::decode(&hex("4025")), Some((37, 2)));
    for cut in ["", "40", "800000", "c0000000000000"] {
        assert_eq!(quarter_id::decode(&hex(cut)), None);
    }
}

fn any_said() -> impl Strategy<Value = Said> {
    // Few users, so that some come in a row.
    let users = vec(any_user().prop_map(canonical), 3);
    let user = users.prop_flat_map(prop::sample::select);
    prop_oneof![
        8 => (user, vec(any::<u8>(), 0..300)).prop_map(|(user, it)| Said::Datagram(user, it)),
        1 => Just(Said::Ping),
        1 => Just(Said::QuicReady),
    ]
}

proptest! {
    #[test]
    fn what_is_written_is_read_however_it_is_cut(
        users in vec(any_user().prop_map(canonical), 3),
        said in vec((0..3_usize, any_said()), 0..20),
        pieces in vec(1..400_usize, 1..8),
    ) {
        let said: Vec<Said> = said
            .into_iter()
            .map(|(user, said)| match said {
                Said::Datagram(_, payload) => Said::Datagram(users[user], payload),
                other => other,
            })
            .collect();
        prop_assert_eq!(read(&write(&said), &pieces).unwrap(), said);
    }

    #[test]
    fn any_bytes_are_read_the_same_however_they_are_cut(
        bytes in vec(prop_oneof![0..8_u8, any::<u8>()], 0..600),
        pieces in vec(1..100_usize, 1..8),
    ) {
        let heard = |pieces| read_any(&bytes, pieces).map_err(|it| it.to_string());
        prop_assert_eq!(heard(&pieces), heard(&[600]));
    }

    #[test]
    fn ids_of_streams_come_back(id in prop_oneof![0..200_u64, 0..100_000_u64, 0..1_u64 << 60]) {
        let mut out = BytesMut::new();
        quarter_id::encode(id, &mut out);
        prop_assert!(out.len() <= quarter_id::MAX_LEN);
        prop_assert_eq!(quarter_id::decode(&out), Some((id, out.len())));
    }

    #[test]
    fn any_datagram_of_quic_is_read_or_refused(bytes in vec(prop_oneof![0..8_u8, any::<u8>()], 0..100)) {
        let _ = read_quic(&bytes);
        let _ = quarter_id::decode(&bytes);
    }
}
