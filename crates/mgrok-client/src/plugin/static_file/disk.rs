//! Work that waits for a disk, in threads of its own, of which there are so many: a file system that hangs takes no more.

use std::io;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

/// What one plugin asks of its disk at once. More waits.
const AT_ONCE: usize = 32;

/// The disk of one plugin.
#[derive(Clone, Debug)]
pub(super) struct Disk(Arc<Semaphore>);

impl Disk {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }

    /// Does `work` in a thread. It goes on when this future is dropped.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<T> {
        let permit = self.0.clone().acquire_owned().await;
        let permit = permit.map_err(io::Error::other)?;
        let working = spawn_blocking(move || {
            // Until the thread is free, whoever asked.
            let _permit = permit;
            work()
        });
        working.await.map_err(io::Error::other)
    }
}
