//! `mgroks`, the server: a public host through which services behind a NAT are reached.

mod doctor;
mod state;

use std::path::Path;
use std::process::ExitCode;

use clap::Subcommand;
use mgrok_config::{
    LoadError, Loaded, ServerConfig, Strictness, load_server, load_server_from_str,
};
use mgrok_daemon::{Daemon, DoctorArguments, LogReloader, Program, ReloadRequests};
use mgrok_server::{ReloadReport, Reloader, Server};
use tracing::{info, warn};

const PROGRAM: Program = Program {
    about: "The public end of a reverse tunnel",
    default_config: None,
    name: "mgroks",
    version: env!("CARGO_PKG_VERSION"),
};

/// What the server can do besides what both programs can.
#[derive(Debug, Subcommand)]
enum Command {
    /// Find out whether this host has what the server needs: ports, certificates, limits, names
    Doctor(DoctorArguments),
}

fn main() -> ExitCode {
    PROGRAM.main_with(std::env::args_os(), load, run, command)
}

fn command(
    command: Command,
    file: Option<&Path>,
    strictness: Strictness,
) -> anyhow::Result<ExitCode> {
    let Command::Doctor(arguments) = command;
    doctor::run(&PROGRAM, arguments, file, load(file, strictness))
}

/// Without a file every setting has its default.
fn load(file: Option<&Path>, strictness: Strictness) -> Result<Loaded<ServerConfig>, LoadError> {
    match file {
        Some(file) => load_server(file, strictness),
        None => load_server_from_str("", "the defaults", strictness),
    }
}

fn run(
    mut config: ServerConfig,
    file: Option<&Path>,
    strictness: Strictness,
) -> anyhow::Result<ExitCode> {
    let daemon = Daemon::start(PROGRAM.name, &config.log)?;
    // frp: scripts look for these words (cmd/frps/root.go#runServer)
    match file {
        Some(file) => info!("frps uses config file: {}", file.display()),
        None => info!("frps uses command line arguments for config"),
    }
    info!("{}", PROGRAM.describe());
    let auth = &config.transport.tls.trusted_ca;
    if config.auth.token.is_empty() && auth.is_none() && config.http_plugins.is_empty() {
        warn!(
            "auth.token is not set, so that whoever reaches the control port may publish services here"
        );
    }
    state::keep(&mut config);
    daemon.block_on(async |running| {
        let (reloads, log) = (running.reloads(), running.log());
        watch(&reloads, file, config.reload_on_change);
        let server = Server::bind(config).await?;
        running.ready();
        let (reloader, requests) = (server.reloader(), reloads.clone());
        let reload = async || {
            let mut config = load(file, strictness)?.config;
            state::keep(&mut config);
            let reload_on_change = config.reload_on_change;
            let changes = reload(&reloader, config, &log).await?;
            watch(&requests, file, reload_on_change);
            Ok(changes)
        };
        tokio::select! {
            report = server.run(running.stopped()) => Ok(report.cut),
            never = reloads.run(reload) => match never {},
        }
    })
}

/// Has the configuration read again when its file changes, if that is wanted.
fn watch(reloads: &ReloadRequests, file: Option<&Path>, is_wanted: bool) {
    let watched = file.filter(|_| is_wanted);
    reloads.watch_files(watched.map(Path::to_owned).into_iter().collect());
}

/// Makes the server do what `config` says; returns what has changed.
async fn reload(
    reloader: &Reloader,
    config: ServerConfig,
    log: &LogReloader,
) -> anyhow::Result<String> {
    let log_config = config.log.clone();
    log.check(&log_config)?;
    let ReloadReport { opened, closed } = reloader.reload(config).await?;
    log.change(&log_config);
    let opened = opened.iter().map(|(key, addr)| format!("{key} at {addr}"));
    let opened = opened.collect::<Vec<_>>().join(", ");
    Ok(match (opened.as_str(), closed.join(", ").as_str()) {
        ("", "") => "all ports are as they were".to_owned(),
        (opened, "") => format!("opened {opened}"),
        ("", closed) => format!("closed {closed}"),
        (opened, closed) => format!("opened {opened}; closed {closed}"),
    })
}
