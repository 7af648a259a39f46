//! Input that no honest end sends.

use std::task::Poll;

use mgrok_mux::Config;
use mgrok_mux::frame::{ACK, FIN, Header, INITIAL_WINDOW, RST, SYN};
use mgrok_mux::machine::MAX_PENDING_REPLIES;

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
        server.machine.handle_input(slab.clone(), server.now);
        slabs.push(slab);
    }
    assert!(slabs.iter().all(bytes::Bytes::is_unique));
    assert_eq!(server.recv_all(1).0.len(), 1000);
}
