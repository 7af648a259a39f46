//! Bytes per second, and the processor time they cost.

use std::{
    net::{Shutdown, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use mgrok_lab::report::Figure;

use crate::{
    product::Product,
    services::{discard, produce},
    tunnel::Tunnel,
};

/// Before this, windows are still growing.
const WARM_UP: Duration = Duration::from_millis(300);

/// How many round trips of a long path a window takes to grow.
const GROWTH: u32 = 15;

/// A billion bytes.
const GB: f64 = 1e9;

/// So many connections in one direction.
#[derive(Clone, Copy)]
pub(crate) struct Bulk {
    pub(crate) connections: usize,
    /// From user to service.
    pub(crate) up: bool,
}

pub(crate) fn all() -> impl Iterator<Item = Bulk> {
    [1, 8]
        .into_iter()
        .flat_map(|connections| [true, false].map(|up| Bulk { connections, up }))
}

impl Bulk {
    pub(crate) fn name(self) -> String {
        let direction = if self.up { "up" } else { "down" };
        format!("bulk {direction} x{}", self.connections)
    }
}

/// `round_trip` is that of the path between the ends of the tunnel.
pub(crate) fn measure(
    work: Bulk,
    tunnel: &Tunnel,
    window: Duration,
    round_trip: Duration,
) -> Vec<Figure> {
    let (received, users) = start(work, tunnel);
    watch(tunnel, &received, users, window, round_trip)
}

/// Waits until windows have grown.
pub(crate) fn warm_up(round_trip: Duration) {
    thread::sleep(WARM_UP + round_trip * GROWTH);
}

/// Users who are busy, until this is dropped.
pub(crate) struct Users(pub(crate) Vec<(TcpStream, JoinHandle<()>)>);

impl Drop for Users {
    fn drop(&mut self) {
        for (stream, thread) in self.0.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
            let _ = thread.join();
        }
    }
}

/// Starts users, and says where what arrives is counted.
pub(crate) fn start(work: Bulk, tunnel: &Tunnel) -> (Arc<AtomicU64>, Users) {
    let received = match work.up {
        true => tunnel.public.sunk.clone(),
        false => Arc::new(AtomicU64::new(0)),
    };
    let target = if work.up {
        tunnel.public.sink
    } else {
        tunnel.public.source
    };
    let users = (0..work.connections)
        .map(|_| {
            let stream = TcpStream::connect(target).unwrap();
            let (user, received) = (stream.try_clone().unwrap(), received.clone());
            let thread = thread::spawn(move || match work.up {
                true => produce(user, &AtomicU64::new(0)),
                false => discard(&user, &received),
            });
            (stream, thread)
        })
        .collect();
    (received, Users(users))
}

/// Ends users, and waits until what was under way has arrived, so that it does not count for the next product.
pub(crate) fn end(users: Users, received: &AtomicU64, round_trip: Duration) {
    drop(users);
    settle(received, round_trip);
}

/// Watches `received` grow while `users` are busy, then ends them.
pub(crate) fn watch(
    tunnel: &Tunnel,
    received: &AtomicU64,
    users: Users,
    window: Duration,
    round_trip: Duration,
) -> Vec<Figure> {
    warm_up(round_trip);
    let (start, bytes, cpu) = (
        Instant::now(),
        received.load(Ordering::Relaxed),
        tunnel.cpu(),
    );
    thread::sleep(window);
    let bytes = (received.load(Ordering::Relaxed) - bytes) as f64;
    let (elapsed, cpu) = (start.elapsed(), tunnel.cpu() - cpu);

    end(users, received, round_trip);
    let mut figures = vec![Figure::more(
        "Gbit/s",
        bytes * 8e-9 / elapsed.as_secs_f64(),
        2,
    )];
    if tunnel.product != Product::Direct {
        figures.push(Figure::less(
            "cpu s/GB",
            cpu.as_secs_f64() / (bytes / GB),
            2,
        ));
    }
    figures
}

/// Waits until nothing more arrives.
fn settle(received: &AtomicU64, round_trip: Duration) {
    let mut last = received.load(Ordering::Relaxed);
    loop {
        thread::sleep(Duration::from_millis(100) + round_trip);
        let now = received.load(Ordering::Relaxed);
        if now == last {
            return;
        }
        last = now;
    }
}
