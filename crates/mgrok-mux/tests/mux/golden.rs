//! The bytes that travel, as a Go end sends and expects them.

use bytes::Bytes;
use mgrok_mux::frame::{FIN, Header, SYN};

use crate::raw::{Raw, control, unhex};

#[test]
fn a_stream_as_frp_opens_uses_and_closes_it() {
    let mut server = Raw::server();
    server.feed_hex("0001000100000001005c0000");
    assert_eq!(server.sent_bytes(), unhex("000100020000000100000000"));
    assert_eq!(server.poll_accept(), std::task::Poll::Ready(Some(1)));

    server.feed_hex("00000000000000010000000b");
    server.feed_bytes(b"hello world");
    assert_eq!(server.recv_all(1).0, b"hello world");

    server.send(1, &mut Bytes::from_static(b"hello")).is_ready();
    let mut expect = unhex("000000000000000100000005");
    expect.extend_from_slice(b"hello");
    assert_eq!(server.sent_bytes(), expect);

    server.feed_hex("000100040000000100000000");
    assert!(matches!(server.recv(1), std::task::Poll::Ready(Ok(eof)) if eof.is_empty()));
    server.machine.close_stream(1).unwrap();
    assert_eq!(server.sent_bytes(), unhex("000100040000000100000000"));
    server.machine.drop_stream(1, server.now);
    assert_eq!(server.machine.stream_count(), 0);
}

#[test]
fn a_client_opens_with_odd_ids_and_a_window_update() {
    let mut client = Raw::client();
    assert_eq!(client.machine.open().unwrap(), 1);
    assert_eq!(client.machine.open().unwrap(), 3);
    assert_eq!(
        client.sent_bytes(),
        unhex("000100010000000100000000000100010000000300000000")
    );
}

#[test]
fn a_server_opens_with_even_ids() {
    let mut server = Raw::server();
    assert_eq!(server.machine.open().unwrap(), 2);
    assert_eq!(server.machine.open().unwrap(), 4);
}

#[test]
fn data_may_follow_the_syn_at_once_and_the_fin_comes_last() {
    let mut client = Raw::client();
    let id = client.machine.open().unwrap();
    client.send(id, &mut Bytes::from_static(b"x")).is_ready();
    client.machine.close_stream(id).unwrap();
    client.machine.close_stream(id).unwrap();
    client.machine.drop_stream(id, client.now);
    let headers: Vec<_> = client
        .sent()
        .into_iter()
        .map(|frame| frame.header)
        .collect();
    assert_eq!(
        headers,
        [
            Header::window_update(SYN, 1, 0),
            Header::data(1, 1),
            Header::window_update(FIN, 1, 0),
        ]
    );
}

#[test]
fn pings_are_answered_ahead_of_data() {
    let mut server = Raw::with_stream(1);
    server
        .send(1, &mut Bytes::from(vec![1; 100_000]))
        .is_ready();
    server.feed_hex("000200010000000000000007");
    assert_eq!(server.transmit()[..12], unhex("000200020000000000000007"));
}

#[test]
fn going_away_is_said_once() {
    let mut server = Raw::server();
    server.machine.go_away();
    server.machine.go_away();
    assert_eq!(server.sent_bytes(), unhex("000300000000000000000000"));
}

#[test]
fn the_syn_may_ride_on_data() {
    let mut server = Raw::server();
    server.feed_hex("000000010000000100000002");
    server.feed_bytes(b"hi");
    assert_eq!(
        server.sent(),
        [control(Header::window_update(mgrok_mux::frame::ACK, 1, 0))]
    );
    assert_eq!(server.poll_accept(), std::task::Poll::Ready(Some(1)));
    assert_eq!(server.recv_all(1).0, b"hi");
}

#[test]
fn a_fin_may_ride_on_data() {
    let mut server = Raw::with_stream(1);
    server.feed_hex("000000040000000100000002");
    server.feed_bytes(b"h");
    assert_eq!(server.recv_all(1).0, b"h");
    assert!(server.recv(1).is_pending());
    server.feed_bytes(b"i");
    let (bytes, end) = server.recv_all(1);
    assert_eq!(bytes, b"i");
    assert!(end.is_ready());
}

#[test]
fn bodies_are_delivered_before_they_are_complete() {
    let mut server = Raw::with_stream(1);
    server.feed(Header::data(1, 200_000));
    server.feed_bytes(&[7; 1000]);
    assert_eq!(server.recv_all(1).0, [7; 1000]);
}

#[test]
fn headers_may_arrive_byte_by_byte() {
    let mut server = Raw::server();
    for byte in unhex("0001000100000001005c0000000000000000000100000002") {
        server.feed_bytes(&[byte]);
    }
    server.feed_bytes(b"h");
    server.feed_bytes(b"i");
    assert_eq!(server.poll_accept(), std::task::Poll::Ready(Some(1)));
    assert_eq!(server.recv_all(1).0, b"hi");
}
