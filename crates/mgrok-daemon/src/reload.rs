//! Requests to read the configuration again: by SIGHUP, because its file has changed, and at the admin port, where the end can be asked for
//! too.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mgrok_admin::{AdminRequest, AdminRequests, ReloadFailure};
use mgrok_config::{ConfigFiles, LoadError, Strictness};
use tokio::sync::{Notify, oneshot, watch};
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
///         never = reloads.run(None, async |_| reload()) => match never {},
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
    /// Asks for the end of the service.
    stop: Arc<Notify>,
}

impl ReloadRequests {
    /// `stop` is told when the admin port is asked for the end.
    pub(crate) fn new(manager: ServiceManager, stop: Arc<Notify>) -> Self {
        Self {
            files: watch::Sender::default(),
            is_by_file: Arc::default(),
            manager,
            requested: Arc::default(),
            stop,
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
    /// error with all causes, and tells the service manager when a reload begins and ends. Does what is asked for at an admin port as
    /// well, for which `reload` is told what is to become of unknown keys, if that was said.
    ///
    /// `reload` must change nothing if it fails.
    pub async fn run(
        self,
        admin: Option<AdminRequests>,
        reload: impl AsyncFnMut(Option<Strictness>) -> anyhow::Result<String>,
    ) -> Infallible {
        let by_file = || {
            self.is_by_file.store(true, Ordering::Relaxed);
            self.requested.notify_one();
        };
        tokio::select! {
            never = self.serve(admin, reload) => match never {},
            never = file_watch::run(self.files.subscribe(), by_file) => match never {},
        }
    }

    async fn serve(
        &self,
        mut admin: Option<AdminRequests>,
        mut reload: impl AsyncFnMut(Option<Strictness>) -> anyhow::Result<String>,
    ) -> Infallible {
        loop {
            let asked = async {
                match &mut admin {
                    Some(admin) => admin.next().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.requested.notified() => self.reload(&mut reload).await,
                request = asked => match request {
                    AdminRequest::Stop => {
                        info!("stopping, as the admin port was told to");
                        self.stop.notify_one();
                    }
                    AdminRequest::Reload { strictness, answer } => {
                        self.manager.reloading();
                        answer_reload(answer, reload(strictness).await);
                        self.manager.reloaded();
                    }
                },
            }
        }
    }

    async fn reload(
        &self,
        reload: &mut impl AsyncFnMut(Option<Strictness>) -> anyhow::Result<String>,
    ) {
        match self.is_by_file.load(Ordering::Relaxed) {
            true => info!("a configuration file has changed: reloading the configuration"),
            false => info!("SIGHUP: reloading the configuration"),
        }
        self.manager.reloading();
        match reload(None).await {
            Ok(changes) => info!("reloaded: {changes}"),
            Err(error) => log_failure(&error),
        }
        self.manager.reloaded();
    }
}

/// Tells whoever asked for a reload at an admin port how it went, and the log.
pub fn answer_reload(
    answer: oneshot::Sender<Result<String, ReloadFailure>>,
    outcome: anyhow::Result<String>,
) {
    let outcome = match outcome {
        Ok(changes) => {
            // frp: these words
            info!("success reload conf: {changes}");
            Ok(changes)
        }
        Err(error) => {
            log_failure(&error);
            let why = format!("{error:#}");
            Err(match error.is::<LoadError>() {
                true => ReloadFailure::Invalid(why),
                false => ReloadFailure::NotApplied(why),
            })
        }
    };
    // Whoever asked may have left.
    let _ = answer.send(outcome);
}

fn log_failure(error: &anyhow::Error) {
    // A file may have many mistakes, each of which is a line.
    for line in format!("{error:#}").lines() {
        error!("not reloaded, nothing has changed: {line}");
    }
}
