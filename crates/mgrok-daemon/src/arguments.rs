//! The command line.
//!
//! frp's spellings are understood: `_` and `-` are the same in names, a flag that is given twice
//! counts as given last, and yes or no may be written as Go does. Flags that set single settings
//! are not: settings come from a file.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{ArgAction, CommandFactory, FromArgMatches, Parser, Subcommand};
use mgrok_config::Strictness;

/// Added to the answer when a flag or a command is not ours, for those who come from frp.
const NOT_OURS: &str = "Settings are read from the configuration file that -c names.";

/// What the user asks for; `C` are the commands that only one program has.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Task<C> {
    /// A command of the program's own.
    Own(C),
    /// Run until stopped.
    Run,
    /// Say whether the configuration can be used.
    Verify,
    /// Print the version.
    Version,
}

/// The command line, understood.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Request<C> {
    /// The configuration file; `None` if there is none.
    pub(crate) config: Option<PathBuf>,
    pub(crate) strictness: Strictness,
    pub(crate) task: Task<C>,
}

/// An answer instead of a request: help, or what is wrong.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Whether it is wrong arguments that led to it.
    pub(crate) is_error: bool,
    pub(crate) text: String,
}

#[derive(Debug, Parser)]
#[command(args_override_self = true, disable_version_flag = true)]
struct Arguments<C: Subcommand> {
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
        num_args = 0..=1,
        require_equals = true,
        value_name = "BOOL",
        value_parser = parse_bool,
    )]
    strict_config: bool,

    /// Print the version
    #[arg(short, long, global = true)]
    version: bool,

    #[command(subcommand)]
    command: Option<Command<C>>,
}

#[derive(Debug, Subcommand)]
enum Command<C: Subcommand> {
    #[command(flatten)]
    Own(C),

    /// Say whether a configuration file can be used, without using it
    Verify {
        // frp: sub-commands ignore what else they are given.
        #[arg(hide = true)]
        ignored: Vec<OsString>,
    },
}

/// Understands the arguments, the first of which is the program's path.
///
/// # Errors
/// The text to print instead of doing something.
pub(crate) fn parse<C: Subcommand>(
    name: &'static str,
    about: &'static str,
    default_config: Option<&'static str>,
    args: impl IntoIterator<Item = OsString>,
) -> Result<Request<C>, Answer> {
    let mut command = Arguments::<C>::command()
        .name(name)
        .bin_name(name)
        .about(about)
        .mut_arg("config", |arg| match default_config {
            Some(path) => arg.help(format!("The configuration file [default: {path}]")),
            None => arg.help("The configuration file; without one, every setting has its default"),
        });
    let arguments = command
        .try_get_matches_from_mut(args.into_iter().map(unify_spelling))
        .and_then(|matches| Arguments::<C>::from_arg_matches(&matches))
        .map_err(Answer::from)?;

    let config = arguments.config.or(default_config.map(OsString::from));
    Ok(Request {
        // frp: an empty name means that there is no file
        config: config.filter(|it| !it.is_empty()).map(PathBuf::from),
        strictness: if arguments.strict_config {
            Strictness::Strict
        } else {
            Strictness::Lenient
        },
        task: match arguments.command {
            _ if arguments.version => Task::Version,
            None => Task::Run,
            Some(Command::Own(command)) => Task::Own(command),
            Some(Command::Verify { .. }) => Task::Verify,
        },
    })
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
fn parse_bool(text: &str) -> Result<bool, &'static str> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("must be true or false"),
    }
}

impl From<clap::Error> for Answer {
    fn from(error: clap::Error) -> Self {
        let mut text = error.to_string();
        let not_ours = [ErrorKind::InvalidSubcommand, ErrorKind::UnknownArgument];
        if not_ours.contains(&error.kind()) {
            text.push_str(NOT_OURS);
            text.push('\n');
        }
        Self {
            is_error: error.use_stderr(),
            text,
        }
    }
}

#[cfg(test)]
mod tests;
