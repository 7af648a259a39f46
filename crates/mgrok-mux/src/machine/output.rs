//! What leaves: replies first, then frames without data, then what goes ahead of other data, then data in turn.

use std::time::Instant;

use super::state::Fit;
use super::{Batch, FIRST_BYTES, Machine};
use crate::frame::{ACK, FIN, Header, SYN};
use crate::slab::LOCAL_SLAB_SIZE;

/// Most data of one stream in a row, in bytes: what one read of its source can return, and with its header four records of TLS.
const MAX_BODY: usize = LOCAL_SLAB_SIZE;

/// Streams that wait for room are woken when there is this much of it, so that the wakes are
/// worth their price.
const WORTH_WAKING: usize = 64 * 1024;

/// Room that is counted for each stream that is woken.
const ROOM_PER_WAITER: usize = 16 * 1024;

impl Machine {
    /// Fills `batch` with frames until it is full or nothing is left to send.
    pub fn poll_transmit(&mut self, batch: &mut Batch, now: Instant) {
        if self.queued > 0 {
            self.keepalive.handle_data_sent(now);
        }
        if let Some(value) = self.keepalive.poll_ping(now) {
            batch.push_header(Header::ping(SYN, value));
        }
        while !batch.is_full()
            && let Some(header) = self.control.pop_front()
        {
            batch.push_header(header);
        }
        while !batch.is_full()
            && let Some(id) = self.urgent.pop_front()
        {
            self.send_urgent(id, batch, now);
        }
        while !batch.is_full()
            && let Some(id) = self.express.pop_front()
        {
            let is_first = self.streams.get(&id).is_some_and(|it| it.send.first);
            let max = if is_first {
                MAX_BODY
            } else {
                FIRST_BYTES.into()
            };
            self.send_data(id, max, batch);
        }
        while !batch.is_full()
            && let Some(id) = self.round.pop_front()
        {
            self.send_data(id, MAX_BODY, batch);
        }
        self.keepalive.note_carried(batch.len());
        self.wake_room_waiters();
    }

    /// Whether [`poll_transmit`](Self::poll_transmit) has something to send.
    pub fn has_output(&self) -> bool {
        !self.control.is_empty()
            || !self.urgent.is_empty()
            || !self.express.is_empty()
            || !self.round.is_empty()
            || self.keepalive.has_ping()
    }

    fn send_urgent(&mut self, id: u32, batch: &mut Batch, now: Instant) {
        let Some(state) = self.streams.get_mut(&id) else {
            return;
        };
        state.in_urgent = false;
        if state.reset {
            return;
        }
        let mut flags = 0;
        if std::mem::take(&mut state.syn_due) {
            flags |= SYN;
        }
        if std::mem::take(&mut state.ack_due) {
            flags |= ACK;
        }
        let hold_back = state.recv.take_hold_back();
        let update = std::mem::take(&mut state.recv.update_due) && !state.recv.fin;
        let credit = if update { self.grant(id, now) } else { 0 };
        if flags != 0 || credit > 0 {
            batch.push_header(Header::window_update(flags, id, credit));
        }
        if hold_back {
            batch.push_header(Header::window_update(0, id, 0));
        }
        self.send_fin(id, batch);
    }

    /// Sends up to `max` bytes of a stream's data.
    fn send_data(&mut self, id: u32, max: usize, batch: &mut Batch) {
        let Some(state) = self.streams.get_mut(&id) else {
            return;
        };
        let length = state.send.queued().min(max).min(batch.room_for_body());
        if length > 0 {
            batch.push_header(Header::data(id, length as u32));
        }
        let mut left = length;
        while left > 0
            && let Some(piece) = state.send.pop(left)
        {
            left -= piece.len();
            batch.push_body(piece);
        }
        debug_assert_eq!(left, 0, "the body has the announced length");
        self.queued -= length;
        state.send.in_round = state.send.queued() > 0;
        if state.send.in_round {
            if state.send.first {
                self.express.push_front(id);
            } else {
                self.round.push_back(id);
            }
        }
        if !state.send.awaits_room && state.send.queued() <= self.config.send_queue / 4 {
            let may_send = state.send.allowed() > 0;
            self.wakes.extend(state.send.waker.take_if(|_| may_send));
        }
        self.send_fin(id, batch);
    }

    /// The FIN travels alone: a Go reader that is woken by it must find the data in place.
    fn send_fin(&mut self, id: u32, batch: &mut Batch) {
        if let Some(state) = self.streams.get_mut(&id)
            && state.send.is_fin_due()
        {
            state.send.fin_sent = true;
            batch.push_header(Header::window_update(FIN, id, 0));
            self.forget_if_over(id);
            self.reset_if_refused(id);
        }
    }

    /// Grants what the window allows, after making it larger or smaller if it does not fit the
    /// speed at which it is read.
    fn grant(&mut self, id: u32, now: Instant) -> u32 {
        let round_trip = self.keepalive.round_trip(now);
        let lacks_memory = self.lacks_memory();
        let Some(state) = self.streams.get_mut(&id) else {
            return 0;
        };
        match state.recv.fit(now, round_trip) {
            Fit::Right => {}
            Fit::Short(growth) => {
                let room = self.config.largest_window();
                let room = room.saturating_sub(state.recv.window());
                let left = self.config.max_session_memory.saturating_sub(self.grown);
                let mut growth = growth.min(room);
                if lacks_memory {
                    // Slowly at first, as what the kernel keeps for a reader looks like a fast one's reading.
                    growth = growth.min(state.recv.careful_growth());
                }
                if growth as usize <= left / 2
                    && self
                        .config
                        .window_budget
                        .as_ref()
                        .is_none_or(|budget| budget.take(growth as usize))
                {
                    self.grown += growth as usize;
                    state.recv.grow(growth);
                }
            }
            Fit::Large(least) => {
                let shrunk = state.recv.shrink(least) as usize;
                self.grown -= shrunk;
                if let Some(budget) = &self.config.window_budget {
                    budget.give_back(shrunk);
                }
            }
        }
        state.recv.grant()
    }

    fn wake_room_waiters(&mut self) {
        if self.room_waiters.is_empty() {
            return;
        }
        let mut room = self.config.send_queue.saturating_sub(self.queued);
        if room < WORTH_WAKING.min(self.config.send_queue) {
            return;
        }
        if self.queued == 0 {
            // Nothing is left whose sending would wake the rest, should those woken want nothing.
            room = usize::MAX;
        }
        self.returned_waiters = 0;
        while room > 0
            && let Some(id) = self.room_waiters.pop_front()
        {
            if let Some(state) = self.streams.get_mut(&id) {
                state.send.awaits_room = false;
                state.send.room_promised = true;
                self.wakes.extend(state.send.waker.take());
                room = room.saturating_sub(ROOM_PER_WAITER);
            }
        }
    }
}
