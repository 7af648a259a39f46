//! Requests to read the configuration again, by SIGHUP.

use std::convert::Infallible;
use std::sync::Arc;

use tokio::sync::Notify;
use tracing::{error, info};

use crate::service_manager::ServiceManager;

/// The requests to read the configuration again. A service runs its reload for each of them, beside what it serves:
///
/// ```no_run
/// # use mgrok_daemon::Daemon;
/// # async fn serve(stop: impl Future<Output = ()>) -> anyhow::Result<usize> { Ok(0) }
/// # fn reload() -> anyhow::Result<String> { Ok(String::new()) }
/// # fn example(daemon: Daemon) -> anyhow::Result<()> {
/// daemon.block_on(async |running| {
///     let reloads = running.reloads();
///     tokio::select! {
///         ended = serve(running.stopped()) => ended,
///         never = reloads.run(async || reload()) => match never {},
///     }
/// })?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ReloadRequests {
    manager: ServiceManager,
    /// Holds at most one request, so that many signals during one reload cause one more.
    requested: Arc<Notify>,
}

impl ReloadRequests {
    pub(crate) fn new(manager: ServiceManager) -> Self {
        Self {
            manager,
            requested: Arc::default(),
        }
    }

    pub(crate) fn request(&self) {
        self.requested.notify_one();
    }

    /// Runs `reload` for each request, one after the other, until the future is dropped. Logs what `reload` says has changed, or its
    /// error with all causes, and tells the service manager when a reload begins and ends.
    ///
    /// `reload` must change nothing if it fails.
    pub async fn run(self, mut reload: impl AsyncFnMut() -> anyhow::Result<String>) -> Infallible {
        loop {
            self.requested.notified().await;
            info!("SIGHUP: reloading the configuration");
            self.manager.reloading();
            match reload().await {
                Ok(changes) => info!("reloaded: {changes}"),
                Err(error) => {
                    // A file may have many mistakes, each of which is a line.
                    for line in format!("{error:#}").lines() {
                        error!("not reloaded, nothing has changed: {line}");
                    }
                }
            }
            self.manager.reloaded();
        }
    }
}
