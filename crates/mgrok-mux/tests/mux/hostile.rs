//! Input that no honest end sends.

use std::task::Poll;
use std::time::Duration;

use mgrok_mux::frame::{ACK, FIN, HEADER_LEN, Header, INITIAL_WINDOW, RST, SYN};
use mgrok_mux::machine::{MAX_FRAMES_AT_ONCE, MAX_PENDING_REPLIES};
use mgrok_mux::{Config, SessionError, UntrustedLimits};
use proptest::prelude::*;

use crate::raw::{Raw, control};

#[test]
fn a_second_syn_ends_the_session() {
    let mut server = Raw::with_stream(1);
    server.feed(Header::window_update(SYN, 1, 0));
    server.assert_protocol_error();
}

#[test]
fn a_syn_with_an_id_of_ours_ends_the_session() {
    for id in [0, 2] {
        let mut server = Raw::server();
        server.feed(Header::window_update(SYN, id, 0));
        server.assert_protocol_error();
    }
    let mut client = Raw::client();
    client.feed(Header::window_update(SYN, 1, 0));
    client.assert_protocol_error();
}

#[test]
fn exceeding_the_window_ends_the_session() {
    let mut server = Raw::with_stream(1);
    server.feed(Header::data(1, INITIAL_WINDOW + 1));
    server.assert_protocol_error();

    let mut server = Raw::with_stream(1);
    server.feed_data(1, &vec![0; INITIAL_WINDOW as usize]);
    server.assert_alive();
    server.feed(Header::data(1, 1));
    server.assert_protocol_error();
}

#[test]
fn an_unknown_version_or_type_ends_the_session() {
    for header in ["010000000000000100000000", "000400000000000100000000"] {
        let mut server = Raw::server();
        server.feed_hex(header);
        server.assert_protocol_error();
    }
}

#[test]
fn input_after_the_end_is_ignored() {
    let mut server = Raw::server();
    server.feed_hex("010000000000000100000000");
    server.assert_protocol_error();
    server.feed(Header::ping(SYN, 1));
    assert_eq!(server.sent(), []);
}

#[test]
fn opens_beyond_the_backlog_are_reset_and_others_go_on() {
    let mut server = Raw::server();
    for n in 0..300 {
        server.feed(Header::window_update(SYN, 1 + 2 * n, 0));
    }
    server.assert_alive();
    let sent = server.sent();
    let refused = sent.iter().filter(|it| it.header.flags == RST).count();
    let accepted = sent.iter().filter(|it| it.header.flags == ACK).count();
    assert_eq!((accepted, refused), (256, 44));
    assert_eq!(server.poll_accept(), Poll::Ready(Some(1)));
    server.feed(Header::window_update(SYN, 1001, 0));
    assert_eq!(
        server.sent(),
        [control(Header::window_update(ACK, 1001, 0))]
    );
}

#[test]
fn opens_beyond_the_stream_limit_are_reset() {
    let mut server = Raw::new(Config {
        max_streams: 2,
        ..Config::server()
    });
    server.accept(1);
    server.accept(3);
    server.feed(Header::window_update(SYN, 5, 0));
    assert_eq!(server.sent(), [control(Header::window_update(RST, 5, 0))]);
}

#[test]
fn a_flood_of_pings_stops_the_reading() {
    let mut server = Raw::server();
    let mut pings = 0;
    while server.machine.wants_input() {
        server.feed(Header::ping(SYN, pings));
        pings += 1;
    }
    assert_eq!(pings as usize, MAX_PENDING_REPLIES);
    server.transmit();
    assert!(server.machine.wants_input());
}

#[test]
fn a_flood_of_opens_and_resets_stops_the_reading() {
    let mut server = Raw::server();
    let mut id = 1;
    while server.machine.wants_input() {
        server.feed(Header::window_update(SYN, id, 0));
        server.feed(Header::window_update(RST, id, 0));
        id += 2;
        assert!(id < 10_000);
    }
    assert_eq!(server.machine.stream_count(), 0);
    assert_eq!(server.sent(), []);
    assert!(server.machine.wants_input());
}

/// A server that does not know yet who is there.
fn wary_server() -> Raw {
    Raw::new(Config {
        untrusted: Some(UntrustedLimits {
            input: 1000,
            streams: 4,
        }),
        ..Config::server()
    })
}

#[track_caller]
fn assert_sent_away(server: &mut Raw) {
    let ended = server.machine.ended();
    assert!(matches!(ended, Some(SessionError::Untrusted)), "{ended:?}");
    assert_eq!(server.sent(), [control(Header::go_away(1))]);
}

#[test]
fn a_stranger_who_opens_and_resets_streams_without_end_is_sent_away() {
    let mut server = wary_server();
    for id in [1, 3, 5, 7] {
        server.feed(Header::window_update(SYN, id, 0));
        server.feed(Header::window_update(RST, id, 0));
    }
    server.assert_alive();
    assert_eq!(server.machine.stream_count(), 0);
    server.feed(Header::window_update(SYN, 9, 0));
    assert_sent_away(&mut server);
}

#[test]
fn a_stranger_may_send_no_more_than_a_login_takes() {
    for frame in [
        Header::ping(SYN, 1),
        Header::window_update(RST, 7, 0),
        Header::data(9, 0),
    ] {
        let mut server = wary_server();
        for _ in 0..1000 / HEADER_LEN {
            server.feed(frame);
        }
        server.assert_alive();
        server.feed(frame);
        assert_sent_away(&mut server);
    }
    let mut server = wary_server();
    server.feed(Header::window_update(SYN, 1, 0));
    server.feed_data(1, &[7; 1000]);
    assert_sent_away(&mut server);
}

#[test]
fn whoever_is_trusted_may_do_all_that_others_may_not() {
    let mut server = wary_server();
    server.accept(1);
    server.machine.trust(server.now);
    for id in 1..200 {
        server.feed(Header::window_update(SYN, 1 + 2 * id, 0));
    }
    server.feed_data(1, &[7; 10_000]);
    server.assert_alive();
    assert_eq!(server.machine.stream_count(), 200);
}

#[test]
fn one_call_takes_a_bounded_number_of_frames() {
    let frames = 5_000;
    let mut input = Vec::new();
    for n in 0..frames / 2 {
        input.extend(Header::window_update(SYN, 1 + 2 * n, 0).encode());
        input.extend(Header::window_update(RST, 1 + 2 * n, 0).encode());
    }
    let mut input = bytes::Bytes::from(input);
    let mut server = Raw::server();
    let mut calls = 0;
    while !input.is_empty() {
        let before = input.len();
        server.machine.handle_input(&mut input, server.now);
        assert!(before - input.len() <= MAX_FRAMES_AT_ONCE * HEADER_LEN);
        calls += 1;
    }
    assert_eq!(calls, (frames as usize).div_ceil(MAX_FRAMES_AT_ONCE));
    server.assert_alive();
}

#[test]
fn streams_that_are_reset_leave_the_others_in_line() {
    let mut server = Raw::server();
    for id in [1, 3, 5, 7] {
        server.feed(Header::window_update(SYN, id, 0));
    }
    server.feed(Header::window_update(RST, 1, 0));
    server.feed(Header::window_update(RST, 5, 0));
    assert_eq!(server.poll_accept(), Poll::Ready(Some(3)));
    assert_eq!(server.poll_accept(), Poll::Ready(Some(7)));
    assert_eq!(server.poll_accept(), Poll::Pending);
}

#[test]
fn frames_for_unknown_streams_are_drained() {
    let mut server = Raw::with_stream(1);
    server.feed_data(7, &vec![0; 3 * INITIAL_WINDOW as usize]);
    server.feed(Header::window_update(0, 7, 100));
    server.feed(Header::window_update(FIN, 7, 0));
    server.feed(Header::window_update(RST, 7, 0));
    server.feed(Header::window_update(ACK, 7, 0));
    server.feed(Header::ping(ACK, 99));
    server.feed_data(1, b"still here");
    assert_eq!(server.recv_all(1).0, b"still here");
    assert_eq!(server.sent(), []);
}

#[test]
fn data_after_the_fin_is_drained() {
    let mut server = Raw::with_stream(1);
    server.feed(Header::window_update(FIN, 1, 0));
    server.feed(Header::window_update(FIN, 1, 0));
    server.feed_data(1, &vec![0; 2 * INITIAL_WINDOW as usize]);
    let (bytes, end) = server.recv_all(1);
    assert!(bytes.is_empty() && end.is_ready());
    server.assert_alive();
}

#[test]
fn credit_does_not_overflow() {
    let mut server = Raw::with_stream(1);
    server.feed(Header::window_update(0, 1, u32::MAX));
    server.feed(Header::window_update(0, 1, u32::MAX));
    server.assert_alive();
}

#[test]
fn tiny_pieces_that_nobody_reads_pin_no_slabs() {
    let mut server = Raw::with_stream(1);
    let mut slabs = Vec::new();
    for _ in 0..100 {
        let mut slab = Header::data(1, 10).encode().to_vec();
        slab.resize(22, 1);
        let slab = bytes::Bytes::from(slab);
        server.machine.handle_input(&mut slab.clone(), server.now);
        slabs.push(slab);
    }
    assert!(slabs.iter().all(bytes::Bytes::is_unique));
    assert_eq!(server.recv_all(1).0.len(), 1000);
}

/// What the other end, or the owner of a stream, may come up with.
#[derive(Clone, Debug)]
enum Whim {
    Accept,
    Close(u32),
    Drop(u32),
    Frame(u8, u8, u32, u32),
    Junk(Vec<u8>),
    Open,
    Pass(u64),
    Recv(u32),
    Send(u32, usize),
    Transmit,
}

fn whim() -> impl Strategy<Value = Whim> {
    let id = 0..8u32;
    prop_oneof![
        2 => Just(Whim::Accept),
        1 => id.clone().prop_map(Whim::Close),
        1 => id.clone().prop_map(Whim::Drop),
        20 => (0..4u8, 0..16u8, id.clone(), prop_oneof![Just(0), 1..20_000u32, Just(u32::MAX)])
            .prop_map(|(a, b, c, d)| Whim::Frame(a, b, c, d)),
        1 => prop::collection::vec(any::<u8>(), 0..30).prop_map(Whim::Junk),
        2 => Just(Whim::Open),
        1 => (0..100u64).prop_map(Whim::Pass),
        2 => id.clone().prop_map(Whim::Recv),
        2 => (id, 0..300_000usize).prop_map(|(a, b)| Whim::Send(a, b)),
        2 => Just(Whim::Transmit),
    ]
}

fn indulge(whims: Vec<Whim>, mut raw: Raw) {
    for whim in whims {
        match whim {
            Whim::Accept => drop(raw.poll_accept()),
            Whim::Close(id) => drop(raw.machine.close_stream(id)),
            Whim::Drop(id) => raw.machine.drop_stream(id, raw.now),
            Whim::Frame(kind, flags, id, length) => {
                let mut frame = vec![0, kind, 0, flags];
                frame.extend_from_slice(&id.to_be_bytes());
                frame.extend_from_slice(&length.to_be_bytes());
                if kind == 0 && length < 20_000 {
                    frame.resize(HEADER_LEN + length as usize, 1);
                }
                raw.feed_bytes(&frame);
            }
            Whim::Junk(bytes) => raw.feed_bytes(&bytes),
            Whim::Open => drop(raw.machine.open()),
            Whim::Pass(seconds) => raw.pass(Duration::from_secs(seconds)),
            Whim::Recv(id) => drop(raw.recv(id)),
            Whim::Send(id, length) => drop(raw.send(id, &mut vec![0; length].into())),
            Whim::Transmit => drop(raw.sent()),
        }
    }
    drop(raw.sent());
    (0..300).for_each(|id| raw.machine.drop_stream(id, raw.now));
    raw.machine.stop_accepting();
    raw.machine.close();
    drop(raw.sent());
    assert_eq!(raw.machine.attached_count(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_arrives_nothing_breaks_in_a_server(whims in prop::collection::vec(whim(), 0..60)) {
        indulge(whims, Raw::server());
    }

    #[test]
    fn whatever_arrives_nothing_breaks_in_a_client(whims in prop::collection::vec(whim(), 0..60)) {
        indulge(whims, Raw::client());
    }
}
