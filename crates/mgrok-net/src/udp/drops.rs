//! Counts the dropped datagrams of a socket's users, or of a work connection, by reason.

use std::fmt::{self, Debug, Formatter};
use std::marker::PhantomData;
use std::sync::Arc;

use mgrok_metrics::{CounterBy, Label, labels};
use tracing::warn;

use super::{QueueError, Received};

/// Why datagrams are dropped, with the reasons that every end has.
pub trait DropLabel: Label {
    /// Too many were waiting to be sent to the peer.
    const FULL: Self;
    /// From the peer: too many arrived at once.
    const MISSED: Self;
    /// Too long for a frame.
    const TOO_LONG: Self;
    /// From the peer: without an address.
    const UNADDRESSED: Self;
}

labels! {
    /// Why a datagram of a socket's users was dropped.
    pub enum DropReason {
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
        /// To addresses that are not in the user table, because nothing has arrived from there lately.
        Unsolicited = "unsolicited",
    }
}

impl DropLabel for DropReason {
    const FULL: Self = Self::Full;
    const MISSED: Self = Self::Missed;
    const TOO_LONG: Self = Self::TooLong;
    const UNADDRESSED: Self = Self::Unaddressed;
}

/// Counts since the socket was opened, or the work connection began. Dropping the value reports any counts that were not reported yet.
pub struct Drops<L: Label> {
    counts: Box<[u64]>,
    /// The counts of the last report.
    reported: Box<[u64]>,
    /// Where reports are added up as well.
    counters: Option<Arc<CounterBy<L>>>,
    label: PhantomData<fn() -> L>,
}

impl<L: Label> Drops<L> {
    /// Adds what is dropped to `counters`, too, with each report.
    pub fn count_in(&mut self, counters: Arc<CounterBy<L>>) {
        self.counters = Some(counters);
    }

    /// Counts `number` more.
    pub fn add(&mut self, reason: L, number: u64) {
        self.counts[reason.index()] += number;
    }

    /// How many there were.
    pub fn of(&self, reason: L) -> u64 {
        self.counts[reason.index()]
    }

    /// All of them.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Logs the counts, if they have changed since the last time, and adds them to the counters.
    pub fn report(&mut self) {
        if self.counts == self.reported {
            return;
        }
        if let Some(counters) = &self.counters {
            for reason in L::ALL {
                let reported = self.reported[reason.index()];
                counters.of(*reason).add(self.of(*reason) - reported);
            }
        }
        self.reported.copy_from_slice(&self.counts);
        warn!("datagrams were dropped: {self:?}");
    }
}

impl<L: DropLabel> Drops<L> {
    /// Counts a datagram that could not be queued.
    pub fn not_queued(&mut self, error: &QueueError) {
        let reason = match error {
            QueueError::Encode(_) => L::TOO_LONG,
            QueueError::Full => L::FULL,
        };
        self.add(reason, 1);
    }

    /// Counts what the peer has sent and could not be taken.
    pub fn received(&mut self, received: Received) {
        self.add(L::MISSED, received.missed);
        self.add(L::UNADDRESSED, received.unaddressed);
    }
}

impl<L: Label> Default for Drops<L> {
    fn default() -> Self {
        let counts: Box<[u64]> = L::ALL.iter().map(|_| 0).collect();
        Self {
            reported: counts.clone(),
            counts,
            counters: None,
            label: PhantomData,
        }
    }
}

/// The reasons that there were, with their counts: `{"full": 3, "missed": 1}`.
impl<L: Label> Debug for Drops<L> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let counts = L::ALL.iter().map(|it| (it.as_str(), self.of(*it)));
        f.debug_map()
            .entries(counts.filter(|(_, count)| *count > 0))
            .finish()
    }
}

/// Whether as many were dropped.
impl<L: Label> PartialEq for Drops<L> {
    fn eq(&self, other: &Self) -> bool {
        self.counts == other.counts
    }
}

impl<L: Label> Drop for Drops<L> {
    fn drop(&mut self) {
        self.report();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_report_adds_what_is_new_to_the_counters() {
        let counters = Arc::new(CounterBy::default());
        let mut drops = Drops::default();
        drops.count_in(counters.clone());
        drops.not_queued(&QueueError::Full);
        drops.add(DropReason::Refused, 2);
        drops.report();
        drops.add(DropReason::Refused, 3);
        assert_eq!(counters.total(), 3);
        assert_eq!(format!("{drops:?}"), r#"{"full": 1, "refused": 5}"#);
        drop(drops);
        assert_eq!(counters.of(DropReason::Refused).get(), 5);
        assert_eq!(counters.total(), 6);
    }
}
