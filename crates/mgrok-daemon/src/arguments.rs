//! The command line.
//!
//! frp's spellings are understood: `_` and `-` are the same in names, a flag that is given twice counts as given last, and yes or no
//! may be written as Go does. Flags that set keys of the configuration are in `flags`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ContextKind;
use clap::{ArgAction, Args, CommandFactory, FromArgMatches};
use mgrok_config::{LoadOptions, Strictness};

/// What the flag `--allow-unsafe` may name.
// frp: the same word
const EXEC: &str = "TokenSourceExec";

/// An answer instead of arguments: help, or what is wrong.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Whether it is wrong arguments that led to it.
    pub(crate) is_error: bool,
    pub(crate) text: String,
}

/// What can be said to every command of both programs.
#[derive(Args, Clone, Debug)]
pub struct CommonArguments {
    /// The configuration file
    #[arg(short, long, global = true, value_name = "FILE")]
    config: Option<OsString>,

    /// Refuse files with keys that are not known; =false only warns of them
    #[arg(
        long,
        global = true,
        action = ArgAction::Set,
        default_missing_value = "true",
        default_value = "true",
        hide_default_value = true,
        hide_possible_values = true,
        num_args = 0..=1,
        require_equals = true,
        value_name = "BOOL",
        value_parser = parse_bool,
    )]
    strict_config: bool,

    /// Let secrets of the configuration come from programs that are run
    #[arg(long, global = true, value_delimiter = ',', value_name = "FEATURE", value_parser = [EXEC])]
    allow_unsafe: Vec<String>,

    /// Print the version
    #[arg(
        short,
        long,
        global = true,
        action = ArgAction::Set,
        default_missing_value = "true",
        default_value = "false",
        hide_default_value = true,
        hide_possible_values = true,
        num_args = 0..=1,
        require_equals = true,
        value_name = "BOOL",
        value_parser = parse_bool,
    )]
    pub(crate) version: bool,
}

/// Arguments that mean nothing.
// frp: commands ignore what else they are given
#[derive(Args, Clone, Debug)]
pub struct Ignored {
    #[arg(hide = true)]
    ignored: Vec<OsString>,
}

impl CommonArguments {
    /// The configuration file that is named. An empty name, as in frp, names none on purpose.
    pub fn config(&self) -> Option<PathBuf> {
        self.config.as_ref().map(PathBuf::from)
    }

    /// How configurations are to be loaded.
    pub fn options(&self) -> LoadOptions {
        let strictness = match self.strict_config {
            true => Strictness::Strict,
            false => Strictness::Lenient,
        };
        LoadOptions::new(strictness).allowing_exec(self.allow_unsafe.iter().any(|it| it == EXEC))
    }
}

/// The command line of `A`, of the program with this name.
pub(crate) fn command<A: CommandFactory>(name: &'static str, about: &'static str) -> clap::Command {
    A::command()
        .name(name)
        .bin_name(name)
        .about(about)
        .args_override_self(true)
        .disable_version_flag(true)
}

/// Understands the arguments, the first of which is the program's path.
///
/// # Errors
/// The text to print instead of doing something.
pub(crate) fn parse<A: FromArgMatches>(
    mut command: clap::Command,
    args: impl IntoIterator<Item = OsString>,
) -> Result<A, Answer> {
    command
        .try_get_matches_from_mut(args.into_iter().map(unify_spelling))
        .and_then(|matches| A::from_arg_matches(&matches))
        .map_err(Answer::from)
}

/// Writes `-` for `_` in the name of a long flag.
fn unify_spelling(argument: OsString) -> OsString {
    let Some(flag) = argument.to_str().filter(|it| it.starts_with("--")) else {
        return argument;
    };
    let (name, value) = match flag.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (flag, None),
    };
    let mut unified = name.replace('_', "-");
    if let Some(value) = value {
        unified.push('=');
        unified.push_str(value);
    }
    unified.into()
}

/// The ways in which Go's flags say yes and no.
pub(crate) fn parse_bool(text: &str) -> Result<bool, &'static str> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("must be true or false"),
    }
}

impl From<clap::Error> for Answer {
    fn from(mut error: clap::Error) -> Self {
        // It would propose to pass a flag that is not known as a value, which helps nobody.
        if error.kind() == clap::error::ErrorKind::UnknownArgument {
            error.remove(ContextKind::Suggested);
        }
        Self {
            is_error: error.use_stderr(),
            text: error.to_string(),
        }
    }
}

#[cfg(test)]
mod tests;
