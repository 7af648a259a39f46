//! A client that runs until it is stopped, and reads its file again when it is told to.

use std::convert::Infallible;
use std::future::pending;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mgrok_admin::{Routes, with_log};
use mgrok_client::{Client, ProgressWatch, Reloader};
use mgrok_config::{AccessLog, ClientConfig, ConfigFiles, LoadOptions, Strictness, load_client};
use mgrok_daemon::{
    AccessLogKeeper, Daemon, LogReloader, ReloadRequests, ServiceManager, say_warnings,
};
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tracing::{info, warn};

use crate::PROGRAM;
use crate::advice::advice;

/// How long changes gather before the service manager is told.
const REPORT_PAUSE: Duration = Duration::from_millis(100);

/// What a reload of one client reads and changes.
#[derive(Clone, Debug)]
pub(crate) struct Reload {
    pub(crate) path: PathBuf,
    pub(crate) options: LoadOptions,
    pub(crate) reloader: Reloader,
    pub(crate) access_log: Arc<Mutex<AccessLogKeeper>>,
    /// The log; `None` if it is not this client's alone.
    pub(crate) log: Option<LogReloader>,
    /// Where changes of the file ask for a reload; `None` if they do not.
    pub(crate) requests: Option<ReloadRequests>,
}

/// Runs a client with the configuration in `path`.
///
/// # Errors
/// What is wrong with it, or why the client has ended.
pub(crate) fn with_file(path: &Path, options: LoadOptions) -> anyhow::Result<ExitCode> {
    let loaded = load_client(path, options)?;
    say_warnings(&loaded.warnings);
    let (config, files) = (loaded.config, loaded.files);
    let daemon = Daemon::start(PROGRAM.name, &config.log)?;
    let file = path.display();
    // frp: scripts look for these words (client/service.go, cmd/frpc/sub/root.go)
    info!("start frpc service for config file [{file}] with aggregated configuration");
    introduce(&config);
    let reload_on_change = config.reload_on_change;
    daemon.block_on(async |running| {
        let access_log = config.access_log.clone();
        let mut client = Client::new(config)?;
        client.open_admin_port().await?;
        add_log(&mut client, &running.log());
        let requests = client.admin_requests(path, options);
        let reports = report(client.progress(), running.manager());
        let reload = Reload {
            path: path.to_owned(),
            options,
            reloader: client.reloader(),
            access_log: keep_access_log(&client, access_log.as_ref())?,
            log: Some(running.log()),
            requests: Some(running.reloads()),
        };
        reload.watch(files, reload_on_change);
        let reloads = running.reloads().run(Some(requests), async |strictness| {
            reload.run(strictness).await
        });
        let ended = tokio::select! {
            ended = client.run(running.stopped()) => ended,
            never = reports => match never {},
            never = reloads => match never {},
        };
        info!("frpc service for config file [{file}] stopped");
        Ok(ended?.cut)
    })
}

/// Has the admin port show the log and change its level, if there is one.
pub(crate) fn add_log(client: &mut Client, log: &LogReloader) {
    if client.has_admin_port() {
        client.add_admin_routes(with_log(Routes::default(), log.control()));
    }
}

/// Runs a client with a configuration that is in no file.
///
/// # Errors
/// Why the client has ended.
pub(crate) fn without_file(config: ClientConfig) -> anyhow::Result<ExitCode> {
    let daemon = Daemon::start(PROGRAM.name, &config.log)?;
    introduce(&config);
    daemon.block_on(async |running| {
        let client = Client::new(config)?;
        let reports = report(client.progress(), running.manager());
        tokio::select! {
            ended = client.run(running.stopped()) => Ok(ended?.cut),
            never = reports => match never {},
        }
    })
}

/// Says who runs, and what its operator should know.
pub(crate) fn introduce(config: &ClientConfig) {
    info!("{}", PROGRAM.describe());
    for advice in advice(config) {
        warn!("{advice}");
    }
}

/// Has the access log of `client` written as `config` wants it.
pub(crate) fn keep_access_log(
    client: &Client,
    config: Option<&AccessLog>,
) -> anyhow::Result<Arc<Mutex<AccessLogKeeper>>> {
    let keeper = AccessLogKeeper::start(client.access_log(), config)?;
    Ok(Arc::new(Mutex::new(keeper)))
}

impl Reload {
    /// Reads the file again and gives the client what it says; returns what has changed. `strictness` is for this time alone.
    pub(crate) async fn run(&self, strictness: Option<Strictness>) -> anyhow::Result<String> {
        let path = self.path.clone();
        let options = match strictness {
            Some(strictness) => self.options.with_strictness(strictness),
            None => self.options,
        };
        let loaded = spawn_blocking(move || load_client(&path, options)).await??;
        for warning in loaded.warnings {
            warn!("{warning}");
        }
        let (config, files) = (loaded.config, loaded.files);
        let (log, reload_on_change) = (config.log.clone(), config.reload_on_change);
        if let Some(reloader) = &self.log {
            reloader.check(&log)?;
        }
        let access_log = self.access_log().prepare(config.access_log.as_ref())?;
        let report = self.reloader.reload(config).await?;
        self.access_log().apply(access_log);
        if let Some(reloader) = &self.log {
            reloader.change(&log);
        }
        self.watch(files, reload_on_change);
        Ok(report.to_string())
    }

    fn access_log(&self) -> MutexGuard<'_, AccessLogKeeper> {
        self.access_log
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the files read again when one changes, if that is wanted.
    fn watch(&self, files: ConfigFiles, is_wanted: bool) {
        if let Some(requests) = &self.requests {
            requests.watch_files(if is_wanted {
                files
            } else {
                ConfigFiles::default()
            });
        }
    }
}

/// Tells the service manager how the client is with its servers. It is ready when it is logged in for the first time.
async fn report(mut progress: ProgressWatch, manager: ServiceManager) -> Infallible {
    if !manager.is_there() {
        return pending().await;
    }
    let mut is_ready = false;
    let mut told = String::new();
    loop {
        let status = progress.to_string();
        if status != told {
            match is_ready {
                true => manager.status(&status),
                false => manager.starting(&status),
            }
            told = status;
        }
        if !is_ready && progress.is_logged_in() {
            is_ready = true;
            manager.ready();
        }
        progress.changed().await;
        // A thousand proxies that start are not told one by one.
        sleep(REPORT_PAUSE).await;
    }
}
