//! The feed of changes: what comes and goes in the directory, for those who follow it.
//!
//! A writer changes the table first and publishes then. A reader subscribes first and takes a snapshot then. So a change is in the
//! snapshot or in the feed, and may be in both.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use mgrok_proto::RunId;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

/// How many changes a reader may be behind.
const BACKLOG: usize = 4_096;

/// Something came or went.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Change {
    /// A client has logged in.
    SessionStarted {
        /// Its session.
        run_id: RunId,
    },
    /// A session is over.
    SessionEnded {
        /// The session.
        run_id: RunId,
    },
    /// A proxy lets users in.
    ProxyStarted {
        /// Tells it from a later proxy of the same name.
        id: u64,
        /// Its name.
        name: Arc<str>,
    },
    /// A proxy lets nobody in any more. The connections of its users may go on.
    ProxyStopped {
        /// The `id` it started with.
        id: u64,
        /// Its name.
        name: Arc<str>,
    },
    /// Users of a proxy are turned away until it is enabled again.
    ProxyDisabled {
        /// Its name.
        name: Arc<str>,
    },
    /// A proxy that was disabled takes users again.
    ProxyEnabled {
        /// Its name.
        name: Arc<str>,
    },
    /// A user's connection reached its service.
    ConnectionOpened {
        /// The connection.
        id: u64,
        /// The name of its proxy.
        proxy: Arc<str>,
    },
    /// A user's connection is over.
    ConnectionClosed {
        /// The connection.
        id: u64,
        /// The name of its proxy.
        proxy: Arc<str>,
    },
}

/// A reader was too slow, and changes were left out. A new snapshot has them.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{missed} changes were left out")]
pub struct Lagged {
    /// How many.
    pub missed: u64,
}

/// The writers' end.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// The channel is made for the first reader: its slots take hundreds of kilobytes.
    sender: OnceLock<broadcast::Sender<Change>>,
    /// Kept apart, because the channel takes a lock to count its readers.
    readers: Arc<AtomicUsize>,
}

/// A reader of the feed; see [`Directory::subscribe`](crate::Directory::subscribe).
#[derive(Debug)]
pub struct ChangeFeed {
    receiver: broadcast::Receiver<Change>,
    readers: Arc<AtomicUsize>,
}

impl Changes {
    /// Tells the readers. Costs a look at a counter if there are none. `change` is in the table already.
    pub(super) fn publish(&self, change: impl FnOnce() -> Change) {
        if self.readers.load(Ordering::Acquire) == 0 {
            return;
        }
        if let Some(sender) = self.sender.get() {
            // An error says that the last reader has just left.
            let _ = sender.send(change());
        }
    }

    /// A feed of what changes from now on.
    pub(super) fn subscribe(&self) -> ChangeFeed {
        let sender = self.sender.get_or_init(|| broadcast::Sender::new(BACKLOG));
        let receiver = sender.subscribe();
        self.readers.fetch_add(1, Ordering::AcqRel);
        ChangeFeed {
            receiver,
            readers: self.readers.clone(),
        }
    }
}

impl ChangeFeed {
    /// The next change, in the order in which they happened; `None` when the server and all that refer to its directory are gone.
    /// Cancel-safe.
    ///
    /// # Errors
    /// This reader was too slow. What follows is complete again from here on, and a new snapshot has what was left out.
    pub async fn next(&mut self) -> Option<Result<Change, Lagged>> {
        match self.receiver.recv().await {
            Ok(change) => Some(Ok(change)),
            Err(RecvError::Lagged(missed)) => Some(Err(Lagged { missed })),
            Err(RecvError::Closed) => None,
        }
    }
}

impl Drop for ChangeFeed {
    fn drop(&mut self) {
        self.readers.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(id: u64) -> Change {
        Change::ConnectionOpened {
            id,
            proxy: "ssh".into(),
        }
    }

    #[tokio::test]
    async fn without_readers_nothing_is_made() {
        let changes = Changes::default();
        changes.publish(|| unreachable!("nobody listens"));
        drop(changes.subscribe());
        changes.publish(|| unreachable!("nobody listens any more"));
        let mut feed = changes.subscribe();
        changes.publish(|| opened(1));
        assert_eq!(feed.next().await, Some(Ok(opened(1))));
        drop(changes);
        assert_eq!(feed.next().await, None);
    }

    #[tokio::test]
    async fn a_reader_that_is_too_slow_learns_that_it_is() {
        let changes = Changes::default();
        let (mut slow, mut fast) = (changes.subscribe(), changes.subscribe());
        let count = BACKLOG as u64 + 3;
        for id in 0..count {
            changes.publish(|| opened(id));
            assert_eq!(fast.next().await, Some(Ok(opened(id))));
        }
        assert_eq!(slow.next().await, Some(Err(Lagged { missed: 3 })));
        for id in 3..count {
            assert_eq!(slow.next().await, Some(Ok(opened(id))));
        }
    }
}
