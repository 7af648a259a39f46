//! Collects what is wrong with one text, so that all of it can be told at once.

use std::cell::RefCell;

use crate::{
    mistake::{Mistake, Mistakes, Position, Problem},
    nearest::nearest,
};

/// What becomes of keys that nothing knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strictness {
    /// They are mistakes.
    #[default]
    Strict,
    /// They are warnings.
    Lenient,
}

/// The most mistakes, and the most warnings, that are told of one text. Nobody reads more, and a text that has more is
/// not a configuration.
const MAX_TOLD: usize = 1000;

/// What was found so far. Shared by all sections that are being read.
pub(crate) struct Report<'a> {
    origin: &'a str,
    text: &'a str,
    line_starts: Vec<usize>,
    strictness: Strictness,
    mistakes: RefCell<Found>,
    warnings: RefCell<Found>,
}

#[derive(Default)]
struct Found {
    told: Vec<Mistake>,
    untold: usize,
}

impl<'a> Report<'a> {
    pub(crate) fn new(text: &'a str, origin: &'a str, strictness: Strictness) -> Self {
        let after_breaks = text.match_indices('\n').map(|(at, _)| at + 1);
        Self {
            origin,
            text,
            line_starts: std::iter::once(0).chain(after_breaks).collect(),
            strictness,
            mistakes: RefCell::default(),
            warnings: RefCell::default(),
        }
    }

    pub(crate) fn text(&self) -> &'a str {
        self.text
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
            nearest: nearest(field, known).map(str::to_owned),
        });
    }

    pub(crate) fn warning(&self, at: usize, key: String, what: String) {
        self.note(&self.warnings, at, key, || Problem::Invalid(what));
    }

    /// The warnings, if there is no mistake; otherwise all mistakes.
    pub(crate) fn finish(self) -> Result<Vec<String>, Mistakes> {
        let mistakes = self.mistakes.into_inner();
        Mistakes::none_of(in_order(mistakes.told), mistakes.untold)?;

        let warnings = self.warnings.into_inner();
        let told = in_order(warnings.told);
        let mut lines: Vec<String> = told.iter().map(ToString::to_string).collect();
        if warnings.untold > 0 {
            lines.push(format!("{}: and {} more", self.origin, warnings.untold));
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
        if found.told.len() == MAX_TOLD {
            found.untold += 1;
            return;
        }
        found.told.push(Mistake {
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

fn in_order(mut found: Vec<Mistake>) -> Vec<Mistake> {
    found.sort_by_key(|mistake| mistake.position);
    found
}
