//! `mgroks`, the server: a public host through which services behind a NAT are reached.

mod state;

use std::path::Path;
use std::process::ExitCode;

use anyhow::bail;
use mgrok_config::{
    LoadError, Loaded, Log, ServerConfig, Strictness, load_server, load_server_from_str,
};
use mgrok_daemon::{Daemon, Program};
use mgrok_server::{ReloadReport, Reloader, Server};
use tracing::{info, warn};

const PROGRAM: Program = Program {
    about: "The public end of a reverse tunnel",
    default_config: None,
    name: "mgroks",
    version: env!("CARGO_PKG_VERSION"),
};

fn main() -> ExitCode {
    PROGRAM.main(std::env::args_os(), load, run)
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
    let log = config.log.clone();
    daemon.block_on(async |running| {
        let server = Server::bind(config).await?;
        running.ready();
        let (reloads, reloader) = (running.reloads(), server.reloader());
        let reload = async || reload(&reloader, file, strictness, &log).await;
        tokio::select! {
            report = server.run(running.stopped()) => Ok(report.cut),
            never = reloads.run(reload) => match never {},
        }
    })
}

/// Reads the configuration again and makes the server do what it says. `log` is where and what is logged, which only a restart changes.
async fn reload(
    reloader: &Reloader,
    file: Option<&Path>,
    strictness: Strictness,
    log: &Log,
) -> anyhow::Result<String> {
    let mut config = load(file, strictness)?.config;
    if config.log != *log {
        bail!("log.* has changed, which takes a restart");
    }
    state::keep(&mut config);
    let ReloadReport { opened, closed } = reloader.reload(config).await?;
    let opened = opened.iter().map(|(key, addr)| format!("{key} at {addr}"));
    let opened = opened.collect::<Vec<_>>().join(", ");
    Ok(match (opened.as_str(), closed.join(", ").as_str()) {
        ("", "") => "all ports are as they were".to_owned(),
        (opened, "") => format!("opened {opened}"),
        ("", closed) => format!("closed {closed}"),
        (opened, closed) => format!("opened {opened}; closed {closed}"),
    })
}
