//! A user of a visitor, and what takes one.

use std::fmt::Debug;
use std::net::SocketAddr;
use std::sync::Arc;

use mgrok_net::conn::Conn;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// A user of a visitor, still waiting for a connection to the service.
#[derive(Debug)]
pub(crate) struct User {
    pub(super) conn: Conn,
    pub(super) from: SocketAddr,
    /// Counts the user among those who may finish when the client stops.
    pub(super) counted: TaskTrackerToken,
    /// Dropped when this user no longer waits.
    pub(super) permit: OwnedSemaphorePermit,
}

/// A visitor as its listener and other visitors see it: with this trait a visitor hands a user to another one without importing it.
pub(crate) trait AcceptUser: Debug + Send + Sync {
    /// Takes a user. A task of its own serves the user from here on.
    fn enter(self: Arc<Self>, user: User);
}
