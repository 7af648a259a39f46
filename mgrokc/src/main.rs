//! `mgrokc`, the client: publishes services behind a NAT through a server.

mod flags;

mod advice;
mod file;
mod host_port;
mod status;

mod admin;
mod directory;
mod doctor;
mod init;
mod nathole;
mod run;

mod one_off;
mod quick;

mod arguments;

use std::path::Path;
use std::process::ExitCode;

use mgrok_config::{LoadOptions, load_client};
use mgrok_daemon::{FlagTable, Program, health, say};

use crate::advice::{advice, unverified};
use crate::arguments::{Arguments, Command, Private, Quick, VisitorCommand};
use crate::quick::ViewArguments;

const PROGRAM: Program = Program {
    about: "The end of a reverse tunnel behind the NAT",
    config_help: "The configuration file [default: ./client.toml, or else ./frpc.toml or ./frpc.ini]",
    name: "mgrokc",
    version: env!("CARGO_PKG_VERSION"),
};

fn main() -> ExitCode {
    PROGRAM.main(std::env::args_os(), start)
}

fn start(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let options = arguments.common.options();
    let named = arguments.common.config();
    let Some(command) = arguments.command else {
        if let Some(directory) = &arguments.config_dir {
            return directory::run(directory, options);
        }
        let is_named = named.is_some();
        let file = file::find(named)?;
        if !is_named && !file.ends_with(file::DEFAULTS[0]) {
            say(&format!("{} is taken, as no file is named", file.display()));
        }
        return run::with_file(&file, options);
    };
    match &command {
        Command::Tcp(it) => quick("tcp", it, ViewArguments::default(), options),
        Command::Udp(it) => quick("udp", it, ViewArguments::default(), options),
        Command::Http(it) => quick("http", &it.quick, it.view, options),
        Command::Https(it) => quick("https", it, ViewArguments::default(), options),
        Command::Tcpmux(it) => one_off::proxy("tcpmux", &it.client, &it.proxy, options),
        Command::Stcp(it) => private("stcp", it, options),
        Command::Sudp(it) => private("sudp", it, options),
        Command::Xtcp(it) => private("xtcp", it, options),
        Command::Init(arguments) => init::run(arguments),
        Command::Verify(_) => verify(named.as_deref(), options),
        Command::Doctor(arguments) => {
            let file = file::find(named);
            let loaded = match &file {
                Ok(file) => load_client(file, options).map_err(Into::into),
                // There is one way only to have none.
                Err(_) => Err(anyhow::anyhow!(
                    "none is named by -c, and none of {} is here",
                    file::DEFAULTS.join(", ")
                )),
            };
            doctor::run(&PROGRAM, *arguments, file.as_deref().ok(), loaded)
        }
        Command::Reload(arguments) => admin::reload(arguments, &file::find(named)?, options),
        Command::Status(arguments) => admin::status(arguments, &file::find(named)?, options),
        Command::Stop(arguments) => admin::stop(arguments, &file::find(named)?, options),
        Command::Health(_) => health(&file::find(named)?, options),
        Command::Nathole(arguments) => {
            let file = file::find(named);
            nathole::run(arguments, || {
                load_client(file.as_deref().unwrap_or(Path::new("")), options)
            })?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Completion(arguments) => PROGRAM.completion::<Arguments>(arguments),
        Command::Man(arguments) => PROGRAM.man::<Arguments>(arguments),
    }
}

fn quick<T: FlagTable>(
    kind: &'static str,
    it: &Quick<T>,
    view: ViewArguments,
    options: LoadOptions,
) -> anyhow::Result<ExitCode> {
    quick::run(kind, &it.quick, view, &it.client, &it.proxy, options)
}

fn private(kind: &'static str, it: &Private, options: LoadOptions) -> anyhow::Result<ExitCode> {
    match &it.visitor {
        None => one_off::proxy(kind, &it.client, &it.proxy, options),
        Some(VisitorCommand::Visitor(visitor)) => {
            one_off::visitor(kind, &it.client, visitor, options)
        }
    }
}

fn health(file: &Path, options: LoadOptions) -> anyhow::Result<ExitCode> {
    let config = load_client(file, options.without_sources())?.config;
    match &config.web_server {
        Some(admin) => say(&health::ask(admin)?),
        // Where nobody can be asked, nothing is known to be wrong.
        None => say("set webServer.port in the file to have the client asked"),
    }
    Ok(ExitCode::SUCCESS)
}

fn verify(named: Option<&Path>, options: LoadOptions) -> anyhow::Result<ExitCode> {
    let file = match named {
        Some(named) if named.as_os_str().is_empty() => None,
        named => Some(file::find(named.map(Path::to_owned))?),
    };
    PROGRAM.verify(file.as_deref(), |file| {
        let mut loaded = load_client(file, options.without_sources())?;
        loaded.warnings.extend(advice(&loaded.config));
        loaded.warnings.extend(unverified(&loaded.config));
        Ok(loaded.warnings)
    })
}
