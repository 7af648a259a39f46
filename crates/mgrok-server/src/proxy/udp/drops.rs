//! How many datagrams of a proxy were dropped, and why.

use mgrok_net::udp::QueueError;
use tracing::warn;

/// Counts since the proxy started.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(in crate::proxy) struct Drops {
    /// From users: too many were waiting for the client.
    pub(super) full: u64,
    /// From users: too long for a frame.
    pub(super) too_long: u64,
    /// To users: the system refused to send it.
    pub(super) refused: u64,
    /// To users: without an address.
    pub(super) unaddressed: u64,
    reported: u64,
}

impl Drops {
    pub(super) fn not_queued(&mut self, error: &QueueError) {
        match error {
            QueueError::Encode(_) => self.too_long += 1,
            QueueError::Full => self.full += 1,
        }
    }

    /// Logs the counts, if they have changed since the last time.
    pub(super) fn report(&mut self) {
        let Self {
            full,
            too_long,
            refused,
            unaddressed,
            reported,
        } = self;
        let total = *full + *too_long + *refused + *unaddressed;
        if total != *reported {
            *reported = total;
            warn!(
                full,
                too_long, refused, unaddressed, "datagrams were dropped"
            );
        }
    }
}
