//! Who comes: each kind on a few threads, which go on until they are stopped.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use fastrand::Rng;
use rustix::net::sockopt;

use crate::{
    content::{Content, Fault},
    pair::Public,
    services::{RIGHT, header, seed_of_answer},
    tally::{Kind, Tally},
};

/// When nothing has moved for so long, something is lost.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A datagram that is not back then is lost, which datagrams may be.
const LOST: Duration = Duration::from_millis(500);

/// Users who are held at a time, quiet.
const HELD: usize = 200;

const MIB: usize = 1 << 20;

/// All users, until they are stopped.
pub(crate) struct Users {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Users {
    /// Waits until everybody has ended what is under way.
    pub(crate) fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            // A panic has been shown.
            let _ = thread.join();
        }
    }
}

/// What a user does once.
type Doing = fn(&Public, &mut Rng) -> Result<usize, Fault>;

/// What they are called, how many there are, whether they must not fail, and what they do.
const KINDS: [(&str, usize, bool, Doing); 13] = [
    ("bulk up", 2, true, bulk_up),
    ("bulk down", 2, true, bulk_down),
    ("bulk both ways", 1, true, bulk_both_ways),
    ("ping-pong", 4, true, ping_pong),
    ("short", 3, true, short),
    ("held", 2, true, hold),
    ("broken off", 2, true, break_off),
    ("stalled, then read", 2, true, stall_then_read),
    ("stalled, then gone", 2, true, stall_then_go),
    ("HTTP kept", 2, true, http_kept),
    ("HTTP closed", 2, true, http_closed),
    ("UDP", 2, true, datagrams),
    ("of the killed client", 3, false, unsteady),
];

pub(crate) fn start(public: &Public, tally: &Tally) -> Users {
    let stop = Arc::new(AtomicBool::new(false));
    let mut threads = Vec::new();
    for (name, count, is_steady, doing) in KINDS {
        let kind = tally.kind(name, is_steady);
        for _ in 0..count {
            let (public, kind, stop) = (*public, kind.clone(), stop.clone());
            let seed = threads.len() as u64;
            let go_on = move || go_on(&public, doing, &kind, &stop, Rng::with_seed(seed));
            threads.push(thread::spawn(go_on));
        }
    }
    Users { stop, threads }
}

fn go_on(public: &Public, doing: Doing, kind: &Kind, stop: &AtomicBool, mut rng: Rng) {
    while !stop.load(Ordering::Relaxed) {
        let ended = doing(public, &mut rng);
        let has_failed = ended.is_err();
        kind.note(ended);
        let pause = if has_failed { 100 } else { rng.u64(0..30) };
        thread::sleep(Duration::from_millis(pause));
    }
}

fn connect(to: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(to)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    Ok(stream)
}

/// Sends `up` bytes and then gets `down`, all checked by whoever receives them.
fn exchange(stream: &mut TcpStream, rng: &mut Rng, up: usize, down: usize) -> Result<usize, Fault> {
    let seed = rng.u64(..);
    stream.write_all(&header(seed, up, down))?;
    Content::new(seed, up).write_to(stream)?;
    take_verdict(stream)?;
    Ok(up + Content::new(seed_of_answer(seed), down).read_from(stream)?)
}

fn take_verdict(stream: &mut TcpStream) -> Result<(), Fault> {
    let mut verdict = [0];
    stream.read_exact(&mut verdict)?;
    match verdict {
        [RIGHT] => Ok(()),
        _ => Err(Fault::Wrong),
    }
}

fn bulk_up(public: &Public, rng: &mut Rng) -> Result<usize, Fault> {
    let len = rng.usize(MIB..64 * MIB);
    exchange(&mut connect(public.exchange)?, rng, len, 1)
}

fn bulk_down(public: &Public, rng: &mut Rng) -> Result<usize, Fault> {
    let len = rng.usize(MIB..64 * MIB);
    exchange(&mut connect(public.exchange)?, rng, 1, len)
}

/// Two exchanges at once on one connection: what the first brings back comes while the second is sent.
fn bulk_both_ways(public: &Public, rng: &mut Rng) -> Result<usize, Fault> {
    let mut stream = connect(public.exchange)?;
    let (first, second) = (rng.u64(..), rng.u64(..));
    let (down, up) = (rng.usize(MIB..32 * MIB), rng.usize(MIB..32 * MIB));
    stream.write_all(&header(first, 0, down))?;
    let mut sender = stream.try_clone()?;
    let sending = thread::spawn(move || {
        sender.write_all(&header(second, up, 0))?;
        Content::new(second, up).write_to(&mut sender)
    });
    let received = take_verdict(&mut stream)
        .and_then(|()| Content::new(seed_of_answer(first), down).read_from(&mut stream));
    let sent = sending.join().unwrap();
    let received = received?;
    sent?;
    take_verdict(&mut stream)?;
    Ok(received + up)
}

fn ping_pong(public: &Public, rng: &mut Rng) -> Result<usize, Fault> {
    let mut stream = connect(public.exchange)?;
    let mut moved = 0;
    for _ in 0..rng.usize(200..2_000) {
        let (up, down) = (rng.usize(0..1_500), rng.usize(0..1_500));
        moved += exchange(&mut stream, rng, up, down)?;
    }
    Ok(moved)
}

fn short(public: &Public, rng: &mut Rng) -> Result<usize, Fault> {
    let (up, down) = (rng.usize(0..8_000), rng.usize(0..8_000));
    exchange(&mut connect(public.exchange)?, rng, up, down)
}

/// Many come, stay a while and go.
fn hold(public: &Public, rng: &mut Rng) -> Result<usize, Fault> {
    let (mut held, mut moved) = (Vec::new(), 0);
    for _ in 0..HELD / 2 {
        let mut stream = connect(public.exchange)?;
        moved += exchange(&mut stream, rng, 100, 100)?;
        held.push(stream);
    }
    thread::sleep(Duration::from_secs(rng.u64(1..10)));
    for stream in &mut held {
        moved += exchange(stream, rng, 100, 100)?;
    }
    Ok(moved)
}

/// Is gone in the middle of a transfer, half of the time with a reset.
fn break_off(public: &Public, rng: &mut Rng) -> Result<usize, Fault> {
    let mut stream = connect(public.exchange)?;
    let (seed, some) = (rng.u64(..), rng.usize(1..4 * MIB));
    let moved = match rng.bool() {
        true => {
            stream.write_all(&header(seed, 8 * MIB, 1))?;
            Content::new(seed, some).write_to(&mut stream)?;
            some
        }
        false => {
            stream.write_all(&header(seed, 0, 8 * MIB))?;
            take_verdict(&mut stream)?;
            Content::new(seed_of_answer(seed), some).read_from(&mut stream)?
        }
    };
    if rng.bool() {
        sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).map_err(io::Error::from)?;
    }
    Ok(moved)
}

/// A user who has been sent more than he takes, for a while.
fn stalled(public: &Public, rng: &mut Rng, len: usize) -> Result<(TcpStream, u64), Fault> {
    let mut stream = connect(public.exchange)?;
    let seed = rng.u64(..);
    stream.write_all(&header(seed, 0, len))?;
    thread::sleep(Duration::from_secs(rng.u64(2..12)));
    Ok((stream, seed))
}

fn stall_then_read(public: &Public, rng: &mut Rng) -> Result<usize, Fault> {
    let len = rng.usize(MIB..32 * MIB);
    let (mut stream, seed) = stalled(public, rng, len)?;
    take_verdict(&mut stream)?;
    Content::new(seed_of_answer(seed), len).read_from(&mut stream)
}

fn stall_then_go(public: &Public, rng: &mut Rng) -> Result<usize, Fault> {
    stalled(public, rng, 32 * MIB)?;
    Ok(0)
}

fn request(stream: &mut BufReader<TcpStream>, rng: &mut Rng, more: &str) -> Result<usize, Fault> {
    let (seed, up) = (rng.u64(..), rng.usize(0..20_000));
    let down = rng.usize(0..100_000);
    let head = format!(
        "POST /{seed}/{up}/{down} HTTP/1.1\r\nHost: web.test\r\nContent-Length: {up}\r\n{more}\r\n"
    );
    let mut message = head.into_bytes();
    message.extend(Content::new(seed, up).bytes());
    stream.get_mut().write_all(&message)?;
    let mut line = String::new();
    stream.read_line(&mut line)?;
    if !line.starts_with("HTTP/1.1 200 ") {
        return Err(match line.starts_with("HTTP/1.1 409 ") {
            true => Fault::Wrong,
            false => io::Error::other(format!("answer {line:?}")).into(),
        });
    }
    while line != "\r\n" {
        line.clear();
        if stream.read_line(&mut line)? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
    }
    Ok(up + Content::new(seed_of_answer(seed), down).read_from(stream)?)
}

fn http_kept(public: &Public, rng: &mut Rng) -> Result<usize, Fault> {
    let mut stream = BufReader::new(connect(public.web)?);
    let mut moved = 0;
    for _ in 0..rng.usize(1..200) {
        moved += request(&mut stream, rng, "")?;
    }
    Ok(moved)
}

fn http_closed(public: &Public, rng: &mut Rng) -> Result<usize, Fault> {
    let mut stream = BufReader::new(connect(public.web)?);
    request(&mut stream, rng, "Connection: close\r\n")
}

/// Datagrams, one after the other, of which some may be lost, and none may be another than one that was sent.
fn datagrams(public: &Public, rng: &mut Rng) -> Result<usize, Fault> {
    let socket = UdpSocket::bind(("127.0.0.1", 0))?;
    socket.connect(public.udp)?;
    socket.set_read_timeout(Some(LOST))?;
    let (mut moved, mut room) = (0, [0; 2_048]);
    for _ in 0..rng.usize(1..500) {
        let seed = rng.u64(..);
        let mut datagram = seed.to_be_bytes().to_vec();
        datagram.extend(Content::new(seed, rng.usize(0..1_300)).bytes());
        socket.send(&datagram)?;
        let Ok(len) = socket.recv(&mut room) else {
            continue;
        };
        let Some((seed, content)) = room[..len].split_first_chunk() else {
            return Err(Fault::Wrong);
        };
        // It may be the answer to an earlier one.
        let seed = u64::from_be_bytes(*seed);
        if content != Content::new(seed, content.len()).bytes() {
            return Err(Fault::Wrong);
        }
        moved += 2 * len;
    }
    Ok(moved)
}

fn unsteady(public: &Public, rng: &mut Rng) -> Result<usize, Fault> {
    let (up, down) = (rng.usize(0..8 * MIB), rng.usize(0..8 * MIB));
    exchange(&mut connect(public.unsteady)?, rng, up, down)
}
