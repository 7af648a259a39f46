//! Two machines and a link between them, in virtual time.

use std::collections::BTreeMap;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use mgrok_kcp::Config;
use mgrok_kcp::machine::Machine;

/// What a link does to datagrams. Shares are out of 100.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    pub(crate) lost: u8,
    pub(crate) duplicated: u8,
    /// Delayed by up to this, besides the [`DELAY`], so that later ones overtake.
    pub(crate) jitter: Duration,
}

/// How long every datagram is on its way.
pub(crate) const DELAY: Duration = Duration::from_millis(20);

/// One end, and what its user has sent and received.
pub(crate) struct End {
    pub(crate) machine: Machine,
    to_send: Vec<u8>,
    pub(crate) received: Vec<u8>,
    /// Whether its user reads.
    pub(crate) reads: bool,
    pub(crate) datagrams_sent: usize,
}

/// Both ends and the link.
pub(crate) struct Pair {
    pub(crate) ends: [End; 2],
    pub(crate) now: Instant,
    pub(crate) faults: Faults,
    /// Numbers of datagrams of the first end that are lost besides.
    pub(crate) dropped: Vec<usize>,
    random: fastrand::Rng,
    under_way: BTreeMap<(Instant, u64), (usize, Bytes)>,
    count: u64,
}

impl Pair {
    pub(crate) fn new(faults: Faults, seed: u64, configs: [Config; 2]) -> Self {
        let now = Instant::now();
        let ends = configs.map(|config| End {
            machine: Machine::new(7, config, now),
            to_send: Vec::new(),
            received: Vec::new(),
            reads: true,
            datagrams_sent: 0,
        });
        Self {
            ends,
            now,
            faults,
            dropped: Vec::new(),
            random: fastrand::Rng::with_seed(seed),
            under_way: BTreeMap::new(),
            count: 0,
        }
    }

    pub(crate) fn send(&mut self, end: usize, data: &[u8]) {
        self.ends[end].to_send.extend_from_slice(data);
    }

    /// Lets time pass until `done`, for at most `limit`; whether it came to that.
    pub(crate) fn run(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) -> bool {
        let end = self.now + limit;
        loop {
            self.turn();
            if done(self) {
                return true;
            }
            let arrival = self.under_way.keys().next().map(|(at, _)| *at);
            let timeouts = self.ends.iter().filter_map(|end| end.machine.timeout_at());
            let Some(next) = timeouts.chain(arrival).min() else {
                return false;
            };
            if next > end {
                self.now = end;
                return false;
            }
            self.now = self.now.max(next);
        }
    }

    /// All that happens now.
    fn turn(&mut self) {
        while let Some(first) = self.under_way.first_entry() {
            if first.key().0 > self.now {
                break;
            }
            let (to, datagram) = first.remove();
            self.ends[to].machine.handle_datagram(datagram, self.now);
        }
        let cx = &mut Context::from_waker(Waker::noop());
        for from in 0..2 {
            let end = &mut self.ends[from];
            while !end.to_send.is_empty()
                && let Poll::Ready(Ok(count)) = end.machine.poll_send(cx, &end.to_send, self.now)
            {
                end.to_send.drain(..count);
            }
            while end.reads
                && let Poll::Ready(Ok(bytes)) = end.machine.poll_recv(cx, self.now)
            {
                assert!(!bytes.is_empty());
                end.received.extend_from_slice(&bytes);
            }
            end.machine.handle_timeout(self.now);
            let mut datagram = Vec::new();
            while self.ends[from]
                .machine
                .poll_transmit(&mut datagram, self.now)
            {
                self.transmit(from, Bytes::copy_from_slice(&datagram));
                datagram.clear();
            }
        }
    }

    fn transmit(&mut self, from: usize, datagram: Bytes) {
        let number = self.ends[from].datagrams_sent;
        self.ends[from].datagrams_sent += 1;
        if from == 0 && self.dropped.contains(&number) {
            return;
        }
        let copies = 1 + u8::from(self.random.u8(..100) < self.faults.duplicated);
        for _ in 0..copies {
            if self.random.u8(..100) < self.faults.lost {
                continue;
            }
            let jitter = self.random.u64(0..=self.faults.jitter.as_micros() as u64);
            let at = self.now + DELAY + Duration::from_micros(jitter);
            self.count += 1;
            self.under_way
                .insert((at, self.count), (1 - from, datagram.clone()));
        }
    }
}

/// Bytes that are not the same anywhere.
pub(crate) fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    std::iter::repeat_with(|| random.u8(..))
        .take(length)
        .collect()
}
