//! Flow control: who may send how much, and who waits for whom.

use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::Bytes;
use mgrok_mux::Config;
use mgrok_mux::frame::{ACK, Header, INITIAL_WINDOW, Kind, SYN};
use mgrok_mux::machine::{EXPRESS_ROOM, FIRST_BYTES};

use crate::raw::{Flag, Raw};

/// The other end's send credit on a stream, as far as the frames so far say.
struct Credit {
    left: u64,
}

impl Credit {
    /// That of a new stream.
    fn initial() -> Self {
        Self {
            left: u64::from(INITIAL_WINDOW),
        }
    }

    /// Sends `total` bytes as fast as the credit allows, read at once. Returns the largest credit that was seen.
    fn use_up(&mut self, server: &mut Raw, id: u32, total: u64, round_trip: Duration) -> u64 {
        let (mut sent, mut largest) = (0, self.left);
        while sent < total {
            let mut burst = self.left.min(total - sent);
            assert!(burst > 0, "no credit although everything was read");
            sent += burst;
            self.left -= burst;
            while burst > 0 {
                let piece = burst.min(64 * 1024);
                server.feed_data(id, &vec![0; piece as usize]);
                let _all = server.recv_all(id);
                burst -= piece;
            }
            server.assert_alive();
            self.collect(server, id, round_trip);
            largest = largest.max(self.left);
        }
        largest
    }

    /// Answers pings after a round trip and collects grants.
    fn collect(&mut self, server: &mut Raw, id: u32, round_trip: Duration) {
        let sent = server.sent();
        server.pass(round_trip);
        for frame in sent {
            match frame.header.kind {
                Kind::Ping => server.feed(Header::ping(ACK, frame.header.length)),
                Kind::WindowUpdate if frame.header.stream == id => {
                    self.left += u64::from(frame.header.length);
                }
                _ => {}
            }
        }
    }
}

/// Sends `total` bytes as fast as the windows allow over a path of 20 ms, read at once. Returns
/// the largest credit that was seen.
pub(crate) fn read_fast(server: &mut Raw, id: u32, total: u64) -> u64 {
    read_over(server, id, total, Duration::from_millis(20))
}

fn read_over(server: &mut Raw, id: u32, total: u64, round_trip: Duration) -> u64 {
    Credit::initial().use_up(server, id, total, round_trip)
}

#[test]
fn a_window_update_comes_when_half_of_the_window_was_read() {
    let mut server = Raw::with_stream(1);
    let half = INITIAL_WINDOW as usize / 2;
    server.feed_data(1, &vec![0; half - 1]);
    let _all = server.recv_all(1);
    assert_eq!(server.sent(), []);
    server.feed_data(1, &[0]);
    assert_eq!(server.sent(), []);
    let _all = server.recv_all(1);
    let updates: Vec<_> = server
        .sent()
        .into_iter()
        .filter(|frame| frame.header.kind == Kind::WindowUpdate)
        .collect();
    assert_eq!(updates.len(), 1);
    assert_eq!(updates[0].header, Header::window_update(0, 1, half as u32));
}

#[test]
fn unread_data_is_not_credited() {
    let mut server = Raw::with_stream(1);
    server.feed_data(1, &vec![0; INITIAL_WINDOW as usize]);
    assert_eq!(server.sent(), []);
    assert_eq!(server.machine.unread(1), INITIAL_WINDOW as usize);
}

#[test]
fn a_body_that_is_under_way_is_not_credited() {
    let mut server = Raw::with_stream(1);
    let length = INITIAL_WINDOW / 4 * 3;
    server.feed(Header::data(1, length));
    server.feed_bytes(&vec![0; INITIAL_WINDOW as usize / 2]);
    let _all = server.recv_all(1);
    let granted: u32 = server
        .sent()
        .iter()
        .filter(|frame| frame.header.stream == 1)
        .map(|frame| frame.header.length)
        .sum();
    assert_eq!(granted, INITIAL_WINDOW / 2);
}

#[test]
fn a_fast_reader_far_away_gets_a_large_window_but_not_more_than_allowed() {
    let mut server = Raw::with_stream(1);
    let largest = read_fast(&mut server, 1, 128 << 20);
    assert!(largest > 16 << 20, "{largest}");
    assert!(largest <= 32 << 20, "{largest}");

    let mut server = Raw::new(Config {
        max_stream_window: 1 << 20,
        ..Config::server()
    });
    server.accept(1);
    let largest = read_fast(&mut server, 1, 16 << 20);
    assert!(largest > 1 << 19 && largest <= 1 << 20, "{largest}");
}

#[test]
fn over_a_short_path_the_window_grows_to_two_megabytes() {
    for round_trip in [0, 50, 400].map(Duration::from_micros) {
        let mut server = Raw::with_stream(1);
        let largest = read_over(&mut server, 1, 64 << 20, round_trip);
        assert_eq!(largest, 2_000_000, "{round_trip:?}");
    }
}

/// Beside one that has grown while it was alone, the others would have a small share.
#[test]
fn over_a_short_path_the_window_of_a_stream_that_is_no_longer_alone_shrinks() {
    let round_trip = Duration::from_millis(1);
    let mut server = Raw::with_stream(1);
    let mut credit = Credit::initial();
    let grown = credit.use_up(&mut server, 1, 64 << 20, round_trip);
    assert!(grown >= 1 << 20, "{grown}");
    // A pause now and then is none of the others' doing.
    for _ in 0..20 {
        server.pass(round_trip * 20);
        let left = credit.use_up(&mut server, 1, 4 * grown, round_trip);
        assert_eq!(left, grown);
    }
    // Beside others.
    for _ in 0..4_000 {
        credit.left -= 48 * 1024;
        server.feed_data(1, &[0; 48 * 1024]);
        let _all = server.recv_all(1);
        credit.collect(&mut server, 1, round_trip);
    }
    assert!(credit.left <= u64::from(INITIAL_WINDOW), "{}", credit.left);
    let regrown = credit.use_up(&mut server, 1, 64 << 20, round_trip);
    assert_eq!(regrown, grown);
}

#[test]
fn the_session_bounds_the_growth_of_all_windows_together() {
    let mut server = Raw::new(Config {
        max_session_memory: 1 << 20,
        ..Config::server()
    });
    // Each takes no more than half of what is left, so that the next one can grow too.
    for (id, expected) in [(1, 512), (3, 512), (5, 512), (7, 256)] {
        server.accept(id);
        let largest = read_fast(&mut server, id, 16 << 20);
        assert_eq!(largest, expected << 10, "stream {id}");
    }
}

/// A server that holds streams back once so many bytes lie unread.
fn short_of_memory(unread: usize) -> Raw {
    Raw::new(Config {
        hold_back_at: [unread, usize::MAX],
        ..Config::server()
    })
}

/// Streams of whom the other end was asked to hold back.
fn held_back(server: &mut Raw) -> Vec<u32> {
    let sent = server.sent().into_iter().map(|frame| frame.header);
    sent.filter(|it| *it == Header::window_update(0, it.stream, 0))
        .map(|it| it.stream)
        .collect()
}

#[test]
fn streams_are_held_back_while_much_lies_unread() {
    let mut server = short_of_memory(300 * 1024);
    for id in [1, 3, 5] {
        server.accept(id);
    }
    server.feed_data(1, &[0; 16 * 1024]);
    server.feed_data(3, &[0; 256 * 1024]);
    assert_eq!(held_back(&mut server), []);
    server.feed_data(5, &[0; 32 * 1024]);
    assert_eq!(held_back(&mut server), [5]);
    // Of this one too little lies unread yet, and each is asked only once.
    server.feed_data(1, &[0; 1]);
    server.feed_data(5, &[0; 1024]);
    assert_eq!(held_back(&mut server), [1]);

    server.feed(Header::window_update(SYN, 7, 0));
    assert_eq!(held_back(&mut server), [7]);
    assert_eq!(server.recv_all(3).0.len(), 256 * 1024);
    server.feed(Header::window_update(SYN, 9, 0));
    assert_eq!(held_back(&mut server), []);
}

#[test]
fn whoever_holds_back_goes_on_when_what_it_sent_is_read() {
    let mut client = Raw::client();
    let id = client.machine.open().unwrap();
    client.feed(Header::window_update(ACK, id, 0));
    client.feed(Header::window_update(0, id, 0));
    let mut chunk = Bytes::from(vec![1; 1 << 20]);
    let mut sent = || {
        assert!(client.send(id, &mut chunk).is_pending());
        let frames = client.sent();
        frames.iter().map(|frame| frame.body.len()).sum::<usize>()
    };
    assert_eq!((sent(), sent()), (32 * 1024, 0));

    let mut server = short_of_memory(0);
    server.feed(Header::window_update(SYN, id, 0));
    assert!(server.poll_accept().is_ready());
    assert_eq!(held_back(&mut server), [id]);
    let mut left = 32 * 1024;
    for _ in 0..100 {
        let piece = left.min(1000);
        assert!(piece > 0, "no credit although everything was read");
        server.feed_data(id, &vec![0; piece as usize]);
        let _all = server.recv_all(id);
        left -= piece;
        let updates = server.sent().into_iter().map(|frame| frame.header);
        left += updates
            .filter(|it| it.stream == id)
            .map(|it| it.length)
            .sum::<u32>();
    }
}

#[test]
fn credit_that_waits_when_a_stream_is_held_back_is_given() {
    let mut server = short_of_memory(16 * 1024);
    server.accept(1);
    server.feed_data(1, &[0; 100 * 1024]);
    // All of it is read before the frame leaves that holds back, so nothing will be read that could bring an update.
    assert_eq!(server.recv_all(1).0.len(), 100 * 1024);
    let headers = server.sent().into_iter().map(|it| it.header);
    let headers: Vec<_> = headers.filter(|it| it.stream == 1).collect();
    assert_eq!(
        headers,
        [
            Header::window_update(0, 1, 100 * 1024),
            Header::window_update(0, 1, 0)
        ]
    );
}

#[test]
fn a_slow_reader_keeps_the_initial_window() {
    let mut server = Raw::with_stream(1);
    let mut credit = Credit::initial();
    for _ in 0..100 {
        let burst = credit.left.min(64 * 1024);
        server.feed_data(1, &vec![0; burst as usize]);
        credit.left -= burst;
        let _all = server.recv_all(1);
        credit.collect(&mut server, 1, Duration::from_millis(1));
        server.pass(Duration::from_millis(100));
    }
    assert!(credit.left <= u64::from(INITIAL_WINDOW));
}

#[test]
fn sending_stops_at_the_window_and_goes_on_with_an_update() {
    let mut client = Raw::client();
    let id = client.machine.open().unwrap();
    let mut chunk = Bytes::from(vec![1; INITIAL_WINDOW as usize + 10]);
    let mut sent = 0;
    loop {
        let pending = client.send(id, &mut chunk).is_pending();
        assert!(pending);
        let frames = client.sent();
        let bytes: usize = frames.iter().map(|frame| frame.body.len()).sum();
        if bytes == 0 {
            break;
        }
        sent += bytes;
    }
    assert_eq!((sent, chunk.len()), (INITIAL_WINDOW as usize, 10));
    client.feed(Header::window_update(0, id, 4));
    assert!(client.send(id, &mut chunk).is_pending());
    assert_eq!(client.sent()[0].body.len(), 4);
    client.feed(Header::window_update(0, id, 6));
    assert!(client.send(id, &mut chunk).is_ready());
    assert_eq!(client.sent()[0].body.len(), 6);
}

#[test]
fn streams_take_turns() {
    let mut client = Raw::client();
    let ids: Vec<_> = (0..3).map(|_| client.machine.open().unwrap()).collect();
    for &id in &ids {
        let mut chunk = Bytes::from(vec![id as u8; 150_000]);
        assert!(client.send(id, &mut chunk).is_ready());
    }
    let order: Vec<_> = client
        .sent()
        .into_iter()
        .filter(|frame| frame.header.kind == Kind::Data)
        .map(|frame| frame.header.stream)
        .collect();
    // The first bytes of each, which go ahead, and three turns for the rest.
    assert_eq!(order, [ids.clone(), ids.clone(), ids.clone(), ids].concat());
}

#[test]
fn the_send_queue_is_bounded_and_waiters_come_in_turn() {
    let mut client = Raw::new(Config {
        send_queue: 128 * 1024,
        ..Config::client()
    });
    let ids: Vec<_> = (0..10).map(|_| client.machine.open().unwrap()).collect();
    let mut chunks = vec![Bytes::from(vec![0; 100_000]); ids.len()];
    let mut total = 0;
    for round in 0.. {
        assert!(round < 100, "somebody waits for ever");
        let mut done = true;
        for (&id, chunk) in ids.iter().zip(&mut chunks) {
            done &= client.send(id, chunk).is_ready();
        }
        let sent: usize = client.sent().iter().map(|frame| frame.body.len()).sum();
        assert!(sent <= 128 * 1024 + EXPRESS_ROOM);
        total += sent;
        if done {
            break;
        }
    }
    assert_eq!(total, 1_000_000);
}

#[test]
fn a_stream_that_is_not_read_holds_up_nobody() {
    let mut server = Raw::with_stream(1);
    server.accept(3);
    server.feed_data(1, &vec![0; INITIAL_WINDOW as usize]);
    server.feed(Header::ping(SYN, 5));
    server.feed_data(3, b"served");
    assert_eq!(server.recv_all(3).0, b"served");
    assert_eq!(server.sent()[0].header, Header::ping(ACK, 5));
    assert!(server.machine.wants_input());
}

#[test]
fn an_empty_queue_leaves_no_waiter_asleep_even_if_others_do_not_come() {
    let mut client = Raw::new(Config {
        send_queue: 64 * 1024,
        ..Config::client()
    });
    let ids: Vec<_> = (0..50).map(|_| client.machine.open().unwrap()).collect();
    for &id in &ids {
        // After them nothing of a stream goes ahead any more.
        let mut first_bytes = Bytes::from(vec![0; FIRST_BYTES.into()]);
        assert!(client.send(id, &mut first_bytes).is_ready());
        client.sent();
    }
    for &id in &ids[..2] {
        let mut chunk = Bytes::from(vec![0; 32 * 1024]);
        assert!(client.send(id, &mut chunk).is_ready());
    }
    let flags: Vec<_> = ids[2..]
        .iter()
        .map(|&id| {
            let flag = Arc::new(Flag::default());
            let waker = Waker::from(Arc::clone(&flag));
            let mut chunk = Bytes::from_static(b"x");
            let sending =
                client
                    .machine
                    .poll_send(id, &mut Context::from_waker(&waker), &mut chunk);
            assert!(sending.is_pending());
            flag
        })
        .collect();
    client.sent();
    let mut wakes = Vec::new();
    client.machine.take_wakes(&mut wakes);
    wakes.into_iter().for_each(Waker::wake);
    assert!(flags.iter().all(|flag| flag.is_set()));
}

#[test]
fn a_stream_that_filled_its_share_is_woken_when_half_of_it_is_sent() {
    let mut client = Raw::client();
    let id = client.machine.open().unwrap();
    client.feed(Header::window_update(ACK, id, 1 << 20));
    let flag = Arc::new(Flag::default());
    let waker = Waker::from(Arc::clone(&flag));
    let mut chunk = Bytes::from(vec![0; 1 << 20]);
    let sending = client
        .machine
        .poll_send(id, &mut Context::from_waker(&waker), &mut chunk);
    assert!(sending.is_pending());
    assert_eq!(
        chunk.len(),
        (1 << 20) - 256 * 1024,
        "half of the queue is for others"
    );
    client.transmit();
    let mut wakes = Vec::new();
    client.machine.take_wakes(&mut wakes);
    wakes.into_iter().for_each(Waker::wake);
    assert!(flag.is_set());
}

#[test]
fn a_window_that_a_long_path_needs_is_credited_in_small_parts() {
    let mut server = Raw::with_stream(1);
    read_fast(&mut server, 1, 128 << 20);
    let mut grants = Vec::new();
    for _ in 0..1_000 {
        server.feed_data(1, &vec![0; 64 * 1024]);
        let _all = server.recv_all(1);
        let updates = server.sent().into_iter().map(|frame| frame.header);
        grants.extend(
            updates
                .filter(|it| it.stream == 1)
                .map(|it| it.length >> 20),
        );
    }
    assert!(grants.len() >= 60, "{grants:?}");
    assert!(grants.iter().all(|grant| *grant == 1), "{grants:?}");
}
