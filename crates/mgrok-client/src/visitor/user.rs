//! A user of a visitor, and what takes one.

use std::fmt::Debug;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

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

/// How many users of a visitor there are whom the service serves. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct UserCount(Arc<AtomicUsize>);

/// A user who counts until this is dropped.
#[derive(Debug)]
pub(super) struct CountedUser<'a>(&'a AtomicUsize);

impl UserCount {
    pub(super) fn enter(&self) -> CountedUser<'_> {
        self.0.fetch_add(1, Ordering::Relaxed);
        CountedUser(&self.0)
    }

    pub(super) fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// For those who count otherwise.
    pub(super) fn gauge(&self) -> &AtomicUsize {
        &self.0
    }
}

impl Drop for CountedUser<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A visitor as its listener and other visitors see it: with this trait a visitor hands a user to another one without importing it.
pub(crate) trait AcceptUser: Debug + Send + Sync {
    /// Takes a user. A task of its own serves the user from here on.
    fn enter(self: Arc<Self>, user: User);
}
