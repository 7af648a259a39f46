//! Random use of two machines against a simple model: each direction of a stream is a queue of
//! bytes that comes out in order, exactly once, and then ends.
//!
//! The machines are joined by pipes that carry any number of bytes at a time, in pieces of any
//! size. Along the way nothing may exceed a window, and whoever waits must have been woken when
//! there is something to do.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use mgrok_mux::Config;
use mgrok_mux::frame::{INITIAL_WINDOW, Kind};
use proptest::prelude::*;

use crate::raw::{Flag, Frame, Raw, frames};

const MAX_WINDOW: u32 = 1 << 20;

/// One step; the first field is the end that does it, `which` picks one of its streams.
#[derive(Clone, Debug)]
enum Step {
    Accept(usize),
    /// Brings up to so many bytes to the other end, in pieces of a size.
    Carry(usize, usize, usize),
    Close(usize, usize),
    Drop(usize, usize),
    Open(usize),
    Pass(u64),
    Recv(usize, usize, usize),
    Send(usize, usize, usize),
    Settle,
}

fn step() -> impl Strategy<Value = Step> {
    let end = 0..2usize;
    let which = 0..8usize;
    prop_oneof![
        2 => end.clone().prop_map(Step::Accept),
        6 => (end.clone(), 1..200_000usize, 1..70_000usize).prop_map(|(a, b, c)| Step::Carry(a, b, c)),
        2 => (end.clone(), 1..200usize, 1..20usize).prop_map(|(a, b, c)| Step::Carry(a, b, c)),
        1 => (end.clone(), which.clone()).prop_map(|(a, b)| Step::Close(a, b)),
        1 => (end.clone(), which.clone()).prop_map(|(a, b)| Step::Drop(a, b)),
        2 => end.clone().prop_map(Step::Open),
        1 => (0..100u64).prop_map(Step::Pass),
        5 => (end.clone(), which.clone(), 1..20usize).prop_map(|(a, b, c)| Step::Recv(a, b, c)),
        4 => (end.clone(), which.clone(), 0..300_000usize).prop_map(|(a, b, c)| Step::Send(a, b, c)),
        2 => (end, which, 0..100usize).prop_map(|(a, b, c)| Step::Send(a, b, c)),
        1 => Just(Step::Settle),
    ]
}

/// One direction of one stream, as the model has it.
#[derive(Debug, Default)]
struct Lane {
    /// Bytes that were handed to the machine.
    sent: u64,
    received: u64,
    /// The sender closed or dropped its stream.
    closed: bool,
    /// The receiver dropped its stream.
    unread: bool,
    /// Data bytes that were seen on the wire.
    on_wire: u64,
    /// Grants that were seen on the wire.
    granted: u64,
}

/// A stream at one end.
struct Handle {
    id: u32,
    sending: Option<Bytes>,
    send_waits: bool,
    send_flag: Arc<Flag>,
    recv_waits: bool,
    recv_flag: Arc<Flag>,
}

impl Handle {
    fn new(id: u32) -> Self {
        Self {
            id,
            sending: None,
            send_waits: false,
            send_flag: Arc::default(),
            recv_waits: false,
            recv_flag: Arc::default(),
        }
    }
}

struct World {
    ends: [Raw; 2],
    handles: [Vec<Handle>; 2],
    /// Bytes under way from each end.
    pipes: [VecDeque<u8>; 2],
    /// By sending end and stream.
    lanes: HashMap<(usize, u32), Lane>,
    /// Streams may be reset, so that errors are in order.
    resets: bool,
}

impl World {
    fn new(send_queue: usize, close_timeout: Duration) -> Self {
        let config = |config: Config| Config {
            keepalive_interval: None,
            max_stream_window: MAX_WINDOW,
            send_queue,
            close_timeout,
            ..config
        };
        Self {
            ends: [
                Raw::new(config(Config::client())),
                Raw::new(config(Config::server())),
            ],
            handles: [Vec::new(), Vec::new()],
            pipes: [VecDeque::new(), VecDeque::new()],
            lanes: HashMap::new(),
            resets: close_timeout < Duration::from_secs(100),
        }
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Accept(end) => self.accept(end),
            Step::Carry(end, bytes, piece) => self.carry(end, bytes, piece),
            Step::Close(end, which) => {
                if let Some(at) = self.pick(end, which) {
                    self.close(end, at);
                }
            }
            Step::Drop(end, which) => {
                if let Some(at) = self.pick(end, which) {
                    self.drop_handle(end, at);
                }
            }
            Step::Open(end) => {
                let id = self.ends[end].machine.open().unwrap();
                self.handles[end].push(Handle::new(id));
                self.lanes.insert((0, id), Lane::default());
                self.lanes.insert((1, id), Lane::default());
            }
            Step::Pass(ms) => self
                .ends
                .iter_mut()
                .for_each(|end| end.pass(Duration::from_millis(ms))),
            Step::Recv(end, which, pieces) => {
                if let Some(at) = self.pick(end, which) {
                    for _ in 0..pieces {
                        self.recv(end, at);
                    }
                }
            }
            Step::Send(end, which, length) => {
                if let Some(at) = self.pick(end, which) {
                    self.send(end, at, length);
                }
            }
            Step::Settle => {
                self.settle();
                self.assert_nobody_sleeps_in();
            }
        }
        for end in 0..2 {
            self.wake(end);
            self.ends[end].assert_alive();
        }
    }

    fn pick(&self, end: usize, which: usize) -> Option<usize> {
        which.checked_rem(self.handles[end].len())
    }

    fn lane(&mut self, sender: usize, id: u32) -> &mut Lane {
        self.lanes.get_mut(&(sender, id)).unwrap()
    }

    fn wake(&mut self, end: usize) {
        let mut wakes = Vec::new();
        self.ends[end].machine.take_wakes(&mut wakes);
        wakes.into_iter().for_each(Waker::wake);
    }

    fn accept(&mut self, end: usize) {
        if let Poll::Ready(id) = self.ends[end].poll_accept() {
            self.handles[end].push(Handle::new(id.unwrap()));
        }
    }

    fn send(&mut self, end: usize, at: usize, length: usize) -> bool {
        let handle = &mut self.handles[end][at];
        let lane = self.lanes.get_mut(&(end, handle.id)).unwrap();
        if lane.closed {
            return true;
        }
        let mut chunk = handle.sending.take().unwrap_or_else(|| {
            let bytes = lane.sent..lane.sent + length as u64;
            bytes
                .map(|offset| pattern(end, handle.id, offset))
                .collect::<Vec<_>>()
                .into()
        });
        let before = chunk.len();
        handle.send_flag.clear();
        let waker = Waker::from(Arc::clone(&handle.send_flag));
        let result = self.ends[end].machine.poll_send(
            handle.id,
            &mut Context::from_waker(&waker),
            &mut chunk,
        );
        lane.sent += (before - chunk.len()) as u64;
        handle.send_waits = result.is_pending();
        match result {
            Poll::Pending => handle.sending = Some(chunk),
            Poll::Ready(Ok(())) => assert!(chunk.is_empty()),
            Poll::Ready(Err(error)) => {
                assert!(self.resets, "{error}");
                lane.closed = true;
            }
        }
        !handle.send_waits
    }

    /// Reads one piece; whether the stream has come to its end.
    fn recv(&mut self, end: usize, at: usize) -> bool {
        let handle = &mut self.handles[end][at];
        let lane = self.lanes.get_mut(&(1 - end, handle.id)).unwrap();
        handle.recv_flag.clear();
        let waker = Waker::from(Arc::clone(&handle.recv_flag));
        let result = self.ends[end]
            .machine
            .poll_recv(handle.id, &mut Context::from_waker(&waker));
        handle.recv_waits = result.is_pending();
        match result {
            Poll::Pending => false,
            Poll::Ready(Ok(piece)) if piece.is_empty() => {
                assert!(lane.closed, "the end came too early");
                assert_eq!(lane.received, lane.sent, "bytes are missing at the end");
                true
            }
            Poll::Ready(Ok(piece)) => {
                for &byte in &piece {
                    assert_eq!(byte, pattern(1 - end, handle.id, lane.received));
                    lane.received += 1;
                }
                assert!(lane.received <= lane.sent);
                false
            }
            Poll::Ready(Err(error)) => {
                assert!(
                    self.resets && error.kind() == io::ErrorKind::ConnectionReset,
                    "{error}"
                );
                true
            }
        }
    }

    fn close(&mut self, end: usize, at: usize) {
        let id = self.handles[end][at].id;
        let result = self.ends[end].machine.close_stream(id);
        assert!(result.is_ok() || self.resets);
        self.handles[end][at].sending = None;
        self.handles[end][at].send_waits = false;
        self.lane(end, id).closed = true;
    }

    fn drop_handle(&mut self, end: usize, at: usize) {
        let handle = self.handles[end].swap_remove(at);
        let now = self.ends[end].now;
        // Those of either end, and not all.
        if self.resets && handle.id % 8 < 4 {
            self.ends[end].machine.refuse_after_drop(handle.id);
        }
        self.ends[end].machine.drop_stream(handle.id, now);
        self.lane(end, handle.id).closed = true;
        self.lane(1 - end, handle.id).unread = true;
    }

    fn carry(&mut self, end: usize, mut bytes: usize, piece: usize) {
        if self.pipes[end].len() < bytes {
            let sent = self.ends[end].transmit();
            self.tap(end, &sent);
            self.pipes[end].extend(sent);
        }
        while bytes > 0 && !self.pipes[end].is_empty() && self.ends[1 - end].machine.wants_input() {
            let count = piece.min(bytes).min(self.pipes[end].len());
            let piece: Vec<_> = self.pipes[end].drain(..count).collect();
            let now = self.ends[1 - end].now;
            let mut input = Bytes::from(piece);
            while !input.is_empty() {
                self.ends[1 - end].machine.handle_input(&mut input, now);
            }
            bytes -= count;
        }
        self.wake(0);
        self.wake(1);
    }

    /// Watches what an end sends.
    fn tap(&mut self, end: usize, sent: &[u8]) {
        for Frame { header, .. } in frames(sent) {
            match header.kind {
                Kind::Data => {
                    assert!(header.length > 0, "an empty frame");
                    self.lane(end, header.stream).on_wire += u64::from(header.length);
                }
                Kind::WindowUpdate => {
                    self.lane(1 - end, header.stream).granted += u64::from(header.length);
                }
                Kind::GoAway => panic!("somebody goes away"),
                Kind::Ping => {}
            }
        }
        for lane in self.lanes.values() {
            let promised = u64::from(INITIAL_WINDOW) + lane.granted;
            assert!(lane.on_wire <= promised, "the window was exceeded");
            assert!(
                lane.unread || promised - lane.received <= u64::from(MAX_WINDOW),
                "too much was promised: {lane:?}"
            );
        }
    }

    /// Carries everything until nothing moves.
    fn settle(&mut self) {
        while (0..2).any(|end| self.ends[end].machine.has_output() || !self.pipes[end].is_empty()) {
            self.carry(0, usize::MAX, 65_536);
            self.carry(1, usize::MAX, 65_536);
        }
    }

    /// After `settle`: who was told to wait and was not woken has nothing to do indeed.
    fn assert_nobody_sleeps_in(&mut self) {
        for end in 0..2 {
            for at in 0..self.handles[end].len() {
                let handle = &self.handles[end][at];
                if handle.recv_waits && !handle.recv_flag.is_set() {
                    self.recv(end, at);
                    assert!(self.handles[end][at].recv_waits, "a reader was not woken");
                }
                let handle = &self.handles[end][at];
                if handle.send_waits && !handle.send_flag.is_set() {
                    self.send(end, at, 0);
                    assert!(self.handles[end][at].send_waits, "a sender was not woken");
                }
            }
        }
    }

    /// Lets every stream come to its end, after which nothing may be left.
    fn finish(&mut self) {
        let mut rounds = 0;
        loop {
            self.settle();
            self.assert_nobody_sleeps_in();
            for end in 0..2 {
                while self.ends[end]
                    .poll_accept()
                    .map(|id| self.handles[end].push(Handle::new(id.unwrap())))
                    .is_ready()
                {}
                for at in (0..self.handles[end].len()).rev() {
                    let sent = self.send(end, at, 0);
                    if sent {
                        self.close(end, at);
                    }
                    let mut ended = false;
                    while !ended && !self.handles[end][at].recv_waits {
                        ended = self.recv(end, at);
                    }
                    self.handles[end][at].recv_waits = false;
                    if ended && sent {
                        self.drop_handle(end, at);
                    }
                }
                self.wake(end);
                self.ends[end].assert_alive();
            }
            if self.handles.iter().all(Vec::is_empty) {
                break;
            }
            rounds += 1;
            assert!(rounds < 1000, "a stream does not come to its end");
        }
        self.settle();
        for end in &self.ends {
            end.assert_alive();
            assert_eq!(end.machine.stream_count(), 0);
            assert_eq!(end.machine.attached_count(), 0);
        }
    }
}

/// The byte that an end sends on a stream at an offset.
fn pattern(end: usize, id: u32, offset: u64) -> u8 {
    (offset.wrapping_mul(0x9e37_79b9) >> 13) as u8 ^ (id as u8) << 1 ^ end as u8
}

fn check(steps: Vec<Step>, send_queue: usize, close_timeout: Duration) {
    let mut world = World::new(send_queue, close_timeout);
    for step in steps {
        world.run(step);
    }
    world.finish();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 80, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn two_machines_do_as_the_model(
        steps in prop::collection::vec(step(), 1..150),
        send_queue in prop_oneof![Just(4096usize), Just(100_000), Just(512 * 1024)],
    ) {
        check(steps, send_queue, Duration::from_secs(300));
    }

    #[test]
    fn with_resets_they_still_come_to_an_end(
        steps in prop::collection::vec(step(), 1..150),
    ) {
        check(steps, 100_000, Duration::from_millis(30));
    }
}
