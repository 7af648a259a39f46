//! Counting what a user's connection moves, while it moves, and showing it to whoever wants to see it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use hyper::HeaderMap;
use hyper::body::Frame;
use mgrok_net::relay::{RelayEnd, Traffic};

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

    /// The body that the user sends is over.
    fn note_request_end(&self, _end: BodyEnd) {}

    /// Sees a piece of a body.
    fn see_data(&self, _direction: Direction, _data: &[u8]) {}

    /// Sees the trailers of a body.
    fn see_trailers(&self, _direction: Direction, _trailers: &HeaderMap) {}

    /// Whether it wants to see the bytes that follow a change of protocol.
    fn sees_raw(&self) -> bool {
        false
    }

    /// Sees bytes that follow a change of protocol, if it wants to.
    fn see_raw(&self, _direction: Direction, _bytes: &[u8]) {}

    /// What follows a change of protocol is over; `None` if nothing could follow.
    fn note_raw_end(&self, _end: Option<&RelayEnd>) {}
}

/// Which way something goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Direction {
    /// From the user.
    Received,
    /// To the user.
    Sent,
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
    /// Counts a piece of a body, and shows it.
    pub(crate) fn see(&self, frame: &Frame<Bytes>) {
        let (meter, direction) = match self {
            Self::Sent(meter) => (meter, Direction::Sent),
            Self::Received(meter) => (meter, Direction::Received),
        };
        if let Some(data) = frame.data_ref() {
            match direction {
                Direction::Sent => meter.count_sent(data.len() as u64),
                Direction::Received => meter.count_received(data.len() as u64),
            }
            meter.see_data(direction, data);
        } else if let Some(trailers) = frame.trailers_ref() {
            meter.see_trailers(direction, trailers);
        }
    }

    pub(crate) fn note_end(&self, end: BodyEnd) {
        match self {
            Self::Sent(meter) => meter.note_end(end),
            Self::Received(meter) => meter.note_request_end(end),
        }
    }
}
