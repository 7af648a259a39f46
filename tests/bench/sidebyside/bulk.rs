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

use crate::{
    product::Tunnel,
    report::Figure,
    services::{discard, produce},
};

/// Before this, windows are still growing.
const WARM_UP: Duration = Duration::from_millis(500);

const GIB: f64 = (1u64 << 30) as f64;

/// So many connections in one direction.
#[derive(Clone, Copy)]
pub(crate) struct Bulk {
    connections: usize,
    /// From user to service.
    up: bool,
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

pub(crate) fn measure(work: Bulk, tunnel: &Tunnel, window: Duration) -> Vec<Figure> {
    let received = match work.up {
        true => tunnel.public.sunk.clone(),
        false => Arc::new(AtomicU64::new(0)),
    };
    let target = if work.up {
        tunnel.public.sink
    } else {
        tunnel.public.source
    };
    let users: Vec<_> = (0..work.connections)
        .map(|_| {
            let stream = TcpStream::connect(target).unwrap();
            let (user, received) = (stream.try_clone().unwrap(), received.clone());
            let thread = thread::spawn(move || match work.up {
                true => produce(user),
                false => discard(&user, &received),
            });
            (stream, thread)
        })
        .collect();

    watch(tunnel, &received, users, window)
}

/// Watches `received` grow while `users` are busy, then ends them.
pub(crate) fn watch(
    tunnel: &Tunnel,
    received: &AtomicU64,
    users: Vec<(TcpStream, JoinHandle<()>)>,
    window: Duration,
) -> Vec<Figure> {
    thread::sleep(WARM_UP);
    let (start, bytes, cpu) = (
        Instant::now(),
        received.load(Ordering::Relaxed),
        tunnel.cpu(),
    );
    thread::sleep(window);
    let bytes = (received.load(Ordering::Relaxed) - bytes) as f64;
    let (elapsed, cpu) = (start.elapsed(), tunnel.cpu() - cpu);

    for (stream, thread) in users {
        let _ = stream.shutdown(Shutdown::Both);
        let _ = thread.join();
    }
    settle(received);
    vec![
        Figure::new(
            "MiB/s",
            bytes / elapsed.as_secs_f64() / f64::from(1 << 20),
            0,
        ),
        Figure::new("cpu s/GiB", cpu.as_secs_f64() / (bytes / GIB), 2),
    ]
}

/// Waits until what was under way has arrived, so that it does not count for the next product.
fn settle(received: &AtomicU64) {
    let mut last = received.load(Ordering::Relaxed);
    loop {
        thread::sleep(Duration::from_millis(100));
        let now = received.load(Ordering::Relaxed);
        if now == last {
            return;
        }
        last = now;
    }
}
