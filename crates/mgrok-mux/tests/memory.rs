//! What streams hold, counted by the allocator.
//!
//! Alone in its program, since every allocation counts, and in one test, since tests run beside each other. No sockets and no tasks, so
//! the numbers are the same each time.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::Bytes;
use mgrok_allocations::Counting;
use mgrok_mux::Config;
use mgrok_mux::machine::{Batch, Machine};

#[global_allocator]
static ALLOCATOR: Counting = Counting::new();

/// Just as many as a hash table of 8,192 places takes before it doubles, so that the table costs what it costs at best.
const STREAMS: usize = 7_168;

/// How many streams come at a time: fewer than may be unacknowledged.
const AT_A_TIME: usize = 128;

/// The most bytes that an idle stream holds at one end: 216 of its state, and 19 of its place in the table of streams. Nothing else: what it
/// has carried is gone.
const IDLE: isize = 240;

/// The most bytes that a session keeps for streams that are gone, at one end: queues with room for the rush of its last streams.
const KEPT: isize = 16 * 1024;

fn allocated() -> isize {
    ALLOCATOR.bytes()
}

/// Brings what `from` has to say to `to`; whether it had something.
fn carry(from: &mut Machine, to: &mut Machine, batch: &mut Batch, now: Instant) -> bool {
    from.poll_transmit(batch, now);
    let mut bytes = Vec::new();
    while !batch.is_empty() {
        bytes.extend_from_slice(batch.first());
        batch.advance(batch.first().len());
    }
    batch.release();
    let mut input = Bytes::from(bytes);
    let had_some = !input.is_empty();
    while !input.is_empty() {
        to.handle_input(&mut input, now);
    }
    had_some
}

struct Pair {
    client: Machine,
    server: Machine,
    batches: [Batch; 2],
    now: Instant,
}

impl Pair {
    fn settle(&mut self) {
        let [first, second] = &mut self.batches;
        while carry(&mut self.client, &mut self.server, first, self.now)
            | carry(&mut self.server, &mut self.client, second, self.now)
        {}
        for machine in [&mut self.client, &mut self.server] {
            machine.take_wakes(&mut Vec::new());
        }
    }

    /// Opens streams, and has a byte go there and back on each, whose reader then waits for more.
    fn open(&mut self, count: usize) -> Vec<u32> {
        let cx = &mut Context::from_waker(Waker::noop());
        let ids: Vec<_> = (0..count).map(|_| self.client.open().unwrap()).collect();
        for &id in &ids {
            assert!(self.client.poll_recv(id, cx).is_pending());
            self.client.push(id, Bytes::from_static(b"?")).unwrap();
        }
        self.settle();
        for _ in &ids {
            let Poll::Ready(Some(id)) = self.server.poll_accept(cx) else {
                panic!("a stream is missing");
            };
            let Poll::Ready(Ok(byte)) = self.server.poll_recv(id, cx) else {
                panic!("nothing came by stream {id}");
            };
            assert!(self.server.poll_recv(id, cx).is_pending());
            self.server.push(id, byte).unwrap();
        }
        self.settle();
        for &id in &ids {
            assert!(self.client.poll_recv(id, cx).is_ready());
            assert!(self.client.poll_recv(id, cx).is_pending());
        }
        ids
    }

    fn drop(&mut self, ids: &[u32]) {
        for &id in ids {
            self.client.drop_stream(id, self.now);
        }
        self.settle();
        for &id in ids {
            self.server.drop_stream(id, self.now);
        }
        self.settle();
    }
}

#[test]
fn idle_streams_are_small_and_leave_nothing_behind() {
    let now = Instant::now();
    let config = |config: Config| Config {
        keepalive_interval: None,
        ..config
    };
    let mut pair = Pair {
        client: Machine::new(config(Config::client()), now),
        server: Machine::new(config(Config::server()), now),
        batches: [Batch::new(true), Batch::new(true)],
        now,
    };
    // What the first streams of a session bring about is not theirs.
    let first = pair.open(AT_A_TIME);
    pair.drop(&first);
    drop(first);
    let mut ids = Vec::with_capacity(STREAMS);
    let before = allocated();

    while ids.len() < STREAMS {
        ids.extend(pair.open(AT_A_TIME));
    }
    let held = (allocated() - before) / (2 * STREAMS.cast_signed());
    assert!(held <= IDLE, "{held} bytes for each stream and end");

    for ids in ids.chunks(AT_A_TIME) {
        pair.drop(ids);
    }
    assert_eq!(
        (pair.client.stream_count(), pair.server.stream_count()),
        (0, 0)
    );
    let kept = (allocated() - before) / 2;
    assert!(kept <= KEPT, "{kept} bytes at each end");
}
