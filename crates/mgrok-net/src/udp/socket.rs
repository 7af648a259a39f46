//! A UDP socket that moves datagrams in batches.

use std::cell::Cell;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use rustix::fd::AsFd;
use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;

use super::datagrams::{Datagrams, Entry};
use super::{BATCH, system};
use crate::tcp;

/// What a socket may hold for us while we are busy, as far as the system allows (Linux: `net.core.rmem_max`). Bursts of
/// datagrams have no flow control that would spare a short queue.
const SYSTEM_QUEUE: usize = 1024 * 1024;

/// How many datagrams Linux cuts from one message at most; newer kernels take more.
const MAX_SEGMENTS: usize = 64;
/// How long a message may be that is to be cut: an IP packet without its headers.
const MAX_SEGMENTED: usize = 65_000;

/// A datagram as it was received.
#[derive(Debug)]
pub(super) struct Arrived {
    pub(super) len: usize,
    pub(super) from: SocketAddr,
    /// The address that it was sent to, if the system gives it.
    pub(super) local: Option<LocalAddr>,
}

/// One of this host's addresses: what a datagram was sent to, and where its answer leaves from.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct LocalAddr {
    pub(super) ip: IpAddr,
    /// Of link-local addresses, which several interfaces may have.
    pub(super) interface: u32,
}

impl LocalAddr {
    /// `None` if nothing can leave from there. IPv4 is always plain IPv4.
    // Elsewhere than on Linux nobody is told.
    #[cfg_attr(not(target_os = "linux"), expect(dead_code))]
    pub(super) fn new(ip: IpAddr, interface: u32) -> Option<Self> {
        let ip = ip.to_canonical();
        let (can_send, is_link_local) = match ip {
            IpAddr::V4(ip) => (!ip.is_broadcast(), false),
            IpAddr::V6(ip) => (true, ip.is_unicast_link_local()),
        };
        let can_send = can_send && !ip.is_multicast() && !ip.is_unspecified();
        can_send.then_some(Self {
            ip,
            interface: if is_link_local { interface } else { 0 },
        })
    }

    /// The address.
    pub fn ip(&self) -> IpAddr {
        self.ip
    }
}

/// A message for the system: a datagram, or several of one size that it will cut.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Outgoing<'a> {
    pub(super) bytes: &'a [u8],
    /// `None` on a connected socket.
    pub(super) to: Option<SocketAddr>,
    /// Where it leaves from; `None` lets the system choose.
    pub(super) local: Option<LocalAddr>,
    /// The size of each, the last of which may be shorter; `None` if it is one.
    pub(super) segment: Option<u16>,
}

/// What became of datagrams that were to be sent.
#[derive(Debug, Default)]
pub struct Sent {
    /// How many bytes of payload were sent.
    pub bytes: u64,
    /// How many datagrams the system refused. They are lost.
    pub refused: u64,
    /// Why it refused the last of them.
    pub error: Option<io::Error>,
}

/// A UDP socket. One task uses it at a time.
#[derive(Debug)]
pub struct UdpSocket {
    pub(super) io: tokio::net::UdpSocket,
    connected: bool,
    /// IPv4 addresses must be mapped.
    v6: bool,
    /// Whether the system gives the destination address of datagrams.
    told_local: bool,
    /// The largest datagrams that the way out is known not to refuse to cut.
    max_segment: AtomicUsize,
}

impl UdpSocket {
    /// Binds to `host` and `port`; port 0 lets the system choose. `host` is as in [`tcp::bind`].
    pub async fn bind(host: &str, port: u16) -> io::Result<Self> {
        let mut last = None;
        for addr in tcp::resolve_bind(host, port).await? {
            match open(addr).and_then(|socket| Self::new(socket, addr, false)) {
                Ok(socket) => return Ok(socket),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into()))
    }

    /// A socket that exchanges datagrams with `peer` only.
    pub fn connected(peer: SocketAddr) -> io::Result<Self> {
        let any: IpAddr = match peer {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = open((any, 0).into())?;
        socket.connect(&peer.into())?;
        Self::new(socket, peer, true)
    }

    /// `addr` is what `socket` is bound to, or connected to.
    pub(crate) fn new(socket: Socket, addr: SocketAddr, connected: bool) -> io::Result<Self> {
        // With one address there is no question where answers leave from.
        let has_many = !connected && addr.ip().is_unspecified();
        let told_local = has_many && system::tell_local(socket.as_fd(), addr.is_ipv6());
        let max_segment = if system::SEGMENTS { usize::MAX } else { 0 };
        Ok(Self {
            io: tokio::net::UdpSocket::from_std(socket.into())?,
            connected,
            v6: addr.is_ipv6(),
            told_local,
            max_segment: AtomicUsize::new(max_segment),
        })
    }

    /// Our address.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.local_addr()
    }

    /// Waits for datagrams, and calls `each` for a batch of them, with where each came from and, if the socket is
    /// bound to all addresses, what it was sent to. Cuts those longer than `max_len`
    /// bytes. IPv4 users of a dual-stack socket have IPv4 addresses.
    ///
    /// # Errors
    /// What the system reports of the network; the socket stays usable.
    pub fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        max_len: usize,
        mut each: impl FnMut(&[u8], SocketAddr, Option<LocalAddr>),
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.io.poll_recv_ready(cx))?;
            match self.try_recv(max_len, &mut each) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                received => return Poll::Ready(received),
            }
        }
    }

    /// As [`poll_recv`](Self::poll_recv), without waiting.
    pub(super) fn try_recv(
        &self,
        max_len: usize,
        mut each: impl FnMut(&[u8], SocketAddr, Option<LocalAddr>),
    ) -> io::Result<()> {
        with_buffer(BATCH * max_len, |buffer, arrived| {
            let result = self.io.try_io(Interest::READABLE, || {
                system::recv(self.io.as_fd(), buffer, max_len, self.told_local, arrived)?;
                if arrived.len() < BATCH {
                    // There is no more, and tokio is to know that now and not by another
                    // system call. What arrives from here on makes the socket ready again.
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                Ok(())
            });
            for (datagram, piece) in arrived.iter().zip(buffer.chunks_exact(max_len)) {
                let payload = &piece[..datagram.len];
                each(payload, tcp::canonical(datagram.from), datagram.local);
            }
            match result {
                Err(error) if arrived.is_empty() => Err(error),
                Ok(()) | Err(_) => Ok(()),
            }
        })
    }

    /// Sends all `datagrams`, and waits for room where there is none. What the system refuses is passed over, and
    /// counted in `sent`.
    pub fn poll_send(
        &self,
        cx: &mut Context<'_>,
        datagrams: &mut Datagrams,
        sent: &mut Sent,
    ) -> Poll<()> {
        while !datagrams.is_empty() {
            let result = match self.io.poll_send_ready(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) => self.io.try_io(Interest::WRITABLE, || {
                    self.send_some(datagrams.all_bytes(), datagrams.left())
                }),
                Poll::Ready(Err(error)) => Err(error),
            };
            match result {
                Ok((count, bytes)) => {
                    sent.bytes += bytes;
                    datagrams.skip(count);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => {
                    sent.refused += 1;
                    sent.error = Some(error);
                    datagrams.skip(1);
                }
            }
        }
        Poll::Ready(())
    }

    /// Sends the first `count` of `datagrams`, which are for whom the socket is connected to. It does not wait: what
    /// finds no room is refused as well.
    pub fn send_connected(&self, datagrams: &mut Datagrams, count: usize, sent: &mut Sent) {
        let mut left = count.min(datagrams.len());
        // The socket may have news of an earlier datagram, which come instead of sending this one.
        let mut is_news = true;
        while left > 0 {
            // Past tokio, which knows only after a while that a new socket can be written to.
            match self.send_some(datagrams.all_bytes(), &datagrams.left()[..left]) {
                Ok((done, bytes)) => {
                    sent.bytes += bytes;
                    datagrams.skip(done);
                    left -= done;
                    is_news = true;
                }
                Err(_) if is_news => is_news = false,
                Err(error) => {
                    let refused = match error.kind() {
                        io::ErrorKind::WouldBlock => left,
                        _ => 1,
                    };
                    sent.refused += refused as u64;
                    sent.error = Some(error);
                    datagrams.skip(refused);
                    left -= refused;
                    is_news = true;
                }
            }
        }
    }

    /// One system call, for `entries` whose payloads lie in `bytes`. Returns how many datagrams and bytes were sent; an error is the
    /// first one's.
    pub(super) fn send_some(&self, bytes: &[u8], entries: &[Entry]) -> io::Result<(usize, u64)> {
        // The size of datagrams that may have been too large to be cut. That is known when they go without.
        let mut uncut = None;
        loop {
            let mut messages = [Outgoing::default(); BATCH];
            let mut ends = [0; BATCH];
            let (mut used, mut taken) = (0, 0);
            while used < BATCH && taken < entries.len() {
                let run = match uncut {
                    None => self.run(&entries[taken..]),
                    Some(_) => 1,
                };
                let (first, last) = (&entries[taken], &entries[taken + run - 1]);
                messages[used] = Outgoing {
                    bytes: &bytes[first.start..last.start + last.len],
                    to: (!self.connected).then(|| self.reachable(first.addr)),
                    local: first.local,
                    // Only what fits a datagram is ever cut.
                    segment: (run > 1).then_some(first.len as u16),
                };
                taken += run;
                ends[used] = taken;
                used += 1;
            }
            match system::send(self.io.as_fd(), &messages[..used]) {
                Ok(0) => return Ok((0, 0)),
                Ok(sent) => {
                    if let Some(max) = uncut {
                        self.max_segment.fetch_min(max, Ordering::Relaxed);
                    }
                    let bytes: usize = messages[..sent].iter().map(|it| it.bytes.len()).sum();
                    return Ok((ends[sent - 1], bytes as u64));
                }
                Err(error) => match messages[0].segment {
                    Some(size) => uncut = Some(max_segment_after(size, &error).ok_or(error)?),
                    None => return Err(error),
                },
            }
        }
    }

    /// How many of the first datagrams can go as one message.
    fn run(&self, entries: &[Entry]) -> usize {
        let Entry {
            len, addr, local, ..
        } = entries[0];
        if len == 0 || len > self.max_segment.load(Ordering::Relaxed) {
            return 1;
        }
        let most = MAX_SEGMENTS.min(MAX_SEGMENTED / len).max(1);
        let mut run = 1;
        for pair in entries.windows(2).take(most - 1) {
            let (before, next) = (pair[0], pair[1]);
            let adjoins = before.start + before.len == next.start;
            let goes_along = next.addr == addr && next.local == local;
            if before.len != len || !goes_along || !adjoins || next.len == 0 || next.len > len {
                break;
            }
            run += 1;
        }
        run
    }

    /// An address in the form that this socket can send to.
    fn reachable(&self, addr: SocketAddr) -> SocketAddr {
        match addr {
            SocketAddr::V4(v4) if self.v6 => (v4.ip().to_ipv6_mapped(), v4.port()).into(),
            SocketAddr::V4(_) | SocketAddr::V6(_) => addr,
        }
    }
}

/// The largest datagrams that may still be cut, if `error` comes from cutting those of `size` bytes, in which case they can go
/// one by one.
fn max_segment_after(size: u16, error: &io::Error) -> Option<usize> {
    match Errno::from_io_error(error)? {
        // Too large for the way, or unknown to the kernel, which is then found out soon. Or the address that they were to leave
        // from is gone.
        Errno::INVAL | Errno::MSGSIZE => Some(usize::from(size) - 1),
        // The network card cannot do the checksums.
        Errno::IO => Some(0),
        _ => None,
    }
}

pub(super) fn open(addr: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
    tcp::dual_stack(&socket, addr)?;
    socket.set_nonblocking(true)?;
    // The default will do where this is not allowed.
    let _ = socket.set_recv_buffer_size(SYSTEM_QUEUE);
    socket.bind(&addr.into())?;
    Ok(socket)
}

thread_local! {
    static BUFFER: Cell<(Vec<u8>, Vec<Arrived>)> = const { Cell::new((Vec::new(), Vec::new())) };
}

/// Calls `f` with `len` bytes of the thread's receiving buffer, and an empty list.
fn with_buffer<R>(len: usize, f: impl FnOnce(&mut [u8], &mut Vec<Arrived>) -> R) -> R {
    let (mut buffer, mut arrived) = BUFFER.take();
    if buffer.len() < len {
        // Zeroed memory comes from the system page by page, as it is first touched: room for the largest datagrams costs
        // nothing where there are none. Nor does it cost time that they lie far apart then (measured with 64 and 1200 bytes).
        buffer = vec![0; len];
    }
    arrived.clear();
    let result = f(&mut buffer[..len], &mut arrived);
    BUFFER.set((buffer, arrived));
    result
}
