//! Streams that the other end opened and that wait to be accepted.
//!
//! The other end may reset any of them at any time, as often as it likes, so that taking one out of the middle must not cost more
//! when more of them wait.

use std::collections::BTreeMap;
use std::task::Waker;

/// Streams that wait to be accepted, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    /// Nobody accepts any more.
    pub(super) closed: bool,
    pub(super) waker: Option<Waker>,
    /// Ids of streams by their tickets.
    waiting: BTreeMap<u64, u32>,
    next_ticket: u64,
}

impl Backlog {
    /// Adds a stream to the end. The ticket is for [`remove`](Self::remove).
    pub(super) fn push(&mut self, id: u32) -> u64 {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.waiting.insert(ticket, id);
        ticket
    }

    /// Takes the stream that has waited longest.
    pub(super) fn pop(&mut self) -> Option<u32> {
        self.waiting.pop_first().map(|(_, id)| id)
    }

    /// Takes out the stream with this ticket.
    pub(super) fn remove(&mut self, ticket: u64) {
        self.waiting.remove(&ticket);
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_come_in_order_and_leave_from_anywhere() {
        let mut backlog = Backlog::default();
        let tickets: Vec<_> = (1..=5).map(|id| backlog.push(id)).collect();
        backlog.remove(tickets[1]);
        backlog.remove(tickets[4]);
        // The same id once more has its place at the end.
        backlog.push(2);
        assert_eq!(backlog.len(), 4);
        let left: Vec<_> = std::iter::from_fn(|| backlog.pop()).collect();
        assert_eq!(left, [1, 3, 4, 2]);
    }

    #[test]
    fn nothing_is_left_of_streams_that_were_taken_out() {
        let mut backlog = Backlog::default();
        backlog.push(1);
        for id in 2..10_000 {
            let ticket = backlog.push(id);
            backlog.remove(ticket);
        }
        assert_eq!(backlog.len(), 1);
    }
}
