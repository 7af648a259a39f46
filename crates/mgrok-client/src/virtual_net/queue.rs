//! Packets that wait to be sent on one connection.

use std::future::poll_fn;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::timeout;

use super::framing;

/// The most bytes that wait: less than a network card keeps, because the connection has windows of its own.
const MAX_BYTES: usize = 256 * 1024;

/// How long the device waits for a connection whose queue is full. The system's own connections notice that and slow down, where each
/// packet that is dropped would be sent again; but other clients wait as well.
const PATIENCE: Duration = Duration::from_millis(10);

/// Framed packets, in the order of their coming. The system's side puts them in, the connection takes all at once.
#[derive(Debug, Default)]
pub(super) struct Queue(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    bytes: BytesMut,
    is_closed: bool,
    /// Somebody has waited for room in vain, and nothing was taken since.
    is_stalled: bool,
    /// Whom to wake when there is something.
    taker: Option<Waker>,
    /// Whom to wake when there is room: the one task that reads the device.
    reader: Option<Waker>,
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pushed {
    /// It waits to be sent.
    Queued,
    /// There is no room, but may soon be.
    Full,
    /// Nobody will send it.
    Lost,
}

impl Queue {
    /// Adds a packet, if there is room and somebody who sends it.
    pub(super) fn push(&self, packet: &[u8]) -> Pushed {
        let mut state = self.lock();
        let length = framing::HEADER + packet.len();
        if state.is_closed {
            return Pushed::Lost;
        }
        if state.bytes.len() + length > MAX_BYTES {
            return match state.is_stalled {
                true => Pushed::Lost,
                false => Pushed::Full,
            };
        }
        framing::put(packet, &mut state.bytes);
        let taker = state.taker.take();
        drop(state);
        wake(taker);
        Pushed::Queued
    }

    /// Waits until something was taken out, or for [`PATIENCE`], after which nobody waits until then. Cancel-safe.
    pub(super) async fn room(&self) {
        let taken = poll_fn(|cx| {
            let mut state = self.lock();
            if state.is_closed || state.bytes.is_empty() {
                return Poll::Ready(());
            }
            state.reader = Some(cx.waker().clone());
            Poll::Pending
        });
        if timeout(PATIENCE, taken).await.is_err() {
            self.lock().is_stalled = true;
        }
    }

    /// All that waits; empty once the queue is closed. Only the last task that asked is woken.
    pub(super) fn poll_take(&self, cx: &Context<'_>) -> Poll<Bytes> {
        let mut state = self.lock();
        if state.is_closed {
            Poll::Ready(Bytes::new())
        } else if state.bytes.is_empty() {
            state.taker = Some(cx.waker().clone());
            Poll::Pending
        } else {
            let bytes = state.bytes.split().freeze();
            state.is_stalled = false;
            let reader = state.reader.take();
            drop(state);
            wake(reader);
            Poll::Ready(bytes)
        }
    }

    /// Ends the queue, and forgets what waits.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.is_closed = true;
        state.bytes = BytesMut::new();
        let (taker, reader) = (state.taker.take(), state.reader.take());
        drop(state);
        wake(taker);
        wake(reader);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    fn is_queued(queue: &Queue, packet: &[u8]) -> bool {
        queue.push(packet) == Pushed::Queued
    }

    #[tokio::test]
    async fn packets_leave_together_and_wake_who_waits() {
        let queue = Queue::default();
        let take = || poll_fn(|cx| queue.poll_take(cx));
        let waiting = async {
            assert_eq!(take().await, [1, 0, 0, 0, 7][..]);
        };
        tokio::join!(waiting, async { assert!(is_queued(&queue, &[7])) });
        assert!(is_queued(&queue, &[8]) && is_queued(&queue, &[9, 9]));
        assert_eq!(take().await, [1, 0, 0, 0, 8, 2, 0, 0, 0, 9, 9][..]);
    }

    #[tokio::test]
    async fn a_queue_that_nobody_empties_is_bounded() {
        let queue = Queue::default();
        let packet = [0x45; 1420];
        let mut pushed = 0;
        while is_queued(&queue, &packet) {
            pushed += 1;
        }
        assert_eq!(pushed, MAX_BYTES / (packet.len() + framing::HEADER));
        let all = poll_fn(|cx| queue.poll_take(cx)).await;
        assert_eq!(all.len(), pushed * (packet.len() + framing::HEADER));
        assert!(is_queued(&queue, &packet), "there is room again");
    }

    #[tokio::test(start_paused = true)]
    async fn the_system_waits_for_a_connection_that_is_quick_and_once_for_one_that_is_not() {
        let queue = Queue::default();
        let packet = [0x45; 1420];
        let fill = || while is_queued(&queue, &packet) {};
        let take = || poll_fn(|cx| queue.poll_take(cx));
        fill();
        let began = Instant::now();
        assert_eq!(queue.push(&packet), Pushed::Full);
        tokio::join!(queue.room(), async { drop(take().await) });
        assert!(began.elapsed() < PATIENCE);
        fill();
        assert_eq!(queue.push(&packet), Pushed::Full);
        queue.room().await;
        assert!(began.elapsed() >= PATIENCE);
        assert_eq!(queue.push(&packet), Pushed::Lost, "nobody waits again");
        drop(take().await);
        fill();
        assert_eq!(queue.push(&packet), Pushed::Full);
        tokio::join!(queue.room(), async { queue.close() });
    }

    #[tokio::test]
    async fn a_closed_queue_takes_nothing_and_ends_the_connection() {
        let queue = Queue::default();
        assert!(is_queued(&queue, &[1]));
        let waiting = async {
            // What waited is of no use to anybody.
            poll_fn(|cx| queue.poll_take(cx)).await;
            poll_fn(|cx| queue.poll_take(cx)).await
        };
        let (end, ()) = tokio::join!(waiting, async { queue.close() });
        assert!(end.is_empty());
        assert_eq!(queue.push(&[1]), Pushed::Lost);
    }
}
