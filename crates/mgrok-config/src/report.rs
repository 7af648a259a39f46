//! Collects what is wrong with one text, so that all of it can be told at once.

use std::cell::RefCell;

use crate::{
    load::Strictness,
    mistake::{Mistake, Mistakes, Position, Problem},
};

/// What was found so far. Shared by all sections that are being read.
pub(crate) struct Report<'a> {
    origin: &'a str,
    text: &'a str,
    line_starts: Vec<usize>,
    strictness: Strictness,
    mistakes: RefCell<Vec<Mistake>>,
    warnings: RefCell<Vec<Mistake>>,
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
        let mistake = self.place(at, key, problem);
        self.mistakes.borrow_mut().push(mistake);
    }

    pub(crate) fn syntax(&self, at: usize, why: String) {
        self.mistake(at, String::new(), Problem::Syntax(why));
    }

    /// Notes something of frp's that mgrok does not have yet. It never only warns: what is left out might have protected something.
    pub(crate) fn unsupported(&self, at: usize, what: impl Into<String>) {
        self.mistake(
            at,
            String::new(),
            Problem::Unsupported { what: what.into() },
        );
    }

    /// Notes a key that nothing knows: a mistake, or a warning when that was asked for.
    pub(crate) fn unknown(&self, at: usize, key: String, field: &str, nearest: Option<&str>) {
        let problem = Problem::Unknown {
            field: field.escape_debug().to_string(),
            nearest: nearest.map(str::to_owned),
        };
        let mistake = self.place(at, key, problem);
        match self.strictness {
            Strictness::Lenient => self.warnings.borrow_mut().push(mistake),
            Strictness::Strict => self.mistakes.borrow_mut().push(mistake),
        }
    }

    pub(crate) fn warning(&self, at: usize, key: String, what: String) {
        let warning = self.place(at, key, Problem::Invalid(what));
        self.warnings.borrow_mut().push(warning);
    }

    /// The warnings, if there is no mistake; otherwise all mistakes.
    pub(crate) fn finish(self) -> Result<Vec<String>, Mistakes> {
        let in_order = |mut found: Vec<Mistake>| {
            found.sort_by_key(|mistake| mistake.position);
            found
        };
        Mistakes::none_of(in_order(self.mistakes.into_inner()))?;
        let warnings = in_order(self.warnings.into_inner());
        Ok(warnings.iter().map(ToString::to_string).collect())
    }

    fn place(&self, at: usize, key: String, problem: Problem) -> Mistake {
        Mistake {
            origin: self.origin.to_owned(),
            position: self.position(at),
            // A quoted key of TOML may hold line breaks.
            key: key.escape_debug().to_string(),
            problem,
        }
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
