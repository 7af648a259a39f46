//! Traffic through a public port, every byte of it checked.

use std::{
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
};

use crate::wait::{PATIENCE, within};

/// How much is written or read at once.
const CHUNK: usize = 64 * 1024;

/// How much of a sequence is made at once, a multiple of 64.
const BLOCK: usize = 4096;

/// How long to wait for the answer to a datagram before it counts as lost.
const ANSWER: Duration = Duration::from_millis(700);

/// How often a datagram is sent before the path counts as broken. A server may bring up the work
/// connection of a udp proxy half a second after the proxy itself.
const TRIES: usize = 30;

/// An endless sequence of bytes that does not repeat and compresses as badly as real data does
/// well: every 64 bytes hold 32 random ones and 32 of one value. Two with the same seed are
/// equal, so a receiver can tell which byte was lost, doubled or changed.
pub struct Pattern {
    random: fastrand::Rng,
    block: Vec<u8>,
    used: usize,
}

impl Pattern {
    /// The sequence of this seed.
    pub fn new(seed: u64) -> Self {
        Self {
            random: fastrand::Rng::with_seed(seed),
            block: vec![0; BLOCK],
            used: BLOCK,
        }
    }

    /// The next bytes of the sequence.
    pub fn fill(&mut self, mut out: &mut [u8]) {
        while !out.is_empty() {
            if self.used == self.block.len() {
                self.random.fill(&mut self.block);
                for piece in self.block.chunks_exact_mut(64) {
                    let same = piece[0];
                    piece[32..].fill(same);
                }
                self.used = 0;
            }
            let len = out.len().min(self.block.len() - self.used);
            let (now, later) = out.split_at_mut(len);
            now.copy_from_slice(&self.block[self.used..self.used + len]);
            self.used += len;
            out = later;
        }
    }

    /// The next `len` bytes of the sequence.
    pub fn take(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.fill(&mut bytes);
        bytes
    }
}

/// Writes `len` bytes of the sequence of `seed`.
///
/// # Errors
/// What writing says.
pub async fn send(to: &mut (impl AsyncWrite + Unpin), seed: u64, len: u64) -> io::Result<()> {
    let mut pattern = Pattern::new(seed);
    let mut buffer = vec![0; CHUNK];
    let mut left = len;
    while left > 0 {
        let now = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
        pattern.fill(&mut buffer[..now]);
        to.write_all(&buffer[..now]).await?;
        left -= now as u64;
    }
    to.flush().await
}

/// Reads `len` bytes and checks that they are the sequence of `seed`.
///
/// # Errors
/// What reading says; an early end is [`io::ErrorKind::UnexpectedEof`], a wrong byte
/// [`io::ErrorKind::InvalidData`].
pub async fn receive(from: &mut (impl AsyncRead + Unpin), seed: u64, len: u64) -> io::Result<()> {
    let mut pattern = Pattern::new(seed);
    let (mut got, mut want) = (vec![0; CHUNK], vec![0; CHUNK]);
    let mut done = 0;
    while done < len {
        let most = usize::try_from(len - done).unwrap_or(CHUNK).min(CHUNK);
        let read = from.read(&mut got[..most]).await?;
        if read == 0 {
            let text = format!("the end came after {done} of {len} bytes");
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
        }
        pattern.fill(&mut want[..read]);
        if got[..read] != want[..read] {
            let at = (0..read)
                .find(|&at| got[at] != want[at])
                .unwrap_or_default();
            let text = format!("byte {} is wrong", done + at as u64);
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        done += read as u64;
    }
    Ok(())
}

/// Connects, sends `len` bytes and reads them back, both at the same time.
///
/// # Errors
/// Whatever goes wrong on the way.
pub async fn try_tcp_echo(to: SocketAddr, len: u64) -> io::Result<()> {
    let mut stream = TcpStream::connect(to).await?;
    echo(&mut stream, len).await
}

/// Sends `len` bytes on a connection to an echo service and reads them back.
///
/// # Errors
/// Whatever goes wrong on the way.
pub async fn echo(stream: &mut TcpStream, len: u64) -> io::Result<()> {
    let seed = fastrand::u64(..);
    let (mut from, mut to) = stream.split();
    tokio::try_join!(send(&mut to, seed, len), receive(&mut from, seed, len))?;
    Ok(())
}

/// As [`try_tcp_echo`].
///
/// # Panics
/// When it fails, or takes longer than [`PATIENCE`].
#[track_caller]
pub fn tcp_echo(to: SocketAddr, len: u64) -> impl Future<Output = ()> {
    let place = std::panic::Location::caller();
    async move {
        let done = within(PATIENCE, "bytes come back", try_tcp_echo(to, len)).await;
        if let Err(error) = done {
            panic!("{len} bytes through {to}: {error} (at {place})");
        }
    }
}

/// Connects and reads to the end.
///
/// # Errors
/// What the socket says.
pub async fn read_all(from: SocketAddr) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    TcpStream::connect(from)
        .await?
        .read_to_end(&mut text)
        .await?;
    Ok(text)
}

/// Whether the other side ends the connection, well or not, before it sends a byte.
pub async fn is_refused(to: SocketAddr) -> bool {
    let attempt = async {
        let mut stream = TcpStream::connect(to).await?;
        stream.write_all(b"anyone there?").await?;
        stream.read(&mut [0]).await
    };
    matches!(within(PATIENCE, "a refusal", attempt).await, Ok(0) | Err(_))
}

/// A user of a udp proxy.
pub struct UdpUser {
    socket: UdpSocket,
    random: fastrand::Rng,
}

impl UdpUser {
    /// A user who talks to `to` only.
    ///
    /// # Panics
    /// When no port can be bound.
    pub async fn of(to: SocketAddr) -> Self {
        let socket = UdpSocket::bind(("127.0.0.1", 0)).await.unwrap();
        socket.connect(to).await.unwrap();
        Self {
            socket,
            random: fastrand::Rng::new(),
        }
    }

    /// Sends a datagram of `len` bytes again and again until an answer comes that consists of
    /// its first bytes, `expect` of them.
    ///
    /// # Panics
    /// When no such answer comes.
    pub async fn echo(&mut self, len: usize, expect: usize) {
        let mut datagram = vec![0; len];
        self.random.fill(&mut datagram);
        for _ in 0..TRIES {
            // Fails while the port is closed: a lost datagram, too.
            let _ = self.socket.send(&datagram).await;
            if self.hears(&datagram[..expect]).await {
                return;
            }
        }
        panic!("a datagram of {len} bytes was not answered by its first {expect}");
    }

    /// Whether this answer comes in time; others are late answers to earlier tries.
    async fn hears(&self, expected: &[u8]) -> bool {
        let deadline = Instant::now() + ANSWER;
        let mut buffer = vec![0; 65_535];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match tokio::time::timeout(left, self.socket.recv(&mut buffer)).await {
                Ok(Ok(len)) if buffer[..len] == *expected => return true,
                Ok(Ok(_)) => {}
                // Refused: the port is not open. Not the answer, and no reason to spin.
                Ok(Err(_)) => tokio::time::sleep(Duration::from_millis(20)).await,
                Err(_) => return false,
            }
        }
    }
}

/// One user's datagrams of several sizes, there and back.
///
/// # Panics
/// When one of them does not come back.
pub async fn udp_echo(to: SocketAddr, sizes: &[usize]) {
    let mut user = UdpUser::of(to).await;
    for &size in sizes {
        user.echo(size, size).await;
    }
}
