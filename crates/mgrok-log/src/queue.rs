//! The bounded queue between the tasks that log and the thread that writes.
//!
//! It is one buffer of text: queueing a line is a copy under a lock, and the writer takes all of
//! it at once, so a burst costs one system call and no allocation per line.
//!
//! Not `tracing-appender`'s `non_blocking` (0.2.5): a line of 100 bytes takes it 47 to 54 ns, one allocation and one
//! `write(2)`, and this queue 33 ns and 1/1,500 of a `write(2)`. Its bound counts lines, not bytes, and is the same for all
//! lines, so that those that strangers cause would push out the operator's; and its count of dropped lines does not say where in the log
//! they are missing.

use std::mem;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How much text may wait for the writer. 8,000 lines of usual length: the burst of a few
/// thousand connections that end together fits.
pub(crate) const CAPACITY: usize = 1 << 20;

/// How much of that may be lines that others can cause as often as they like. The rest is kept for the operator's own.
pub(crate) const SOURCES_CAPACITY: usize = CAPACITY / 2;

/// Which part of the queue a line may take.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Room {
    All,
    ForSources,
}

/// Lines on their way to the writer.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    /// Signalled when a waiting writer has work.
    arrived: Condvar,
    state: Mutex<State>,
    /// Signalled when the writer has ended.
    left: Condvar,
}

#[derive(Debug, Default)]
struct State {
    closed: bool,
    /// Lines that were dropped since the writer last took the text.
    lost: u64,
    text: String,
    writer_waits: bool,
    writer_left: bool,
}

/// What the writer gets besides the text.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Taken {
    /// Nothing will come any more.
    pub(crate) closed: bool,
    /// How many lines were dropped because the queue was full.
    pub(crate) lost: u64,
}

impl Queue {
    /// Queues a line that ends with its line break. Never waits for the writer.
    pub(crate) fn push(&self, line: &str, room: Room) {
        let capacity = match room {
            Room::All => CAPACITY,
            Room::ForSources => SOURCES_CAPACITY,
        };
        let mut state = self.lock();
        if state.closed {
            return;
        }
        if state.text.len() + line.len() > capacity {
            state.lost += 1;
            return;
        }
        state.text.push_str(line);
        if mem::take(&mut state.writer_waits) {
            drop(state);
            self.arrived.notify_one();
        }
    }

    /// Waits for lines, `limit` at most, and swaps them into `text`, which must be empty.
    pub(crate) fn take(&self, text: &mut String, limit: Option<Duration>) -> Taken {
        debug_assert!(text.is_empty(), "the last batch was not written");
        let mut state = self.lock();
        let idle = |state: &mut State| state.text.is_empty() && state.lost == 0 && !state.closed;
        if idle(&mut state) {
            state.writer_waits = true;
            state = match limit {
                None => self
                    .arrived
                    .wait_while(state, idle)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(limit) => {
                    self.arrived
                        .wait_timeout_while(state, limit, idle)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0
                }
            };
            state.writer_waits = false;
        }
        mem::swap(&mut state.text, text);
        Taken {
            closed: state.closed,
            lost: mem::take(&mut state.lost),
        }
    }

    /// Lets lines gather for as long as `pause`; they wake nobody meanwhile. Ends at once when the
    /// queue is closed.
    pub(crate) fn gather(&self, pause: Duration) {
        let state = self.lock();
        let _closed = self
            .arrived
            .wait_timeout_while(state, pause, |state| !state.closed);
    }

    /// The writer's last word: everything it got is written.
    pub(crate) fn writer_left(&self) {
        self.lock().writer_left = true;
        self.left.notify_all();
    }

    /// Lets the writer finish what is queued, and waits for it, `limit` at most.
    pub(crate) fn close(&self, limit: Duration) {
        let deadline = Instant::now() + limit;
        let mut state = self.lock();
        state.closed = true;
        self.arrived.notify_one();
        while !state.writer_left {
            let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                return;
            };
            state = self
                .left
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// No code panics while it holds the lock, and a log must outlive any panic.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::*;

    #[test]
    fn lines_keep_their_order_and_come_in_one_batch() {
        let queue = Queue::default();
        queue.push("one\n", Room::All);
        queue.push("two\n", Room::All);
        let mut text = String::new();
        let taken = queue.take(&mut text, None);
        assert_eq!(text, "one\ntwo\n");
        assert_eq!((taken.closed, taken.lost), (false, 0));
    }

    #[test]
    fn who_lets_lines_gather_is_woken_by_the_end_only() {
        let queue = Arc::new(Queue::default());
        let gathering = thread::spawn({
            let queue = Arc::clone(&queue);
            move || {
                queue.gather(Duration::from_secs(60));
                let mut text = String::new();
                let taken = queue.take(&mut text, None);
                queue.writer_left();
                (taken.closed, text)
            }
        });
        queue.push("one\n", Room::All);
        queue.push("two\n", Room::All);
        queue.close(Duration::from_secs(60));
        let (closed, text) = gathering.join().unwrap();
        assert!(closed, "woken before the end");
        assert_eq!(text, "one\ntwo\n");
    }

    #[test]
    fn a_full_queue_counts_what_it_drops() {
        let queue = Queue::default();
        let line = format!("{}\n", "x".repeat(1023));
        for _ in 0..CAPACITY / line.len() + 3 {
            queue.push(&line, Room::All);
        }
        let mut text = String::new();
        let taken = queue.take(&mut text, None);
        assert_eq!(text.len(), CAPACITY);
        assert_eq!(taken.lost, 3);

        text.clear();
        queue.push("room again\n", Room::All);
        assert_eq!(queue.take(&mut text, None).lost, 0);
        assert_eq!(text, "room again\n");
    }

    #[test]
    fn lines_of_strangers_leave_room_for_the_others() {
        let queue = Queue::default();
        let line = format!("{}\n", "x".repeat(1023));
        for _ in 0..CAPACITY / line.len() {
            queue.push(&line, Room::ForSources);
        }
        queue.push("the disk is full\n", Room::All);
        let mut text = String::new();
        let taken = queue.take(&mut text, None);
        assert!(text.ends_with("the disk is full\n"));
        assert_eq!(taken.lost, 512);
    }

    #[test]
    fn a_waiting_writer_is_woken() {
        let queue = Arc::new(Queue::default());
        let writer = thread::spawn({
            let queue = Arc::clone(&queue);
            move || {
                let mut text = String::new();
                queue.take(&mut text, None);
                text
            }
        });
        queue.push("wake up\n", Room::All);
        assert_eq!(writer.join().unwrap(), "wake up\n");
    }

    #[test]
    fn an_idle_writer_is_woken_by_its_own_limit() {
        let queue = Queue::default();
        let mut text = String::new();
        let taken = queue.take(&mut text, Some(Duration::from_millis(1)));
        assert_eq!(text, "");
        assert!(!taken.closed);
    }

    #[test]
    fn closing_waits_for_the_writer_but_not_for_ever() {
        let queue = Queue::default();
        let started = Instant::now();
        queue.close(Duration::from_millis(20));
        assert!(started.elapsed() >= Duration::from_millis(20));
        assert!(queue.take(&mut String::new(), None).closed);

        queue.writer_left();
        queue.close(Duration::from_secs(3600));
    }
}
