//! A feed of what happens, for those who follow it. It costs nothing while nobody does.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

/// How many events a reader may be behind.
const BACKLOG: usize = 4_096;

/// A reader was too slow, and events were left out. A new look at whatever the feed is about has what they came to.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{missed} changes were left out")]
pub struct Lagged {
    /// How many.
    pub missed: u64,
}

/// The writers' end.
#[derive(Debug)]
pub struct Feed<T> {
    /// The channel is made for the first reader: its slots take hundreds of kilobytes.
    sender: OnceLock<broadcast::Sender<T>>,
    /// Kept apart, because the channel takes a lock to count its readers.
    readers: Arc<AtomicUsize>,
}

/// A reader of a [`Feed`].
#[derive(Debug)]
pub struct FeedReader<T> {
    receiver: broadcast::Receiver<T>,
    readers: Arc<AtomicUsize>,
}

impl<T: Clone> Feed<T> {
    /// Whether anybody follows.
    pub fn has_readers(&self) -> bool {
        self.readers.load(Ordering::Acquire) > 0
    }

    /// Tells the readers. Costs a look at a counter if there are none.
    pub fn publish(&self, event: impl FnOnce() -> T) {
        if !self.has_readers() {
            return;
        }
        if let Some(sender) = self.sender.get() {
            // An error says that the last reader has just left.
            let _ = sender.send(event());
        }
    }

    /// A reader of what happens from now on.
    pub fn subscribe(&self) -> FeedReader<T> {
        let sender = self.sender.get_or_init(|| broadcast::Sender::new(BACKLOG));
        let receiver = sender.subscribe();
        self.readers.fetch_add(1, Ordering::AcqRel);
        FeedReader {
            receiver,
            readers: self.readers.clone(),
        }
    }
}

impl<T> Default for Feed<T> {
    fn default() -> Self {
        Self {
            sender: OnceLock::new(),
            readers: Arc::default(),
        }
    }
}

impl<T: Clone> FeedReader<T> {
    /// The next event, in the order in which they happened; `None` when the writers are gone. Cancel-safe.
    ///
    /// # Errors
    /// This reader was too slow. What follows is complete again from here on.
    pub async fn next(&mut self) -> Option<Result<T, Lagged>> {
        match self.receiver.recv().await {
            Ok(event) => Some(Ok(event)),
            Err(RecvError::Lagged(missed)) => Some(Err(Lagged { missed })),
            Err(RecvError::Closed) => None,
        }
    }
}

impl<T> Drop for FeedReader<T> {
    fn drop(&mut self) {
        self.readers.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn without_readers_nothing_is_made() {
        let feed = Feed::default();
        feed.publish(|| unreachable!("nobody listens"));
        drop(feed.subscribe());
        feed.publish(|| unreachable!("nobody listens any more"));
        let mut reader = feed.subscribe();
        feed.publish(|| 1);
        assert_eq!(reader.next().await, Some(Ok(1)));
        drop(feed);
        assert_eq!(reader.next().await, None);
    }

    #[tokio::test]
    async fn a_reader_that_is_too_slow_learns_that_it_is() {
        let feed = Feed::default();
        let (mut slow, mut fast) = (feed.subscribe(), feed.subscribe());
        let count = BACKLOG + 3;
        for number in 0..count {
            feed.publish(|| number);
            assert_eq!(fast.next().await, Some(Ok(number)));
        }
        assert_eq!(slow.next().await, Some(Err(Lagged { missed: 3 })));
        for number in 3..count {
            assert_eq!(slow.next().await, Some(Ok(number)));
        }
    }
}
