//! Flags of a command line, each of which sets a key of the configuration, and what their values look like.
//!
//! Whoever reads a command line looks its flags up in tables of these and makes [`Settings`](crate::Settings) of them.

use std::collections::BTreeMap;

/// One flag.
#[derive(Clone, Copy, Debug)]
pub struct Flag {
    long: &'static str,
    short: Option<char>,
    takes: Takes,
    key: &'static str,
    value_name: &'static str,
    help: &'static str,
}

/// What a flag takes, in the form in which Go's flags have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// Yes without a value; with `=` also no.
    Boolean,
    /// A number.
    Integer,
    /// Texts with commas between them; more are added when it is given again.
    List,
    /// `name=value` with commas between them; more are added when it is given again.
    Map,
    /// Ports and ranges of them, `1000-2000,3000`. The key is that of a list of tables.
    Ports,
    /// A text.
    Text,
}

impl Flag {
    /// The flag `--long`, which sets `key`.
    pub const fn new(
        long: &'static str,
        takes: Takes,
        key: &'static str,
        help: &'static str,
    ) -> Self {
        let value_name = match takes {
            Takes::Boolean => "BOOL",
            Takes::Integer => "N",
            Takes::List => "TEXT,…",
            Takes::Map => "NAME=VALUE,…",
            Takes::Ports => "N,N-N,…",
            Takes::Text => "TEXT",
        };
        Self {
            long,
            short: None,
            takes,
            key,
            value_name,
            help,
        }
    }

    /// The same flag, also as `-short`.
    #[must_use]
    pub const fn short(self, short: char) -> Self {
        Self {
            short: Some(short),
            ..self
        }
    }

    /// The same flag, whose value the help calls `name`.
    #[must_use]
    pub const fn value(self, name: &'static str) -> Self {
        Self {
            value_name: name,
            ..self
        }
    }

    /// As it is written on a command line.
    pub fn as_written(&self) -> String {
        format!("--{}", self.long)
    }

    /// Its long name, without hyphens in front.
    pub fn long(&self) -> &'static str {
        self.long
    }

    /// Its short name, if it has one.
    pub fn short_name(&self) -> Option<char> {
        self.short
    }

    /// What it takes.
    pub fn takes(&self) -> Takes {
        self.takes
    }

    /// The key that it sets.
    pub fn key(&self) -> &'static str {
        self.key
    }

    /// What the help calls its value.
    pub fn value_name(&self) -> &'static str {
        self.value_name
    }

    /// What the help says of it.
    pub fn help(&self) -> &'static str {
        self.help
    }
}

/// All flags of `tables` in one array. `N` must be the sum of their lengths, or this does not compile.
pub const fn join_flags<const N: usize>(tables: &[&[Flag]]) -> [Flag; N] {
    let mut joined = [Flag::new("", Takes::Text, "", ""); N];
    let (mut table, mut filled) = (0, 0);
    while table < tables.len() {
        let mut at = 0;
        while at < tables[table].len() {
            joined[filled] = tables[table][at];
            filled += 1;
            at += 1;
        }
        table += 1;
    }
    assert!(filled == N, "the tables have fewer flags");
    joined
}

/// The texts of [`Takes::List`]: with commas between them, where quotes keep commas together.
///
/// # Errors
/// What is wrong with the quotes.
// frp: the same (pflag's StringSlice, which reads a line of CSV)
pub fn parse_list(text: &str) -> Result<Vec<String>, &'static str> {
    let mut values = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (value, after) = match rest.strip_prefix('"') {
            Some(quoted) => {
                let mut value = String::new();
                let mut quoted = quoted;
                loop {
                    let (part, after) = quoted.split_once('"').ok_or("has no closing quote")?;
                    value.push_str(part);
                    match after.strip_prefix('"') {
                        // Two quotes are one that is meant.
                        Some(more) => {
                            value.push('"');
                            quoted = more;
                        }
                        None => break (value, after),
                    }
                }
            }
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                let (value, after) = rest.split_at(end);
                (value.to_owned(), after)
            }
        };
        values.push(value);
        match after.strip_prefix(',') {
            Some("") => {
                values.push(String::new());
                break;
            }
            Some(next) => rest = next,
            None if after.is_empty() => break,
            None => return Err("must have a comma after a closing quote"),
        }
    }
    Ok(values)
}

/// The pairs of [`Takes::Map`].
///
/// # Errors
/// A pair without `=`, or what is wrong with the quotes.
pub fn parse_map(text: &str) -> Result<BTreeMap<String, String>, String> {
    // frp: a single value may have commas in it (pflag's StringToString)
    let pairs = match text.matches('=').count() {
        1 => vec![text.trim_matches('"').to_owned()],
        _ => parse_list(text)?,
    };
    let pairs = pairs.into_iter().map(|pair| match pair.split_once('=') {
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        None => Err(format!("{pair:?} must be written name=value")),
    });
    pairs.collect()
}
