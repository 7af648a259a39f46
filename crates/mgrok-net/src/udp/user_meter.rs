//! What others say of the users of a socket: who may become one, and what is counted of one.

use std::fmt;
use std::net::SocketAddr;

/// Counts for one user. It is dropped when the user is not known any more.
pub trait UserMeter: fmt::Debug + Send {
    /// Counts the payload of a datagram to the user.
    fn count_sent(&mut self, bytes: u64);

    /// Counts the payload of a datagram from the user.
    fn count_received(&mut self, bytes: u64);
}

/// Makes meters for new users.
pub trait Metering: fmt::Debug + Sync {
    /// One for the user at this address; `None`: nobody wants to know.
    fn meter(&self, user: SocketAddr) -> Option<Box<dyn UserMeter>>;
}

/// What is held for as long as somebody is a user, if anything.
pub type Admitted = Option<Box<dyn fmt::Debug + Send>>;

/// Says who may become a user.
pub trait Admission: fmt::Debug + Sync {
    /// Whether nobody has to be looked at now.
    fn is_open(&self) -> bool;

    /// What is to be held for somebody who writes from this address and becomes a user; `None` if it may not.
    fn admit(&self, user: SocketAddr) -> Option<Admitted>;
}
