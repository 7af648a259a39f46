//! Whether a proxy takes users, as the operator wants it.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// Open, or closed to users.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    is_closed: AtomicBool,
    changed: Notify,
}

impl Gate {
    pub(super) fn new(is_closed: bool) -> Self {
        Self {
            is_closed: AtomicBool::new(is_closed),
            changed: Notify::new(),
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::Acquire)
    }

    pub(super) fn set_closed(&self, is_closed: bool) {
        self.is_closed.store(is_closed, Ordering::Release);
        self.changed.notify_waiters();
    }

    /// Waits until the gate is closed.
    pub(crate) async fn closed(&self) {
        self.becomes(true).await;
    }

    /// Waits until the gate is open.
    pub(crate) async fn opened(&self) {
        self.becomes(false).await;
    }

    async fn becomes(&self, is_closed: bool) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // A change between the look and the wait counts.
            changed.as_mut().enable();
            if self.is_closed() == is_closed {
                return;
            }
            changed.await;
        }
    }
}
