//! The rate limit: bytes wait until the rate has room for them.
//!
//! A [`Limiter`] is a token bucket that fills at the rate and holds one second of it. Bytes are taken in small
//! portions; when the bucket is empty, a portion is booked ahead and its connection sleeps until its turn. Bookings are
//! served in order and each direction has at most one, so all connections get their share. A dropped direction returns
//! its booking.

use std::io;
use std::num::NonZeroU64;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::conn::{ByteStream, Conn};

/// How many portions per second one connection gets at the full rate, so that its traffic flows evenly instead of in
/// bursts.
const PORTIONS_PER_SECOND: u64 = 20;

/// The smallest portion, unless a second has fewer bytes: smaller ones would waste packets.
const MIN_PORTION: u64 = 512;

/// The largest portion: as much as one system call moves well.
const MAX_PORTION: u64 = 64 * 1024;

/// The longest that a portion waits. Only an absurd number of connections under an absurdly low limit gets there; the
/// bound keeps the arithmetic from overflowing.
const MAX_WAIT: Duration = Duration::from_secs(24 * 60 * 60);

/// A rate that any number of connections share, both directions together. Clones share the limit.
#[derive(Clone, Debug)]
pub struct Limiter {
    bucket: Arc<Mutex<Bucket>>,
    portion: usize,
}

#[derive(Debug)]
struct Bucket {
    /// Bytes per second, and the most the bucket holds.
    rate: f64,
    /// Bytes that may pass now. If negative, the number of bytes booked ahead.
    level: f64,
    filled_at: Instant,
}

impl Limiter {
    /// A rate of `bytes_per_second`, of which one second's worth may pass at once.
    pub fn new(bytes_per_second: NonZeroU64) -> Self {
        let rate = bytes_per_second.get();
        let portion = (rate / PORTIONS_PER_SECOND)
            .clamp(MIN_PORTION, MAX_PORTION)
            .min(rate);
        let rate = rate as f64;
        Self {
            bucket: Arc::new(Mutex::new(Bucket {
                rate,
                level: rate,
                filled_at: Instant::now(),
            })),
            portion: portion as usize,
        }
    }

    /// Books `bytes` and says when they may pass.
    fn book(&self, bytes: usize) -> Instant {
        let mut bucket = self.bucket();
        let now = Instant::now();
        let elapsed = now.saturating_duration_since(bucket.filled_at);
        bucket.filled_at = now;
        bucket.level = (bucket.level + elapsed.as_secs_f64() * bucket.rate).min(bucket.rate);
        bucket.level -= bytes as f64;
        let wait = (-bucket.level / bucket.rate).clamp(0.0, MAX_WAIT.as_secs_f64());
        now + Duration::from_secs_f64(wait)
    }

    /// Returns booked bytes that will not pass.
    fn give_back(&self, bytes: usize) {
        self.bucket().level += bytes as f64;
    }

    fn bucket(&self) -> MutexGuard<'_, Bucket> {
        // A panic cannot leave these three numbers inconsistent.
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The booking of one direction of a connection.
struct Gate {
    limiter: Limiter,
    /// Bytes that are booked but have not passed.
    booked: usize,
    /// Created at the first wait and reused, since most connections under a limit do wait.
    turn: Option<Pin<Box<Sleep>>>,
}

impl Gate {
    fn new(limiter: Limiter) -> Self {
        Self {
            limiter,
            booked: 0,
            turn: None,
        }
    }

    /// How many of `waiting` bytes may pass now: at least one, at most a portion.
    fn poll_pass(&mut self, cx: &mut Context<'_>, waiting: usize) -> Poll<usize> {
        if self.booked == 0 {
            self.booked = waiting.min(self.limiter.portion);
            let at = self.limiter.book(self.booked);
            if at <= Instant::now() {
                return Poll::Ready(self.settle(waiting));
            }
            match &mut self.turn {
                Some(turn) => turn.as_mut().reset(at),
                None => self.turn = Some(Box::pin(sleep_until(at))),
            }
        }
        if let Some(turn) = &mut self.turn {
            ready!(turn.as_mut().poll(cx));
        }
        Poll::Ready(self.settle(waiting))
    }

    /// Spends the booking. The caller may have fewer bytes now than when it booked.
    fn settle(&mut self, waiting: usize) -> usize {
        let passing = self.booked.min(waiting);
        self.limiter.give_back(self.booked - passing);
        self.booked = 0;
        passing
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        if self.booked > 0 {
            self.limiter.give_back(self.booked);
        }
    }
}

/// A connection whose payload passes a limit.
pub(super) struct Throttle {
    below: Conn,
    entry: Gate,
    exit: Gate,
    /// Received, but not passed yet.
    incoming: Bytes,
    /// Passed, but not yet accepted by the connection below: one portion at most.
    outgoing: Bytes,
}

impl Throttle {
    pub(super) fn new(below: Conn, limiter: Limiter) -> Self {
        Self {
            below,
            entry: Gate::new(limiter.clone()),
            exit: Gate::new(limiter),
            incoming: Bytes::new(),
            outgoing: Bytes::new(),
        }
    }
}

impl ByteStream for Throttle {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        if self.incoming.is_empty() {
            self.incoming = ready!(self.below.poll_recv(cx))?;
            if self.incoming.is_empty() {
                return Poll::Ready(Ok(Bytes::new()));
            }
        }
        let passing = ready!(self.entry.poll_pass(cx, self.incoming.len()));
        Poll::Ready(Ok(self.incoming.split_to(passing)))
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, chunk: &mut Bytes) -> Poll<io::Result<()>> {
        loop {
            ready!(self.below.poll_send(cx, &mut self.outgoing))?;
            if chunk.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let Poll::Ready(passing) = self.exit.poll_pass(cx, chunk.len()) else {
                // Bytes that have passed should not wait for the rest.
                let _not_awaited = self.below.poll_flush(cx)?;
                return Poll::Pending;
            };
            self.outgoing = chunk.split_to(passing);
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.below.poll_send(cx, &mut self.outgoing))?;
        self.below.poll_flush(cx)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.below.poll_send(cx, &mut self.outgoing))?;
        self.below.poll_close(cx)
    }

    fn can_refuse(&self) -> bool {
        self.below.can_refuse()
    }
}

#[cfg(test)]
mod tests;
