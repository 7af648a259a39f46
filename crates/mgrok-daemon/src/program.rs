//! What a run of the program does, from its arguments to its exit code.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};
use mgrok_config::LoadError;
use mgrok_proto::FRP_VERSION;

use crate::arguments::{self, CommonArguments};
use crate::generate::{self, CompletionArguments, ManArguments};

/// Who a binary is.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// One line for the help text.
    pub about: &'static str,
    /// What the help says of the configuration file.
    pub config_help: &'static str,
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

    /// Understands the arguments and has `run` do what they ask for. An error that it returns is printed with all causes.
    pub fn main<A>(
        &self,
        args: impl IntoIterator<Item = OsString>,
        run: impl FnOnce(A) -> anyhow::Result<ExitCode>,
    ) -> ExitCode
    where
        A: CommandFactory + FromArgMatches + AsRef<CommonArguments>,
    {
        let arguments: A = match arguments::parse(self.command::<A>(), args) {
            Ok(arguments) => arguments,
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
        if arguments.as_ref().version {
            say(&self.describe());
            return ExitCode::SUCCESS;
        }
        run(arguments).unwrap_or_else(|error| {
            say(&format!("{error:#}"));
            ExitCode::FAILURE
        })
    }

    /// Says whether the configuration of `file` can be used. `load` reads it and returns what its author should know.
    ///
    /// # Errors
    /// Why it cannot.
    pub fn verify(
        &self,
        file: Option<&Path>,
        load: impl FnOnce(&Path) -> Result<Vec<String>, LoadError>,
    ) -> anyhow::Result<ExitCode> {
        let name = self.name;
        let Some(file) = file.filter(|it| !it.as_os_str().is_empty()) else {
            // frp: this is no failure (cmd/frps/verify.go)
            say(&format!("{name}: the configuration file is not specified"));
            return Ok(ExitCode::SUCCESS);
        };
        say_warnings(&load(file)?);
        let file = file.display();
        say(&format!(
            "{name}: the configuration file {file} syntax is ok"
        ));
        Ok(ExitCode::SUCCESS)
    }

    /// Does `completion`.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn completion<A: CommandFactory>(
        &self,
        arguments: &CompletionArguments,
    ) -> anyhow::Result<ExitCode> {
        generate::completion(self.command::<A>(), arguments)?;
        Ok(ExitCode::SUCCESS)
    }

    /// Does `man`.
    ///
    /// # Errors
    /// If a page cannot be written.
    pub fn man<A: CommandFactory>(&self, arguments: &ManArguments) -> anyhow::Result<ExitCode> {
        // A page has its version in its foot.
        let command = self.command::<A>().version(self.version);
        generate::man(command, arguments)?;
        Ok(ExitCode::SUCCESS)
    }

    fn command<A: CommandFactory>(&self) -> clap::Command {
        arguments::command::<A>(self.name, self.about)
            .mut_arg("config", |arg| arg.help(self.config_help))
    }
}

/// Prints what the author of a configuration should know, before the log begins.
pub fn say_warnings(warnings: &[String]) {
    for warning in warnings {
        say(&format!("WARNING: {warning}"));
    }
}

/// Prints a line before the log begins or after it has ended.
pub fn say(line: &str) {
    // A script that has closed the pipe wants the exit code only.
    let _ = writeln!(io::stdout(), "{line}");
}
