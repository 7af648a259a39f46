//! Counts the dropped datagrams of a socket's users, by reason.

use std::sync::Arc;

use mgrok_metrics::{CounterBy, labels};
use tracing::warn;

use super::{QueueError, Received};

labels! {
    /// Why a datagram was dropped.
    pub enum DropReason {
        /// From addresses that may not become users.
        Denied = "denied",
        /// From users: too many were waiting to be sent to the peer.
        Full = "full",
        /// To users: too many arrived at once.
        Missed = "missed",
        /// To users: the system refused to send it.
        Refused = "refused",
        /// From users: too long for a frame.
        TooLong = "too_long",
        /// To users: without an address.
        Unaddressed = "unaddressed",
        /// From users: there was no connection to carry it.
        Unconnected = "unconnected",
        /// To addresses that are not in the user table.
        Unsolicited = "unsolicited",
    }
}

/// Counts since the socket was opened. Dropping the value reports any counts that were not reported yet.
#[derive(Debug, Default)]
pub struct Drops {
    /// From addresses that may not become users.
    pub denied: u64,
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
    /// The counts of the last report.
    reported: [u64; 8],
    /// Where reports are added up as well.
    counters: Option<Arc<CounterBy<DropReason>>>,
}

impl Drops {
    /// Adds what is dropped to `counters`, too, with each report.
    pub(super) fn counted_in(&mut self, counters: Arc<CounterBy<DropReason>>) {
        self.counters = Some(counters);
    }

    /// Each count with its reason.
    fn counts(&self) -> [(DropReason, u64); 8] {
        [
            (DropReason::Denied, self.denied),
            (DropReason::Full, self.full),
            (DropReason::Missed, self.missed),
            (DropReason::Refused, self.refused),
            (DropReason::TooLong, self.too_long),
            (DropReason::Unaddressed, self.unaddressed),
            (DropReason::Unconnected, self.unconnected),
            (DropReason::Unsolicited, self.unsolicited),
        ]
    }

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

    /// Logs the counts, if they have changed since the last time, and adds them to the counters.
    pub(super) fn report(&mut self) {
        let counts = self.counts();
        if counts.map(|(_, count)| count) == self.reported {
            return;
        }
        let reported = std::mem::replace(&mut self.reported, counts.map(|(_, count)| count));
        if let Some(counters) = &self.counters {
            for ((reason, count), reported) in counts.into_iter().zip(reported) {
                counters.of(reason).add(count - reported);
            }
        }
        let Self {
            denied,
            full,
            too_long,
            unconnected,
            missed,
            refused,
            unaddressed,
            unsolicited,
            ..
        } = self;
        warn!(
            denied,
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

/// Whether as many were dropped.
impl PartialEq for Drops {
    fn eq(&self, other: &Self) -> bool {
        self.counts() == other.counts()
    }
}

impl Drop for Drops {
    fn drop(&mut self) {
        self.report();
    }
}
