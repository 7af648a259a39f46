//! How long nobody is served: after a start, and after the link has been cut.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use mgrok_lab::report::Figure;

use crate::{
    connects,
    product::Product,
    services::Published,
    tunnel::{Setup, Tunnel},
};

/// How often a user tries, and how many may be waiting.
const TRY: Duration = Duration::from_millis(5);
const WAITING: usize = 64;

/// When nobody is served for so long, nobody will be.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) const START: &str = "start";
pub(crate) const RECOVER: &str = "link cut";

/// Starts a pair, and notes when it listened and when the first byte of a user was back.
pub(crate) fn measure_start(
    product: Product,
    setup: Setup,
    services: &Published,
) -> std::io::Result<Vec<Figure>> {
    let tunnel = Tunnel::start(product, setup, services)?;
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let all = ms(tunnel.listening + tunnel.first_byte);
    let mut figures = vec![Figure::less("ms to the first byte", all, 1)];
    if !tunnel.listening.is_zero() {
        let server = ms(tunnel.listening);
        figures.push(Figure::less("ms until the server listens", server, 1));
        figures.push(Figure::less("ms of the client", ms(tunnel.first_byte), 1));
    }
    Ok(figures)
}

/// Ends every connection between the ends at once, and notes when the next user is served.
///
/// # Panics
/// When nobody is.
pub(crate) fn measure_recovery(tunnel: &Tunnel) -> Vec<Figure> {
    // A session that has just begun may be treated otherwise than one that has lasted.
    thread::sleep(Duration::from_secs(1));
    let start = Instant::now();
    tunnel.cut();
    let (served, first) = mpsc::channel();
    let waiting = Arc::new(AtomicUsize::new(0));
    while start.elapsed() < PATIENCE {
        if waiting.load(Ordering::Relaxed) < WAITING {
            let (to, served, waiting) = (tunnel.public.echo, served.clone(), waiting.clone());
            waiting.fetch_add(1, Ordering::Relaxed);
            thread::spawn(move || {
                if connects::once(to).is_ok() {
                    let _ = served.send(start.elapsed());
                }
                waiting.fetch_sub(1, Ordering::Relaxed);
            });
        }
        if let Ok(elapsed) = first.recv_timeout(TRY) {
            let ms = elapsed.as_secs_f64() * 1e3;
            return vec![Figure::less("ms until served", ms, 1)];
        }
    }
    panic!("nobody was served within {PATIENCE:?}");
}
