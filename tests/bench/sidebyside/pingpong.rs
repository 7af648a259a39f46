//! How long a byte takes there and back: alone, on many connections at once, and over a long path beside bytes in bulk.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    panic::resume_unwind,
    thread,
    time::{Duration, Instant},
};

use mgrok_lab::report::{Figure, statistics::quantile};

use crate::{
    bulk::{self, Bulk},
    connects,
    product::Product,
    tunnel::Tunnel,
};

/// With the first bytes, all that is to be learnt of a path is learnt.
const WARM_UP: usize = 5;

/// Over a long path there is time for few on one connection, and little is known of the worst of a hundred if there are no more than a
/// hundred. So several connections ask, each for itself, so many times or more.
const BESIDE_USERS: u32 = 8;
const LEAST: u32 = 25;

/// Connections that ask at the same time.
const MANY: usize = 32;

pub(crate) const ALONE: &str = "ping-pong";
pub(crate) const AT_ONCE: &str = "requests x32";
pub(crate) const BESIDE: &str = "ping-pong beside bulk";
/// The figures of it that count: up and down.
pub(crate) const BESIDE_OF_IDLE: [&str; 2] = ["p99 beside up, of idle", "p99 beside down, of idle"];

/// One connection alone.
pub(crate) fn measure(tunnel: &Tunnel, window: Duration) -> Vec<Figure> {
    figures(times(tunnel, window))
}

/// p50, p99 and p99.9.
pub(crate) fn figures(mut times: Vec<Duration>) -> Vec<Figure> {
    times.sort_unstable();
    let at = |share| quantile(&times, share).map(|time| time.as_secs_f64() * 1e6);
    let all = [
        ("p50 µs", at(0.5)),
        ("p99 µs", at(0.99)),
        ("p99.9 µs", at(0.999)),
    ];
    all.into_iter()
        .filter_map(|(what, value)| Some(Figure::less(what, value?, 0)))
        .collect()
}

/// Many connections that each wait for their byte.
pub(crate) fn measure_many(tunnel: &Tunnel, window: Duration) -> Vec<Figure> {
    let cpu = tunnel.cpu();
    let start = Instant::now();
    let mut times: Vec<Duration> = thread::scope(|scope| {
        let users: Vec<_> = (0..MANY)
            .map(|_| scope.spawn(|| times(tunnel, window)))
            .collect();
        let all = users.into_iter().filter_map(|user| user.join().ok());
        all.flatten().collect()
    });
    let (elapsed, cpu) = (start.elapsed(), tunnel.cpu() - cpu);
    times.sort_unstable();
    let requests = times.len() as f64;
    let mut figures = vec![Figure::more(
        "requests/s",
        requests / elapsed.as_secs_f64(),
        0,
    )];
    let p99 = quantile(&times, 0.99).unwrap_or_default();
    figures.push(Figure::less("p99 µs", p99.as_secs_f64() * 1e6, 0));
    if tunnel.product != Product::Direct {
        let each = cpu.as_secs_f64() * 1e6 / requests;
        figures.push(Figure::less("cpu µs each", each, 1));
    }
    figures
}

/// A few connections over a path of this round trip that hardly carry anything: alone, and beside one that carries all it can, up and down.
pub(crate) fn measure_beside(
    tunnel: &Tunnel,
    window: Duration,
    round_trip: Duration,
) -> Vec<Figure> {
    let window = window.max(round_trip * LEAST);
    let p99 = || {
        let mut times: Vec<_> = thread::scope(|scope| {
            let users: Vec<_> = (0..BESIDE_USERS)
                .map(|user| {
                    scope.spawn(move || {
                        // Not all at the same moment.
                        thread::sleep(round_trip * user / BESIDE_USERS);
                        times(tunnel, window)
                    })
                })
                .collect();
            let all = users
                .into_iter()
                .map(|user| user.join().unwrap_or_else(|panic| resume_unwind(panic)));
            all.flatten().collect()
        });
        times.sort_unstable();
        quantile(&times, 0.99).unwrap_or_default().as_secs_f64() * 1e3
    };
    let idle = p99();
    let beside = [true, false].map(|up| {
        let work = Bulk { connections: 1, up };
        let (received, users) = bulk::start(work, tunnel);
        bulk::warm_up(round_trip);
        let p99 = p99();
        bulk::end(users, &received, round_trip);
        p99
    });
    vec![
        Figure::less(BESIDE_OF_IDLE[0], beside[0] / idle, 2),
        Figure::less(BESIDE_OF_IDLE[1], beside[1] / idle, 2),
        Figure::less("idle p99 ms", idle, 1),
        Figure::less("p99 ms beside up", beside[0], 1),
        Figure::less("p99 ms beside down", beside[1], 1),
    ]
}

/// Sends a byte when the one before is back.
fn times(tunnel: &Tunnel, window: Duration) -> Vec<Duration> {
    let mut stream = connects::once(tunnel.public.echo).unwrap();
    stream.set_nodelay(true).unwrap();
    for _ in 0..WARM_UP {
        there_and_back(&mut stream);
    }
    let (start, mut times) = (Instant::now(), Vec::new());
    while start.elapsed() < window {
        times.push(there_and_back(&mut stream));
    }
    times
}

fn there_and_back(stream: &mut TcpStream) -> Duration {
    let before = Instant::now();
    stream.write_all(b"?").unwrap();
    stream
        .read_exact(&mut [0])
        .expect("the byte comes back in time");
    before.elapsed()
}
