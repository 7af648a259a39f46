//! Something that takes a while and is done once at a time: whoever wants it meanwhile waits for what is under way.

use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;

/// What is done once at a time. What it gives is for all who waited.
#[derive(Debug)]
pub(crate) struct Once<T> {
    running: Mutex<Option<watch::Receiver<Option<T>>>>,
}

impl<T: Clone + Send + Sync + 'static> Once<T> {
    pub(crate) fn new() -> Self {
        Self {
            running: Mutex::new(None),
        }
    }

    /// Does `work`, or waits for what somebody else began; `None` if that came to no end. It goes on if whoever waits gives up, so it
    /// must have a deadline of its own.
    pub(crate) async fn run<F>(&self, work: impl FnOnce() -> F) -> Option<T>
    where
        F: Future<Output = T> + Send + 'static,
    {
        self.run_if(|| true, work).await
    }

    /// As [`run`](Self::run), but begins only if it `may`; `None` also if it may not, and nothing is under way.
    pub(crate) async fn run_if<F>(
        &self,
        may: impl FnOnce() -> bool,
        work: impl FnOnce() -> F,
    ) -> Option<T>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut result = self.join(may, work)?;
        let result = result.wait_for(Option::is_some).await.ok()?;
        result.clone()
    }

    fn join<F>(
        &self,
        may: impl FnOnce() -> bool,
        work: impl FnOnce() -> F,
    ) -> Option<watch::Receiver<Option<T>>>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(result) = running.as_ref()
            && result.borrow().is_none()
            && result.has_changed().is_ok()
        {
            return Some(result.clone());
        }
        if !may() {
            return None;
        }
        let (sender, receiver) = watch::channel(None);
        let work = work();
        tokio::spawn(async move {
            let result = work.await;
            // If nobody waits any longer, nobody wants it.
            let _ = sender.send(Some(result));
        });
        *running = Some(receiver.clone());
        Some(receiver)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn all_who_ask_meanwhile_share_the_work() {
        let (once, count) = (Once::new(), Arc::new(AtomicUsize::new(0)));
        let work = || {
            let count = count.clone();
            async move {
                tokio::time::sleep(Duration::from_secs(1)).await;
                count.fetch_add(1, Ordering::Relaxed) + 1
            }
        };
        let (one, other) = tokio::join!(once.run(work), once.run(work));
        assert_eq!((one, other), (Some(1), Some(1)));
        assert_eq!(once.run(work).await, Some(2));
    }

    #[tokio::test]
    async fn work_that_fails_is_begun_anew() {
        let once = Once::<u8>::new();
        let failed = once.run(|| async { std::future::pending().await });
        let gone = tokio::time::timeout(Duration::from_millis(1), failed).await;
        assert!(gone.is_err());
        // The one above is still under way, and shared.
        let shared = once.run(|| async { 7 });
        assert!(
            tokio::time::timeout(Duration::from_millis(1), shared)
                .await
                .is_err()
        );
    }
}
