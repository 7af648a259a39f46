//! How many datagrams of a work connection were dropped, and why.

use mgrok_net::udp::{QueueError, Received};
use tracing::warn;

/// Counts since the work connection began.
#[derive(Debug, Default)]
pub(super) struct Drops {
    /// From the local service: too many were waiting for the server.
    pub(super) full: u64,
    /// To the local service: too many came at once.
    pub(super) missed: u64,
    /// To the local service: no socket could be had for the user.
    pub(super) no_socket: u64,
    /// To the local service: the system refused to send it.
    pub(super) refused: u64,
    /// From the local service: too long for a frame.
    pub(super) too_long: u64,
    /// To the local service: without a user to answer to.
    pub(super) unaddressed: u64,
    /// To the local service: its name was not looked up, or not yet and too many were waiting.
    pub(super) unresolved: u64,
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

    /// All of them.
    pub(super) fn total(&self) -> u64 {
        self.full
            + self.missed
            + self.no_socket
            + self.refused
            + self.too_long
            + self.unaddressed
            + self.unresolved
    }

    /// Logs the counts, if they have changed since the last time.
    pub(super) fn report(&mut self) {
        let total = self.total();
        if total != self.reported {
            self.reported = total;
            let Self {
                full,
                missed,
                no_socket,
                refused,
                too_long,
                unaddressed,
                unresolved,
                ..
            } = self;
            warn!(
                full,
                missed,
                no_socket,
                refused,
                too_long,
                unaddressed,
                unresolved,
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
