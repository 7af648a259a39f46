//! Requests to read the configuration again: by SIGHUP, and because its file has changed.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mgrok_config::ConfigFiles;
use tokio::sync::{Notify, watch};
use tracing::{error, info};

use crate::file_watch::{self, Watched};
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
    /// The files that are watched.
    files: watch::Sender<Watched>,
    /// Whether it is a file that the latest request comes from.
    is_by_file: Arc<AtomicBool>,
    manager: ServiceManager,
    /// Holds at most one request, so that many signals during one reload cause one more.
    requested: Arc<Notify>,
}

impl ReloadRequests {
    pub(crate) fn new(manager: ServiceManager) -> Self {
        Self {
            files: watch::Sender::default(),
            is_by_file: Arc::default(),
            manager,
            requested: Arc::default(),
        }
    }

    /// Asks for a reload.
    pub(crate) fn request(&self) {
        self.is_by_file.store(false, Ordering::Relaxed);
        self.requested.notify_one();
    }

    /// Asks for a reload whenever one of these files has changed, and whenever another appears for what they include, from now on; of
    /// none, never.
    pub fn watch_files(&self, files: ConfigFiles) {
        self.files.send_replace(Watched::new(files));
    }

    /// Runs `reload` for each request, one after the other, until the future is dropped. Logs what `reload` says has changed, or its
    /// error with all causes, and tells the service manager when a reload begins and ends.
    ///
    /// `reload` must change nothing if it fails.
    pub async fn run(self, reload: impl AsyncFnMut() -> anyhow::Result<String>) -> Infallible {
        let by_file = || {
            self.is_by_file.store(true, Ordering::Relaxed);
            self.requested.notify_one();
        };
        tokio::select! {
            never = self.serve(reload) => match never {},
            never = file_watch::run(self.files.subscribe(), by_file) => match never {},
        }
    }

    async fn serve(&self, mut reload: impl AsyncFnMut() -> anyhow::Result<String>) -> Infallible {
        loop {
            self.requested.notified().await;
            match self.is_by_file.load(Ordering::Relaxed) {
                true => info!("a configuration file has changed: reloading the configuration"),
                false => info!("SIGHUP: reloading the configuration"),
            }
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
