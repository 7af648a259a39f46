//! What a run of the program does, from its arguments to its exit code.

use std::convert::Infallible;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::Subcommand;
use mgrok_config::{LoadError, Loaded, Strictness};
use mgrok_proto::FRP_VERSION;

use crate::arguments::{self, Request, Task};

/// Who a binary is.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// One line for the help text.
    pub about: &'static str,
    /// The file that is read when none is named.
    pub default_config: Option<&'static str>,
    /// What the binary is called.
    pub name: &'static str,
    /// The binary's own version.
    pub version: &'static str,
}

impl Program {
    /// The binary and its version in a few words.
    pub fn describe(&self) -> String {
        let Self { name, version, .. } = self;
        format!("{name} {version} (speaks frp {FRP_VERSION})")
    }

    /// Does what the arguments ask for.
    ///
    /// `load` reads the configuration from a file, or makes one without. `run` serves until it is
    /// stopped; it gets the file and its strictness for reloads, and an error that it returns is printed with all causes.
    pub fn main<C>(
        self,
        args: impl IntoIterator<Item = OsString>,
        load: impl FnOnce(Option<&Path>, Strictness) -> Result<Loaded<C>, LoadError>,
        run: impl FnOnce(C, Option<&Path>, Strictness) -> anyhow::Result<ExitCode>,
    ) -> ExitCode {
        self.main_with(args, load, run, |none: Infallible, _, _| match none {})
    }

    /// As [`Self::main`], with commands of the program's own.
    ///
    /// `command` does one of them; the file is the one it would be run with, read as strictly as asked for.
    pub fn main_with<C, S: Subcommand>(
        self,
        args: impl IntoIterator<Item = OsString>,
        load: impl FnOnce(Option<&Path>, Strictness) -> Result<Loaded<C>, LoadError>,
        run: impl FnOnce(C, Option<&Path>, Strictness) -> anyhow::Result<ExitCode>,
        command: impl FnOnce(S, Option<&Path>, Strictness) -> anyhow::Result<ExitCode>,
    ) -> ExitCode {
        let request = arguments::parse::<S>(self.name, self.about, self.default_config, args);
        let request = match request {
            Ok(request) => request,
            Err(answer) if answer.is_error => {
                // If this fails too, no output is left to report it on.
                let _ = write!(io::stderr(), "{}", answer.text);
                return ExitCode::FAILURE;
            }
            Err(answer) => {
                say(answer.text.trim_end());
                return ExitCode::SUCCESS;
            }
        };
        let Request {
            config,
            strictness,
            task,
        } = request;
        let file = config.as_deref();
        let ended = match task {
            Task::Version => {
                say(&self.describe());
                return ExitCode::SUCCESS;
            }
            Task::Verify => return self.verify(file, strictness, load),
            Task::Own(own) => command(own, file, strictness),
            Task::Run => {
                let loaded = load(file, strictness).map_err(anyhow::Error::from);
                loaded.and_then(|Loaded { config, warnings }| {
                    say_warnings(&warnings);
                    run(config, file, strictness)
                })
            }
        };
        ended.unwrap_or_else(|error| {
            say(&format!("{error:#}"));
            ExitCode::FAILURE
        })
    }

    fn verify<C>(
        self,
        file: Option<&Path>,
        strictness: Strictness,
        load: impl FnOnce(Option<&Path>, Strictness) -> Result<Loaded<C>, LoadError>,
    ) -> ExitCode {
        let name = self.name;
        let Some(file) = file else {
            // frp: this is no failure (cmd/frps/verify.go)
            say(&format!("{name}: the configuration file is not specified"));
            return ExitCode::SUCCESS;
        };
        match load(Some(file), strictness) {
            Ok(loaded) => {
                say_warnings(&loaded.warnings);
                let file = file.display();
                say(&format!(
                    "{name}: the configuration file {file} syntax is ok"
                ));
                ExitCode::SUCCESS
            }
            Err(error) => {
                say(&error.to_string());
                ExitCode::FAILURE
            }
        }
    }
}

fn say_warnings(warnings: &[String]) {
    for warning in warnings {
        say(&format!("WARNING: {warning}"));
    }
}

/// Prints a line before the log begins or after it has ended.
fn say(line: &str) {
    // A script that has closed the pipe wants the exit code only.
    let _ = writeln!(io::stdout(), "{line}");
}
