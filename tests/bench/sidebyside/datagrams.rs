//! Packets per second: datagrams that go through the tunnel to a service which sends them back.
//!
//! As many are under way at a time as the sockets of all products hold without losing any, so that everybody works without a
//! pause, and nobody is flooded. Load generator and service move datagrams in batches: what they need of the machine is little
//! beside what the products do.

use std::{
    future::poll_fn,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use mgrok_lab::report::Figure;
use mgrok_net::udp::{Datagrams as Batch, Sent, UdpSocket};
use tokio::{
    runtime,
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{pingpong, product::Product, tunnel::Tunnel};

/// Before this, not all users are there.
const WARM_UP: Duration = Duration::from_millis(300);

/// When nothing comes back for so long, what was in flight is lost and is sent anew.
const LOST: Duration = Duration::from_millis(50);

/// Longer than any datagram here.
const MAX_LEN: usize = 2_048;

/// So many users with so many datagrams of one size in flight each.
#[derive(Clone, Copy)]
pub(crate) struct Datagrams {
    users: usize,
    in_flight: usize,
    size: usize,
}

pub(crate) fn all() -> impl Iterator<Item = Datagrams> {
    let work = |(users, in_flight, size)| Datagrams {
        users,
        in_flight,
        size,
    };
    [(1, 64, 512), (16, 8, 512), (16, 8, 1_200)]
        .into_iter()
        .map(work)
}

impl Datagrams {
    /// Whether its datagrams are of the size that is compared.
    pub(crate) fn is_small(&self) -> bool {
        self.size == 512
    }

    pub(crate) fn name(self) -> String {
        let Self {
            users,
            in_flight,
            size,
        } = self;
        let s = if users == 1 { "" } else { "s" };
        format!("udp {users} user{s}, {in_flight} in flight, {size} B")
    }
}

/// Nothing where no datagrams are carried.
pub(crate) fn measure(work: Datagrams, tunnel: &Tunnel, window: Duration) -> Vec<Figure> {
    let Some(to) = tunnel.public.udp else {
        return Vec::new();
    };
    let counts = Arc::new(Counts::default());
    let users = {
        let counts = counts.clone();
        thread::spawn(move || runtime().block_on(all_users(work, to, &counts)))
    };
    thread::sleep(WARM_UP);
    let (start, cpu) = (Instant::now(), tunnel.cpu());
    let (back, lost) = counts.now();
    thread::sleep(window);
    let (back_then, lost_then) = counts.now();
    let (elapsed, cpu) = (start.elapsed(), tunnel.cpu() - cpu);
    counts.stop.store(true, Ordering::Relaxed);
    let _ = users.join();
    let (back, lost) = ((back_then - back) as f64, (lost_then - lost) as f64);
    let mut figures = vec![Figure::more(
        "round trips/s",
        back / elapsed.as_secs_f64(),
        0,
    )];
    if tunnel.product != Product::Direct {
        figures.push(Figure::less(
            "cpu µs each",
            cpu.as_secs_f64() * 1e6 / back,
            1,
        ));
    }
    let lost = lost * 1e3 / (back + lost).max(1.0);
    figures.push(Figure::neutral("lost, per mille", lost, 1));
    figures
}

pub(crate) const ALONE: &str = "udp alone, 512 B";

/// One datagram at a time there and back. Nothing where no datagrams are carried.
pub(crate) fn measure_alone(tunnel: &Tunnel, window: Duration) -> Vec<Figure> {
    let Some(to) = tunnel.public.udp else {
        return Vec::new();
    };
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(to).unwrap();
    socket.set_read_timeout(Some(LOST)).unwrap();
    let (mut sent, mut back) = ([7; 512], [0; 512]);
    let (start, mut times) = (Instant::now(), Vec::new());
    for number in 0_u64.. {
        if start.elapsed() > WARM_UP + window {
            break;
        }
        sent[..8].copy_from_slice(&number.to_be_bytes());
        let before = Instant::now();
        if socket.send(&sent).is_err() {
            continue;
        }
        // One that was given up may still come; it must not be taken for this one, nor all that follow for those ahead of them.
        let is_back = loop {
            match socket.recv(&mut back) {
                Ok(_) if back == sent => break true,
                Ok(_) => {}
                Err(_) => break false,
            }
        };
        if is_back && start.elapsed() > WARM_UP {
            times.push(before.elapsed());
        }
    }
    pingpong::figures(times)
}

/// Whether a datagram comes back. A server may bring up the work connection of a udp proxy a while after the proxy.
pub(crate) fn is_back(to: SocketAddr) -> std::io::Result<()> {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0")?;
    socket.connect(to)?;
    socket.set_read_timeout(Some(LOST))?;
    socket.send(b"?")?;
    socket.recv(&mut [0]).map(drop)
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

/// Starts the service that sends every datagram back, for as long as the bench runs.
pub(crate) fn echo() -> SocketAddr {
    let runtime = runtime();
    let socket = runtime.block_on(UdpSocket::bind("127.0.0.1", 0)).unwrap();
    let addr = socket.local_addr().unwrap();
    thread::spawn(move || {
        runtime.block_on(async {
            let mut batch = Batch::default();
            loop {
                receive(&socket, |payload, from| batch.push(payload, from)).await;
                send(&socket, &mut batch).await;
            }
        })
    });
    addr
}

fn runtime() -> runtime::Runtime {
    runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

async fn all_users(work: Datagrams, to: SocketAddr, counts: &Arc<Counts>) {
    let mut users = JoinSet::new();
    for _ in 0..work.users {
        let counts = counts.clone();
        users.spawn(async move { user(work, to, &counts).await });
    }
    users.join_all().await;
}

async fn user(work: Datagrams, to: SocketAddr, counts: &Counts) {
    let socket = UdpSocket::bind("127.0.0.1", 0).await.unwrap();
    let datagram = vec![7; work.size];
    let (mut batch, mut in_flight) = (Batch::default(), 0);
    while !counts.stop.load(Ordering::Relaxed) {
        while in_flight < work.in_flight {
            batch.push(&datagram, to);
            in_flight += 1;
        }
        send(&socket, &mut batch).await;
        let mut back = 0;
        match timeout(LOST, receive(&socket, |_, _| back += 1)).await {
            Ok(()) => {
                counts.back.fetch_add(back as u64, Ordering::Relaxed);
                // One that was given up may still come.
                in_flight = in_flight.saturating_sub(back);
            }
            Err(_) => {
                counts.lost.fetch_add(in_flight as u64, Ordering::Relaxed);
                in_flight = 0;
            }
        }
    }
}

/// Receives one batch.
async fn receive(socket: &UdpSocket, mut each: impl FnMut(&[u8], SocketAddr)) {
    // An error is news of a port that is gone, or not there yet.
    let received =
        poll_fn(|cx| socket.poll_recv(cx, MAX_LEN, |payload, from, _| each(payload, from)));
    if received.await.is_err() {
        sleep(Duration::from_millis(1)).await;
    }
}

async fn send(socket: &UdpSocket, batch: &mut Batch) {
    let mut sent = Sent::default();
    poll_fn(|cx| socket.poll_send(cx, batch, &mut sent)).await;
}
