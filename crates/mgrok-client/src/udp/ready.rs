//! Which of many sockets have something, without asking each of them.
//!
//! Each socket is polled with a waker of its own, which notes the socket's slot and wakes the one task that serves
//! them all.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Wake, Waker};

/// The slots that woke up, and the task that wants to know.
#[derive(Debug, Default)]
pub(super) struct Ready {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    slots: Vec<usize>,
    task: Option<Waker>,
}

/// One socket's way to make itself heard.
#[derive(Debug)]
pub(super) struct SlotWaker {
    slot: usize,
    /// Whether the slot is noted already, so that it is noted once.
    noted: AtomicBool,
    shared: Arc<Shared>,
}

impl Ready {
    /// A waker for a new socket in this slot.
    pub(super) fn waker(&self, slot: usize) -> Arc<SlotWaker> {
        Arc::new(SlotWaker {
            slot,
            noted: AtomicBool::new(false),
            shared: self.shared.clone(),
        })
    }

    /// Appends the slots that woke up to `slots`. The task of `cx` is woken when there are more.
    pub(super) fn take(&self, cx: &Context<'_>, slots: &mut Vec<usize>) {
        let mut state = self
            .shared
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        slots.append(&mut state.slots);
        match &mut state.task {
            Some(task) => task.clone_from(cx.waker()),
            None => state.task = Some(cx.waker().clone()),
        }
    }
}

impl SlotWaker {
    /// To be called before the socket is polled: what it has from now on is noted anew.
    pub(super) fn rearm(&self) {
        self.noted.store(false, Ordering::Release);
    }
}

impl Wake for SlotWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.noted.swap(true, Ordering::AcqRel) {
            return;
        }
        let task = {
            let mut state = self
                .shared
                .state
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            state.slots.push(self.slot);
            state.task.take()
        };
        if let Some(task) = task {
            task.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_slot_is_noted_once_and_wakes_the_task() {
        let ready = Ready::default();
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(woken.clone());
        let take = || {
            let mut slots = Vec::new();
            ready.take(&Context::from_waker(&waker), &mut slots);
            slots
        };
        assert!(take().is_empty());

        let (first, second) = (ready.waker(1), ready.waker(2));
        assert!(!woken.0.load(Ordering::Relaxed));
        first.wake_by_ref();
        assert!(woken.0.load(Ordering::Relaxed));
        first.wake_by_ref();
        second.wake_by_ref();
        assert_eq!(take(), [1, 2]);

        first.rearm();
        first.wake_by_ref();
        second.wake_by_ref();
        assert_eq!(take(), [1]);
    }
}
