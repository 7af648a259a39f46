//! New connections per second: connect, one byte there and back, close.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use mgrok_lab::report::Figure;

use crate::{product::Product, tunnel::Tunnel};

/// How many users do this at the same time.
const USERS: usize = 16;

const WARM_UP: Duration = Duration::from_millis(300);

/// When a byte does not come back.
const TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) const NAME: &str = "connects x16";

/// Connects, sends a byte, and has it back; the connection is still open.
pub(crate) fn once(to: SocketAddr) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(to)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.write_all(b"?")?;
    let mut byte = [0];
    stream.read_exact(&mut byte)?;
    Ok(stream)
}

pub(crate) fn measure(tunnel: &Tunnel, window: Duration) -> Vec<Figure> {
    let stop = Arc::new(AtomicBool::new(false));
    let (done, failed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let users: Vec<_> = (0..USERS)
        .map(|_| {
            let (stop, done, failed) = (stop.clone(), done.clone(), failed.clone());
            let to = tunnel.public.echo;
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let counter = if once(to).is_ok() { &done } else { &failed };
                    counter.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    thread::sleep(WARM_UP);
    let (start, before, cpu) = (Instant::now(), done.load(Ordering::Relaxed), tunnel.cpu());
    thread::sleep(window);
    let connects = (done.load(Ordering::Relaxed) - before) as f64;
    let (elapsed, cpu) = (start.elapsed(), tunnel.cpu() - cpu);
    stop.store(true, Ordering::Relaxed);
    for user in users {
        let _ = user.join();
    }
    let mut figures = vec![Figure::more(
        "connects/s",
        connects / elapsed.as_secs_f64(),
        0,
    )];
    if tunnel.product != Product::Direct {
        figures.push(Figure::less(
            "cpu µs each",
            cpu.as_secs_f64() * 1e6 / connects,
            0,
        ));
    }
    let failed = failed.load(Ordering::Relaxed);
    figures.push(Figure::neutral("failed", failed as f64, 0));
    figures
}
