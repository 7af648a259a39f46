//! The row of a user's connection that carries requests to several proxies, one after the other.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Poll, Wake, Waker};

use crate::directory::{ConnectionRow, ProxyEntry};

/// The row of one connection. It belongs to the proxy that the latest request went to; requests that are still under way with
/// another hold that one's.
#[derive(Debug)]
pub(super) struct UserRows {
    from: SocketAddr,
    current: Mutex<Option<Arc<ConnectionRow>>>,
    closing: Arc<CloseSignal>,
}

/// Ends a connection when one of its rows is to be closed: rows wake it for nothing else.
#[derive(Debug, Default)]
pub(super) struct CloseSignal {
    is_closed: AtomicBool,
    /// That of the task that serves the connection.
    waker: OnceLock<Waker>,
}

impl UserRows {
    /// Those of a user who comes from `from`; none yet.
    pub(super) fn new(from: SocketAddr) -> Self {
        Self {
            from,
            current: Mutex::default(),
            closing: Arc::default(),
        }
    }

    /// Tells when the connection is to be closed.
    pub(super) fn closing(&self) -> Arc<CloseSignal> {
        self.closing.clone()
    }

    /// The row in which a request to `proxy` counts.
    pub(super) fn of(&self, proxy: &Arc<ProxyEntry>) -> Arc<ConnectionRow> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(row) = &*current
            && row.is_of(proxy)
        {
            return row.clone();
        }
        let waker = Waker::from(self.closing.clone());
        let row = Arc::new(proxy.add_connection(self.from, waker));
        let before = current.replace(row.clone());
        drop(current);
        drop(before);
        row
    }
}

impl CloseSignal {
    /// Serves a connection until it ends or is to be closed.
    // Not an async function, which would hold `serving` twice.
    pub(super) fn until_closed(
        &self,
        mut serving: impl Future<Output = ()> + Unpin,
    ) -> impl Future<Output = ()> {
        poll_fn(move |cx| {
            if self.waker.get().is_none() {
                // The task has one waker for as long as it lives.
                let _ = self.waker.set(cx.waker().clone());
            }
            if self.is_closed.load(Ordering::Acquire) {
                return Poll::Ready(());
            }
            Pin::new(&mut serving).poll(cx)
        })
    }
}

impl Wake for CloseSignal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.is_closed.store(true, Ordering::Release);
        if let Some(waker) = self.waker.get() {
            waker.wake_by_ref();
        }
    }
}
