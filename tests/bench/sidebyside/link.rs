//! The network between the ends of a tunnel: a relay that delays bytes, lets only so many through in a second, and can be cut.

use std::{
    collections::VecDeque,
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak},
    thread,
    time::{Duration, Instant},
};

/// How much is read at once.
const CHUNK: usize = 64 * 1024;

/// What one direction of a connection may have under way: 100 ms, one way, at 20 Gbit/s.
const UNDER_WAY: usize = 256 << 20;

/// What may wait at the far end for a reader that is slow. A link is no store: beyond this the sender is held back.
const WAITING: usize = 4 << 20;

/// How much a link with a rate keeps ahead of it, as time: a router's queue.
const QUEUE: Duration = Duration::from_millis(20);

/// What a link is like.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Path {
    /// There and back, in milliseconds.
    pub(crate) rtt: u32,
    /// Gbit/s in each direction, for all connections together; without it as fast as the relay is.
    pub(crate) rate: Option<f64>,
}

impl Path {
    fn name(self) -> String {
        match self.rate {
            Some(rate) => format!("{} ms, {rate} Gbit/s", self.rtt),
            None => format!("{} ms", self.rtt),
        }
    }

    /// The name of a load over it.
    pub(crate) fn name_of(self, load: &str) -> String {
        format!("{load} over {}", self.name())
    }

    pub(crate) fn round_trip(self) -> Duration {
        Duration::from_millis(self.rtt.into())
    }
}

/// A relay to one address.
pub(crate) struct Link {
    pub(crate) addr: SocketAddr,
    connections: Arc<Mutex<Connections>>,
}

/// Both sockets of each connection, for as long as it lasts.
type Connections = Vec<Weak<TcpStream>>;

/// What all connections of a link share in one direction.
struct Direction {
    path: Path,
    /// When the last byte that was read will have been sent.
    sent: Mutex<Instant>,
}

/// What is under way in one direction of a connection.
#[derive(Default)]
struct Flight {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// Pieces, and when each arrives.
    pieces: VecDeque<(Instant, Vec<u8>)>,
    bytes: usize,
    /// Nothing more comes, or nothing more is taken.
    is_over: bool,
}

impl Link {
    /// Starts one on `listen`.
    pub(crate) fn between(listen: SocketAddr, target: SocketAddr, path: Path) -> Self {
        let listener = TcpListener::bind(listen).unwrap();
        let addr = listener.local_addr().unwrap();
        let connections = Arc::new(Mutex::new(Vec::new()));
        let all = connections.clone();
        thread::spawn(move || accept(&listener, target, path, &all));
        Self { addr, connections }
    }

    /// Ends all connections, at both ends. New ones get through.
    pub(crate) fn cut(&self) {
        for socket in locked(&self.connections).drain(..) {
            if let Some(socket) = socket.upgrade() {
                let _ = socket.shutdown(Shutdown::Both);
            }
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.cut();
    }
}

/// Serves for as long as the bench runs.
fn accept(listener: &TcpListener, target: SocketAddr, path: Path, all: &Mutex<Connections>) {
    let direction = || {
        Arc::new(Direction {
            path,
            sent: Mutex::new(Instant::now()),
        })
    };
    let (up, down) = (direction(), direction());
    for near in listener.incoming().flatten() {
        let Ok(far) = TcpStream::connect(target) else {
            continue;
        };
        let sockets = [near, far].map(Arc::new);
        let mut all = locked(all);
        all.retain(|socket| socket.strong_count() > 0);
        for socket in &sockets {
            let _ = socket.set_nodelay(true);
            all.push(Arc::downgrade(socket));
        }
        let [near, far] = sockets;
        pump(near.clone(), far.clone(), &up);
        pump(far, near, &down);
    }
}

/// Carries one direction of a connection, in two threads.
fn pump(from: Arc<TcpStream>, to: Arc<TcpStream>, direction: &Arc<Direction>) {
    let flight = Arc::new(Flight::default());
    let (departing, direction) = (flight.clone(), direction.clone());
    thread::spawn(move || depart(&from, &departing, &direction));
    thread::spawn(move || arrive(&to, &flight));
}

fn depart(mut from: &TcpStream, flight: &Flight, direction: &Direction) {
    let mut buffer = vec![0; CHUNK];
    while flight.has_room() {
        let len = match from.read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(len) => len,
        };
        let arrival = direction.arrival(len);
        let mut state = locked(&flight.state);
        state.pieces.push_back((arrival, buffer[..len].to_vec()));
        state.bytes += len;
        flight.changed.notify_all();
    }
    locked(&flight.state).is_over = true;
    flight.changed.notify_all();
}

impl Direction {
    /// When bytes that are read now arrive; returns when the link could take them.
    fn arrival(&self, len: usize) -> Instant {
        let delay = self.path.round_trip() / 2;
        let now = Instant::now();
        let Some(rate) = self.path.rate else {
            return now + delay;
        };
        let time = Duration::from_secs_f64(len as f64 * 8.0 / (rate * 1e9));
        let sent = {
            let mut sent = locked(&self.sent);
            *sent = (*sent).max(now) + time;
            *sent
        };
        thread::sleep((sent - QUEUE).saturating_duration_since(now));
        sent + delay
    }
}

impl Flight {
    /// Waits until more may be read; `false` when it is over.
    fn has_room(&self) -> bool {
        let mut state = locked(&self.state);
        loop {
            if state.is_over {
                return false;
            }
            let is_late = state
                .pieces
                .front()
                .is_some_and(|(arrival, _)| *arrival + QUEUE < Instant::now());
            let most = if is_late { WAITING } else { UNDER_WAY };
            if state.bytes < most {
                return true;
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits for the next piece; `None` when it is over.
    fn next(&self) -> Option<(Instant, Vec<u8>)> {
        let mut state = locked(&self.state);
        loop {
            if let Some((arrival, piece)) = state.pieces.pop_front() {
                return Some((arrival, piece));
            }
            if state.is_over {
                return None;
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn arrived(&self, len: usize) {
        locked(&self.state).bytes -= len;
        self.changed.notify_all();
    }
}

fn arrive(mut to: &TcpStream, flight: &Flight) {
    while let Some((arrival, piece)) = flight.next() {
        thread::sleep(arrival.saturating_duration_since(Instant::now()));
        if to.write_all(&piece).is_err() {
            locked(&flight.state).is_over = true;
        }
        flight.arrived(piece.len());
    }
    let _ = to.shutdown(Shutdown::Write);
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
