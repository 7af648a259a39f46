//! How streams come into being: opened by this end or accepted from the other.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::config::WindowBudget;
use crate::error::OpenError;
use crate::machine::Usage;
use crate::shared::Shared;
use crate::stream::Stream;

/// Opens streams, and ends the session. Clones are the same.
///
/// The session ends by itself when neither an opener nor the acceptor nor a stream is left.
#[derive(Debug)]
pub struct Opener {
    shared: Arc<Shared>,
    open_timeout: Duration,
}

impl Opener {
    pub(crate) fn new(shared: Arc<Shared>, open_timeout: Duration) -> Self {
        shared.lock().handles += 1;
        Self {
            shared,
            open_timeout,
        }
    }

    /// Opens a stream, which can be used at once. Waits while 256 opened streams are not
    /// acknowledged, for at most [`Config::open_timeout`](crate::Config::open_timeout).
    pub async fn open(&self) -> Result<Stream, OpenError> {
        let permit = tokio::time::timeout(self.open_timeout, self.shared.opens.acquire());
        match permit.await {
            Err(_elapsed) => return Err(OpenError::TimedOut),
            Ok(Err(_closed)) => return Err(self.shared.open_error()),
            // The permit comes back when the stream is acknowledged or gone.
            Ok(Ok(permit)) => permit.forget(),
        }
        let now = tokio::time::Instant::now().into_std();
        let mut guard = self.shared.lock();
        let opened = guard.machine.open();
        if opened.is_ok() {
            guard.machine.note_opened(now);
        }
        guard.finish();
        match opened {
            Ok(id) => Ok(Stream::new(Arc::clone(&self.shared), id)),
            Err(error) => {
                self.shared.opens.add_permits(1);
                Err(error)
            }
        }
    }

    /// The other end has shown who it is: it may do all that the [`Config`](crate::Config) allows from now on.
    pub fn trust(&self) {
        let now = tokio::time::Instant::now().into_std();
        let mut guard = self.shared.lock();
        guard.machine.trust(now);
        guard.finish();
    }

    /// From now on the windows of the session's streams count in `budget` as well, unless there is one already or a window has grown.
    pub fn share_windows(&self, budget: &WindowBudget) {
        let now = tokio::time::Instant::now().into_std();
        let mut guard = self.shared.lock();
        guard.machine.share_windows(budget, now);
        guard.finish();
    }

    /// Tells the other end that there will be no new streams. Those that exist go on.
    pub fn go_away(&self) {
        let mut guard = self.shared.lock();
        guard.machine.go_away();
        guard.finish();
    }

    /// Asks for signs of life otherwise than configured from now on: when the other end has been silent for `interval`, or has not
    /// answered data for a second. If it stays silent for `timeout` after that, the session is given up.
    pub fn watch_closely(&self, interval: Duration, timeout: Duration) {
        let now = tokio::time::Instant::now().into_std();
        let mut guard = self.shared.lock();
        guard.machine.watch_closely(interval, timeout, now);
        // It waits for another time.
        guard.finish_and_wake_driver();
    }

    /// Ends the session: what streams have queued is still written, everything else fails.
    pub fn close(&self) {
        let mut guard = self.shared.lock();
        guard.machine.close();
        guard.finish_and_wake_driver();
    }

    /// Waits until the session's driver is done.
    pub async fn closed(&self) {
        self.shared.ended.wait().await;
    }

    /// Looks at what the session uses, and does not keep it from ending.
    pub fn usage_watch(&self) -> UsageWatch {
        UsageWatch {
            shared: Arc::clone(&self.shared),
        }
    }

    /// Whether the session has ended or is being closed.
    pub fn is_closed(&self) -> bool {
        self.shared.lock().machine.ended().is_some()
    }
}

impl Clone for Opener {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.shared), self.open_timeout)
    }
}

impl Drop for Opener {
    fn drop(&mut self) {
        drop_handle(&self.shared, |_| ());
    }
}

/// Looks at what a session uses. The session ends as if it were not there.
#[derive(Debug)]
pub struct UsageWatch {
    shared: Arc<Shared>,
}

impl UsageWatch {
    /// What the session uses at this moment.
    pub fn usage(&self) -> Usage {
        self.shared.lock().machine.usage()
    }
}

/// Receives the streams that the other end opens. When it is dropped, new ones are refused.
#[derive(Debug)]
pub struct Acceptor {
    shared: Arc<Shared>,
}

impl Acceptor {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        shared.lock().handles += 1;
        Self { shared }
    }

    /// The next stream; `None` when the session has ended.
    pub async fn accept(&mut self) -> Option<Stream> {
        poll_fn(|cx| self.poll_accept(cx)).await
    }

    /// As [`accept`](Self::accept).
    pub fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Option<Stream>> {
        let accepted = self.shared.lock().machine.poll_accept(cx);
        accepted.map(|id| Some(Stream::new(Arc::clone(&self.shared), id?)))
    }
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        drop_handle(&self.shared, |shared| {
            let mut guard = shared.lock();
            guard.machine.stop_accepting();
            guard.finish();
        });
    }
}

fn drop_handle(shared: &Shared, first: impl FnOnce(&Shared)) {
    first(shared);
    let mut guard = shared.lock();
    guard.handles -= 1;
    if guard.is_abandoned() {
        guard.finish_and_wake_driver();
    } else {
        guard.finish();
    }
}
