//! Collects what is wrong with a configuration, so that all of it can be reported at once.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::config_files::ConfigFiles;
use crate::mistake::{Mistake, Mistakes, Problem};
use crate::nearest::nearest;
use crate::options::{LoadOptions, Strictness};
use crate::source_map::{Location, SourceMap};
use crate::value::Entry;

/// The most mistakes, and the most warnings, that are reported for one configuration. Nobody reads more, and a text that has
/// more is not a configuration.
const MAX_LISTED: usize = 1000;

/// What was found so far. Shared by all sections that are being read.
pub(crate) struct Report {
    sources: SourceMap,
    options: LoadOptions,
    /// Looks at the files that the configuration names.
    reads_files: bool,
    /// The files that are read.
    files: RefCell<ConfigFiles>,
    /// The dotted keys that tables outside lists were asked for, by what they are in small letters.
    known: RefCell<BTreeMap<String, String>>,
    /// All dotted keys that were asked for, without the indices of lists, if somebody wants to know.
    asked: Option<RefCell<BTreeSet<String>>>,
    /// A warning about all of it.
    headline: Option<String>,
    mistakes: RefCell<Found>,
    warnings: RefCell<Found>,
    /// Variables of the environment that were not there: what is wrong may be so because of them.
    missing: RefCell<Found>,
}

/// Mistakes or warnings, each with its position.
#[derive(Default)]
struct Found {
    listed: Vec<(usize, Mistake)>,
    omitted: usize,
}

impl Report {
    pub(crate) fn new(options: LoadOptions) -> Self {
        Self {
            sources: SourceMap::default(),
            options,
            reads_files: false,
            files: RefCell::default(),
            known: RefCell::default(),
            asked: None,
            headline: None,
            mistakes: RefCell::default(),
            warnings: RefCell::default(),
            missing: RefCell::default(),
        }
    }

    /// From here on, files that the configuration names must exist.
    pub(crate) fn reading_files(self) -> Self {
        Self {
            reads_files: true,
            ..self
        }
    }

    /// The texts that positions point into, to add others.
    pub(crate) fn sources_mut(&mut self) -> &mut SourceMap {
        &mut self.sources
    }

    pub(crate) fn reads_files(&self) -> bool {
        self.reads_files
    }

    /// Notes the file that everything begins with.
    pub(crate) fn note_main(&self, path: &Path) {
        self.files.borrow_mut().main = Some(path.to_owned());
    }

    /// Notes what is included, as it stands in the first file.
    pub(crate) fn note_pattern(&self, pattern: String) {
        self.files.borrow_mut().patterns.push(pattern);
    }

    /// Notes what that has led to.
    pub(crate) fn note_included(&self, files: &[PathBuf]) {
        self.files
            .borrow_mut()
            .included
            .extend(files.iter().cloned());
    }

    /// Notes a file with a secret.
    pub(crate) fn note_secret(&self, path: &str) {
        self.files.borrow_mut().others.insert(path.into());
    }

    /// The files that were noted.
    pub(crate) fn take_files(&self) -> ConfigFiles {
        self.files.take()
    }

    pub(crate) fn options(&self) -> LoadOptions {
        self.options
    }

    /// Tells what becomes of entries of included files that are neither proxies nor visitors, when all keys are known.
    // frp: known keys are read and have no effect
    pub(crate) fn judge_ignored(&self, entries: &[Entry]) {
        let known = self.known.borrow();
        for entry in entries {
            if known.contains_key(&entry.key.to_ascii_lowercase()) {
                let what =
                    "does nothing in an included file, of which proxies and visitors are read";
                self.warning(entry.at, entry.key.clone(), what.to_owned());
                continue;
            }
            let names = known.values().map(String::as_str);
            let outer = names.filter(|name| !name.contains('.'));
            self.unknown(entry.at, entry.key.clone(), &entry.key, outer);
        }
    }

    /// From here on, notes which keys are asked for.
    pub(crate) fn noting_keys(self) -> Self {
        Self {
            asked: Some(RefCell::default()),
            ..self
        }
    }

    pub(crate) fn notes_keys(&self) -> bool {
        self.asked.is_some()
    }

    /// Notes a dotted key that was asked for.
    pub(crate) fn note_key(&self, key: String) {
        if let Some(asked) = &self.asked {
            asked.borrow_mut().insert(key);
        }
    }

    /// The keys that were noted so far.
    pub(crate) fn noted_keys(&self) -> BTreeSet<String> {
        let asked = self.asked.as_ref();
        asked.map(|it| it.borrow().clone()).unwrap_or_default()
    }

    /// The keys that were noted.
    pub(crate) fn into_keys(self) -> BTreeSet<String> {
        self.asked.map(RefCell::into_inner).unwrap_or_default()
    }

    /// Adds a dotted key that the text may have outside lists.
    pub(crate) fn know(&self, key: &str) {
        let known = &mut self.known.borrow_mut();
        known.insert(key.to_ascii_lowercase(), key.to_owned());
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
        if self.sources.is_old_format(at) {
            let what = "does nothing in this section".to_owned();
            return self.warning(at, key, what);
        }
        let found = match self.options.strictness() {
            Strictness::Strict if !self.sources.is_lenient(at) => &self.mistakes,
            Strictness::Strict | Strictness::Lenient => &self.warnings,
        };
        self.note(found, at, key, || Problem::Unknown {
            field: field.escape_debug().to_string(),
            belongs: None,
            nearest: nearest(field, known).map(str::to_owned),
        });
    }

    /// As [`unknown`](Self::unknown), but never more than a warning.
    pub(crate) fn unknown_leniently<'k>(
        &self,
        at: usize,
        key: String,
        field: &str,
        known: impl Iterator<Item = &'k str>,
    ) {
        self.note(&self.warnings, at, key, || Problem::Unknown {
            field: field.escape_debug().to_string(),
            belongs: None,
            nearest: nearest(field, known).map(str::to_owned),
        });
    }

    pub(crate) fn invalid(&self, at: usize, key: String, why: String) {
        self.mistake(at, key, Problem::Invalid(why));
    }

    /// Notes that a file is written in frp's old format.
    // frp: this wording (cmd/frps/root.go, cmd/frpc/sub/root.go)
    pub(crate) fn deprecated_ini(&mut self) {
        self.headline = Some("ini format is deprecated and the support will be removed in the future, please use yaml/json/toml format instead!"
            .to_owned());
    }

    pub(crate) fn warning(&self, at: usize, key: String, what: String) {
        self.note(&self.warnings, at, key, || Problem::Invalid(what));
    }

    /// Notes that a variable of the environment is not there: a warning, but one that is told together with mistakes.
    // frp: prints this text too
    pub(crate) fn missing_variable(&self, at: usize, name: &str) {
        self.note(&self.missing, at, String::new(), || {
            Problem::Invalid(format!(
                "the environment variable `{name}` is not set, so that `<no value>` stands here"
            ))
        });
    }

    /// The warnings, if there is no mistake; otherwise all mistakes.
    pub(crate) fn finish(self) -> Result<Vec<String>, Mistakes> {
        let mut mistakes = self.mistakes.into_inner();
        let mut warnings = self.warnings.into_inner();
        let missing = self.missing.into_inner().listed;
        match mistakes.listed.is_empty() {
            true => warnings.listed.extend(missing),
            false => mistakes.listed.extend(missing),
        }
        let known = self.known.into_inner();
        for (_, mistake) in mistakes.listed.iter_mut().chain(&mut warnings.listed) {
            if let Problem::Unknown { belongs, .. } = &mut mistake.problem {
                *belongs = outer_key(&mistake.key, &known);
            }
        }
        Mistakes::none_of(in_order(mistakes.listed), mistakes.omitted)?;

        let listed = in_order(warnings.listed);
        let mut lines: Vec<String> = self.headline.into_iter().collect();
        lines.extend(listed.iter().map(ToString::to_string));
        if warnings.omitted > 0 {
            let origin = self.sources.first_origin();
            lines.push(format!("{origin}: and {} more", warnings.omitted));
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
        let Location { origin, position } = self.sources.locate(at, &key);
        let mistake = Mistake {
            origin: origin.to_owned(),
            position,
            // A quoted key of TOML may hold line breaks.
            key: self.sources.shown_key(at, key).escape_debug().to_string(),
            problem: problem(),
        };
        found.listed.push((at, mistake));
    }
}

/// The key of the whole text, among `known`, that was written below a table and so became the unknown `key` of that.
fn outer_key(key: &str, known: &BTreeMap<String, String>) -> Option<String> {
    let mut rest = key;
    while let Some((_, inner)) = rest.split_once('.') {
        if known.contains_key(&inner.to_ascii_lowercase()) {
            return Some(inner.to_owned());
        }
        rest = inner;
    }
    None
}

fn in_order(mut found: Vec<(usize, Mistake)>) -> Vec<Mistake> {
    found.sort_by_key(|(at, _)| *at);
    found.into_iter().map(|(_, mistake)| mistake).collect()
}
