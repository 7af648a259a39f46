//! Datagram round trips per second.

use std::{
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{product::Tunnel, report::Figure};

/// A server may bring up the work connection of a udp proxy a while after the proxy.
const WARM_UP: Duration = Duration::from_millis(1_200);

/// When nothing comes back for so long, what was in flight is lost and is sent anew.
const LOST: Duration = Duration::from_millis(50);

/// So many users with so many datagrams of one size in flight each.
#[derive(Clone, Copy)]
pub(crate) struct Datagrams {
    users: usize,
    in_flight: usize,
    size: usize,
}

pub(crate) fn all() -> impl Iterator<Item = Datagrams> {
    [(1, 64), (16, 8)]
        .into_iter()
        .flat_map(|(users, in_flight)| {
            [32, 1_200].map(|size| Datagrams {
                users,
                in_flight,
                size,
            })
        })
}

impl Datagrams {
    pub(crate) fn name(self) -> String {
        let Self {
            users,
            in_flight,
            size,
        } = self;
        format!("udp {users} users, {in_flight} in flight, {size} B")
    }
}

pub(crate) fn measure(work: Datagrams, tunnel: &Tunnel, window: Duration) -> Vec<Figure> {
    let counts = Arc::new(Counts::default());
    let users: Vec<_> = (0..work.users)
        .map(|_| {
            let (counts, to) = (counts.clone(), tunnel.public.udp);
            thread::spawn(move || user(work, to, &counts))
        })
        .collect();
    thread::sleep(WARM_UP);
    let (start, cpu) = (Instant::now(), tunnel.cpu());
    let (back, lost) = counts.now();
    thread::sleep(window);
    let (back_then, lost_then) = counts.now();
    let (elapsed, cpu) = (start.elapsed(), tunnel.cpu() - cpu);
    counts.stop.store(true, Ordering::Relaxed);
    for user in users {
        let _ = user.join();
    }
    let (back, lost) = ((back_then - back) as f64, (lost_then - lost) as f64);
    vec![
        Figure::new("round trips/s", back / elapsed.as_secs_f64(), 0),
        Figure::new("cpu µs each", cpu.as_secs_f64() * 1e6 / back, 1),
        Figure::new("lost, per mille", lost * 1e3 / (back + lost).max(1.0), 1),
    ]
}

#[derive(Default)]
struct Counts {
    back: AtomicU64,
    lost: AtomicU64,
    stop: AtomicBool,
}

impl Counts {
    fn now(&self) -> (u64, u64) {
        (
            self.back.load(Ordering::Relaxed),
            self.lost.load(Ordering::Relaxed),
        )
    }
}

fn user(work: Datagrams, to: SocketAddr, counts: &Counts) {
    let socket = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
    socket.connect(to).unwrap();
    socket.set_read_timeout(Some(LOST)).unwrap();
    let datagram = vec![7; work.size];
    let mut buffer = vec![0; 2_048];
    let mut in_flight = 0;
    while !counts.stop.load(Ordering::Relaxed) {
        while in_flight < work.in_flight {
            let _ = socket.send(&datagram);
            in_flight += 1;
        }
        match socket.recv(&mut buffer) {
            Ok(_) => {
                counts.back.fetch_add(1, Ordering::Relaxed);
                // One that was given up may still come.
                in_flight -= usize::from(in_flight > 0);
            }
            Err(_) => {
                counts.lost.fetch_add(in_flight as u64, Ordering::Relaxed);
                in_flight = 0;
            }
        }
    }
}
