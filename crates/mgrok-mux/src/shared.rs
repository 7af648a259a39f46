//! What the driver, the opener, the acceptor and the streams of one session share.
//!
//! One lock guards the state machine; it is held for short and never across a wait. Whoever
//! changed something calls [`Guard::finish`], which unlocks first and wakes then.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

use tokio::sync::{Semaphore, SetOnce};

use crate::config::Config;
use crate::error::OpenError;
use crate::machine::{MAX_UNACKNOWLEDGED, Machine};

#[derive(Debug)]
pub(crate) struct Shared {
    inner: Mutex<Inner>,
    /// One permit for each stream that may be opened; closed when none may be for good.
    pub(crate) opens: Semaphore,
    /// Set when the driver is done.
    pub(crate) ended: SetOnce<()>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) machine: Machine,
    /// Openers and acceptors that exist.
    pub(crate) handles: usize,
    driver: Option<Waker>,
    /// The driver has nothing to send and wants to know when that changes.
    driver_wants_output: bool,
}

/// The locked state.
pub(crate) struct Guard<'a> {
    shared: &'a Shared,
    inner: MutexGuard<'a, Inner>,
}

impl Shared {
    pub(crate) fn new(config: Config) -> Arc<Self> {
        let now = tokio::time::Instant::now().into_std();
        Arc::new(Self {
            inner: Mutex::new(Inner {
                machine: Machine::new(config, now),
                handles: 0,
                driver: None,
                driver_wants_output: false,
            }),
            opens: Semaphore::new(MAX_UNACKNOWLEDGED),
            ended: SetOnce::new(),
        })
    }

    pub(crate) fn lock(&self) -> Guard<'_> {
        Guard {
            shared: self,
            // The machine is consistent between its calls, and none of them is left by a panic
            // that is not a mistake of its own.
            inner: self.inner.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// Takes note that the driver is done; it may be said twice.
    pub(crate) fn note_done(&self) {
        let _already_set = self.ended.set(());
    }

    /// Why a stream cannot be opened although there was a wait for it.
    pub(crate) fn open_error(&self) -> OpenError {
        match self.lock().machine.ended() {
            Some(error) => OpenError::SessionEnded(error.clone()),
            None => OpenError::GoingAway,
        }
    }
}

impl Inner {
    /// Whether nobody can make use of the session any more.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.handles == 0 && self.machine.attached_count() == 0
    }
}

impl std::ops::Deref for Guard<'_> {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.inner
    }
}

impl std::ops::DerefMut for Guard<'_> {
    fn deref_mut(&mut self) -> &mut Inner {
        &mut self.inner
    }
}

impl Guard<'_> {
    /// Unlocks and wakes whoever has something to do now, among them the driver.
    pub(crate) fn finish(mut self) {
        let mut wakes = Vec::new();
        let inner = &mut *self.inner;
        inner.machine.take_wakes(&mut wakes);
        if inner.driver_wants_output && inner.machine.has_output() {
            inner.driver_wants_output = false;
            wakes.extend(inner.driver.take());
        }
        self.release(&mut wakes);
    }

    /// As [`finish`](Self::finish), and wakes the driver in any case: the session may be over.
    pub(crate) fn finish_and_wake_driver(mut self) {
        let mut wakes = Vec::new();
        self.inner.machine.take_wakes(&mut wakes);
        wakes.extend(self.inner.driver.take());
        self.release(&mut wakes);
    }

    /// As [`finish`](Self::finish), for the driver itself: `wakes` is an empty list that is used
    /// again.
    pub(crate) fn finish_driving(mut self, wakes: &mut Vec<Waker>) {
        self.inner.machine.take_wakes(wakes);
        self.release(wakes);
    }

    /// Leaves the driver's waker: for output if `wants_output`, for the session's end always.
    pub(crate) fn park_driver(&mut self, cx: &Context<'_>, wants_output: bool) {
        match &mut self.inner.driver {
            Some(waker) => waker.clone_from(cx.waker()),
            slot => *slot = Some(cx.waker().clone()),
        }
        self.inner.driver_wants_output = wants_output;
    }

    fn release(mut self, wakes: &mut Vec<Waker>) {
        let shared = self.shared;
        let freed = self.inner.machine.take_freed_opens();
        let no_more_opens = self.inner.machine.is_going_away();
        drop(self);
        if freed > 0 {
            shared.opens.add_permits(freed);
        }
        if no_more_opens && !shared.opens.is_closed() {
            shared.opens.close();
        }
        for waker in wakes.drain(..) {
            waker.wake();
        }
    }
}
