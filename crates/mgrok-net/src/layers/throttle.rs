//! The limit: bytes wait until the rate has room for them.
//!
//! A [`Limiter`] is a bucket that fills at the rate and holds one second of it. Bytes are taken in
//! small portions; when the bucket is empty a portion is booked ahead and its connection sleeps until
//! its turn. Bookings are served in the order they were made and each direction has one at a time, so
//! all connections get their share. Whoever stops waiting returns what it has booked.

use std::io;
use std::num::NonZeroU64;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::conn::{ByteStream, Conn};

/// Portions per second that a single connection is served: its traffic should flow, not gush.
const PORTIONS_PER_SECOND: u64 = 20;

/// The least portion, unless a second has fewer bytes: one for each byte would waste packets.
const MIN_PORTION: u64 = 512;

/// The largest portion: what is worth one system call.
const MAX_PORTION: u64 = 64 * 1024;

/// The longest that a portion waits. Only an absurd number of connections under an absurdly low limit
/// gets here; it keeps the arithmetic in bounds.
const MAX_WAIT: Duration = Duration::from_secs(24 * 60 * 60);

/// A rate that any number of connections share, both directions of them together. Clones are the
/// same limit.
#[derive(Clone, Debug)]
pub struct Limiter {
    bucket: Arc<Mutex<Bucket>>,
    portion: usize,
}

#[derive(Debug)]
struct Bucket {
    /// Bytes per second, and the most the bucket holds.
    rate: f64,
    /// Bytes that may pass now; below zero, what is booked ahead.
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

    /// Returns bytes that were booked and will not pass.
    fn give_back(&self, bytes: usize) {
        self.bucket().level += bytes as f64;
    }

    fn bucket(&self) -> MutexGuard<'_, Bucket> {
        // Three numbers are never left half-written.
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one direction of one connection has booked.
struct Gate {
    limiter: Limiter,
    /// Bytes booked and not passed.
    booked: usize,
    /// Made at the first wait and used again: most connections under a limit do wait.
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

    /// Spends what is booked. The caller may have come back with fewer bytes.
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
    /// Arrived, and waiting for its turn.
    incoming: Bytes,
    /// Passed, and waiting for room in the connection below: one portion at most.
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
                // What has passed should not wait for what has not.
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
}

#[cfg(test)]
mod tests;
