//! Reads one table of a configuration, key by key, and notes what is wrong with it.
//!
//! A reader asks for keys by their proper names and gets either a value of the right kind or nothing. "Nothing" also
//! covers what frp takes for "not set": the zero of the kind. A mistake counts as nothing too: it is in the report by
//! then, so the caller goes on with a default that nobody will see. What nobody has asked for by the time the section
//! is dropped is refused: by name if frp has it, otherwise as unknown.
//!
//! Not by serde, with `serde_ignored` and `serde_path_to_error`: it stops at the first mistake where a file's author wants to
//! see all of them, matches keys case-sensitively where frp does not, and knows neither the place of a key in the file nor
//! the keys that it was asked for, from which suggestions come.

pub(crate) mod choice;
pub(crate) mod files;
mod numbers;
mod rest;
mod secrets;

use std::collections::BTreeMap;

use crate::mistake::Problem;
use crate::report::Report;
use crate::value::{Entry, Node, Value};

/// A table that is being read, possibly one that the file does not have.
pub(crate) struct Section<'a> {
    report: &'a Report,
    entries: &'a [Entry],
    /// Where the table stands, for what is wrong with keys that it lacks.
    at: usize,
    /// The table's dotted key, as messages show it; empty for the whole text.
    path: String,
    /// The same in the documented spelling and without list indices.
    schema: String,
    /// The documented names of all keys that were asked for.
    asked: Vec<&'static str>,
    judged: bool,
    flawed: bool,
}

/// A text of a list or of a table with free keys, and where it stands.
pub(crate) struct Item {
    pub(crate) at: usize,
    pub(crate) text: String,
}

impl<'a> Section<'a> {
    /// The whole configuration and its position.
    pub(crate) fn root((entries, at): &'a (Vec<Entry>, usize), report: &'a Report) -> Self {
        Self {
            report,
            entries,
            at: *at,
            path: String::new(),
            schema: String::new(),
            asked: Vec::new(),
            judged: true,
            flawed: false,
        }
    }

    /// From here on only reports what could not be read at all, because the section will not be used.
    pub(crate) fn leave_unjudged(&mut self) {
        self.judged = false;
    }

    /// Gives up on a section whose keys cannot be known.
    pub(crate) fn abandon(mut self) {
        self.entries = &[];
    }

    pub(crate) fn boolean(&mut self, key: &'static str) -> Option<bool> {
        let node = self.take(key)?;
        let Value::Boolean(value) = node.value else {
            self.wrong_kind(key, node, "a boolean");
            return None;
        };
        Some(value)
    }

    pub(crate) fn text(&mut self, key: &'static str) -> Option<String> {
        let node = self.take(key)?;
        let Value::Text(text) = &node.value else {
            self.wrong_kind(key, node, "a string");
            return None;
        };
        (!text.is_empty()).then(|| text.clone())
    }

    pub(crate) fn texts(&mut self, key: &'static str) -> Vec<Item> {
        let mut items = Vec::new();
        for (name, node) in self.list(key, "a list of strings") {
            match &node.value {
                Value::Text(text) => items.push(Item {
                    at: node.at,
                    text: text.clone(),
                }),
                _ => self.wrong_kind(&name, node, "a string"),
            }
        }
        items
    }

    /// A table whose keys are free and taken as they are written.
    pub(crate) fn map(&mut self, key: &'static str) -> BTreeMap<String, String> {
        let texts = self.named_texts(key).into_iter();
        texts.map(|(name, item)| (name, item.text)).collect()
    }

    /// As [`map`](Self::map), for texts that may be wrong.
    pub(crate) fn named_texts(&mut self, key: &'static str) -> Vec<(String, Item)> {
        let mut texts = Vec::new();
        let Some(node) = self.take(key) else {
            return texts;
        };
        let Value::Table(entries) = &node.value else {
            self.wrong_kind(key, node, "a table of strings");
            return texts;
        };
        for entry in entries {
            match &entry.node.value {
                Value::Text(text) => {
                    let item = Item {
                        at: entry.node.at,
                        text: text.clone(),
                    };
                    texts.push((entry.key.clone(), item));
                }
                _ => self.wrong_kind(&join(key, &entry.key), &entry.node, "a string"),
            }
        }
        texts
    }

    /// A table below this one; empty if there is none.
    pub(crate) fn section(&mut self, key: &'static str) -> Section<'a> {
        let Some(node) = self.take(key) else {
            return self.below(key, key.to_owned(), self.at, &[]);
        };
        let Value::Table(entries) = &node.value else {
            self.wrong_kind(key, node, "a table");
            let mut empty = self.below(key, key.to_owned(), self.at, &[]);
            empty.flawed = true;
            return empty;
        };
        self.below(key, key.to_owned(), node.at, entries)
    }

    /// The tables of a list.
    pub(crate) fn sections(&mut self, key: &'static str) -> Vec<Section<'a>> {
        let mut sections = Vec::new();
        if let Some(entry) = self.find(key)
            && matches!(entry.node.value, Value::Table(_))
        {
            self.asked.push(key);
            let name = join(&self.path, key);
            self.malformed(
                key,
                format!(
                    "must be a list of tables: write `[[{name}]]`, with two brackets on each side"
                ),
            );
            return sections;
        }
        for (name, node) in self.list(key, "a list of tables") {
            match &node.value {
                Value::Table(entries) => sections.push(self.below(key, name, node.at, entries)),
                _ => self.wrong_kind(&name, node, "a table"),
            }
        }
        sections
    }

    /// Notes that the value of `key`, or of the section if it is empty, does not make sense, unless the section is not judged.
    pub(crate) fn invalid(&mut self, key: &str, why: impl Into<String>) {
        if self.judged {
            self.malformed(key, why);
        }
    }

    /// As [`invalid`](Self::invalid), for one item of `key`.
    pub(crate) fn invalid_item(&mut self, key: &str, item: &Item, why: impl Into<String>) {
        if self.judged {
            self.flawed = true;
            let problem = Problem::Invalid(why.into());
            self.report.mistake(item.at, join(&self.path, key), problem);
        }
    }

    /// Notes that `key` makes the section unreadable, judged or not.
    pub(crate) fn malformed(&mut self, key: &str, why: impl Into<String>) {
        self.flawed = true;
        let problem = Problem::Invalid(why.into());
        self.report
            .mistake(self.position_of(key), join(&self.path, key), problem);
    }

    /// Notes that frp knows the value of `key`, but mgrok does not yet.
    pub(crate) fn unsupported(&mut self, key: &str, what: impl Into<String>) {
        if self.judged {
            self.flawed = true;
            self.report.unsupported(self.position_of(key), what);
        }
    }

    /// Notes that `key` will not do what its author may expect.
    pub(crate) fn warn(&self, key: &str, what: impl Into<String>) {
        self.warn_at(self.position_of(key), key, what);
    }

    /// As [`warn`](Self::warn), about a value within that of `key`.
    pub(crate) fn warn_at(&self, at: usize, key: &str, what: impl Into<String>) {
        if self.judged {
            self.report.warning(at, join(&self.path, key), what.into());
        }
    }

    /// Whether the file has `key`, whatever it says.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.find(key).is_some()
    }

    /// Whether the file sets `key` to anything but the zero of its kind, right or wrong.
    pub(crate) fn says(&self, key: &str) -> bool {
        self.find(key)
            .is_some_and(|entry| !entry.node.value.is_zero())
    }

    /// Whether a mistake was found in this very section, or it is no table.
    pub(crate) fn is_flawed(&self) -> bool {
        self.flawed
    }

    /// The dotted key of a key of this table.
    fn full(&self, key: &str) -> String {
        join(&self.path, key)
    }

    fn below(&self, key: &str, name: String, at: usize, entries: &'a [Entry]) -> Section<'a> {
        Section {
            report: self.report,
            entries,
            at,
            path: join(&self.path, &name),
            schema: join(&self.schema, key),
            asked: Vec::new(),
            judged: self.judged,
            flawed: false,
        }
    }

    /// The items of a list, with their keys.
    fn list(&mut self, key: &'static str, expected: &'static str) -> Vec<(String, &'a Node)> {
        let Some(node) = self.take(key) else {
            return Vec::new();
        };
        let Value::List(nodes) = &node.value else {
            self.wrong_kind(key, node, expected);
            return Vec::new();
        };
        let named = |(index, node)| (format!("{key}[{index}]"), node);
        nodes.iter().enumerate().map(named).collect()
    }

    fn take(&mut self, key: &'static str) -> Option<&'a Node> {
        self.asked.push(key);
        let mut spellings = self
            .entries
            .iter()
            .filter(|entry| entry.key.eq_ignore_ascii_case(key));
        let entry = spellings.next()?;
        // frp: the one later in byte order counts. Nobody can be expected to know that.
        for other in spellings {
            self.flawed = true;
            let why = format!("is the same key as `{}`", entry.key);
            let path = join(&self.path, &other.key);
            self.report.mistake(other.at, path, Problem::Invalid(why));
        }
        Some(&entry.node)
    }

    fn wrong_kind(&mut self, key: &str, node: &Node, expected: &'static str) {
        self.flawed = true;
        let found = node.value.kind();
        let problem = Problem::Kind { expected, found };
        self.report.mistake(node.at, join(&self.path, key), problem);
    }

    fn find(&self, key: &str) -> Option<&'a Entry> {
        self.entries
            .iter()
            .find(|entry| entry.key.eq_ignore_ascii_case(key))
    }

    fn position_of(&self, key: &str) -> usize {
        self.find(key).map_or(self.at, |entry| entry.node.at)
    }
}

/// A dotted key; an empty one is the table itself.
fn join(path: &str, key: &str) -> String {
    match (path, key) {
        ("", _) => key.to_owned(),
        (_, "") => path.to_owned(),
        _ => format!("{path}.{key}"),
    }
}
