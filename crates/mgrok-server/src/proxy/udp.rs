//! A UDP port for users: all their datagrams, on one work connection.
//!
//! One task moves everything, many datagrams at a turn: what users sent goes as frames in one write, and what frames
//! brought goes to users in few system calls. While there is no work connection datagrams wait in
//! the outbox, so that the first ones are not lost.

mod drops;
#[cfg(test)]
mod tests;

use std::{
    error::Error,
    future::{Future, poll_fn},
    io,
    pin::{Pin, pin},
    sync::atomic::Ordering,
    task::{Context, Poll},
    time::Duration,
};

use mgrok_net::{
    conn::Conn,
    relay::Traffic,
    udp::{Datagrams, Inbox, InboxError, Outbox, Sent, UdpSocket},
};
use mgrok_proto::WireVersion;
use tokio::time::{Instant, Sleep, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::error::chain;

use self::drops::Drops;

/// How often one turn goes round before other tasks get theirs.
const MAX_ROUNDS: usize = 16;

/// How long the socket is left alone when the system cannot receive.
const RECV_PAUSE: Duration = Duration::from_millis(20);

/// The pace of a proxy's work connections.
#[derive(Clone, Copy, Debug)]
struct Pace {
    /// How long after the start the first one is asked for.
    first: Duration,
    /// The least time from one to the next.
    pause: Duration,
    /// After so much silence of the client one is given up.
    silence: Duration,
}

impl Pace {
    // frp: the same (server/proxy/udp.go#Run). Its client closes a work connection that overtakes
    // the answer that the proxy has started, hence the wait; and it says something every 30 s.
    const FRP: Self = Self {
        first: Duration::from_millis(500),
        pause: Duration::from_secs(1),
        silence: Duration::from_secs(60),
    };
}

/// How a work connection came to its end.
#[derive(Debug, thiserror::Error)]
enum WorkEnd {
    #[error("the client closed it")]
    Closed,
    #[error("cannot read from it")]
    Read(#[from] InboxError),
    #[error("nothing came from the client for {} s", .0.as_secs())]
    Silent(Duration),
    #[error("cannot write to it")]
    Write(#[source] io::Error),
}

/// Serves users until `stop`, and returns what was dropped. `open` gets a work connection; datagrams of up to
/// `packet_size` bytes are carried whole, longer ones are cut.
pub(super) async fn run<E: Error, F: Future<Output = Result<Conn, E>>>(
    socket: &UdpSocket,
    open: impl Fn() -> F,
    wire: WireVersion,
    packet_size: usize,
    traffic: &Traffic,
    stop: CancellationToken,
) -> Drops {
    run_at(Pace::FRP, socket, open, wire, packet_size, traffic, stop).await
}

async fn run_at<E: Error, F: Future<Output = Result<Conn, E>>>(
    pace: Pace,
    socket: &UdpSocket,
    open: impl Fn() -> F,
    wire: WireVersion,
    packet_size: usize,
    traffic: &Traffic,
    stop: CancellationToken,
) -> Drops {
    let mut users = Users {
        socket,
        packet_size,
        traffic,
        outbox: Outbox::new(wire),
        drops: Drops::default(),
        recv_pause: None,
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = serve(&mut users, pace, open, wire) => {}
    }
    users.drops.report();
    users.drops
}

/// Keeps one work connection, for ever.
async fn serve<E: Error, F: Future<Output = Result<Conn, E>>>(
    users: &mut Users<'_>,
    pace: Pace,
    open: impl Fn() -> F,
    wire: WireVersion,
) {
    users.wait_for(sleep(pace.first)).await;
    let mut failed_before = false;
    loop {
        let next = Instant::now() + pace.pause;
        match users.wait_for(open()).await {
            Ok(conn) => {
                failed_before = false;
                let end = users.exchange(conn, wire, pace.silence).await;
                users.outbox.lose_connection();
                debug!("work connection ended: {}", chain(&end));
            }
            Err(error) if failed_before => {
                debug!("still no work connection: {}", chain(&error));
            }
            Err(error) => {
                failed_before = true;
                warn!("failed to get work connection: {}", chain(&error));
            }
        }
        users.wait_for(sleep_until(next)).await;
    }
}

/// The users' side, which outlives work connections.
struct Users<'a> {
    socket: &'a UdpSocket,
    packet_size: usize,
    traffic: &'a Traffic,
    outbox: Outbox,
    drops: Drops,
    recv_pause: Option<Pin<Box<Sleep>>>,
}

impl Users<'_> {
    /// Waits for `event`, and holds what users send meanwhile.
    async fn wait_for<T>(&mut self, event: impl Future<Output = T>) -> T {
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

    /// Carries datagrams both ways until `work` comes to its end.
    async fn exchange(&mut self, mut work: Conn, wire: WireVersion, silence: Duration) -> WorkEnd {
        let mut inbox = Inbox::new(wire);
        let mut replies = Datagrams::default();
        let mut heard_at = Instant::now();
        let mut check = pin!(sleep(silence));
        poll_fn(|cx| {
            for _ in 0..MAX_ROUNDS {
                let mut idle = self.poll_recv(cx).is_pending();
                if let Poll::Ready(Err(error)) = self.outbox.poll_write(cx, &mut work) {
                    return Poll::Ready(WorkEnd::Write(error));
                }
                if self.poll_reply(cx, &mut replies).is_ready()
                    && let Poll::Ready(received) = inbox.poll_recv(cx, &mut work, &mut replies)
                {
                    idle = false;
                    // Also before an end: what arrived whole is delivered.
                    let _ = self.poll_reply(cx, &mut replies);
                    match received {
                        Ok(received) if received.ended => return Poll::Ready(WorkEnd::Closed),
                        Ok(received) => self.drops.unaddressed += received.unaddressed,
                        Err(error) => return Poll::Ready(error.into()),
                    }
                    heard_at = Instant::now();
                }
                if idle {
                    return self.poll_silence(cx, check.as_mut(), heard_at, silence);
                }
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await
    }

    /// Takes one batch from the users into the outbox.
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(pause) = &mut self.recv_pause {
            if pause.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.recv_pause = None;
        }
        let mut bytes = 0;
        let (outbox, drops) = (&mut self.outbox, &mut self.drops);
        let received = self
            .socket
            .poll_recv(cx, self.packet_size, |payload, user| {
                match outbox.push(payload, user) {
                    Ok(()) => bytes += payload.len() as u64,
                    Err(error) => drops.not_queued(&error),
                }
            });
        self.traffic.received.fetch_add(bytes, Ordering::Relaxed);
        received.map(|result| {
            if let Err(error) = result {
                debug!("cannot receive from users: {error}");
                self.recv_pause = Some(Box::pin(sleep(RECV_PAUSE)));
            }
        })
    }

    /// Sends `replies` to the users. Ready when none is left.
    fn poll_reply(&mut self, cx: &mut Context<'_>, replies: &mut Datagrams) -> Poll<()> {
        let mut sent = Sent::default();
        let polled = self.socket.poll_send(cx, replies, &mut sent);
        self.traffic.sent.fetch_add(sent.bytes, Ordering::Relaxed);
        self.drops.refused += sent.refused;
        if let Some(error) = sent.error {
            debug!("cannot send to a user: {error}");
        }
        polled
    }

    /// Ready when the client has been silent for too long. Looks rarely: nothing is set anew for each datagram.
    fn poll_silence(
        &mut self,
        cx: &mut Context<'_>,
        mut check: Pin<&mut Sleep>,
        heard_at: Instant,
        silence: Duration,
    ) -> Poll<WorkEnd> {
        while check.as_mut().poll(cx).is_ready() {
            self.drops.report();
            let gone_at = heard_at + silence;
            if gone_at <= Instant::now() {
                return Poll::Ready(WorkEnd::Silent(silence));
            }
            check.as_mut().reset(gone_at);
        }
        Poll::Pending
    }
}
