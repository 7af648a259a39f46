//! What can be wrong with a configuration.

use std::fmt;

/// A line and a column, both from 1; columns count characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line, from 1.
    pub line: usize,
    /// The character within the line, from 1.
    pub column: usize,
}

/// One thing to put right, printed as `<file>:<line>:<column>: <key>: <what>`, or as `<flag>: <what>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The file, the flag, or what else it came from.
    pub origin: String,
    /// Where in the text; `None` if it was no text but a flag.
    pub position: Option<Position>,
    /// The dotted key it is about, like `proxies[0].localPort`; empty if it is about the text itself.
    pub key: String,
    /// What is wrong.
    pub problem: Problem,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.position {
            Some(Position { line, column }) => write!(f, "{}:{line}:{column}: ", self.origin)?,
            None => write!(f, "{}: ", self.origin)?,
        }
        self.fmt_without_place(f)
    }
}

impl Mistake {
    /// Its key and what is wrong, without where that stands.
    pub fn without_place(&self) -> String {
        struct WithoutPlace<'a>(&'a Mistake);
        impl fmt::Display for WithoutPlace<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt_without_place(f)
            }
        }
        WithoutPlace(self).to_string()
    }

    fn fmt_without_place(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A flag says which key it sets, and whoever types it need not know the key.
        let says_key = !self.key.is_empty() && !self.is_of_flag();
        match &self.problem {
            Problem::Invalid(why) | Problem::Syntax(why) => {
                if says_key {
                    write!(f, "{}: ", self.key)?;
                }
                f.write_str(why)
            }
            Problem::Kind { expected, found } => {
                if says_key {
                    write!(f, "{}: ", self.key)?;
                }
                write!(f, "must be {expected}, not {found}")
            }
            Problem::Unknown {
                field,
                belongs,
                nearest,
            } => {
                // frp: scripts look for `unknown field "<k>"`
                write!(f, "{}: unknown field \"{field}\"", self.key)?;
                if let Some(program) = others_key(&self.key) {
                    return write!(f, "; it is a key of {program}, whose file is another");
                }
                match (belongs, nearest) {
                    (Some(key), _) => write!(
                        f,
                        "; `{key}` is a key of the whole file, and belongs above the first `[table]`"
                    ),
                    (None, Some(nearest)) => write!(f, ", did you mean \"{nearest}\"?"),
                    (None, None) => Ok(()),
                }
            }
            Problem::Unsupported { what } => {
                write!(f, "{what} is not supported by this version of mgrok")
            }
        }
    }

    fn is_of_flag(&self) -> bool {
        self.position.is_none() && self.origin.starts_with('-')
    }
}

/// The program that has this key, which is unknown here. Only those that tell one file from the other.
fn others_key(key: &str) -> Option<&'static str> {
    match key.to_ascii_lowercase().as_str() {
        "bindport" | "bindaddr" | "vhosthttpport" | "vhosthttpsport" | "allowports" => {
            Some("the server, `mgroks`")
        }
        "serveraddr" | "serverport" | "proxies" | "visitors" => Some("the client, `mgrokc`"),
        _ => None,
    }
}

/// What kind of mistake it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// The value does not make sense, or not together with others.
    Invalid(String),
    /// The value is of another kind than the key's.
    Kind {
        /// The key's kind, with an article.
        expected: &'static str,
        /// The value's kind, with an article.
        found: &'static str,
    },
    /// The text cannot be read.
    Syntax(String),
    /// Nothing has this key.
    Unknown {
        /// The last part of the key.
        field: String,
        /// The key of the whole file that it would be above the first table.
        belongs: Option<String>,
        /// A key in its place that looks like it.
        nearest: Option<String>,
    },
    /// frp has it, mgrok does not have it yet.
    Unsupported {
        /// The key, its value or the feature, quoted where needed.
        what: String,
    },
}

/// All mistakes of one configuration, in its order; at least one. Printed one per line.
///
/// Of a configuration with thousands of mistakes only the number is known beyond the first thousand.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Mistakes {
    listed: Vec<Mistake>,
    omitted: usize,
}

impl Mistakes {
    /// `Err` if there is any mistake.
    pub(crate) fn none_of(listed: Vec<Mistake>, omitted: usize) -> Result<(), Self> {
        if listed.is_empty() {
            return Ok(());
        }
        Err(Self { listed, omitted })
    }

    /// The mistakes, in the order of the configuration.
    pub fn iter(&self) -> std::slice::Iter<'_, Mistake> {
        self.listed.iter()
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.listed.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            mistake.fmt(f)?;
        }
        if self.omitted > 0 {
            write!(f, "\nand {} more", self.omitted)?;
        }
        Ok(())
    }
}
