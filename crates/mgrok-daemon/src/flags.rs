//! Flags that set keys of the configuration.
//!
//! A [`FlagTable`] says which flag sets which key. Everything else follows from it: what the command line takes, the help, and the
//! [`Settings`], which go through the same checks as a file. So a flag has no check of its own beyond what its kind of value is.

use std::collections::BTreeMap;
use std::fmt::{self, Debug, Formatter};
use std::marker::PhantomData;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, value_parser};
use mgrok_config::{Flag, SettingValue, Settings, Takes, parse_list, parse_map};

use crate::arguments::parse_bool;

/// A group of flags.
pub trait FlagTable: 'static {
    /// The flags.
    const FLAGS: &'static [Flag];
    /// Whether commands below the one that has them take them too.
    const GLOBAL: bool = false;
}

/// What was given of the flags of a table.
pub struct FlagValues<T> {
    given: Vec<(&'static Flag, FlagValue)>,
    table: PhantomData<T>,
}

#[derive(Clone, Debug, PartialEq)]
enum FlagValue {
    Plain(SettingValue),
    /// Each a first and a last port, which may be the same.
    Ports(Vec<(i64, i64)>),
}

/// The argument of clap for `flag`.
fn arg(flag: &Flag, is_global: bool) -> Arg {
    let arg = Arg::new(flag.long())
        .long(flag.long())
        .help(flag.help())
        .global(is_global)
        .value_name(flag.value_name());
    let arg = match flag.short_name() {
        Some(short) => arg.short(short),
        None => arg,
    };
    match flag.takes() {
        Takes::Boolean => arg
            .action(ArgAction::Set)
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .value_parser(parse_bool),
        Takes::Integer => arg
            .allow_negative_numbers(true)
            .value_parser(value_parser!(i64)),
        Takes::List => arg.action(ArgAction::Append).value_parser(parse_list),
        Takes::Map => arg.action(ArgAction::Append).value_parser(parse_map),
        Takes::Ports => arg.value_parser(parse_ports),
        // A secret may begin with a hyphen.
        Takes::Text => arg.allow_hyphen_values(true),
    }
}

/// What was given of `flag`.
fn value_in(flag: &Flag, matches: &ArgMatches) -> Option<FlagValue> {
    let id = flag.long();
    if matches.value_source(id) != Some(ValueSource::CommandLine) {
        return None;
    }
    Some(match flag.takes() {
        Takes::Boolean => FlagValue::Plain((*matches.get_one::<bool>(id)?).into()),
        Takes::Integer => FlagValue::Plain((*matches.get_one::<i64>(id)?).into()),
        Takes::Text => FlagValue::Plain(matches.get_one::<String>(id)?.clone().into()),
        Takes::List => {
            let lists = matches.get_many::<Vec<String>>(id)?;
            FlagValue::Plain(lists.flatten().cloned().collect::<Vec<_>>().into())
        }
        Takes::Map => {
            let maps = matches.get_many::<BTreeMap<String, String>>(id)?;
            let all = maps
                .flatten()
                .map(|(name, value)| (name.clone(), value.clone()));
            FlagValue::Plain(all.collect::<BTreeMap<_, _>>().into())
        }
        Takes::Ports => FlagValue::Ports(matches.get_one::<Vec<(i64, i64)>>(id)?.clone()),
    })
}

impl<T: FlagTable> FlagValues<T> {
    /// Adds what was given to `settings`, and which flags there are.
    pub fn add_to(&self, settings: &mut Settings) {
        for flag in T::FLAGS {
            settings.know_flag(flag.key(), flag.as_written());
        }
        for (flag, value) in &self.given {
            let (key, name) = (flag.key(), flag.as_written());
            match value {
                FlagValue::Plain(value) => settings.set(key, value.clone(), name),
                FlagValue::Ports(ranges) => {
                    for (index, &(first, last)) in ranges.iter().enumerate() {
                        if first == last {
                            settings.set(format!("{key}[{index}].single"), first, &name);
                        } else {
                            settings.set(format!("{key}[{index}].start"), first, &name);
                            settings.set(format!("{key}[{index}].end"), last, &name);
                        }
                    }
                }
            }
        }
    }

    /// The flags that were given, with their keys.
    pub fn given(&self) -> impl Iterator<Item = (&'static Flag, &'static str)> {
        self.given.iter().map(|(flag, _)| (*flag, flag.key()))
    }
}

impl<T: FlagTable> Args for FlagValues<T> {
    fn augment_args(command: Command) -> Command {
        command.args(T::FLAGS.iter().map(|flag| arg(flag, T::GLOBAL)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<T: FlagTable> FromArgMatches for FlagValues<T> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let flags = T::FLAGS.iter();
        Ok(Self {
            given: flags
                .filter_map(|flag| Some((flag, value_in(flag, matches)?)))
                .collect(),
            table: PhantomData,
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl<T> Clone for FlagValues<T> {
    fn clone(&self) -> Self {
        Self {
            given: self.given.clone(),
            table: PhantomData,
        }
    }
}

/// The flags alone: their values may be secrets.
impl<T> Debug for FlagValues<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.given.iter().map(|(flag, _)| flag.long()))
            .finish()
    }
}

fn parse_ports(text: &str) -> Result<Vec<(i64, i64)>, String> {
    let number = |text: &str| text.trim().parse::<i64>().ok();
    let ranges = text.trim().split(',').map(|range| {
        let ends = match range.split_once('-') {
            None => number(range).map(|port| (port, port)),
            Some((first, last)) => number(first).zip(number(last)),
        };
        ends.ok_or_else(|| format!("{range:?} must be a port or a range like 6000-7000"))
    });
    ranges.collect()
}

#[cfg(test)]
mod tests;
