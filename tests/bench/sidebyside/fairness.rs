//! Who gets what: many streams beside one that was there first.

use std::{
    net::{Shutdown, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use mgrok_lab::report::{Figure, statistics::jain};

use crate::{
    bulk,
    services::{discard, produce},
    tunnel::Tunnel,
};

/// Streams that come to one that has the path for itself.
const MANY: usize = 15;

/// Until the windows of the first are as large as they get.
const AHEAD: Duration = Duration::from_secs(1);

pub(crate) fn name(up: bool) -> String {
    let direction = if up { "up" } else { "down" };
    format!("fairness {direction}, {MANY} beside 1")
}

/// One stream in bulk, then many more.
pub(crate) fn measure(
    up: bool,
    tunnel: &Tunnel,
    window: Duration,
    round_trip: Duration,
) -> Vec<Figure> {
    let mut users = vec![User::start(up, tunnel)];
    thread::sleep(AHEAD);
    bulk::warm_up(round_trip);
    users.extend((0..MANY).map(|_| User::start(up, tunnel)));
    bulk::warm_up(round_trip);
    let start = Instant::now();
    let before: Vec<u64> = users.iter().map(User::bytes).collect();
    thread::sleep(window);
    let shares: Vec<f64> = users
        .iter()
        .zip(before)
        .map(|(user, before)| (user.bytes() - before) as f64)
        .collect();
    let elapsed = start.elapsed().as_secs_f64();
    drop(users);
    let all: f64 = shares.iter().sum();
    let even = all / shares.len() as f64;
    let least = shares.iter().copied().fold(f64::INFINITY, f64::min);
    vec![
        Figure::more("Jain's index", jain(&shares), 3),
        Figure::more("least share, of an even one", least / even, 2),
        Figure::neutral("first's share, of an even one", shares[0] / even, 2),
        Figure::more("Gbit/s in all", all * 8e-9 / elapsed, 2),
    ]
}

/// Somebody who sends or receives all he can and counts, until this is dropped.
pub(crate) struct User {
    stream: TcpStream,
    bytes: Arc<AtomicU64>,
}

impl User {
    pub(crate) fn start(up: bool, tunnel: &Tunnel) -> Self {
        let public = &tunnel.public;
        let stream = TcpStream::connect(if up { public.sink } else { public.source }).unwrap();
        let bytes = Arc::new(AtomicU64::new(0));
        let (user, counter) = (stream.try_clone().unwrap(), bytes.clone());
        thread::spawn(move || match up {
            true => produce(user, &counter),
            false => discard(&user, &counter),
        });
        Self { stream, bytes }
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}
