//! `mgroks`, the server: a public host through which services behind a NAT are reached.

mod state;

mod advice;
mod doctor;
mod init;
mod status;

mod arguments;
mod source;

mod admin;

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use mgrok_admin::with_log;
use mgrok_config::{ConfigFiles, LoadOptions, Loaded, ServerConfig, load_server};
use mgrok_daemon::{
    AccessLogKeeper, Daemon, LogReloader, Program, ReloadRequests, health, say, say_warnings,
    take_passed_sockets,
};
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
            let loaded = source.load(None)?;
            say_warnings(&loaded.warnings);
            run(loaded.config, loaded.files, &source)
        }
        Some(Command::Verify(_)) => PROGRAM.verify(file.as_deref(), |file| {
            let mut loaded = load_server(file, options.without_sources())?;
            loaded.warnings.extend(advice(&loaded.config));
            Ok(loaded.warnings)
        }),
        Some(Command::Doctor(doctor)) => {
            let source = Source::new(file, &arguments.settings, options)?;
            let loaded = source.load(None).map_err(Into::into);
            doctor::run(&PROGRAM, *doctor, source.file(), loaded)
        }
        Some(Command::Reload(reload)) => {
            let source = Source::new(file, &arguments.settings, options)?;
            admin::reload(reload, &source, options)
        }
        Some(Command::Status(status)) => {
            let source = Source::new(file, &arguments.settings, options)?;
            admin::status(status, &source)
        }
        Some(Command::Stop(stop)) => {
            let source = Source::new(file, &arguments.settings, options)?;
            admin::stop(stop, &source)
        }
        Some(Command::Health(_)) => health(file.as_deref(), options),
        Some(Command::Init(arguments)) => init::run(arguments),
        Some(Command::Completion(arguments)) => PROGRAM.completion::<Arguments>(arguments),
        Some(Command::Man(arguments)) => PROGRAM.man::<Arguments>(arguments),
    }
}

fn health(file: Option<&Path>, options: LoadOptions) -> anyhow::Result<ExitCode> {
    let file = file.context("-c has to name the file that the server runs with")?;
    let config = load_server(file, options.without_sources())?.config;
    let well = match &config.web_server {
        Some(admin) => health::ask(admin)?,
        // All that can be seen from outside.
        None => health::accepts(&config.bind_addr, config.bind_port)?,
    };
    say(&well);
    Ok(ExitCode::SUCCESS)
}

fn run(mut config: ServerConfig, files: ConfigFiles, source: &Source) -> anyhow::Result<ExitCode> {
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
    daemon.block_on(async |running| {
        let (reloads, log) = (running.reloads(), running.log());
        watch(&reloads, files, config.reload_on_change);
        let access_log = config.access_log.clone();
        let control = log.control().clone();
        if config.web_server.is_some() {
            control.keep_lines();
        }
        let server = Server::from_sockets(config, take_passed_sockets()).await?;
        server.add_admin_routes(move |routes| with_log(routes, &control));
        let mut access_log =
            AccessLogKeeper::start(server.directory().access_log(), access_log.as_ref())?;
        running.ready();
        let (reloader, watcher) = (server.reloader(), reloads.clone());
        let requests = server.admin_requests();
        let reload = async |strictness| {
            let Loaded {
                mut config, files, ..
            } = source.load(strictness)?;
            state::keep(&mut config);
            let reload_on_change = config.reload_on_change;
            let changes = reload(&reloader, config, &log, &mut access_log).await?;
            watch(&watcher, files, reload_on_change);
            Ok(changes)
        };
        tokio::select! {
            report = server.run(running.stopped()) => Ok(report.cut),
            never = reloads.run(Some(requests), reload) => match never {},
        }
    })
}

/// Has the configuration read again when one of its files changes, if that is wanted.
fn watch(reloads: &ReloadRequests, files: ConfigFiles, is_wanted: bool) {
    reloads.watch_files(if is_wanted {
        files
    } else {
        ConfigFiles::default()
    });
}

/// Makes the server do what `config` says; returns what has changed.
async fn reload(
    reloader: &Reloader,
    config: ServerConfig,
    log: &LogReloader,
    access_log: &mut AccessLogKeeper,
) -> anyhow::Result<String> {
    let log_config = config.log.clone();
    log.check(&log_config)?;
    let next_access_log = access_log.prepare(config.access_log.as_ref())?;
    let ReloadReport { opened, closed } = reloader.reload(config).await?;
    log.change(&log_config);
    access_log.apply(next_access_log);
    let opened = opened.iter().map(|(key, addr)| format!("{key} at {addr}"));
    let opened = opened.collect::<Vec<_>>().join(", ");
    Ok(match (opened.as_str(), closed.join(", ").as_str()) {
        ("", "") => "all ports are as they were".to_owned(),
        (opened, "") => format!("opened {opened}"),
        ("", closed) => format!("closed {closed}"),
        (opened, closed) => format!("opened {opened}; closed {closed}"),
    })
}
