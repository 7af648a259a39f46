//! The command `doctor` of both programs: what is printed, and with which code it ends.

use std::env;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use mgrok_config::{LoadError, Loaded};
use mgrok_doctor::{Examination, Fault, Sound, UNREADABLE, Unmet, json, row};

use crate::program::Program;

/// The check that comes before all others.
const FILE: &str = "file";

/// What follows `doctor`.
#[derive(Args, Clone, Copy, Debug)]
pub struct DoctorArguments {
    /// Print one object of JSON, for programs
    #[arg(long)]
    json: bool,
}

impl Program {
    /// Has `examine` look into the configuration that was `loaded` from `file`, and prints what it finds. `checks` are the names of what it
    /// looks at, none of which can be looked at without a configuration.
    ///
    /// The exit code is 0 if nothing is broken, 1 if something is, and 2 if there is no configuration.
    ///
    /// # Errors
    /// The asynchronous runtime does not start.
    pub fn doctor<C>(
        &self,
        arguments: DoctorArguments,
        file: Option<&Path>,
        loaded: anyhow::Result<Loaded<C>>,
        checks: &[&'static str],
        examine: impl AsyncFnOnce(&C, &mut Examination<'_>),
    ) -> anyhow::Result<ExitCode> {
        let colours = has_colours();
        let mut examination = Examination::new(|told| {
            if !arguments.json {
                // A script that has closed the pipe wants the exit code only.
                let _ = writeln!(io::stdout(), "{}", row(told, colours));
            }
        });
        let file = file.map(|it| it.display().to_string()).unwrap_or_default();
        let is_readable = loaded.is_ok();
        match loaded {
            Ok(Loaded {
                config, warnings, ..
            }) => {
                note_file(&file, &warnings, &mut examination);
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()?;
                runtime.block_on(examine(&config, &mut examination));
                // A lookup that nobody answers has a thread of its own, which is not waited for.
                runtime.shutdown_background();
            }
            Err(error) => {
                note_error(&file, &error, &mut examination);
                for check in checks {
                    let _ = examination.skip::<()>(check, "", Unmet(FILE));
                }
            }
        }
        let report = examination.finish();
        let last = match arguments.json {
            true => json(&report, self.name, self.version),
            false => match (report.failed(), report.warnings()) {
                (0, 0) => "all is well".to_owned(),
                (failed, warnings) => format!("{failed} failed, {warnings} warnings"),
            },
        };
        let _ = writeln!(io::stdout(), "{last}");
        Ok(ExitCode::from(match is_readable {
            true => report.exit_code(),
            false => UNREADABLE,
        }))
    }
}

fn note_file(file: &str, warnings: &[String], examination: &mut Examination<'_>) {
    let finding = match file {
        "" => "none: every setting has its default",
        _ => "it can be used",
    };
    let _ = examination.note(FILE, file, Ok(Sound::good((), finding)));
    for warning in warnings {
        let doubt = Sound::doubtful((), warning, "mend it there");
        let _ = examination.note(FILE, file, Ok(doubt));
    }
}

fn note_error(file: &str, error: &anyhow::Error, examination: &mut Examination<'_>) {
    let mut note = |cause: &dyn std::fmt::Display, remedy| {
        let _ = examination.note::<()>(FILE, file, Err(Fault::new(cause, remedy)));
    };
    match error.downcast_ref() {
        Some(LoadError::Mistakes(mistakes)) => {
            for mistake in mistakes.iter() {
                note(mistake, "mend it there");
            }
        }
        Some(_) | None => note(
            &format_args!("{error:#}"),
            "name a file by -c that the user who runs this is allowed to read",
        ),
    }
}

/// Whether whoever reads this is a person at a terminal who wants colours (no-color.org).
fn has_colours() -> bool {
    let is_set = |name| env::var_os(name).is_some_and(|it| !it.is_empty());
    io::stdout().is_terminal()
        && !is_set("NO_COLOR")
        && env::var_os("TERM").is_none_or(|it| it != "dumb")
}
