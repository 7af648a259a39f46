//! One direction of a relay: moves chunks from a source to a target, then passes on the end of the source.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;

use super::failure::Failure;
use super::splice::{Moved, Splice};
use crate::conn::{ByteStream, Conn};

/// When a read brings this many bytes, splicing is worth a pipe: the kernel then moves pages for less than two copies
/// cost. Below that, copying is cheaper.
const BULK: usize = 16 * 1024;

/// How much is discarded of what arrives for a target that has failed. A reply that was under way is mostly smaller; whoever sends more
/// than this is held back until the relay ends.
const MOST_DRAINED: u32 = 1024 * 1024;

thread_local! {
    /// An empty list, kept for its memory: directions that wait have none of their own.
    static SPARE: Cell<VecDeque<Bytes>> = const { Cell::new(VecDeque::new()) };
}

/// One direction of a relay. Owns no buffer: between polls it holds at most what one read has brought, and only while the
/// target accepts no more and the source does not take it back.
#[derive(Debug, Default)]
pub(super) struct Direction {
    state: State,
    /// What was read and is still to be sent.
    chunks: VecDeque<Bytes>,
    splice: Splice,
    /// Whether the source delivers so much that splicing pays.
    bulk: bool,
    /// Whether the kernel has moved bytes.
    has_spliced: bool,
    /// Whether the target may still buffer bytes that it accepted.
    unflushed: bool,
    /// Bytes that were discarded.
    drained: u32,
    moved: u64,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum State {
    /// Bytes move.
    #[default]
    Moving,
    /// The source has ended; the target is being closed.
    Closing,
    /// The source has failed; the bytes that it delivered before are being sent.
    Flushing,
    /// The target has failed. Incoming bytes are discarded, up to [`MOST_DRAINED`]: a socket that is closed with unread bytes is reset, and
    /// its peer would lose bytes in flight.
    Draining,
    /// The direction has ended.
    Over,
}

impl Direction {
    /// Takes one step: moves one chunk, or advances the state. After an error the state has already changed
    /// accordingly.
    pub(super) fn poll_step(
        &mut self,
        source: &mut Conn,
        target: &mut Conn,
        traffic: &AtomicU64,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Failure>> {
        let stepped = match self.state {
            State::Moving => ready!(self.poll_move(source, target, traffic, cx)),
            State::Closing => ready!(target.poll_close(cx))
                .map(|()| self.state = State::Over)
                .map_err(Failure::Write),
            State::Flushing => ready!(target.poll_flush(cx))
                .map(|()| self.state = State::Over)
                .map_err(Failure::Write),
            State::Draining => {
                if self.drained >= MOST_DRAINED {
                    return Poll::Pending;
                }
                match ready!(source.poll_recv(cx)) {
                    Ok(chunk) if !chunk.is_empty() => {
                        let len = u32::try_from(chunk.len()).unwrap_or(u32::MAX);
                        self.drained = self.drained.saturating_add(len);
                        return Poll::Ready(Ok(()));
                    }
                    // A failure of the source now counts as its end.
                    Ok(_) | Err(_) => self.state = State::Over,
                }
                Ok(())
            }
            State::Over => return Poll::Pending,
        };
        if let Err(failure) = &stepped {
            self.abandon_chunk();
            self.state = match (failure, self.state) {
                (Failure::Read(_), _) => State::Flushing,
                (Failure::Write(_), State::Moving) => State::Draining,
                // The source has ended, so there is nothing to drain.
                (Failure::Write(_), _) => State::Over,
            };
        }
        Poll::Ready(stepped)
    }

    /// The source has failed: closes the target, so that its peer sees the end.
    pub(super) fn close_target(&mut self) {
        if self.state == State::Flushing {
            self.state = State::Closing;
        }
    }

    /// The target has failed: discards what still arrives for it.
    pub(super) fn drain(&mut self) {
        self.abandon_chunk();
        self.state = match self.state {
            State::Moving | State::Draining => State::Draining,
            // The source has ended, so there is nothing to drain.
            State::Closing | State::Flushing | State::Over => State::Over,
        };
    }

    /// Ends the direction at once.
    pub(super) fn abandon(&mut self) {
        self.abandon_chunk();
        self.state = State::Over;
    }

    /// Whether the direction has ended.
    pub(super) fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// Whether what arrives is only discarded.
    pub(super) fn is_draining(&self) -> bool {
        self.state == State::Draining
    }

    /// Bytes that the target accepted.
    pub(super) fn moved(&self) -> u64 {
        self.moved
    }

    /// Whether the kernel has moved bytes.
    pub(super) fn has_spliced(&self) -> bool {
        self.has_spliced
    }

    /// Bytes that were received and are still to be sent.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.pending()
    }

    /// Whether the kernel moves the next bytes, if it can.
    #[cfg(all(test, target_os = "linux"))]
    pub(super) fn splices(&self) -> bool {
        self.bulk
    }

    #[cfg(all(test, target_os = "linux"))]
    pub(super) fn splice_holds_pipe(&self) -> bool {
        self.splice.holds_pipe()
    }

    fn poll_move(
        &mut self,
        source: &mut Conn,
        target: &mut Conn,
        traffic: &AtomicU64,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Failure>> {
        if self.chunks.is_empty() {
            if (self.bulk || self.splice.holds_bytes())
                && let (Some(from), Some(to)) = (source.bare_tcp(), target.bare_tcp())
            {
                match ready!(self.splice.poll_move(from, to, cx)) {
                    Ok(Moved::Bytes(bytes)) => {
                        self.bulk = self.splice.holds_pipe();
                        self.has_spliced = true;
                        self.count(bytes, traffic);
                        return Poll::Ready(Ok(()));
                    }
                    Ok(Moved::End) => {
                        self.state = State::Closing;
                        return Poll::Ready(Ok(()));
                    }
                    Ok(Moved::Nothing { unsent }) => {
                        self.bulk = false;
                        if !unsent.is_empty() {
                            self.chunks.push_back(unsent);
                        }
                        return Poll::Ready(Ok(()));
                    }
                    Err(failure) => return Poll::Ready(Err(failure)),
                }
            }
            let mut chunks = SPARE.take();
            match source.poll_recv_for(target, cx, &mut chunks) {
                Poll::Ready(received) => {
                    self.chunks = chunks;
                    received.map_err(Failure::Read)?;
                }
                Poll::Pending => {
                    SPARE.set(chunks);
                    if self.unflushed {
                        ready!(target.poll_flush(cx)).map_err(Failure::Write)?;
                        self.unflushed = false;
                    }
                    return Poll::Pending;
                }
            }
            if self.chunks.is_empty() {
                self.state = State::Closing;
                return Poll::Ready(Ok(()));
            }
            self.bulk = self.pending() >= BULK && self.splice.is_possible();
        }
        let before = self.pending();
        let sent = target.poll_send_many(cx, &mut self.chunks);
        let taken = before - self.pending();
        if sent.is_pending() {
            source.put_back(&mut self.chunks);
        }
        if self.chunks.is_empty() {
            SPARE.set(std::mem::take(&mut self.chunks));
        }
        if taken > 0 {
            self.unflushed = true;
            self.count(taken, traffic);
        }
        sent.map_err(Failure::Write)
    }

    /// Bytes that are still to be sent.
    fn pending(&self) -> usize {
        self.chunks.iter().map(Bytes::len).sum()
    }

    fn count(&mut self, bytes: usize, traffic: &AtomicU64) {
        self.moved += bytes as u64;
        traffic.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn abandon_chunk(&mut self) {
        self.chunks = VecDeque::new();
        self.splice = Splice::default();
    }
}
