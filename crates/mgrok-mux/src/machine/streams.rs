//! What the owner of a stream does with it.

use std::collections::VecDeque;
use std::io;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;

use super::{EXPRESS_ROOM, FIRST_BYTES, Machine, set_waker};

/// Why an operation names a stream that is not there: its owner has dropped it.
fn not_a_stream() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the stream is not open")
}

fn reset_by_other_end() -> io::Error {
    io::Error::new(
        io::ErrorKind::ConnectionReset,
        "the stream was reset by the other end",
    )
}

fn closed_by_us() -> io::Error {
    io::Error::new(
        io::ErrorKind::BrokenPipe,
        "the stream is closed for sending",
    )
}

impl Machine {
    /// The next received bytes; empty if the other end sends no more. What arrived before a reset
    /// or the end of the session can still be had.
    pub fn poll_recv(&mut self, id: u32, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        let Some(state) = self.streams.get_mut(&id) else {
            return Poll::Ready(Err(not_a_stream()));
        };
        if let Some(piece) = state.recv.pop() {
            let unread = state.recv.unread();
            let update_due = state.recv.update_due;
            self.note_unread(unread + piece.len(), unread);
            if update_due && self.ended.is_none() {
                self.note_urgent(id);
            }
            return Poll::Ready(Ok(piece));
        }
        if state.recv.fin {
            return Poll::Ready(Ok(Bytes::new()));
        }
        if state.reset {
            return Poll::Ready(Err(reset_by_other_end()));
        }
        if let Some(error) = &self.ended {
            return Poll::Ready(Err(error.to_io()));
        }
        set_waker(&mut state.recv.waker, cx);
        Poll::Pending
    }

    /// Appends to `slices` what has been received: so many slices at most, and none after `enough` bytes. None at all if the other end
    /// sends no more.
    pub fn poll_recv_many(
        &mut self,
        id: u32,
        cx: &mut Context<'_>,
        slices: &mut VecDeque<Bytes>,
        max: usize,
        enough: usize,
    ) -> Poll<io::Result<()>> {
        let mut bytes = 0;
        for count in 0..max {
            if bytes >= enough || (count > 0 && self.unread(id) == 0) {
                break;
            }
            let slice = std::task::ready!(self.poll_recv(id, cx))?;
            if slice.is_empty() {
                break;
            }
            bytes += slice.len();
            slices.push_back(slice);
        }
        Poll::Ready(Ok(()))
    }

    /// Takes back the last slices that were [read](Self::poll_recv_many), or what is left of them. They count as unread again, so that
    /// no more is asked for in their place.
    pub fn put_back(&mut self, id: u32, slices: &mut VecDeque<Bytes>) {
        let is_tight = self.is_tight();
        let Some(state) = self.streams.get_mut(&id) else {
            return;
        };
        let before = state.recv.unread();
        state.recv.put_back(slices, is_tight);
        let now = state.recv.unread();
        self.note_unread(before, now);
    }

    /// How many of `wanted` bytes the stream may hand to [`push`](Self::push) now; never 0 unless
    /// `wanted` is.
    pub fn poll_send_room(
        &mut self,
        id: u32,
        cx: &mut Context<'_>,
        wanted: usize,
    ) -> Poll<io::Result<usize>> {
        self.poll_room(id, cx, wanted, 1)
    }

    /// As [`poll_send_room`](Self::poll_send_room), but room for fewer than `least` bytes counts as none, unless they may go ahead of
    /// others.
    pub fn poll_room(
        &mut self,
        id: u32,
        cx: &mut Context<'_>,
        wanted: usize,
        least: usize,
    ) -> Poll<io::Result<usize>> {
        let Some(state) = self.streams.get_mut(&id) else {
            return Poll::Ready(Err(not_a_stream()));
        };
        if let Some(error) = &self.ended {
            return Poll::Ready(Err(error.to_io()));
        }
        if state.reset {
            return Poll::Ready(Err(reset_by_other_end()));
        }
        if state.send.fin_wanted {
            return Poll::Ready(Err(closed_by_us()));
        }
        if wanted == 0 {
            return Poll::Ready(Ok(0));
        }
        // One stream gets half of the queue, so that others find room.
        let share = self.config.send_queue / 2;
        let least = least.min(share);
        let own_room = share.saturating_sub(state.send.queued());
        let allowed = own_room.min(state.send.allowed() as usize);
        if allowed < least {
            set_waker(&mut state.send.waker, cx);
            return Poll::Pending;
        }
        let room = self.config.send_queue.saturating_sub(self.queued);
        let its_turn = state.send.room_promised || self.room_waiters.is_empty();
        if (room < least || !its_turn) && state.send.is_express() {
            // It need not stand in line behind the data that it goes ahead of.
            let express_room = if state.send.first {
                EXPRESS_ROOM.saturating_sub(state.send.queued())
            } else {
                let left = (self.config.send_queue + EXPRESS_ROOM).saturating_sub(self.queued);
                left.min(state.send.first_bytes_left.into())
            };
            if express_room > 0 {
                return Poll::Ready(Ok(wanted.min(allowed).min(express_room)));
            }
        }
        if room < least || !its_turn {
            set_waker(&mut state.send.waker, cx);
            if !state.send.awaits_room {
                state.send.awaits_room = true;
                if std::mem::take(&mut state.send.room_promised) {
                    // Behind those that came back before: in reverse order the last of them would never have its turn.
                    let place = self.returned_waiters.min(self.room_waiters.len());
                    self.room_waiters.insert(place, id);
                    self.returned_waiters += 1;
                } else {
                    self.room_waiters.push_back(id);
                }
            }
            return Poll::Pending;
        }
        Poll::Ready(Ok(wanted.min(allowed).min(room)))
    }

    /// Queues `chunk`, for which [`poll_send_room`](Self::poll_send_room) has found room. Room
    /// that is gone by now is exceeded for once, the other end's window never.
    pub fn push(&mut self, id: u32, chunk: Bytes) -> io::Result<()> {
        let state = self.streams.get_mut(&id).ok_or_else(not_a_stream)?;
        if let Some(error) = &self.ended {
            return Err(error.to_io());
        }
        if state.reset {
            return Err(reset_by_other_end());
        }
        if state.send.fin_wanted {
            return Err(closed_by_us());
        }
        if chunk.is_empty() {
            return Ok(());
        }
        let spent = state.send.spend(chunk.len());
        spent.ok_or(io::ErrorKind::InvalidInput)?;
        state.send.room_promised = false;
        self.queued += chunk.len();
        if !state.send.in_round {
            state.send.in_round = true;
            if state.send.first {
                self.express.push_front(id);
            } else if state.send.is_express() {
                self.express.push_back(id);
            } else {
                self.round.push_back(id);
            }
        }
        let first_bytes = u16::try_from(chunk.len()).unwrap_or(FIRST_BYTES);
        state.send.first_bytes_left = state.send.first_bytes_left.saturating_sub(first_bytes);
        state.send.push(chunk);
        Ok(())
    }

    /// From now on, what is sent on the stream goes ahead of the data of others: for one that carries few and small messages, which
    /// others wait for.
    pub fn send_first(&mut self, id: u32) {
        if let Some(state) = self.streams.get_mut(&id) {
            state.send.first = true;
        }
    }

    /// Queues bytes from the front of `chunk`, as many as window and queue allow; ready when
    /// `chunk` is empty.
    pub fn poll_send(
        &mut self,
        id: u32,
        cx: &mut Context<'_>,
        chunk: &mut Bytes,
    ) -> Poll<io::Result<()>> {
        loop {
            let room = std::task::ready!(self.poll_send_room(id, cx, chunk.len()))?;
            if chunk.is_empty() {
                return Poll::Ready(Ok(()));
            }
            self.push(id, chunk.split_to(room))?;
        }
    }

    /// Sends a FIN after what is queued. Reading goes on.
    pub fn close_stream(&mut self, id: u32) -> io::Result<()> {
        let state = self.streams.get_mut(&id).ok_or_else(not_a_stream)?;
        if state.send.fin_wanted {
            return Ok(());
        }
        if let Some(error) = &self.ended {
            return Err(error.to_io());
        }
        if state.reset {
            return Err(reset_by_other_end());
        }
        state.send.fin_wanted = true;
        self.note_urgent(id);
        Ok(())
    }

    /// Once nobody owns the stream any more, what arrives and what lies unread is answered with a reset.
    pub fn refuse_after_drop(&mut self, id: u32) {
        if let Some(state) = self.streams.get_mut(&id) {
            state.refuses = true;
        }
    }

    /// Takes note that nobody owns the stream any more. What is queued is sent, then a FIN; what
    /// still arrives is drained and credited until the other end's FIN, or for
    /// [`Config::close_timeout`](crate::Config::close_timeout), unless it is to be
    /// [refused](Self::refuse_after_drop).
    pub fn drop_stream(&mut self, id: u32, now: Instant) {
        let Some(state) = self.streams.get_mut(&id) else {
            return;
        };
        if !std::mem::take(&mut state.attached) {
            return;
        }
        self.attached -= 1;
        state.recv.waker = None;
        state.send.waker = None;
        if self.ended.is_some() {
            // An orderly end still sends what was queued.
            if state.send.queued() == 0 && !state.has_urgent() {
                self.forget(id);
            }
            return;
        }
        let unread = state.recv.unread();
        state.has_refused = state.refuses && unread > 0;
        state.recv.discard();
        state.send.fin_wanted = true;
        if !state.recv.fin && !state.reset {
            let until = now + self.config.close_timeout;
            state.lingers_until = Some(until);
            self.lingering.insert((until, id));
        }
        self.note_unread(unread, 0);
        self.note_urgent(id);
        self.forget_if_over(id);
        self.reset_if_refused(id);
    }

    /// Bytes of the stream that arrived and were not read.
    pub fn unread(&self, id: u32) -> usize {
        self.streams.get(&id).map_or(0, |state| state.recv.unread())
    }
}
