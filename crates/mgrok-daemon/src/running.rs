//! The program while it serves: its log, its runtime, and how it is stopped.

use std::num::NonZeroUsize;
use std::panic;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;

use anyhow::Context as _;
use mgrok_config::Log;
use tokio::runtime;
use tokio::sync::{Notify, oneshot};
use tracing::{error, info, warn};

use crate::limits;
use crate::log_options::LogReloader;
use crate::log_options::options;
use crate::memory;
use crate::reload::ReloadRequests;
use crate::service_manager::ServiceManager;
use crate::signals::{Received, Signals, StopSignal};

/// Threads for what blocks: looking up names, mostly. Lookups that find no thread wait, which is
/// better than the hundreds of threads that a dead name server would make of a burst of users.
const MAX_BLOCKING_THREADS: usize = 64;

/// A program with its log. Dropping it writes the last lines.
#[derive(Debug)]
pub struct Daemon {
    _log: mgrok_log::Log,
    log_reloader: LogReloader,
    name: &'static str,
}

/// What a service is given to begin and to end well.
#[derive(Debug)]
pub struct Running {
    log: LogReloader,
    manager: ServiceManager,
    reloads: ReloadRequests,
    stop: oneshot::Receiver<()>,
}

impl Daemon {
    /// Begins the log and takes what the process needs.
    ///
    /// # Errors
    /// When the process has a log already or the machine has no thread left.
    pub fn start(name: &'static str, log: &Log) -> anyhow::Result<Self> {
        let started = mgrok_log::start(options(log)).context("cannot start the log")?;
        log_panics();
        limits::raise_open_files();
        Ok(Self {
            log_reloader: LogReloader::new(log, started.control()),
            _log: started,
            name,
        })
    }

    /// Runs a service until it ends. It returns how many user connections it cut.
    ///
    /// The first SIGTERM or SIGINT asks it to stop; a second one ends it there and then, with the
    /// exit code that a shell shows for that signal.
    ///
    /// # Errors
    /// What the service returns, or that there can be no runtime.
    pub fn block_on(
        self,
        service: impl AsyncFnOnce(Running) -> anyhow::Result<usize>,
    ) -> anyhow::Result<ExitCode> {
        let runtime = runtime::Builder::new_multi_thread()
            .enable_all()
            .max_blocking_threads(MAX_BLOCKING_THREADS)
            .thread_name(self.name)
            // What a container may use, where its limit says so.
            .worker_threads(thread::available_parallelism().map_or(1, NonZeroUsize::get))
            .build()
            .context("cannot start the runtime")?;
        runtime.spawn(memory::give_back());
        let ended = runtime.block_on(serve(service, self.log_reloader));
        // A name that is being looked up would hold up the end for seconds.
        runtime.shutdown_background();
        ended
    }
}

async fn serve(
    service: impl AsyncFnOnce(Running) -> anyhow::Result<usize>,
    log: LogReloader,
) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::listen().context("cannot listen to signals")?;
    let manager = ServiceManager::from_env();
    let (stopper, stop) = oneshot::channel();
    let asked = Arc::new(Notify::new());
    let reloads = ReloadRequests::new(manager.clone(), asked.clone());
    let running = Running {
        log,
        manager: manager.clone(),
        reloads: reloads.clone(),
        stop,
    };
    let stopped_twice = async {
        let first = loop {
            let received = tokio::select! {
                received = signals.next() => received,
                // That has been logged.
                () = asked.notified() => break None,
            };
            match received {
                Received::Reload => reloads.request(),
                Received::Stop(signal) => break Some(signal),
            }
        };
        if let Some(signal) = first {
            info!("{signal}: stopping, once more ends at once");
        }
        manager.stopping();
        // A service that has ended by itself is not there to be told.
        let _ = stopper.send(());
        signals.next_stop().await
    };
    tokio::select! {
        cut = service(running) => {
            match cut? {
                0 => info!("stopped, no user connections were cut"),
                cut => warn!("stopped, {cut} user connections were cut"),
            }
            Ok(ExitCode::SUCCESS)
        }
        signal = stopped_twice => Ok(end_at_once(signal)),
        never = manager.keep_alive() => match never {},
    }
}

fn end_at_once(signal: StopSignal) -> ExitCode {
    warn!("{signal}: ending at once, user connections were cut");
    ExitCode::from(signal.exit_code())
}

impl Running {
    /// Tells the service manager that the service is there.
    pub fn ready(&self) {
        self.manager.ready();
    }

    /// What changes the log, for a service that reads its configuration again.
    pub fn log(&self) -> LogReloader {
        self.log.clone()
    }

    /// The service manager, for a service that has more to tell.
    pub fn manager(&self) -> ServiceManager {
        self.manager.clone()
    }

    /// The requests to read the configuration again. A service that takes no notice of them ignores SIGHUP.
    pub fn reloads(&self) -> ReloadRequests {
        self.reloads.clone()
    }

    /// Resolves when the service is to stop.
    pub async fn stopped(self) {
        // The other end lives as long as the service.
        let _ = self.stop.await;
    }
}

/// Puts panics into the log too. The runtime contains them, so whoever looks for the reason of a
/// cut connection looks there.
fn log_panics() {
    let to_stderr = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        to_stderr(panic);
        error!("internal error: {panic}");
    }));
}
