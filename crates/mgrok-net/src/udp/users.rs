//! The users of one socket, and the connection that carries all their datagrams.
//!
//! One task moves everything, many datagrams per turn: datagrams of users leave as frames in one write, and datagrams
//! from frames reach users with few system calls.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use mgrok_metrics::CounterBy;
use mgrok_proto::udp::Framing;
use tokio::time::{Instant, Sleep, sleep};
use tracing::debug;

use super::{
    DatagramConn, Datagrams, DropReason, Drops, LocalAddr, Metering, Outbox, RecvError, Sent,
    UdpSocket, UserMeter, UserTable,
};
use crate::relay::Traffic;

/// The most rounds of one turn before other tasks get theirs.
const MAX_ROUNDS: usize = 16;

/// How long to pause reading the socket when the system cannot receive.
const RECV_PAUSE: Duration = Duration::from_millis(20);

/// How many users may be answered at a time: four times as many as our clients keep sockets for.
const MAX_USERS: usize = 16_384;

/// How long after a user's last datagram the user may be answered. A NAT keeps its mapping as long (RFC 4787, section
/// 4.3).
const ANSWERABLE_FOR: Duration = Duration::from_secs(300);

/// How a connection ended.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeEnd {
    /// The peer closed it.
    #[error("the other end closed it")]
    Closed,
    /// Reading failed, or the received bytes were not a frame.
    #[error("cannot read from it")]
    Read(#[from] RecvError),
    /// Nothing arrived for this long, not even a ping.
    #[error("nothing came from the other end for {} s", .0.as_secs())]
    Silent(Duration),
    /// Writing failed.
    #[error("cannot write to it")]
    Write(#[source] io::Error),
}

/// All users of one socket. An address becomes a user by writing, and only users are answered: the other end of the
/// connection cannot send datagrams anywhere else. Answers leave from the address that the user has written to.
///
/// Users outlive the connections that carry their datagrams, one at a time.
///
/// Datagrams of users that arrive while there is no connection wait in an [`Outbox`], up to its limits. They are framed
/// as for the last connection, and reframed if the next one needs another framing.
#[derive(Debug)]
pub struct Users<'a> {
    socket: &'a UdpSocket,
    packet_size: usize,
    traffic: &'a Traffic,
    outbox: Outbox,
    /// The users that can be answered.
    table: UserTable<User>,
    /// Counts what single users move.
    metering: Option<&'a dyn Metering>,
    /// Whether any user has had a meter.
    has_meters: bool,
    /// Shows how many users there are.
    gauge: Option<&'a AtomicUsize>,
    /// Whether nobody else is to become a user.
    is_closed: Option<&'a AtomicBool>,
    drops: Drops<DropReason>,
    recv_pause: Option<Pin<Box<Sleep>>>,
}

/// What is known of a user.
#[derive(Debug)]
struct User {
    /// The address that it wrote to.
    asked: Option<LocalAddr>,
    meter: Option<Box<dyn UserMeter>>,
}

impl<'a> Users<'a> {
    /// The users of `socket`. In frp's framings datagrams are truncated to `packet_size` bytes. `traffic` counts
    /// payload.
    pub fn new(socket: &'a UdpSocket, packet_size: usize, traffic: &'a Traffic) -> Self {
        Self {
            socket,
            packet_size,
            traffic,
            // Every datagram fits this framing; the first connection may change it.
            outbox: Outbox::new(Framing::Binary),
            table: UserTable::new(MAX_USERS),
            metering: None,
            has_meters: false,
            gauge: None,
            is_closed: None,
            drops: Drops::default(),
            recv_pause: None,
        }
    }

    /// Makes `gauge` show how many users can be answered.
    pub fn with_gauge(self, gauge: &'a AtomicUsize) -> Self {
        Self {
            gauge: Some(gauge),
            ..self
        }
    }

    /// Has what is dropped added to `counters`, too: about every minute, and at the end.
    pub fn with_drop_counters(mut self, counters: Arc<CounterBy<DropReason>>) -> Self {
        self.drops.count_in(counters);
        self
    }

    /// Takes no new users while `is_closed`.
    pub fn unless_closed(self, is_closed: &'a AtomicBool) -> Self {
        Self {
            is_closed: Some(is_closed),
            ..self
        }
    }

    /// Counts each new user by itself, if `metering` gives a meter for it.
    pub fn with_metering(self, metering: &'a dyn Metering) -> Self {
        Self {
            metering: Some(metering),
            ..self
        }
    }

    /// Waits until a datagram is queued for a connection. Cancel-safe.
    pub async fn datagram(&mut self) {
        poll_fn(|cx| {
            while self.outbox.is_empty() {
                ready!(self.poll_recv(cx));
            }
            Poll::Ready(())
        })
        .await
    }

    /// Drops the queued datagrams because there is no connection for them.
    pub fn turn_away(&mut self) {
        let cleared = self.outbox.clear() as u64;
        self.drops.add(DropReason::Unconnected, cleared);
    }

    /// The counts of dropped datagrams.
    pub fn into_drops(self) -> Drops<DropReason> {
        self.drops
    }

    /// Waits for `event`, and queues datagrams of users meanwhile. As cancel-safe as `event`.
    pub async fn wait_for<T>(&mut self, event: impl Future<Output = T>) -> T {
        let mut event = pin!(event);
        poll_fn(|cx| {
            for _ in 0..MAX_ROUNDS {
                if let Poll::Ready(output) = event.as_mut().poll(cx) {
                    return Poll::Ready(output);
                }
                if self.poll_recv(cx).is_pending() {
                    return Poll::Pending;
                }
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await
    }

    /// Carries datagrams in both directions on `conn` until it ends, or nothing has arrived on it for the time of
    /// `silence`. Not cancel-safe: a frame may have been cut off.
    pub async fn exchange(&mut self, conn: DatagramConn, silence: Duration) -> ExchangeEnd {
        let framing = conn.framing();
        let packet_size = framing.packet_size(self.packet_size);
        let too_long = self.outbox.reframe(framing, packet_size);
        self.drops.add(DropReason::TooLong, too_long);
        let end = self.carry(conn, silence).await;
        self.lose_connection();
        end
    }

    /// Discards the write in progress to a connection whose [exchange](Self::exchange) was cancelled.
    pub fn lose_connection(&mut self) {
        self.outbox.lose_connection();
    }

    async fn carry(&mut self, mut conn: DatagramConn, silence: Duration) -> ExchangeEnd {
        let mut replies = Datagrams::default();
        let mut heard_at = Instant::now();
        let mut check = pin!(sleep(silence));
        poll_fn(|cx| {
            // Checked in each turn, not only in idle ones, so that a flood cannot hide that the peer is silent.
            if let Poll::Ready(end) = self.poll_silence(cx, check.as_mut(), heard_at, silence) {
                return Poll::Ready(end);
            }
            for _ in 0..MAX_ROUNDS {
                let mut idle = self.poll_recv(cx).is_pending();
                if let Poll::Ready(Err(error)) = self.outbox.poll_write(cx, &mut conn) {
                    return Poll::Ready(ExchangeEnd::Write(error));
                }
                if self.poll_reply(cx, &mut replies).is_ready()
                    && let Poll::Ready(received) = conn.poll_recv(cx, &mut replies)
                {
                    idle = false;
                    self.route(&mut replies);
                    // Also sent when the connection has ended: complete frames are delivered.
                    let _ = self.poll_reply(cx, &mut replies);
                    match received {
                        Ok(received) if received.ended => return Poll::Ready(ExchangeEnd::Closed),
                        Ok(received) => self.drops.received(received),
                        Err(error) => return Poll::Ready(error.into()),
                    }
                    heard_at = Instant::now();
                }
                if idle {
                    return Poll::Pending;
                }
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await
    }

    /// Reads one batch from the users into the outbox.
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(pause) = &mut self.recv_pause {
            if pause.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.recv_pause = None;
        }
        let mut bytes = 0;
        let (outbox, table, drops) = (&mut self.outbox, &mut self.table, &mut self.drops);
        let (metering, has_meters) = (self.metering, &mut self.has_meters);
        let packet_size = outbox.framing().packet_size(self.packet_size);
        let mut now = None;
        let mut last = None;
        let mut is_changed = false;
        let is_closed = self.is_closed.is_some_and(|it| it.load(Ordering::Relaxed));
        let each = |payload: &[u8], user, local| {
            if is_closed && table.slot(&user).is_none() {
                drops.add(DropReason::Unconnected, 1);
                return;
            }
            let queued = outbox.push(payload, user);
            match &queued {
                Ok(()) => bytes += payload.len() as u64,
                Err(error) => drops.not_queued(error),
            }
            if last == Some((user, local)) && !*has_meters {
                return;
            }
            let now = *now.get_or_insert_with(Instant::now);
            match table.slot(&user) {
                Some(slot) => {
                    table.wrote(slot, now);
                    if let Some(user) = table.get_mut(slot) {
                        user.asked = local;
                        if let (Some(meter), Ok(())) = (&mut user.meter, &queued) {
                            meter.count_received(payload.len() as u64);
                        }
                    }
                }
                // A dropped datagram gets no answer, so its sender must not displace another user.
                None if queued.is_err() => return,
                None => {
                    let mut meter = metering.and_then(|it| it.meter(user));
                    if let Some(meter) = &mut meter {
                        *has_meters = true;
                        meter.count_received(payload.len() as u64);
                    }
                    table.insert(user, now, |_| User {
                        asked: local,
                        meter,
                    });
                    is_changed = true;
                }
            }
            last = Some((user, local));
        };
        let received = self.socket.poll_recv(cx, packet_size, each);
        self.traffic.received.fetch_add(bytes, Ordering::Relaxed);
        if is_changed {
            self.set_gauge();
        }
        received.map(|result| {
            if let Err(error) = result {
                debug!("cannot receive from users: {error}");
                self.recv_pause = Some(Box::pin(sleep(RECV_PAUSE)));
            }
        })
    }

    fn set_gauge(&self) {
        if let Some(gauge) = self.gauge {
            gauge.store(self.table.len(), Ordering::Relaxed);
        }
    }

    /// Drops the `replies` whose user is not in the table, and sets the source address of the others.
    fn route(&mut self, replies: &mut Datagrams) {
        let now = Instant::now();
        let table = &mut self.table;
        let unsolicited = replies.route(|user| {
            let slot = table.slot(&user)?;
            let wrote_at = table.active_at(slot)?;
            if now.saturating_duration_since(wrote_at) > ANSWERABLE_FOR {
                return None;
            }
            table.answered(slot);
            table.get(slot).map(|user| user.asked)
        });
        self.drops.add(DropReason::Unsolicited, unsolicited);
        if !self.has_meters {
            return;
        }
        for (payload, addr) in replies.iter() {
            let user = table.slot(&addr).and_then(|slot| table.get_mut(slot));
            if let Some(meter) = user.and_then(|user| user.meter.as_mut()) {
                meter.count_sent(payload.len() as u64);
            }
        }
    }

    /// Sends `replies` to the users. Ready when none is left.
    fn poll_reply(&mut self, cx: &mut Context<'_>, replies: &mut Datagrams) -> Poll<()> {
        let mut sent = Sent::default();
        let polled = self.socket.poll_send(cx, replies, &mut sent);
        self.traffic.sent.fetch_add(sent.bytes, Ordering::Relaxed);
        self.drops.add(DropReason::Refused, sent.refused);
        if let Some(error) = sent.error {
            debug!("cannot send to a user: {error}");
        }
        polled
    }

    /// Ready when the peer has been silent for too long. Checks rarely, so that no timer is reset for each datagram.
    fn poll_silence(
        &mut self,
        cx: &mut Context<'_>,
        mut check: Pin<&mut Sleep>,
        heard_at: Instant,
        silence: Duration,
    ) -> Poll<ExchangeEnd> {
        while check.as_mut().poll(cx).is_ready() {
            self.drops.report();
            self.table.drop_idle(ANSWERABLE_FOR, Instant::now());
            self.set_gauge();
            let gone_at = heard_at + silence;
            if gone_at <= Instant::now() {
                return Poll::Ready(ExchangeEnd::Silent(silence));
            }
            check.as_mut().reset(gone_at);
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests;
