//! How many datagrams of a work connection were dropped, and why.

use std::sync::Arc;

use mgrok_metrics::CounterBy;
use mgrok_net::udp::{QueueError, Received};
use tracing::warn;

use crate::metrics::DropReason;

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
    /// The counts of the last report.
    reported: [u64; 7],
    /// Where reports are added up as well.
    counters: Option<Arc<CounterBy<DropReason>>>,
}

impl Drops {
    /// Has each report added to `counters`, too.
    pub(super) fn counted_in(counters: Arc<CounterBy<DropReason>>) -> Self {
        Self {
            counters: Some(counters),
            ..Self::default()
        }
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

    /// Each count with its reason.
    fn counts(&self) -> [(DropReason, u64); 7] {
        [
            (DropReason::Full, self.full),
            (DropReason::Missed, self.missed),
            (DropReason::NoSocket, self.no_socket),
            (DropReason::Refused, self.refused),
            (DropReason::TooLong, self.too_long),
            (DropReason::Unaddressed, self.unaddressed),
            (DropReason::Unresolved, self.unresolved),
        ]
    }

    /// All of them.
    #[cfg(test)]
    pub(super) fn total(&self) -> u64 {
        self.counts().iter().map(|(_, count)| count).sum()
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
            missed, no_socket, refused, too_long, unaddressed, unresolved, "datagrams were dropped"
        );
    }
}

impl Drop for Drops {
    fn drop(&mut self) {
        self.report();
    }
}
