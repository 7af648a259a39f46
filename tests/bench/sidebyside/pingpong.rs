//! How long a byte takes there and back, on a connection that is open.

use std::{
    io::{Read as _, Write as _},
    time::{Duration, Instant},
};

use crate::{connects, product::Tunnel, report::Figure};

/// Before this, a path is still being measured.
const WARM_UP: usize = 20;

pub(crate) const NAME: &str = "ping-pong";

pub(crate) fn measure(tunnel: &Tunnel, window: Duration) -> Vec<Figure> {
    let mut stream = connects::once(tunnel.public.echo).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut times = Vec::new();
    let start = Instant::now();
    while start.elapsed() < window || times.len() <= WARM_UP {
        let before = Instant::now();
        stream.write_all(b"?").unwrap();
        stream.read_exact(&mut [0]).unwrap();
        times.push(before.elapsed());
    }
    let mut times = times.split_off(WARM_UP);
    times.sort_unstable();
    let at = |share: usize| times[(times.len() - 1) * share / 100].as_secs_f64() * 1e3;
    vec![
        Figure::new("p50 ms", at(50), 2),
        Figure::new("p99 ms", at(99), 2),
    ]
}
