//! Counting what a user's connection moves, while it moves.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use mgrok_net::relay::Traffic;

/// Counts for one connection of a user. Whatever counts in it holds it.
pub trait Meter: fmt::Debug + Send + Sync {
    /// Where bytes are counted: what the user is sent, and what the user sends. Bytes of bodies are counted by the functions
    /// below, and those that follow a change of protocol here.
    fn traffic(&self) -> &Traffic;

    /// Counts a piece of a body that the user is sent.
    fn count_sent(&self, bytes: u64) {
        self.traffic().sent.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts a piece of a body that the user has sent.
    fn count_received(&self, bytes: u64) {
        self.traffic().received.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The body that the user is sent is over.
    fn note_end(&self, _end: BodyEnd) {}
}

/// How the body of an answer came to its end.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum BodyEnd {
    /// It was given up: the user does not take it.
    #[default]
    Abandoned,
    /// The backend's connection failed.
    Failed,
    /// It has been passed on.
    Whole,
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
        match self {
            Self::Sent(meter) => meter.count_sent(bytes as u64),
            Self::Received(meter) => meter.count_received(bytes as u64),
        }
    }

    pub(crate) fn note_end(&self, end: BodyEnd) {
        match self {
            Self::Sent(meter) => meter.note_end(end),
            Self::Received(_) => {}
        }
    }
}
