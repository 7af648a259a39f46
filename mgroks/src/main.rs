//! `mgroks`, the server: a public host through which services behind a NAT are reached.

mod state;

mod advice;
mod init;

mod arguments;
mod source;

use std::process::ExitCode;

use anyhow::bail;
use mgrok_config::{Log, ServerConfig, load_server};
use mgrok_daemon::{Daemon, Program, say_warnings};
use mgrok_server::{ReloadReport, Reloader, Server};
use tracing::{info, warn};

use crate::advice::advice;
use crate::arguments::{Arguments, Command};
use crate::source::Source;

const PROGRAM: Program = Program {
    about: "The public end of a reverse tunnel",
    config_help: "The configuration file; without one, flags are the settings",
    name: "mgroks",
    version: env!("CARGO_PKG_VERSION"),
};

fn main() -> ExitCode {
    PROGRAM.main(std::env::args_os(), start)
}

fn start(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let options = arguments.common.options();
    let file = arguments.common.config();
    match &arguments.command {
        None => {
            let source = Source::new(file, &arguments.settings, options)?;
            let loaded = source.load()?;
            say_warnings(&loaded.warnings);
            run(loaded.config, &source)
        }
        Some(Command::Verify(_)) => PROGRAM.verify(file.as_deref(), |file| {
            let mut loaded = load_server(file, options.without_sources())?;
            loaded.warnings.extend(advice(&loaded.config));
            Ok(loaded.warnings)
        }),
        Some(Command::Init(arguments)) => init::run(arguments),
        Some(Command::Completion(arguments)) => PROGRAM.completion::<Arguments>(arguments),
        Some(Command::Man(arguments)) => PROGRAM.man::<Arguments>(arguments),
    }
}

fn run(mut config: ServerConfig, source: &Source) -> anyhow::Result<ExitCode> {
    let daemon = Daemon::start(PROGRAM.name, &config.log)?;
    // frp: scripts look for these words (cmd/frps/root.go#runServer)
    match source.file() {
        Some(file) => info!("frps uses config file: {}", file.display()),
        None => info!("frps uses command line arguments for config"),
    }
    info!("{}", PROGRAM.describe());
    if source.is_nothing() {
        warn!(
            "there is neither a file nor a flag, so that only this host gets in: `mgroks init` writes a file to start with, \
             `mgroks --insecure` lets everybody in"
        );
    } else {
        for advice in advice(&config) {
            warn!("{advice}");
        }
    }
    state::keep(&mut config);
    let log = config.log.clone();
    daemon.block_on(async |running| {
        let server = Server::bind(config).await?;
        running.ready();
        let (reloads, reloader) = (running.reloads(), server.reloader());
        let reload = async || reload(&reloader, source, &log).await;
        tokio::select! {
            report = server.run(running.stopped()) => Ok(report.cut),
            never = reloads.run(reload) => match never {},
        }
    })
}

/// Reads the configuration again and makes the server do what it says. `log` is where and what is logged, which only a restart changes.
async fn reload(reloader: &Reloader, source: &Source, log: &Log) -> anyhow::Result<String> {
    let mut config = source.load()?.config;
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
