//! `mgrokc`, the client: publishes services behind a NAT through a server.

mod doctor;
mod nathole;

use std::convert::Infallible;
use std::future::pending;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::Subcommand;
use mgrok_client::{Client, ProgressWatch, Reloader};
use mgrok_config::{ClientConfig, LoadError, Loaded, Strictness, load_client};
use mgrok_daemon::{Daemon, DoctorArguments, LogReloader, Program, ReloadRequests, ServiceManager};
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tracing::{info, warn};

const PROGRAM: Program = Program {
    about: "The end of a reverse tunnel behind the NAT",
    // frp: ./frpc.ini, a format of the past
    default_config: Some("./client.toml"),
    name: "mgrokc",
    version: env!("CARGO_PKG_VERSION"),
};

/// How long changes gather before the service manager is told.
const REPORT_PAUSE: Duration = Duration::from_millis(100);

/// What the client can do besides what both programs can.
#[derive(Debug, Subcommand)]
enum Command {
    /// Find out which layer fails: file, network, TLS, login, local services, public ports
    Doctor(DoctorArguments),
    /// Look into the ways past the server
    Nathole(nathole::Arguments),
}

fn main() -> ExitCode {
    PROGRAM.main_with(std::env::args_os(), load, run, command)
}

/// A client without a file has nothing to publish, so an empty name is a file that is not there.
fn load(file: Option<&Path>, strictness: Strictness) -> Result<Loaded<ClientConfig>, LoadError> {
    load_client(file.unwrap_or(Path::new("")), strictness)
}

fn run(
    config: ClientConfig,
    file: Option<&Path>,
    strictness: Strictness,
) -> anyhow::Result<ExitCode> {
    let daemon = Daemon::start(PROGRAM.name, &config.log)?;
    let path = file.unwrap_or(Path::new(""));
    let file = path.display();
    // frp: scripts look for these words (client/service.go, cmd/frpc/sub/root.go)
    info!("start frpc service for config file [{file}] with aggregated configuration");
    info!("{}", PROGRAM.describe());
    let reload_on_change = config.reload_on_change;
    daemon.block_on(async |running| {
        let mut client = Client::new(config)?;
        client.open_admin_port().await?;
        let reports = report(client.progress(), running.manager());
        let (reloader, log) = (client.reloader(), running.log());
        let requests = running.reloads();
        watch(&requests, path, reload_on_change);
        let reloads = running.reloads().run(async || {
            let config = load_again(path, strictness).await?;
            let reload_on_change = config.reload_on_change;
            let changes = reload(&reloader, config, &log).await?;
            watch(&requests, path, reload_on_change);
            Ok(changes)
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

/// Has the configuration read again when its file changes, if that is wanted.
fn watch(reloads: &ReloadRequests, path: &Path, is_wanted: bool) {
    let watched = is_wanted.then(|| path.to_owned());
    reloads.watch_files(watched.into_iter().collect());
}

async fn load_again(path: &Path, strictness: Strictness) -> anyhow::Result<ClientConfig> {
    let path = path.to_owned();
    let loaded = spawn_blocking(move || load_client(&path, strictness)).await??;
    for warning in loaded.warnings {
        warn!("{warning}");
    }
    Ok(loaded.config)
}

/// Gives the client another configuration; returns what has changed.
async fn reload(
    reloader: &Reloader,
    config: ClientConfig,
    log: &LogReloader,
) -> anyhow::Result<String> {
    let log_config = config.log.clone();
    log.check(&log_config)?;
    let report = reloader.reload(config).await?;
    log.change(&log_config);
    Ok(report.to_string())
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

fn command(
    command: Command,
    file: Option<&Path>,
    strictness: Strictness,
) -> anyhow::Result<ExitCode> {
    match command {
        Command::Doctor(arguments) => {
            doctor::run(&PROGRAM, arguments, file, load(file, strictness))
        }
        Command::Nathole(arguments) => {
            nathole::run(&arguments, || load(file, strictness))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}
