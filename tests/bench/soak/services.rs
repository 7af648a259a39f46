//! The local services: they check what they get, and send what they are asked for.

use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    thread,
};

use crate::content::{Content, Fault};

/// What begins an exchange: its seed, how many bytes come and how many are wanted.
pub(crate) const HEADER: usize = 24;

/// Said after what has come: whether it was right.
pub(crate) const RIGHT: u8 = b'+';
const WRONG: u8 = b'-';

/// Longer than any datagram here.
const MAX_DATAGRAM: usize = 2_048;

/// Where they listen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Services {
    pub(crate) exchange: SocketAddr,
    pub(crate) web: SocketAddr,
    pub(crate) udp: SocketAddr,
}

impl Services {
    pub(crate) fn start() -> Self {
        Self {
            exchange: serve(exchange),
            web: serve(web),
            udp: udp(),
        }
    }
}

/// What a user writes ahead of `up` bytes, to get `down` bytes after them.
pub(crate) fn header(seed: u64, up: usize, down: usize) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    for (room, number) in header.chunks_mut(8).zip([seed, up as u64, down as u64]) {
        room.copy_from_slice(&number.to_be_bytes());
    }
    header
}

/// The seed of what comes back.
pub(crate) fn seed_of_answer(seed: u64) -> u64 {
    seed.rotate_left(17) ^ 0x5bd1_e995
}

/// Serves every connection on a thread of its own.
fn serve(handle: impl Fn(TcpStream) -> io::Result<()> + Clone + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let handle = handle.clone();
            // Users break off as they like.
            thread::spawn(move || drop(handle(stream)));
        }
    });
    addr
}

fn exchange(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut header = [0; HEADER];
    loop {
        stream.read_exact(&mut header)?;
        let mut numbers = header
            .as_chunks()
            .0
            .iter()
            .map(|bytes| u64::from_be_bytes(*bytes));
        let mut next = || numbers.next().unwrap_or_default();
        let (seed, up, down) = (next(), next() as usize, next() as usize);
        let verdict = verdict(Content::new(seed, up).read_from(&mut stream))?;
        stream.write_all(&[verdict])?;
        Content::new(seed_of_answer(seed), down).write_to(&mut stream)?;
    }
}

fn verdict(read: Result<usize, Fault>) -> io::Result<u8> {
    match read {
        Ok(_) => Ok(RIGHT),
        Err(Fault::Wrong) => Ok(WRONG),
        Err(Fault::Io(error)) => Err(error),
    }
}

/// HTTP: the path is `/seed/up/down`.
fn web(stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    loop {
        let mut first = String::new();
        if stream.read_line(&mut first)? == 0 {
            return Ok(());
        }
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            if stream.read_line(&mut line)? == 0 {
                return Ok(());
            }
        }
        let path = first.split(' ').nth(1).unwrap_or_default();
        let mut numbers = path.split('/').skip(1).map(|it| it.parse().unwrap_or(0));
        let mut next = || numbers.next().unwrap_or(0);
        let (seed, up, down) = (next(), next() as usize, next() as usize);
        let status = match verdict(Content::new(seed, up).read_from(&mut stream))? {
            RIGHT => "200 OK",
            _ => "409 Conflict",
        };
        let head = format!("HTTP/1.1 {status}\r\nContent-Length: {down}\r\n\r\n");
        let stream = stream.get_mut();
        stream.write_all(head.as_bytes())?;
        Content::new(seed_of_answer(seed), down).write_to(stream)?;
    }
}

fn udp() -> SocketAddr {
    let socket = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
    let addr = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut room = [0; MAX_DATAGRAM];
        loop {
            // An error is about an earlier answer that nobody wanted.
            if let Ok((len, from)) = socket.recv_from(&mut room) {
                let _ = socket.send_to(&room[..len], from);
            }
        }
    });
    addr
}
