//! Counts the dropped datagrams of a socket's users, by reason.

use tracing::warn;

use super::{QueueError, Received};

/// Counts since the socket was opened. Dropping the value logs any counts that were not logged yet.
#[derive(Debug, Default, Eq, PartialEq)]
pub struct Drops {
    /// From users: too many were waiting to be sent to the peer.
    pub full: u64,
    /// From users: too long for a frame.
    pub too_long: u64,
    /// From users: there was no connection to carry them.
    pub unconnected: u64,
    /// To users: too many arrived at once.
    pub missed: u64,
    /// To users: the system refused to send it.
    pub refused: u64,
    /// To users: without an address.
    pub unaddressed: u64,
    /// To addresses that are not in the user table, because nothing has arrived from there lately.
    pub unsolicited: u64,
    reported: u64,
}

impl Drops {
    pub(super) fn not_queued(&mut self, error: &QueueError) {
        match error {
            QueueError::Encode(_) => self.too_long += 1,
            QueueError::Full => self.full += 1,
        }
    }

    pub(super) fn received(&mut self, received: Received) {
        self.missed += received.missed;
        self.unaddressed += received.unaddressed;
    }

    /// Logs the counts, if they have changed since the last time.
    pub(super) fn report(&mut self) {
        let Self {
            full,
            too_long,
            unconnected,
            missed,
            refused,
            unaddressed,
            unsolicited,
            reported,
        } = self;
        let from_users = *full + *too_long + *unconnected;
        let to_users = *missed + *refused + *unaddressed + *unsolicited;
        let total = from_users + to_users;
        if total != *reported {
            *reported = total;
            warn!(
                full,
                too_long,
                unconnected,
                missed,
                refused,
                unaddressed,
                unsolicited,
                "datagrams were dropped"
            );
        }
    }
}

impl Drop for Drops {
    fn drop(&mut self) {
        self.report();
    }
}
