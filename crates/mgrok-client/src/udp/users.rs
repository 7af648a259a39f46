//! The users of a UDP proxy, each with its socket to the local service.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::BytesMut;
use mgrok_net::proxy_protocol::{self, Addresses, Transport, Version};
use mgrok_net::relay::Traffic;
use mgrok_net::udp::{Datagrams, Outbox, Sent, UdpSocket, UserTable};
use tokio::time::Instant;
use tracing::{debug, warn};

use super::Terms;
use super::drops::Drops;
use super::ready::{Ready, SlotWaker};

/// The longest time between two looks for idle users.
const MIN_SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// One user's socket.
struct User {
    addr: SocketAddr,
    socket: UdpSocket,
    note: Arc<SlotWaker>,
    /// `note`, as tokio wants it.
    waker: Waker,
    /// Whether the service has been told who this is.
    introduced: bool,
}

/// All users of one work connection.
pub(super) struct Users<'a> {
    service: SocketAddr,
    traffic: &'a Traffic,
    packet_size: usize,
    proxy_protocol: Option<Version>,
    idle: Duration,
    table: UserTable<User>,
    ready: Ready,
    /// Slots to look at in the next turn.
    turn: Vec<usize>,
    /// Whether a failure to make a socket has been logged.
    warned: bool,
    pub(super) drops: Drops,
}

impl<'a> Users<'a> {
    pub(super) fn new(service: SocketAddr, traffic: &'a Traffic, terms: &Terms) -> Self {
        Self {
            service,
            traffic,
            packet_size: terms.packet_size,
            proxy_protocol: terms.proxy_protocol,
            idle: terms.idle,
            table: UserTable::new(terms.max_users),
            ready: Ready::default(),
            turn: Vec::new(),
            warned: false,
            drops: Drops::default(),
        }
    }

    /// Sends all `datagrams` to the local service, each from the socket of its user. It waits for nothing.
    pub(super) fn send(&mut self, datagrams: &mut Datagrams) {
        let now = Instant::now();
        while let Some((addr, mut count)) = datagrams.front_run() {
            let Some(slot) = self.slot(addr, now) else {
                self.drops.no_socket += count as u64;
                datagrams.skip(count);
                continue;
            };
            let Some(user) = self.table.get_mut(slot) else {
                // A slot that was found by its address is taken.
                datagrams.skip(count);
                continue;
            };
            let mut sent = Sent::default();
            if let Some(version) = self.proxy_protocol
                && !user.introduced
            {
                user.introduce(version, self.service, datagrams, &mut sent);
                count -= 1;
            }
            user.socket.send_connected(datagrams, count, &mut sent);
            self.traffic.sent.fetch_add(sent.bytes, Ordering::Relaxed);
            self.drops.refused += sent.refused;
            if let Some(error) = sent.error {
                debug!("cannot send to the local service: {error}");
            }
        }
    }

    /// Takes one batch of replies from each socket that has some into `outbox`. Ready if there were any: then it is to be
    /// called again before the task waits.
    pub(super) fn poll_replies(&mut self, cx: &mut Context<'_>, outbox: &mut Outbox) -> Poll<()> {
        let mut turn = std::mem::take(&mut self.turn);
        self.ready.take(cx, &mut turn);
        // Those that had some may have more. They are asked again when the others have had their turn.
        turn.retain(|&slot| self.poll_socket(slot, outbox).is_ready());
        let polled = if turn.is_empty() {
            Poll::Pending
        } else {
            Poll::Ready(())
        };
        self.turn = turn;
        polled
    }

    /// Closes the sockets of users that have been silent for too long.
    pub(super) fn drop_idle(&mut self) {
        self.table.drop_idle(self.idle, Instant::now());
    }

    /// How long after one [`Users::drop_idle`] the next is due.
    pub(super) fn sweep_interval(&self) -> Duration {
        MIN_SWEEP_INTERVAL.min(self.idle / 2)
    }

    fn poll_socket(&mut self, slot: usize, outbox: &mut Outbox) -> Poll<()> {
        let Some(user) = self.table.get_mut(slot) else {
            return Poll::Pending;
        };
        user.note.rearm();
        let mut bytes = 0;
        let (addr, drops) = (user.addr, &mut self.drops);
        let mut cx = Context::from_waker(&user.waker);
        let received =
            user.socket
                .poll_recv(&mut cx, self.packet_size, |payload, _, _| {
                    match outbox.push(payload, addr) {
                        Ok(()) => bytes += payload.len() as u64,
                        Err(error) => drops.not_queued(&error),
                    }
                });
        self.traffic.received.fetch_add(bytes, Ordering::Relaxed);
        match received {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(())) => {
                self.table.renew(slot, Instant::now());
                self.table.answered(slot);
            }
            Poll::Ready(Err(error)) => {
                debug!(source = %self.service, "local service [{}] error: {error}", self.service);
                if !is_passing(&error) {
                    self.table.remove(slot);
                }
            }
        }
        Poll::Ready(())
    }

    /// The slot of a user; a new one gets its socket now.
    fn slot(&mut self, addr: SocketAddr, now: Instant) -> Option<usize> {
        if let Some(slot) = self.table.slot(&addr) {
            self.table.wrote(slot, now);
            return Some(slot);
        }
        // Before the socket is made, as there may be no descriptor for it otherwise.
        self.table.make_room();
        let socket = match UdpSocket::connected(self.service) {
            Ok(socket) => socket,
            Err(error) => {
                if !std::mem::replace(&mut self.warned, true) {
                    warn!(
                        "cannot open a socket to the local service [{}]: {error}",
                        self.service
                    );
                }
                return None;
            }
        };
        let ready = &self.ready;
        let slot = self.table.insert(addr, now, |slot| {
            let note = ready.waker(slot);
            let waker = Waker::from(note.clone());
            // The first poll tells tokio whom to wake.
            waker.wake_by_ref();
            User {
                addr,
                socket,
                note,
                waker,
                introduced: false,
            }
        });
        Some(slot)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }
}

impl User {
    /// Sends the first of `datagrams` behind a header that says who the user is. If that is refused, the next has to
    /// say it.
    fn introduce(
        &mut self,
        version: Version,
        service: SocketAddr,
        datagrams: &mut Datagrams,
        sent: &mut Sent,
    ) {
        let addresses = Addresses {
            source: self.addr,
            destination: service,
        };
        let mut bytes = BytesMut::new();
        proxy_protocol::encode(version, Transport::Udp, &addresses, &mut bytes);
        let header_len = bytes.len();
        if let Some((payload, _)) = datagrams.iter().next() {
            bytes.extend_from_slice(payload);
        }
        datagrams.skip(1);
        let mut first = Datagrams::default();
        first.push(&bytes, service);
        self.socket.send_connected(&mut first, 1, sent);
        self.introduced = sent.refused == 0;
        if self.introduced {
            // What counts is the user's.
            sent.bytes -= header_len as u64;
        }
    }
}

/// Whether a socket is good for more after this: the service may be restarting, or a route changing.
fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkDown
            | io::ErrorKind::NetworkUnreachable
    )
}
