//! Collects what is wrong with one text, so that all of it can be reported at once.

use std::cell::RefCell;
use std::collections::BTreeSet;

use crate::mistake::{Mistake, Mistakes, Position, Problem};
use crate::nearest::nearest;

/// What becomes of keys that nothing knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strictness {
    /// They are mistakes.
    #[default]
    Strict,
    /// They are warnings.
    Lenient,
}

/// The most mistakes, and the most warnings, that are reported for one text. Nobody reads more, and a text that has more is
/// not a configuration.
const MAX_LISTED: usize = 1000;

/// What was found so far. Shared by all sections that are being read.
pub(crate) struct Report<'a> {
    origin: &'a str,
    text: &'a str,
    line_starts: Vec<usize>,
    strictness: Strictness,
    /// Looks at the files that the text names.
    reads_files: bool,
    /// The dotted keys that tables outside lists were asked for, in small letters.
    known: RefCell<BTreeSet<String>>,
    mistakes: RefCell<Found>,
    warnings: RefCell<Found>,
}

#[derive(Default)]
struct Found {
    listed: Vec<Mistake>,
    omitted: usize,
}

impl<'a> Report<'a> {
    pub(crate) fn new(text: &'a str, origin: &'a str, strictness: Strictness) -> Self {
        let after_breaks = text.match_indices('\n').map(|(at, _)| at + 1);
        Self {
            origin,
            text,
            line_starts: std::iter::once(0).chain(after_breaks).collect(),
            strictness,
            reads_files: false,
            known: RefCell::default(),
            mistakes: RefCell::default(),
            warnings: RefCell::default(),
        }
    }

    /// From here on, files that the text names must exist.
    pub(crate) fn reading_files(self) -> Self {
        Self {
            reads_files: true,
            ..self
        }
    }

    pub(crate) fn text(&self) -> &'a str {
        self.text
    }

    pub(crate) fn reads_files(&self) -> bool {
        self.reads_files
    }

    /// Adds a dotted key that the text may have outside lists.
    pub(crate) fn know(&self, key: &str) {
        self.known.borrow_mut().insert(key.to_ascii_lowercase());
    }

    pub(crate) fn mistake(&self, at: usize, key: String, problem: Problem) {
        self.note(&self.mistakes, at, key, || problem);
    }

    pub(crate) fn syntax(&self, at: usize, why: String) {
        self.mistake(at, String::new(), Problem::Syntax(why));
    }

    /// Notes something of frp's that mgrok does not have yet. It never only warns: what is left out might have
    /// protected something.
    pub(crate) fn unsupported(&self, at: usize, what: impl Into<String>) {
        let what = what.into();
        self.mistake(at, String::new(), Problem::Unsupported { what });
    }

    /// Notes a key that nothing knows: a mistake, or a warning when that was asked for.
    pub(crate) fn unknown<'k>(
        &self,
        at: usize,
        key: String,
        field: &str,
        known: impl Iterator<Item = &'k str>,
    ) {
        let found = match self.strictness {
            Strictness::Lenient => &self.warnings,
            Strictness::Strict => &self.mistakes,
        };
        self.note(found, at, key, || Problem::Unknown {
            field: field.escape_debug().to_string(),
            belongs: None,
            nearest: nearest(field, known).map(str::to_owned),
        });
    }

    pub(crate) fn warning(&self, at: usize, key: String, what: String) {
        self.note(&self.warnings, at, key, || Problem::Invalid(what));
    }

    /// The warnings, if there is no mistake; otherwise all mistakes.
    pub(crate) fn finish(self) -> Result<Vec<String>, Mistakes> {
        let mut mistakes = self.mistakes.into_inner();
        let mut warnings = self.warnings.into_inner();
        let known = self.known.into_inner();
        for mistake in mistakes.listed.iter_mut().chain(&mut warnings.listed) {
            if let Problem::Unknown { belongs, .. } = &mut mistake.problem {
                *belongs = outer_key(&mistake.key, &known);
            }
        }
        Mistakes::none_of(in_order(mistakes.listed), mistakes.omitted)?;

        let listed = in_order(warnings.listed);
        let mut lines: Vec<String> = listed.iter().map(ToString::to_string).collect();
        if warnings.omitted > 0 {
            lines.push(format!("{}: and {} more", self.origin, warnings.omitted));
        }
        Ok(lines)
    }

    fn note(
        &self,
        found: &RefCell<Found>,
        at: usize,
        key: String,
        problem: impl FnOnce() -> Problem,
    ) {
        let mut found = found.borrow_mut();
        if found.listed.len() == MAX_LISTED {
            found.omitted += 1;
            return;
        }
        found.listed.push(Mistake {
            origin: self.origin.to_owned(),
            position: self.position(at),
            // A quoted key of TOML may hold line breaks.
            key: key.escape_debug().to_string(),
            problem: problem(),
        });
    }

    fn position(&self, at: usize) -> Position {
        let line = self.line_starts.partition_point(|start| *start <= at);
        let start = self.line_starts[line - 1];
        let before = self.text.get(start..at).unwrap_or_default();
        Position {
            line,
            column: before.chars().count() + 1,
        }
    }
}

/// The key of the whole text, among `known`, that was written below a table and so became the unknown `key` of that.
fn outer_key(key: &str, known: &BTreeSet<String>) -> Option<String> {
    let mut rest = key;
    while let Some((_, inner)) = rest.split_once('.') {
        if known.contains(&inner.to_ascii_lowercase()) {
            return Some(inner.to_owned());
        }
        rest = inner;
    }
    None
}

fn in_order(mut found: Vec<Mistake>) -> Vec<Mistake> {
    found.sort_by_key(|mistake| mistake.position);
    found
}
