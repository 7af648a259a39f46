//! Counting what a user's connection moves, while it moves.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use mgrok_net::relay::Traffic;

/// Counts for one connection of a user. Whatever counts in it holds it.
pub trait Meter: fmt::Debug + Send + Sync {
    /// Where bytes are counted: what the user is sent, and what the user sends.
    fn traffic(&self) -> &Traffic;
}

/// A meter, and which of the two directions it counts.
#[derive(Debug)]
pub(crate) enum Metered {
    /// What the user is sent.
    Sent(Arc<dyn Meter>),
    /// What the user sends.
    Received(Arc<dyn Meter>),
}

impl Metered {
    pub(crate) fn count(&self, bytes: usize) {
        let counter = match self {
            Self::Sent(meter) => &meter.traffic().sent,
            Self::Received(meter) => &meter.traffic().received,
        };
        counter.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}
