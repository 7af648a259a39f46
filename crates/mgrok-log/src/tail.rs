//! The latest lines, for whoever looks at the log while it is written.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::SystemTime;

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tracing::Level;

use crate::line::level_word;

/// How many lines are kept, and how many a reader may be behind.
const KEPT: usize = 512;

/// A line of the log.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LogLine {
    /// When it was logged.
    pub time: SystemTime,
    /// The word for its level in configuration files.
    pub level: &'static str,
    /// The text, with what is known of whom it is about; cut, and escaped as in the log itself.
    pub message: String,
}

/// The latest lines and those that come.
#[derive(Debug)]
pub struct LogFeed {
    /// The latest lines, the oldest first.
    pub recent: Vec<Arc<LogLine>>,
    receiver: broadcast::Receiver<Arc<LogLine>>,
}

/// Where lines are kept, once somebody may ask for them.
#[derive(Debug, Default)]
pub(crate) struct Tail(OnceLock<Kept>);

#[derive(Debug)]
struct Kept {
    lines: Mutex<VecDeque<Arc<LogLine>>>,
    /// Sent to under the lock, so that a new reader misses none and has none twice.
    sender: broadcast::Sender<Arc<LogLine>>,
}

impl Tail {
    /// Keeps lines from now on.
    pub(crate) fn keep(&self) {
        self.kept();
    }

    fn kept(&self) -> &Kept {
        self.0.get_or_init(|| Kept {
            lines: Mutex::default(),
            sender: broadcast::Sender::new(KEPT),
        })
    }

    /// Keeps a line, if lines are kept. Costs a look at a flag if not.
    pub(crate) fn push(&self, level: Level, message: impl FnOnce() -> String) {
        let Some(Kept { lines, sender }) = self.0.get() else {
            return;
        };
        let line = Arc::new(LogLine {
            time: SystemTime::now(),
            level: level_word(level),
            message: message(),
        });
        let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = (lines.len() >= KEPT).then(|| lines.pop_front());
        lines.push_back(line.clone());
        // An error says that nobody reads.
        let _ = sender.send(line);
        drop(lines);
        drop(oldest);
    }

    pub(crate) fn follow(&self) -> LogFeed {
        let Kept { lines, sender } = self.kept();
        let lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
        LogFeed {
            recent: lines.iter().cloned().collect(),
            receiver: sender.subscribe(),
        }
    }
}

impl LogFeed {
    /// The next line; `None` when the log has ended. Cancel-safe.
    ///
    /// # Errors
    /// How many lines were left out, because this reader was too slow.
    pub async fn next(&mut self) -> Option<Result<Arc<LogLine>, u64>> {
        match self.receiver.recv().await {
            Ok(line) => Some(Ok(line)),
            Err(RecvError::Lagged(missed)) => Some(Err(missed)),
            Err(RecvError::Closed) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(tail: &Tail, number: usize) {
        tail.push(Level::INFO, || number.to_string());
    }

    #[tokio::test]
    async fn the_latest_lines_are_kept_and_the_next_ones_follow() {
        let tail = Tail::default();
        tail.push(Level::INFO, || unreachable!("nobody may ask"));
        tail.keep();
        for number in 0..KEPT + 2 {
            push(&tail, number);
        }
        let mut feed = tail.follow();
        let recent: Vec<_> = feed.recent.iter().map(|it| it.message.clone()).collect();
        let expect: Vec<_> = (2..KEPT + 2).map(|it| it.to_string()).collect();
        assert_eq!(recent, expect);
        push(&tail, 7);
        let next = feed.next().await.unwrap().unwrap();
        assert_eq!((next.level, next.message.as_str()), ("info", "7"));
    }

    #[tokio::test]
    async fn a_reader_that_is_too_slow_learns_that_it_is() {
        let tail = Tail::default();
        let mut feed = tail.follow();
        for number in 0..KEPT + 3 {
            push(&tail, number);
        }
        assert_eq!(feed.next().await, Some(Err(3)));
        assert_eq!(feed.next().await.unwrap().unwrap().message, "3");
        drop(tail);
    }
}
