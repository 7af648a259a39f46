//! What a session's stream and its driver share.
//!
//! One lock guards the state machine; it is held for short and never across a wait.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::Notify;

use crate::machine::Machine;

#[derive(Debug)]
pub(crate) struct Shared {
    inner: Mutex<Inner>,
    /// Tells the driver to come before it meant to.
    pub(crate) driver: Notify,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) machine: Machine,
    /// When the driver will come by itself; `None` while it is at work.
    driver_at: Option<Instant>,
}

/// The locked state. Whoever changed something calls [`finish`](Self::finish).
pub(crate) struct Guard<'a> {
    shared: &'a Shared,
    inner: MutexGuard<'a, Inner>,
}

impl Shared {
    pub(crate) fn new(machine: Machine) -> Arc<Self> {
        Arc::new(Self {
            inner: Mutex::new(Inner {
                machine,
                driver_at: None,
            }),
            driver: Notify::new(),
        })
    }

    /// Hands datagrams to the state machine, all under one lock. Returns whether the other end has proved its address.
    pub(crate) fn handle_datagrams(&self, datagrams: impl IntoIterator<Item = Bytes>) -> bool {
        let mut guard = self.lock();
        let now = now();
        for datagram in datagrams {
            guard.machine.handle_datagram(datagram, now);
        }
        let is_proved = guard.machine.is_proved();
        guard.finish();
        is_proved
    }

    pub(crate) fn lock(&self) -> Guard<'_> {
        Guard {
            shared: self,
            // The machine is consistent between its calls, and none of them is left by a panic
            // that is not a mistake of its own.
            inner: self.inner.lock().unwrap_or_else(PoisonError::into_inner),
        }
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
        let inner = &mut *self.inner;
        let wakes = inner.machine.take_wakes();
        let driver_is_late = match (inner.driver_at, inner.machine.timeout_at()) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(driver_at), Some(at)) => at < driver_at,
        };
        if driver_is_late {
            inner.driver_at = None;
        }
        let shared = self.shared;
        drop(self);
        if driver_is_late {
            shared.driver.notify_one();
        }
        wakes.into_iter().flatten().for_each(std::task::Waker::wake);
    }

    /// As [`finish`](Self::finish), for the driver itself, which comes back at `at`, or never
    /// rests if that is `None`.
    pub(crate) fn finish_driving(mut self, at: Option<Instant>) {
        self.inner.driver_at = at;
        let wakes = self.inner.machine.take_wakes();
        drop(self);
        wakes.into_iter().flatten().for_each(std::task::Waker::wake);
    }
}

/// The time, which tests can stop.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
