//! How streams and sessions begin and end.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use mgrok_mux::frame::{ACK, FIN, Header, INITIAL_WINDOW, RST, SYN};
use mgrok_mux::machine::MAX_UNACKNOWLEDGED;
use mgrok_mux::{Config, OpenError, SessionError, WindowBudget};

use crate::raw::{Flag, Frame, Raw, control};

#[test]
fn the_ack_does_not_wait_for_accept_or_data() {
    let mut server = Raw::server();
    server.feed(Header::window_update(SYN, 1, 0));
    assert_eq!(server.sent(), [control(Header::window_update(ACK, 1, 0))]);
}

#[test]
fn opens_stop_at_the_limit_of_unacknowledged_streams() {
    let mut client = Raw::client();
    for _ in 0..MAX_UNACKNOWLEDGED {
        client.machine.open().unwrap();
    }
    assert!(matches!(
        client.machine.open(),
        Err(OpenError::TooManyUnacknowledged)
    ));
    client.feed(Header::window_update(ACK, 1, 0));
    client.feed(Header::window_update(ACK, 1, 0));
    client.feed(Header::window_update(RST, 3, 0));
    assert_eq!(client.machine.take_freed_opens(), 2);
    client.machine.open().unwrap();
    client.machine.open().unwrap();
    assert!(matches!(
        client.machine.open(),
        Err(OpenError::TooManyUnacknowledged)
    ));
}

#[test]
fn who_opens_a_stream_has_to_wait_for_an_end_that_has_been_silent_for_a_second() {
    let mut client = Raw::client();
    let open = |client: &mut Raw| {
        let id = client.machine.open().unwrap();
        client.machine.note_opened(client.now);
        id
    };
    let answered = |client: &Raw, id| client.machine.is_answered(id, client.now);
    let first = open(&mut client);
    assert!(
        answered(&client, first).unwrap(),
        "there is no reason to doubt"
    );
    client.now += Duration::from_secs(1);
    let second = open(&mut client);
    assert!(!answered(&client, second).unwrap());
    let woken = Arc::new(Flag::default());
    let waker = Waker::from(woken.clone());
    let mut cx = Context::from_waker(&waker);
    assert!(
        client
            .machine
            .poll_acknowledged(second, &mut cx)
            .is_pending()
    );
    client.feed(Header::window_update(ACK, second, 0));
    let mut wakes = Vec::new();
    client.machine.take_wakes(&mut wakes);
    wakes.into_iter().for_each(Waker::wake);
    assert!(woken.is_set());
    assert!(client.machine.poll_acknowledged(second, &mut cx).is_ready());
    assert!(answered(&client, second).unwrap());
    assert!(answered(&client, first).unwrap(), "somebody is there");
    client.feed(Header::window_update(RST, first, 0));
    assert!(answered(&client, first).is_err());
}

#[test]
fn streams_are_limited() {
    let mut client = Raw::new(Config {
        max_streams: 1,
        ..Config::client()
    });
    let id = client.machine.open().unwrap();
    assert!(matches!(
        client.machine.open(),
        Err(OpenError::TooManyStreams { limit: 1 })
    ));
    client.feed(Header::window_update(RST, id, 0));
    client.machine.drop_stream(id, client.now);
    client.machine.open().unwrap();
}

#[test]
fn a_reset_lets_read_what_had_arrived_and_then_fails() {
    let mut server = Raw::with_stream(1);
    server.feed_data(1, b"last words");
    server
        .send(1, &mut Bytes::from_static(b"unsent"))
        .is_ready();
    server.feed(Header::window_update(RST, 1, 0));
    let (bytes, end) = server.recv_all(1);
    assert_eq!(bytes, b"last words");
    assert!(
        matches!(end, Poll::Ready(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionReset)
    );
    let sending = server.send(1, &mut Bytes::from_static(b"x"));
    assert!(
        matches!(sending, Poll::Ready(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionReset)
    );
    assert_eq!(server.sent(), []);
    server.machine.drop_stream(1, server.now);
    assert_eq!(server.machine.stream_count(), 0);
    assert_eq!(server.sent(), []);
}

#[test]
fn a_stream_that_is_reset_before_it_is_accepted_is_never_seen() {
    let mut server = Raw::server();
    server.feed(Header::window_update(SYN, 1, 0));
    server.feed(Header::window_update(RST, 1, 0));
    assert!(server.poll_accept().is_pending());
    assert_eq!(server.machine.stream_count(), 0);
}

#[test]
fn after_closing_reading_goes_on_and_sending_fails() {
    let mut server = Raw::with_stream(1);
    server.machine.close_stream(1).unwrap();
    assert_eq!(server.sent(), [control(Header::window_update(FIN, 1, 0))]);
    let sending = server.send(1, &mut Bytes::from_static(b"x"));
    assert!(
        matches!(sending, Poll::Ready(Err(error)) if error.kind() == std::io::ErrorKind::BrokenPipe)
    );
    server.feed_data(1, b"late reply");
    assert_eq!(server.recv_all(1).0, b"late reply");
}

#[test]
fn a_dropped_stream_sends_its_queue_then_a_fin() {
    let mut server = Raw::with_stream(1);
    server.send(1, &mut Bytes::from_static(b"bye")).is_ready();
    server.machine.drop_stream(1, server.now);
    assert_eq!(
        server.sent(),
        [
            Frame {
                header: Header::data(1, 3),
                body: b"bye".to_vec()
            },
            control(Header::window_update(FIN, 1, 0)),
        ]
    );
    assert_eq!(server.machine.stream_count(), 1);
    server.feed(Header::window_update(FIN, 1, 0));
    assert_eq!(server.machine.stream_count(), 0);
}

#[test]
fn a_dropped_stream_goes_on_draining_and_crediting() {
    let mut server = Raw::with_stream(1);
    server.feed_data(1, &vec![0; INITIAL_WINDOW as usize / 2]);
    server.machine.drop_stream(1, server.now);
    let mut granted = 0;
    let mut sent = INITIAL_WINDOW / 2;
    for _ in 0..20 {
        for frame in server.sent() {
            if frame.header.flags == 0 && frame.header.stream == 1 {
                granted += frame.header.length;
            }
        }
        let room = INITIAL_WINDOW + granted - sent;
        assert!(room >= INITIAL_WINDOW / 2, "the sender would be stuck");
        server.feed_data(1, &vec![0; room as usize]);
        sent += room;
        server.assert_alive();
    }
    assert_eq!(server.machine.unread(1), 0);
    server.feed(Header::window_update(FIN, 1, 0));
    assert_eq!(server.machine.stream_count(), 0);
}

#[test]
fn a_dropped_stream_that_refuses_resets_when_something_arrives() {
    let mut server = Raw::with_stream(1);
    server.machine.refuse_after_drop(1);
    server.machine.drop_stream(1, server.now);
    assert_eq!(server.sent(), [control(Header::window_update(FIN, 1, 0))]);
    // More than one piece of one frame.
    server.feed(Header::data(1, 4));
    server.feed_bytes(b"to");
    assert_eq!(server.sent(), [control(Header::window_update(RST, 1, 0))]);
    server.feed_bytes(b"o!");
    server.feed_data(1, b"much");
    assert_eq!(server.sent(), []);
    server.assert_alive();
    assert_eq!(server.machine.stream_count(), 0);
}

#[test]
fn what_was_sent_arrives_before_the_refusal() {
    let mut server = Raw::with_stream(1);
    server.machine.refuse_after_drop(1);
    server.feed_data(1, b"unread");
    server.send(1, &mut Bytes::from_static(b"bye")).is_ready();
    server.machine.drop_stream(1, server.now);
    server.feed_data(1, b"more");
    let headers: Vec<_> = server.sent().iter().map(|frame| frame.header).collect();
    assert_eq!(
        headers,
        [
            Header::data(1, 3),
            Header::window_update(FIN, 1, 0),
            Header::window_update(RST, 1, 0)
        ]
    );
    assert_eq!(server.machine.stream_count(), 0);
}

#[test]
fn a_stream_that_refuses_ends_in_peace_if_nothing_arrives() {
    let mut server = Raw::with_stream(1);
    server.machine.refuse_after_drop(1);
    server.machine.drop_stream(1, server.now);
    assert_eq!(server.sent(), [control(Header::window_update(FIN, 1, 0))]);
    server.feed(Header::window_update(FIN, 1, 0));
    assert_eq!(server.sent(), []);
    assert_eq!(server.machine.stream_count(), 0);
}

#[test]
fn a_dropped_stream_whose_fin_does_not_come_is_reset() {
    let grace = Duration::from_secs(300);
    let mut server = Raw::new(Config {
        keepalive_interval: None,
        ..Config::server()
    });
    server.accept(1);
    server.machine.drop_stream(1, server.now);
    server.sent();
    assert_eq!(server.machine.timeout_at(), Some(server.now + grace));
    server.pass(grace - Duration::from_secs(1));
    assert_eq!(server.sent(), []);
    server.pass(Duration::from_secs(1));
    assert_eq!(server.sent(), [control(Header::window_update(RST, 1, 0))]);
    assert_eq!(server.machine.stream_count(), 0);
    assert_eq!(server.machine.timeout_at(), None);
    server.feed_data(1, &vec![0; 2 * INITIAL_WINDOW as usize]);
    server.assert_alive();
}

#[test]
fn going_away_spares_live_streams() {
    let mut client = Raw::client();
    let id = client.machine.open().unwrap();
    client.sent();
    client.feed(Header::go_away(0));
    client.assert_alive();
    assert!(matches!(client.machine.open(), Err(OpenError::GoingAway)));
    client.feed_data(id, b"more");
    assert_eq!(client.recv_all(id).0, b"more");
    assert!(
        client
            .send(id, &mut Bytes::from_static(b"and more"))
            .is_ready()
    );
    assert_eq!(client.sent().len(), 1);
}

#[test]
fn who_goes_away_refuses_streams_but_whom_it_was_said_to_does_not() {
    let mut server = Raw::server();
    server.feed(Header::go_away(0));
    server.accept(1);
    server.machine.go_away();
    server.sent();
    server.feed(Header::window_update(SYN, 3, 0));
    assert_eq!(server.sent(), [control(Header::window_update(RST, 3, 0))]);
}

#[test]
fn going_away_with_an_error_ends_the_session() {
    let mut server = Raw::with_stream(1);
    server.feed_data(1, b"before");
    server.feed(Header::go_away(1));
    assert!(matches!(
        server.machine.ended(),
        Some(SessionError::GoneAway { code: 1 })
    ));
    let (bytes, end) = server.recv_all(1);
    assert_eq!(bytes, b"before");
    assert!(matches!(end, Poll::Ready(Err(_))));
    assert_eq!(server.poll_accept(), Poll::Ready(None));
}

#[test]
fn nobody_accepting_means_a_reset() {
    let mut server = Raw::server();
    server.feed(Header::window_update(SYN, 1, 0));
    server.sent();
    server.machine.stop_accepting();
    server.feed(Header::window_update(SYN, 3, 0));
    assert_eq!(
        server.sent(),
        [
            control(Header::window_update(RST, 1, 0)),
            control(Header::window_update(RST, 3, 0)),
        ]
    );
}

#[test]
fn closing_the_session_still_sends_what_is_queued() {
    let mut server = Raw::with_stream(1);
    server.send(1, &mut Bytes::from_static(b"bye")).is_ready();
    server.machine.close_stream(1).unwrap();
    server.machine.close();
    server.machine.drop_stream(1, server.now);
    let headers: Vec<_> = server
        .sent()
        .into_iter()
        .map(|frame| frame.header)
        .collect();
    assert_eq!(
        headers,
        [Header::data(1, 3), Header::window_update(FIN, 1, 0)]
    );
    assert!(matches!(
        server.machine.open(),
        Err(OpenError::SessionEnded(SessionError::Closed))
    ));
}

#[test]
fn silence_ends_the_session() {
    let mut server = Raw::server();
    server.pass(Duration::from_secs(29));
    assert_eq!(server.sent(), []);
    server.pass(Duration::from_secs(1));
    assert_eq!(server.sent(), [control(Header::ping(SYN, 0))]);
    server.pass(Duration::from_secs(9));
    server.assert_alive();
    server.pass(Duration::from_secs(1));
    assert!(matches!(
        server.machine.ended(),
        Some(SessionError::KeepaliveTimeout)
    ));
}

#[test]
fn a_shared_budget_gets_back_what_was_taken() {
    let budget = WindowBudget::new(1 << 20);
    let mut server = Raw::new(Config {
        window_budget: Some(budget.clone()),
        ..Config::server()
    });
    server.accept(1);
    crate::windows::read_fast(&mut server, 1, 8 << 20);
    assert!(budget.left() < 1 << 20);
    server.feed(Header::window_update(RST, 1, 0));
    server.machine.drop_stream(1, server.now);
    assert_eq!(budget.left(), 1 << 20);

    server.accept(3);
    crate::windows::read_fast(&mut server, 3, 8 << 20);
    assert!(budget.left() < 1 << 20);
    drop(server);
    assert_eq!(budget.left(), 1 << 20);
}
