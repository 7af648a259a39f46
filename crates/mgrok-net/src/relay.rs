//! Copies between two connections; no other code does.
//!
//! One task drives both directions. Each direction is a small state machine (`copy::Direction`) that moves chunks and
//! passes the end of its source on to its target; where both are plain sockets, it makes the kernel move the bytes.
//! Only this module decides what the end of one direction means for the other.

mod copy;
mod failure;
#[cfg_attr(not(target_os = "linux"), path = "relay/no_splice.rs")]
mod splice;

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::AtomicU64;
use std::task::{Context, Poll};
use std::time::Duration;

use mgrok_metrics::labels;
use mgrok_proto::Negotiated;
use tokio::task::coop;
use tokio::time::{Instant, Sleep, sleep};

use crate::conn::{ByteStream, Conn};
use copy::Direction;
use failure::Failure;

/// How long one direction may go on when the other has failed, or has ended and [`HalfClose::EndsBoth`] applies. A reply
/// that is in flight arrives within this time. Without it, closing a socket that still receives would reset the
/// connection and destroy the reply.
pub const LINGER: Duration = Duration::from_secs(1);

/// How many checks an idle timeout is divided into. The relay ends after this many checks in a row without a moved
/// byte, so it lasts at most a fourth longer than the timeout.
const CHECKS: u32 = 4;

/// Counts bytes as they move. Several relays may share one.
#[derive(Debug, Default)]
pub struct Traffic {
    /// From the work connection to the user.
    pub sent: AtomicU64,
    /// From the user to the work connection.
    pub received: AtomicU64,
}

/// The effect of the end of one direction on the other.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum HalfClose {
    /// None: the other direction goes on until it ends too, however long that takes.
    Carried,
    /// The other direction has to finish within [`LINGER`].
    // frp: closes both directions of both connections at the first end of file (golib io/io.go#Join),
    // so nothing useful can follow.
    EndsBoth,
}

impl From<Negotiated> for HalfClose {
    fn from(negotiated: Negotiated) -> Self {
        match negotiated.half_close {
            true => Self::Carried,
            // The peer would not pass the end of one direction on.
            false => Self::EndsBoth,
        }
    }
}

/// One of the two connections of a relay.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Leg {
    /// The connection to the user or, on the client, to the local service.
    Outside,
    /// The work connection or visitor connection.
    Tunnel,
}

labels! {
    /// How the bytes of a relay were moved.
    pub enum RelayPath {
        /// Through this program, without what is below.
        Copy = "copy",
        /// Through this program and [layers](crate::layers).
        Layers = "layers",
        /// Through this program, to or from a bare stream of a multiplexed connection.
        Mux = "mux",
        /// By the kernel, for a part at least.
        Splice = "splice",
    }
}

/// What a relay did.
#[derive(Debug)]
pub struct RelayEnd {
    /// Bytes that were sent to the user.
    pub sent: u64,
    /// Bytes that were sent to the work connection.
    pub received: u64,
    /// How they were moved.
    pub path: RelayPath,
    /// Why the relay ended.
    pub reason: EndReason,
}

/// Why a relay ended.
#[derive(Debug)]
pub enum EndReason {
    /// Both directions ended.
    Closed,
    /// This leg ended, and the other was still sending after [`LINGER`].
    Cut(Leg),
    /// Nothing moved for as long as [`Relay::with_idle_timeout`] allows.
    Idle,
    /// A leg failed, which ended both directions.
    Failed {
        /// The one that failed.
        leg: Leg,
        /// What the operating system or a layer said.
        error: io::Error,
    },
}

/// Copies in both directions between `user` and `work` until both directions have ended, as `half_close` says, or one
/// of the legs fails.
///
/// `traffic` counts the bytes while they move. Dropping the future closes both connections at once.
pub fn relay(user: Conn, work: Conn, half_close: HalfClose, traffic: &Traffic) -> Relay<'_> {
    Relay::new(user, work, half_close, traffic)
}

/// The future of [`relay`].
#[must_use = "a relay does nothing unless it is awaited"]
pub struct Relay<'a> {
    user: Conn,
    work: Conn,
    half_close: HalfClose,
    traffic: &'a Traffic,
    /// From the work connection to the user.
    sending: Direction,
    /// From the user to the work connection.
    receiving: Direction,
    /// The failure that ends the relay, if one does.
    failed: Option<(Leg, io::Error)>,
    /// The source that ended first.
    ended: Option<Leg>,
    /// Runs once the end of both directions is decided.
    linger: Option<Pin<Box<Sleep>>>,
    /// How long `linger` runs. In milliseconds, so that it costs an idle connection no memory.
    linger_millis: u32,
    /// Boxed: most relays have none.
    idle: Option<Box<Idle>>,
    /// The user is behind the work connection.
    is_turned_round: bool,
}

/// Checks from time to time whether bytes have moved, so that moving them costs nothing extra.
struct Idle {
    interval: Duration,
    timer: Pin<Box<Sleep>>,
    /// The number of bytes moved at the last check.
    moved: u64,
    /// How many checks in a row found no moved byte.
    quiet_checks: u32,
}

impl<'a> Relay<'a> {
    fn new(user: Conn, work: Conn, half_close: HalfClose, traffic: &'a Traffic) -> Self {
        Self {
            user,
            work,
            half_close,
            traffic,
            sending: Direction::default(),
            receiving: Direction::default(),
            failed: None,
            ended: None,
            linger: None,
            linger_millis: millis(LINGER),
            idle: None,
            is_turned_round: false,
        }
    }

    /// Sets how long one direction may go on when the end of both is decided, in place of [`LINGER`]. Rounded down to
    /// milliseconds.
    #[cfg(test)]
    fn with_linger(mut self, linger: Duration) -> Self {
        self.linger_millis = millis(linger);
        self
    }

    /// Has the counters count as the user sees it who is behind the work connection, on a client whose other leg is the local service:
    /// [`Traffic::sent`] is what comes from there. What the relay comes to keeps its sides.
    pub fn turned_round(self) -> Self {
        Self {
            is_turned_round: true,
            ..self
        }
    }

    /// Ends the relay when no byte has moved in either direction, copied or spliced, for `timeout` or up to a fourth
    /// longer. `None`: the relay lasts as long as its connections.
    pub fn with_idle_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.idle = timeout.map(|timeout| {
            let interval = timeout / CHECKS;
            Box::new(Idle {
                interval,
                timer: Box::pin(sleep(interval)),
                moved: 0,
                quiet_checks: 0,
            })
        });
        self
    }

    /// Ready once nothing has moved for too long.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(idle) = &mut self.idle else {
            return Poll::Pending;
        };
        while idle.timer.as_mut().poll(cx).is_ready() {
            // A late timer counts as one check only: a program that was suspended has not seen the relay idle.
            let moved = self.sending.moved() + self.receiving.moved();
            idle.quiet_checks = match moved == idle.moved {
                true => idle.quiet_checks + 1,
                false => 0,
            };
            idle.moved = moved;
            if idle.quiet_checks >= CHECKS {
                return Poll::Ready(());
            }
            idle.timer.as_mut().reset(Instant::now() + idle.interval);
        }
        Poll::Pending
    }

    /// Moves all bytes that can be moved. The directions take turns, chunk by chunk, so that neither uses up the task's
    /// budget.
    fn move_bytes(&mut self, cx: &mut Context<'_>) {
        let (mut sending, mut receiving) = (true, true);
        while sending || receiving {
            let Poll::Ready(budget) = coop::poll_proceed(cx) else {
                return;
            };
            budget.made_progress();
            if receiving {
                receiving = self.step(Leg::Outside, cx);
            }
            if sending {
                sending = self.step(Leg::Tunnel, cx);
            }
        }
    }

    /// Takes one step in the direction that comes from `source`; returns whether another step is worth trying.
    fn step(&mut self, source: Leg, cx: &mut Context<'_>) -> bool {
        let Traffic { sent, received } = self.traffic;
        let counter = match (source, self.is_turned_round) {
            (Leg::Outside, false) | (Leg::Tunnel, true) => received,
            (Leg::Tunnel, false) | (Leg::Outside, true) => sent,
        };
        let stepped = match source {
            Leg::Outside => self
                .receiving
                .poll_step(&mut self.user, &mut self.work, counter, cx),
            Leg::Tunnel => self
                .sending
                .poll_step(&mut self.work, &mut self.user, counter, cx),
        };
        match stepped {
            Poll::Pending => false,
            Poll::Ready(Ok(())) => {
                if self.direction(source).is_over() {
                    self.source_ended(source);
                }
                !self.direction(source).is_over()
            }
            Poll::Ready(Err(Failure::Read(error))) => {
                // A leg that cannot be read cannot be written either.
                match source {
                    Leg::Outside => self.direction(Leg::Tunnel).abandon(),
                    // A service that refuses an upload answers and resets. The user must see the whole answer; a reset
                    // for unread bytes would destroy it.
                    Leg::Tunnel => {
                        self.sending.close_target();
                        self.receiving.drain();
                    }
                }
                self.leg_failed(source, error);
                true
            }
            Poll::Ready(Err(Failure::Write(error))) => {
                self.leg_failed(source.other(), error);
                true
            }
        }
    }

    /// Whether the direction from `source` has ended, or what still comes from there is for nobody and may be refused at once. Left
    /// unread, it would take up room that the other streams of the connection need.
    fn is_done(&mut self, source: Leg) -> bool {
        let can_refuse = match source {
            Leg::Outside => self.user.can_refuse(),
            Leg::Tunnel => self.work.can_refuse(),
        };
        let direction = self.direction(source);
        direction.is_over() || (direction.is_draining() && can_refuse)
    }

    fn source_ended(&mut self, source: Leg) {
        if self.ended.is_none() {
            self.ended = Some(source);
            if self.half_close == HalfClose::EndsBoth {
                self.start_linger();
            }
        }
    }

    fn leg_failed(&mut self, leg: Leg, error: io::Error) {
        // Failures after the end is decided are its consequences.
        if self.linger.is_none() {
            self.failed = Some((leg, error));
            self.start_linger();
        }
    }

    fn start_linger(&mut self) {
        let linger = Duration::from_millis(self.linger_millis.into());
        self.linger.get_or_insert_with(|| Box::pin(sleep(linger)));
    }

    /// Ready once the linger time has passed.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.linger {
            Some(linger) => linger.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }

    fn direction(&mut self, source: Leg) -> &mut Direction {
        match source {
            Leg::Outside => &mut self.receiving,
            Leg::Tunnel => &mut self.sending,
        }
    }

    fn path(&self) -> RelayPath {
        if self.sending.has_spliced() || self.receiving.has_spliced() {
            RelayPath::Splice
        } else if self.work.is_layered() || self.user.is_layered() {
            RelayPath::Layers
        } else if self.work.is_multiplexed() || self.user.is_multiplexed() {
            RelayPath::Mux
        } else {
            RelayPath::Copy
        }
    }

    fn end(&mut self, reason: EndReason) -> RelayEnd {
        RelayEnd {
            sent: self.sending.moved(),
            received: self.receiving.moved(),
            path: self.path(),
            reason: match self.failed.take() {
                Some((leg, error)) => EndReason::Failed { leg, error },
                None => reason,
            },
        }
    }
}

impl Future for Relay<'_> {
    type Output = RelayEnd;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<RelayEnd> {
        let relay = &mut *self;
        // Timers come before the bytes: a source that floods the relay uses up the task's budget, and timers need some
        // of it.
        if relay.poll_linger(cx).is_ready() {
            let reason = relay.ended.map_or(EndReason::Closed, EndReason::Cut);
            return Poll::Ready(relay.end(reason));
        }
        if relay.poll_idle(cx).is_ready() {
            return Poll::Ready(relay.end(EndReason::Idle));
        }
        let was_lingering = relay.linger.is_some();
        relay.move_bytes(cx);
        if relay.is_done(Leg::Outside) && relay.is_done(Leg::Tunnel) {
            return Poll::Ready(relay.end(EndReason::Closed));
        }
        if !was_lingering && relay.poll_linger(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

fn millis(duration: Duration) -> u32 {
    duration.as_millis().try_into().unwrap_or(u32::MAX)
}

impl Leg {
    fn other(self) -> Self {
        match self {
            Self::Outside => Self::Tunnel,
            Self::Tunnel => Self::Outside,
        }
    }
}

impl fmt::Display for Leg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Outside => "connection of the user or local service",
            Self::Tunnel => "work connection",
        })
    }
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("both directions ended"),
            Self::Cut(leg) => write!(f, "the {leg} ended"),
            Self::Idle => f.write_str("nothing moved for as long as is allowed"),
            Self::Failed { leg, error } => write!(f, "the {leg} failed: {error}"),
        }
    }
}

#[cfg(test)]
mod tests;
