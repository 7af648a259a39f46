//! Users who behave, and how long they wait.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::target::Target;

/// How many there are of each kind.
const TCP_USERS: usize = 8;
const UDP_USERS: usize = 2;

/// Between two questions of one user.
const PAUSE: Duration = Duration::from_millis(10);

/// A TCP user comes anew after so many questions.
const QUESTIONS: usize = 20;

/// When an answer counts as lost.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Users who ask all the time.
pub(crate) struct Users {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Seen>>,
}

/// What users have seen.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) round_trips: usize,
    pub(crate) failed: usize,
    /// Sorted.
    times: Vec<Duration>,
}

impl Users {
    pub(crate) fn start(target: &Target) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (echo, udp) = (target.echo, target.udp);
        let tcp = (0..TCP_USERS).map(|_| {
            let stop = stop.clone();
            thread::spawn(move || tcp_user(echo, &stop))
        });
        let udp = (0..UDP_USERS).map(|_| {
            let stop = stop.clone();
            thread::spawn(move || udp_user(udp, &stop))
        });
        let threads = tcp.chain(udp).collect();
        Self { stop, threads }
    }

    pub(crate) fn stop(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Seen::default();
        for thread in self.threads {
            let seen = thread.join().unwrap();
            all.round_trips += seen.round_trips;
            all.failed += seen.failed;
            all.times.extend(seen.times);
        }
        all.times.sort_unstable();
        all
    }
}

impl Seen {
    pub(crate) fn quantile(&self, part: f64) -> Duration {
        let index = (self.times.len() as f64 * part) as usize;
        self.times.get(index).copied().unwrap_or_default()
    }

    fn note(&mut self, begun: Instant, answered: bool) {
        if answered {
            self.round_trips += 1;
            self.times.push(begun.elapsed());
        } else {
            self.failed += 1;
        }
    }
}

/// The first question of a connection counts with its connecting.
fn tcp_user(addr: SocketAddr, stop: &AtomicBool) -> Seen {
    let mut seen = Seen::default();
    while !stop.load(Ordering::Relaxed) {
        let mut begun = Instant::now();
        let mut stream = connect(addr);
        for _ in 0..QUESTIONS {
            let answered = stream.as_mut().is_ok_and(|it| ask(it).is_ok());
            seen.note(begun, answered);
            thread::sleep(PAUSE);
            if !answered || stop.load(Ordering::Relaxed) {
                break;
            }
            begun = Instant::now();
        }
    }
    seen
}

fn connect(addr: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&addr, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn ask(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(&[7; 64])?;
    stream.read_exact(&mut [0; 64])
}

fn udp_user(addr: SocketAddr, stop: &AtomicBool) -> Seen {
    let mut seen = Seen::default();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(addr).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(1)))
        .unwrap();
    let mut buffer = [0; 64];
    let mut number = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        let begun = Instant::now();
        let sent = socket.send(&number.to_be_bytes()).is_ok();
        // Answers that come late are passed over.
        let answered = sent
            && loop {
                match socket.recv(&mut buffer) {
                    Ok(8) if buffer[..8] == number.to_be_bytes() => break true,
                    Ok(_) => {}
                    Err(_) => break false,
                }
            };
        seen.note(begun, answered);
        thread::sleep(PAUSE);
    }
    seen
}
