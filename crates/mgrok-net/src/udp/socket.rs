//! A UDP socket that moves datagrams in batches.

use std::cell::Cell;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::task::{Context, Poll, ready};

use rustix::fd::AsFd;
use rustix::io::Errno;
use socket2::Socket;

use super::datagrams::{Datagrams, Entry};
use super::readiness::{Reading, Registered};
use super::{BATCH, FEW, system};
use crate::tcp;

/// How many bytes the system may queue while this task is busy, as far as it allows (Linux: `net.core.rmem_max`).
/// Datagrams have no flow control that would keep a burst from overflowing a short queue.
const SYSTEM_QUEUE: usize = 1024 * 1024;

/// The most datagrams into which Linux splits one message; newer kernels allow more.
const MAX_SEGMENTS: usize = 64;
/// The longest message to be split: an IP packet without its headers.
const MAX_SEGMENTED: usize = 65_000;

/// Room for a message of coalesced datagrams, which is an IP packet at most.
const COALESCED: usize = 64 * 1024;
/// How many datagrams one call is to bring at most, about: a quarter of what an [`Outbox`](super::Outbox) takes. [`FEW`]
/// messages have as many, of 64 each (Linux: `UDP_GRO_CNT_MAX`).
const MAX_DATAGRAMS: usize = 256;

/// The metadata of a received datagram, or of several that were coalesced into one message.
#[derive(Debug)]
pub(super) struct Arrived {
    /// The size of the message.
    pub(super) len: usize,
    /// The size of each datagram in it, of which the last may be shorter.
    pub(super) segment: usize,
    pub(super) from: SocketAddr,
    /// The address that the datagram was sent to, if the system reports it.
    pub(super) local: Option<LocalAddr>,
}

/// One of this host's addresses: the destination of a datagram, and the source of its answer.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct LocalAddr {
    pub(super) ip: IpAddr,
    /// The interface of a link-local address, since several interfaces may have the same one.
    pub(super) interface: u32,
}

impl LocalAddr {
    /// `None` if the address cannot be a source. IPv4 is always plain IPv4.
    // Unused on systems other than Linux, which do not report destinations.
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

/// A message for the system: one datagram, or several of one size that the system splits.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Outgoing<'a> {
    pub(super) bytes: &'a [u8],
    /// `None` on a connected socket.
    pub(super) to: Option<SocketAddr>,
    /// The local address to send from; `None` lets the system choose.
    pub(super) local: Option<LocalAddr>,
    /// The size of each datagram, of which the last may be shorter; `None` for a single datagram.
    pub(super) segment: Option<u16>,
}

/// The result of sending datagrams.
#[derive(Debug, Default)]
pub struct Sent {
    /// How many bytes of payload were sent.
    pub bytes: u64,
    /// How many datagrams the system refused. They are lost.
    pub refused: u64,
    /// Why the system refused the last of them.
    pub error: Option<io::Error>,
}

/// A UDP socket. One task uses it at a time.
#[derive(Debug)]
pub struct UdpSocket<R = Reading> {
    pub(crate) io: R,
    connected: bool,
    /// Whether this is an IPv6 socket, for which IPv4 addresses must be mapped.
    v6: bool,
    /// Whether the system reports the destination address of datagrams.
    told_local: bool,
    /// Whether the system coalesces datagrams of one size from one address into one message.
    coalesces: bool,
    /// Whether the next call asks for a batch of messages, and not just a few.
    asks_for_many: AtomicBool,
    /// The largest datagrams that may still be sent as segments of one message.
    max_segment: AtomicU16,
}

/// A UDP socket for tasks that wait for it as tokio does.
pub(crate) type SharedUdpSocket = UdpSocket<tokio::net::UdpSocket>;

impl UdpSocket {
    /// Binds to `host` and `port`; port 0 lets the system choose. `host` is as in [`tcp::bind`].
    pub async fn bind(host: &str, port: u16) -> io::Result<Self> {
        tcp::bind_with(host, port, |addr| Self::new(open(addr)?, addr, false)).await
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

    /// The local address of the socket.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.local_addr()
    }

    /// Waits for datagrams, and calls `each` for a batch of them, with the source of each and, if the socket is bound
    /// to all addresses, its destination. Truncates datagrams to `max_len` bytes. IPv4 users of a dual-stack socket
    /// have IPv4 addresses.
    ///
    /// # Errors
    /// A network error that the system reports; the socket stays usable.
    pub fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        max_len: usize,
        mut each: impl FnMut(&[u8], SocketAddr, Option<LocalAddr>),
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.io.poll_readable(cx))?;
            match self.try_recv(max_len, &mut each) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                received => return Poll::Ready(received),
            }
        }
    }

    /// Sends all `datagrams`, and waits for room if there is none. A datagram that the system refuses is skipped, and
    /// counted in `sent`.
    pub fn poll_send(
        &self,
        cx: &mut Context<'_>,
        datagrams: &mut Datagrams,
        sent: &mut Sent,
    ) -> Poll<()> {
        while !datagrams.is_empty() {
            let error = match self.send_some(datagrams.all_bytes(), datagrams.left()) {
                Ok((count, bytes)) => {
                    sent.bytes += bytes;
                    datagrams.skip(count);
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    match ready!(self.io.poll_room(cx)) {
                        Ok(()) => continue,
                        Err(error) => error,
                    }
                }
                Err(error) => error,
            };
            sent.refused += 1;
            sent.error = Some(error);
            datagrams.skip(1);
        }
        Poll::Ready(())
    }

    /// Sends the first `count` of `datagrams` to the peer that the socket is connected to. Does not wait: a datagram
    /// that finds no room is refused as well.
    pub fn send_connected(&self, datagrams: &mut Datagrams, count: usize, sent: &mut Sent) {
        let mut left = count.min(datagrams.len());
        // The first call may return a pending error of an earlier datagram instead of sending.
        let mut is_news = true;
        while left > 0 {
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
}

impl<R: Registered> UdpSocket<R> {
    /// `addr` is the address that `socket` is bound or connected to.
    pub(crate) fn new(socket: Socket, addr: SocketAddr, connected: bool) -> io::Result<Self> {
        // With a single local address, answers can only leave from that one.
        let has_many = !connected && addr.ip().is_unspecified();
        let told_local = has_many && system::tell_local(socket.as_fd(), addr.is_ipv6());
        let coalesces = system::coalesce(socket.as_fd());
        let max_segment = if system::SEGMENTS { u16::MAX } else { 0 };
        Ok(Self {
            io: R::register(socket.into())?,
            connected,
            v6: addr.is_ipv6(),
            told_local,
            coalesces,
            asks_for_many: AtomicBool::new(false),
            max_segment: AtomicU16::new(max_segment),
        })
    }

    /// As [`poll_recv`](Self::poll_recv), without waiting.
    pub(super) fn try_recv(
        &self,
        max_len: usize,
        mut each: impl FnMut(&[u8], SocketAddr, Option<LocalAddr>),
    ) -> io::Result<()> {
        let room = if self.coalesces { COALESCED } else { max_len };
        let told = self.told_local || self.coalesces;
        let asks_for_many = self.asks_for_many.load(Ordering::Relaxed);
        let asked = if asks_for_many { BATCH } else { FEW };
        with_buffer(asked * room, |buffer, arrived| {
            let result = self.io.try_read(|| {
                system::recv(self.io.as_fd(), buffer, room, told, arrived)?;
                if arrived.len() < asked {
                    // No more has arrived. `WouldBlock` tells tokio so without another system call; the next arrival
                    // makes the socket ready again.
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                Ok(())
            });
            let mut datagrams = 0;
            for (message, piece) in arrived.iter().zip(buffer.chunks_exact(room)) {
                let from = tcp::canonical(message.from);
                let mut rest = &piece[..message.len];
                loop {
                    let (payload, after) = rest.split_at(message.segment.min(rest.len()));
                    let payload = &payload[..payload.len().min(max_len)];
                    each(payload, from, message.local);
                    datagrams += 1;
                    rest = after;
                    // An empty datagram is one, too.
                    if rest.is_empty() {
                        break;
                    }
                }
            }
            let for_many = asks_for_many_after(arrived.len(), datagrams);
            if for_many != asks_for_many {
                self.asks_for_many.store(for_many, Ordering::Relaxed);
            }
            match result {
                Err(error) if arrived.is_empty() => Err(error),
                Ok(()) | Err(_) => Ok(()),
            }
        })
    }

    /// Makes one system call for `entries`, whose payloads are in `bytes`. Returns how many datagrams and bytes were
    /// sent; an error is that of the first datagram.
    pub(super) fn send_some(&self, bytes: &[u8], entries: &[Entry]) -> io::Result<(usize, u64)> {
        // The new limit for segments, which applies if these datagrams can be sent one by one.
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
                    // Fits: only lengths that fit a datagram are segmented.
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

    /// How many datagrams at the front can be sent as one message.
    fn run(&self, entries: &[Entry]) -> usize {
        let Entry {
            len, addr, local, ..
        } = entries[0];
        if len == 0 || len > usize::from(self.max_segment.load(Ordering::Relaxed)) {
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

    /// The address in the form that this socket sends to.
    fn reachable(&self, addr: SocketAddr) -> SocketAddr {
        match addr {
            SocketAddr::V4(v4) if self.v6 => (v4.ip().to_ipv6_mapped(), v4.port()).into(),
            SocketAddr::V4(_) | SocketAddr::V6(_) => addr,
        }
    }
}

/// Whether to ask for many messages after a call that has brought so many, with so many datagrams in all. If many came,
/// since a call costs more than to ask for a message that is not there; but not if each was a burst of datagrams: what one
/// call brings has to have room in an [`Outbox`](super::Outbox).
fn asks_for_many_after(messages: usize, datagrams: usize) -> bool {
    let are_bursts = datagrams > messages * (MAX_DATAGRAMS / BATCH);
    messages >= FEW && !are_bursts
}

/// The new limit for segments if `error` comes from sending datagrams of `size` bytes as segments, in which case they
/// can be sent one by one.
fn max_segment_after(size: u16, error: &io::Error) -> Option<u16> {
    match Errno::from_io_error(error)? {
        // Segments too large for the path, or segmentation unknown to the kernel, which the next attempts show. Or the
        // source address no longer exists.
        Errno::INVAL | Errno::MSGSIZE => Some(size.saturating_sub(1)),
        // The network card cannot compute the checksums.
        Errno::IO => Some(0),
        _ => None,
    }
}

pub(super) fn open(addr: SocketAddr) -> io::Result<Socket> {
    tcp::bind_udp(addr, SYSTEM_QUEUE)
}

thread_local! {
    static BUFFER: Cell<(Vec<u8>, Vec<Arrived>)> = const { Cell::new((Vec::new(), Vec::new())) };
}

/// Calls `f` with `len` bytes of the thread's receive buffer, and an empty list.
fn with_buffer<R>(len: usize, f: impl FnOnce(&mut [u8], &mut Vec<Arrived>) -> R) -> R {
    let (mut buffer, mut arrived) = BUFFER.take();
    if buffer.len() < len {
        // The system provides zeroed memory page by page, at first use: space for the largest datagrams costs nothing
        // while there are none. The distance between short datagrams costs no time either (measured with 64 and 1200
        // bytes).
        buffer = vec![0; len];
    }
    arrived.clear();
    let result = f(&mut buffer[..len], &mut arrived);
    BUFFER.set((buffer, arrived));
    result
}
