//! The users of a UDP proxy, each with its socket to the local service.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::BytesMut;
use mgrok_net::proxy_protocol::{self, Addresses, TransportProtocol, Version};
use mgrok_net::udp::{Datagrams, Drops, Outbox, Sent, UdpSocket, UserTable};
use tokio::time::Instant;
use tracing::{debug, warn};

use super::options::UdpOptions;
use super::ready::{Ready, SlotWaker};
use super::service::{Service, ServiceAddr};
use crate::metrics::DropReason;
use crate::users::{ProxyUsers, UdpUser};

/// The shortest time between two sweeps for idle users.
const MIN_SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// How many datagrams of new users, and how many bytes of them, wait while the service's name is looked up.
const MAX_HELD: usize = 256;
const MAX_HELD_BYTES: usize = 256 * 1024;

/// One user's socket.
struct User {
    addr: SocketAddr,
    /// What the socket is connected to.
    service: SocketAddr,
    socket: UdpSocket,
    note: Arc<SlotWaker>,
    /// `note`, as tokio wants it.
    waker: Waker,
    /// Whether the PROXY protocol header was sent.
    introduced: bool,
    counted: UdpUser,
}

/// Whether a user has a socket.
enum Slot {
    /// It has none, because the service's name cannot be looked up.
    NoService,
    /// It has none, because the system gives none.
    NoSocket,
    /// It has the one in this slot.
    Taken(usize),
    /// It will have one when it is known where the service is.
    Unknown,
}

/// All users of one work connection.
pub(super) struct LocalSockets<'a> {
    service: Service,
    /// What new users have sent while it is not known where the service is.
    held: Datagrams,
    held_bytes: usize,
    users: &'a Arc<ProxyUsers>,
    packet_size: usize,
    proxy_protocol: Option<Version>,
    idle: Duration,
    table: UserTable<User>,
    ready: Ready,
    /// Slots to look at in the next turn, in this order.
    turn: Vec<usize>,
    /// Whether a failure to make a socket has been logged.
    warned: bool,
    pub(super) drops: Drops<DropReason>,
}

impl<'a> LocalSockets<'a> {
    pub(super) fn new(service: Service, users: &'a Arc<ProxyUsers>, options: &UdpOptions) -> Self {
        Self {
            service,
            held: Datagrams::default(),
            held_bytes: 0,
            users,
            packet_size: options.packet_size,
            proxy_protocol: options.proxy_protocol,
            idle: options.idle,
            table: UserTable::new(options.max_users),
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
            let slot = match self.slot(addr, now) {
                Slot::Taken(slot) => slot,
                Slot::Unknown => {
                    self.hold(datagrams, count);
                    continue;
                }
                Slot::NoSocket => {
                    self.drops.add(DropReason::NoSocket, count as u64);
                    datagrams.skip(count);
                    continue;
                }
                Slot::NoService => {
                    self.drops.add(DropReason::Unresolved, count as u64);
                    datagrams.skip(count);
                    continue;
                }
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
                user.introduce(version, datagrams, &mut sent);
                count -= 1;
            }
            user.socket.send_connected(datagrams, count, &mut sent);
            user.counted.count_received(sent.bytes);
            let received = &self.users.datagrams().received;
            received.fetch_add(sent.bytes, Ordering::Relaxed);
            self.drops.add(DropReason::Refused, sent.refused);
            if let Some(error) = sent.error {
                debug!("cannot send to the local service: {error}");
            }
        }
    }

    /// Takes one batch of replies from each socket that has some into `outbox`. If `outbox` can be written, it is not
    /// filled beyond that: the others have their turn afterwards. Otherwise what it has no room for is dropped. To be
    /// called again before the task waits, if there are [more](Self::has_replies).
    pub(super) fn poll_replies(
        &mut self,
        cx: &mut Context<'_>,
        outbox: &mut Outbox,
        can_be_written: bool,
    ) {
        let mut turn = std::mem::take(&mut self.turn);
        self.ready.take(cx, &mut turn);
        let (mut asked, mut kept) = (0, 0);
        while asked < turn.len() && (outbox.has_room() || !can_be_written) {
            let slot = turn[asked];
            asked += 1;
            if self.poll_socket(slot, outbox).is_ready() {
                turn[kept] = slot;
                kept += 1;
            }
        }
        // Those that had some may have more. They are asked again when the others have had their turn.
        turn.drain(kept..asked);
        turn.rotate_left(kept);
        self.turn = turn;
    }

    /// Whether a socket may have replies that were not taken yet.
    pub(super) fn has_replies(&self) -> bool {
        !self.turn.is_empty()
    }

    /// Goes on with looking up where the service is, if that is wanted. Ready if it became known: then what waited for it has been sent.
    pub(super) fn poll_service(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        ready!(self.service.poll(cx));
        let mut held = std::mem::take(&mut self.held);
        self.held_bytes = 0;
        self.send(&mut held);
        Poll::Ready(())
    }

    /// Closes the sockets of users that have been silent for too long. The others follow their service to where its name leads by
    /// now.
    pub(super) fn drop_idle(&mut self) {
        let now = Instant::now();
        if !self.table.is_empty() {
            self.service.refresh(now);
        }
        self.table.drop_idle(self.idle, now);
    }

    /// How long after one [`LocalSockets::drop_idle`] the next is due.
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
        user.counted.count_sent(bytes);
        let sent = &self.users.datagrams().sent;
        sent.fetch_add(bytes, Ordering::Relaxed);
        match received {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(())) => {
                self.table.renew(slot, Instant::now());
                self.table.answered(slot);
            }
            Poll::Ready(Err(error)) => {
                debug!(source = %user.service, "local service [{}] error: {error}", user.service);
                if !is_passing(&error) {
                    self.table.remove(slot);
                }
            }
        }
        Poll::Ready(())
    }

    /// The slot of a user; a new one gets its socket now, and so does one whose service has moved.
    fn slot(&mut self, addr: SocketAddr, now: Instant) -> Slot {
        if let Some(slot) = self.table.slot(&addr) {
            let user = self.table.get_mut(slot);
            if user.is_some_and(|user| self.service.is_at(user.service)) {
                self.table.wrote(slot, now);
                return Slot::Taken(slot);
            }
            self.table.remove(slot);
        }
        let service = match self.service.addr(now) {
            ServiceAddr::At(service) => service,
            ServiceAddr::Unresolvable => return Slot::NoService,
            ServiceAddr::Pending => return Slot::Unknown,
        };
        // Before the socket is made, as there may be no descriptor for it otherwise.
        self.table.make_room();
        let socket = match UdpSocket::connected(service) {
            Ok(socket) => socket,
            Err(error) => {
                if !std::mem::replace(&mut self.warned, true) {
                    warn!("cannot open a socket to the local service [{service}]: {error}");
                }
                return Slot::NoSocket;
            }
        };
        let (ready, users) = (&self.ready, self.users);
        let slot = self.table.insert(addr, now, |slot| {
            let note = ready.waker(slot);
            let waker = Waker::from(note.clone());
            // The first poll registers the waker.
            waker.wake_by_ref();
            User {
                addr,
                service,
                socket,
                note,
                waker,
                introduced: false,
                counted: users.enter_udp(addr),
            }
        });
        Slot::Taken(slot)
    }

    /// Keeps the first `count` of `datagrams` until it is known where the service is.
    fn hold(&mut self, datagrams: &mut Datagrams, count: usize) {
        for (payload, addr) in datagrams.iter().take(count) {
            if self.held.len() < MAX_HELD && self.held_bytes + payload.len() <= MAX_HELD_BYTES {
                self.held.push(payload, addr);
                self.held_bytes += payload.len();
            } else {
                self.drops.add(DropReason::Unresolved, 1);
            }
        }
        datagrams.skip(count);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }
}

impl User {
    /// Sends the first of `datagrams` behind a header that says who the user is. If that is refused, the next has to
    /// say it.
    fn introduce(&mut self, version: Version, datagrams: &mut Datagrams, sent: &mut Sent) {
        let addresses = Addresses {
            source: self.addr,
            destination: self.service,
        };
        let mut bytes = BytesMut::new();
        proxy_protocol::encode(version, TransportProtocol::Udp, &addresses, &mut bytes);
        let header_len = bytes.len();
        if let Some((payload, _)) = datagrams.iter().next() {
            bytes.extend_from_slice(payload);
        }
        datagrams.skip(1);
        let mut first = Datagrams::default();
        first.push(&bytes, self.service);
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A proxy has up to 4,096 users with a socket each. Beside this a user costs a slot of the table and the socket's registration with
    /// tokio, and no task.
    #[test]
    fn a_user_is_small() {
        let size = size_of::<User>() + size_of::<SlotWaker>();
        assert!(size <= 192, "{size} bytes");
    }
}
