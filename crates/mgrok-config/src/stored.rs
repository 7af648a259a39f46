//! Reads, checks and changes stores.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};

use serde_json::{Map, Number, Value as Json};

use crate::check;
use crate::file::{self, ReadError};
use crate::io_reason::io_reason;
use crate::mistake::{Mistake, Mistakes, Problem};
use crate::options::Strictness;
use crate::proxy::ProxyConfig;
use crate::report::Report;
use crate::section::Section;
use crate::source::{self, Entry, Node, Value};
use crate::store::{Entries, Store, StoreContext, StoredEntry, StoredKind};

/// The most entries of a store: as many proxies as a client may have.
const MAX_ENTRIES: usize = 16_384;

/// Booleans that say something when they are false.
const MEANINGFUL_FALSE: [&str; 2] = ["enabled", "enableHTTP2"];

/// Why a store cannot be changed so. It is as it was before.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// There is such an entry already.
    // frp: these words, and those of the next ones
    #[error("already exists: {kind} {name:?}")]
    Exists {
        /// What it is.
        kind: StoredKind,
        /// What it is called.
        name: String,
    },
    /// There is no such entry.
    #[error("not found: {kind} {name:?}")]
    Absent {
        /// What it is.
        kind: StoredKind,
        /// What it is called.
        name: String,
    },
    /// The entry is wrong: its mistakes, one a line, each with its key within the entry.
    #[error("validation error: {0}")]
    Invalid(String),
    /// There are too many.
    #[error("the store has {MAX_ENTRIES} entries, and can have no more: delete some")]
    Full,
}

/// The text of a store, not yet checked.
pub(crate) struct StoreText {
    path: PathBuf,
    text: String,
    /// What is in it, and where that stands.
    root: (Vec<Entry>, usize),
}

impl StoreText {
    /// Reads the store that `root`, the configuration in the file `main`, names; `None` if it names none, or the store cannot be read, of
    /// which the report tells.
    pub(crate) fn read(report: &mut Report, root: &[Entry], main: &Path) -> Option<Self> {
        let (at, path) = store_path(root)?;
        let path = main.parent().unwrap_or(Path::new("")).join(path);
        let text = match read(&path) {
            Ok(text) => text,
            Err(why) => {
                report.invalid(at, "store.path".to_owned(), why);
                return None;
            }
        };
        Some(Self::parse(report, path, text))
    }

    fn parse(report: &mut Report, path: PathBuf, text: Option<String>) -> Self {
        let root = match &text {
            Some(text) => source::read_store(report, text, &path.to_string_lossy()),
            None => (Vec::new(), 0),
        };
        let text = text.unwrap_or_default();
        Self { path, text, root }
    }

    /// The names of all entries.
    pub(crate) fn names(&self) -> BTreeSet<String> {
        let lists = [StoredKind::Proxy, StoredKind::Visitor].map(|kind| list(&self.root.0, kind));
        let entries = lists.into_iter().flatten();
        entries.map(|(_, entries)| name_of(entries)).collect()
    }

    /// Checks the entries beside what the file says.
    pub(crate) fn check(self, report: &Report, context: StoreContext) -> Store {
        let root = Section::root(&self.root, report);
        let others = (&*context.proxies, &*context.visitors);
        let (proxies, visitors) = check::stored(root, &context, others);
        let keys = KnownKeys::new(&report.noted_keys());
        let mut entries = Entries::default();
        for kind in [StoredKind::Proxy, StoredKind::Visitor] {
            for (at, table) in list(&self.root.0, kind) {
                let entry = StoredEntry {
                    name: name_of(table),
                    keys: keys.canonical(table, kind.list()),
                };
                if entry.name.is_empty() {
                    // Entries that are not used need one too, to be found by.
                    let why = format!("{kind} name cannot be empty");
                    report.invalid(at, kind.list().to_owned(), why);
                }
                entries.of_mut(kind).insert(entry.name.clone(), entry);
            }
        }
        let merged = merge(&context.proxies, proxies, |it| &it.name);
        let visitors = merge(&context.visitors, visitors, |it| &it.name);
        Store {
            path: self.path,
            context,
            entries,
            text: self.text,
            proxies: merged,
            visitors,
        }
    }
}

impl Store {
    /// Reads the file again, beside the same configuration. If the file says what it said before, nothing is checked anew, and no secret
    /// fetched.
    ///
    /// # Errors
    /// If the file cannot be read, or is wrong. This store is what it was.
    pub fn read_again(&self) -> Result<Self, Mistakes> {
        let mut report = Report::new(self.context.options)
            .reading_files()
            .noting_keys();
        let text = match read(&self.path) {
            Ok(text) => text,
            Err(why) => {
                let origin = self.path.to_string_lossy();
                let at = report.sources_mut().add_text(&origin, String::new());
                report.syntax(at, why);
                report.finish()?;
                return Ok(self.clone());
            }
        };
        if text.as_deref().unwrap_or_default() == self.text {
            return Ok(self.clone());
        }
        let text = StoreText::parse(&mut report, self.path.clone(), text);
        let store = text.check(&report, self.context.clone());
        report.finish()?;
        Ok(store)
    }

    /// The store with one entry more, or with `entry` in place of the one of its name if `is_there`. Fetches secrets, for which it may
    /// block.
    ///
    /// # Errors
    /// If the entry is wrong, by itself or together with the others and those of the configuration; if there is one of its name, or, with
    /// `is_there`, none.
    pub fn with(
        &self,
        kind: StoredKind,
        entry: StoredEntry,
        is_there: bool,
    ) -> Result<Self, StoreError> {
        let name = entry.name.clone();
        match (self.entry(kind, &name).is_some(), is_there) {
            (true, false) => return Err(StoreError::Exists { kind, name }),
            (false, true) => return Err(StoreError::Absent { kind, name }),
            (true, true) | (false, false) => {}
        }
        let entry = self.canonical(kind, entry)?;
        let mut entries = self.entries.clone();
        entries.of_mut(kind).insert(name, entry.clone());
        if entries.proxies.len() + entries.visitors.len() > MAX_ENTRIES {
            return Err(StoreError::Full);
        }
        match kind == StoredKind::Proxy && self.stands_alone(&entry.name) && !entry.is_range() {
            true => self.with_proxy(entries, &entry),
            false => self.with_entries(entries, Some((kind, &entry))),
        }
    }

    /// The store without one of its entries. May fetch secrets of the others, for which it may block.
    ///
    /// # Errors
    /// If there is no such entry, or what remains cannot be used, as when a secret is no longer there.
    pub fn without(&self, kind: StoredKind, name: &str) -> Result<Self, StoreError> {
        let mut entries = self.entries.clone();
        if entries.of_mut(kind).remove(name).is_none() {
            let name = name.to_owned();
            return Err(StoreError::Absent { kind, name });
        }
        match kind == StoredKind::Proxy && self.stands_alone(name) {
            true => Ok(self.with_proxy_as(entries, name, None)),
            false => self.with_entries(entries, None),
        }
    }

    /// Whether no other proxy becomes used, or is not used any more, with what becomes of the entry `name`: neither the file nor a range
    /// has a proxy of that name, and it is no range itself.
    fn stands_alone(&self, name: &str) -> bool {
        let entry = self.entry(StoredKind::Proxy, name);
        let is_range = entry.is_some_and(StoredEntry::is_range);
        let is_used = entry.is_some_and(StoredEntry::is_enabled) && self.context.starts(name);
        let mut of_file = self.context.proxies.iter();
        !is_range && self.place(name).is_ok() == is_used && !of_file.any(|it| it.name == name)
    }

    /// Checks one entry beside all proxies that are used, which are not read anew.
    fn with_proxy(&self, entries: Entries, entry: &StoredEntry) -> Result<Self, StoreError> {
        let mut report = Report::new(self.context.options).reading_files();
        let kind = StoredKind::Proxy;
        let mut lists = Map::new();
        let list = Json::Array(vec![Json::Object(entry.keys.clone())]);
        lists.insert(kind.list().to_owned(), list);
        let text = Json::Object(lists).to_string();
        let parsed = StoreText::parse(&mut report, self.path.clone(), Some(text));
        let root = Section::root(&parsed.root, &report);
        let others = (&*self.proxies, &*self.visitors);
        let (mut read, _) = check::stored(root, &self.context, others);
        if let Err(mistakes) = report.finish() {
            return Err(StoreError::Invalid(told(&mistakes, kind, 0)));
        }
        Ok(self.with_proxy_as(entries, &entry.name, read.pop()))
    }

    /// The store with these entries, where `proxy` is what is used of the name.
    fn with_proxy_as(&self, entries: Entries, name: &str, proxy: Option<ProxyConfig>) -> Self {
        let mut proxies = self.proxies.clone();
        match (self.place(name), proxy) {
            (Ok(place), Some(proxy)) => proxies[place] = proxy,
            (Ok(place), None) => {
                proxies.remove(place);
            }
            (Err(place), Some(proxy)) => proxies.insert(place, proxy),
            (Err(_), None) => {}
        }
        Self {
            path: self.path.clone(),
            context: self.context.clone(),
            text: entries.to_text(),
            entries,
            proxies,
            visitors: self.visitors.clone(),
        }
    }

    /// Checks an entry by itself, whether it will be used or not, and returns it with its keys in their documented spelling. Nothing is
    /// passed over here: what nothing knows is a mistake.
    fn canonical(&self, kind: StoredKind, entry: StoredEntry) -> Result<StoredEntry, StoreError> {
        let StoredEntry { name, mut keys } = entry;
        let enabled = keys.keys().find(|key| key.eq_ignore_ascii_case("enabled"));
        let enabled = enabled.cloned().and_then(|key| keys.remove(&key));
        let options = self.context.options.with_strictness(Strictness::Strict);
        // What it says of secrets is looked at when it is used.
        let options = options.without_sources();
        let context = StoreContext {
            auth: self.context.auth.clone(),
            options,
            ..StoreContext::default()
        };
        let mut report = Report::new(options).noting_keys();
        let mut root = (Vec::new(), 0);
        root.0 = strict_tree(&mut report, kind, &keys);
        let section = Section::root(&root, &report);
        check::stored(section, &context, (&[], &[]));
        let known = KnownKeys::new(&report.noted_keys());
        if let Err(mistakes) = report.finish() {
            return Err(StoreError::Invalid(told(&mistakes, kind, 0)));
        }
        let table = list(&root.0, kind).next().map(|(_, table)| table);
        let mut keys = known.canonical(table.unwrap_or_default(), kind.list());
        match enabled {
            None | Some(Json::Null | Json::Bool(true)) => {}
            Some(Json::Bool(false)) => {
                keys.insert("enabled".to_owned(), Json::Bool(false));
            }
            Some(_) => {
                let why = "enabled: must be a boolean".to_owned();
                return Err(StoreError::Invalid(why));
            }
        }
        Ok(StoredEntry { name, keys })
    }

    /// Checks all entries together. What is wrong is told of `new`, which stands last so that conflicts are found at it.
    fn with_entries(
        &self,
        entries: Entries,
        new: Option<(StoredKind, &StoredEntry)>,
    ) -> Result<Self, StoreError> {
        let mut report = Report::new(self.context.options)
            .reading_files()
            .noting_keys();
        let mut lists = Map::new();
        for kind in [StoredKind::Proxy, StoredKind::Visitor] {
            let is_new = |name: &str| new.is_some_and(|(of, it)| of == kind && it.name == name);
            let old = entries.of(kind).values().filter(|it| !is_new(&it.name));
            let last = new.filter(|(of, _)| *of == kind).map(|(_, it)| it);
            let all = old.chain(last).map(|it| Json::Object(it.keys.clone()));
            lists.insert(kind.list().to_owned(), Json::Array(all.collect()));
        }
        let text = Json::Object(lists).to_string();
        let parsed = StoreText::parse(&mut report, self.path.clone(), Some(text));
        let mut store = parsed.check(&report, self.context.clone());
        if let Err(mistakes) = report.finish() {
            let (kind, last) = match new {
                Some((kind, _)) => (kind, entries.of(kind).len() - 1),
                None => (StoredKind::Proxy, usize::MAX),
            };
            return Err(StoreError::Invalid(told(&mistakes, kind, last)));
        }
        store.text = entries.to_text();
        store.entries = entries;
        Ok(store)
    }
}

/// What is wrong, one mistake a line; keys of the entry with this index are told without what leads to it.
fn told(mistakes: &Mistakes, kind: StoredKind, index: usize) -> String {
    let prefix = format!("{}[{index}]", kind.list());
    let lines = mistakes.iter().map(|mistake| {
        let mut mistake: Mistake = mistake.clone();
        if let Some(key) = mistake.key.strip_prefix(&prefix) {
            mistake.key = key.trim_start_matches('.').to_owned();
        }
        if let Problem::Unsupported { what } = &mut mistake.problem {
            *what = what.replace(&format!("{prefix}."), "");
        }
        mistake.without_place()
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// A tree with this entry alone, in a text whose unknown keys are mistakes.
fn strict_tree(report: &mut Report, kind: StoredKind, keys: &Map<String, Json>) -> Vec<Entry> {
    let entry = Json::Object(keys.clone());
    let list = Json::Array(vec![entry]);
    let mut lists = Map::new();
    lists.insert(kind.list().to_owned(), list);
    source::read_json(report, &Json::Object(lists).to_string(), "entry").0
}

/// The path that the configuration names, and where. Anything else there is told when the key is read.
fn store_path(root: &[Entry]) -> Option<(usize, String)> {
    let find = |entries: &'_ [Entry], key: &str| -> Option<Node> {
        let entry = entries.iter().find(|it| it.key.eq_ignore_ascii_case(key))?;
        Some(entry.node.clone())
    };
    let Value::Table(store) = find(root, "store")?.value else {
        return None;
    };
    let Node { at, value } = find(&store, "path")?;
    match value {
        Value::Text(path) if !path.is_empty() => Some((at, path)),
        _ => None,
    }
}

/// The text of the file, which need not be there; or why it cannot be had.
fn read(path: &Path) -> Result<Option<String>, String> {
    let why = match file::read(path) {
        Ok(text) => return Ok(Some(text)),
        Err(ReadError::Open(error)) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(None);
        }
        Err(ReadError::Encoding(what)) => what,
        Err(ReadError::Open(error) | ReadError::Read(error)) => io_reason(&error),
    };
    // frp: the beginning of this wording
    let path = path.display();
    Err(format!("failed to load existing data: {path}: {why}"))
}

/// The tables in the list of a kind, and where they stand. What is no table was told of when the list was read.
fn list(root: &[Entry], kind: StoredKind) -> impl Iterator<Item = (usize, &[Entry])> {
    let lists = root
        .iter()
        .filter(move |it| it.key.eq_ignore_ascii_case(kind.list()));
    let nodes = lists.flat_map(|entry| match &entry.node.value {
        Value::List(nodes) => nodes.as_slice(),
        _ => &[],
    });
    nodes.filter_map(|node| match &node.value {
        Value::Table(entries) => Some((node.at, entries.as_slice())),
        _ => None,
    })
}

fn name_of(entries: &[Entry]) -> String {
    let name = entries
        .iter()
        .find(|it| it.key.eq_ignore_ascii_case("name"));
    match name.map(|entry| &entry.node.value) {
        Some(Value::Text(name)) => name.clone(),
        _ => String::new(),
    }
}

/// Those of the file and the stored ones, which count where both have a name, in the order of the names.
// frp: this order
fn merge<T: Clone>(file: &[T], stored: Vec<T>, name: impl Fn(&T) -> &String) -> Vec<T> {
    let all = file.iter().cloned().chain(stored);
    let by_name: BTreeMap<String, T> = all.map(|it| (name(&it).clone(), it)).collect();
    by_name.into_values().collect()
}

/// The keys that readers have asked for.
struct KnownKeys {
    /// By their dotted form in small letters.
    keys: HashMap<String, String>,
    /// Those of them, in small letters, below which there are others.
    tables: HashSet<String>,
}

impl KnownKeys {
    fn new(keys: &BTreeSet<String>) -> Self {
        let lower = |key: &String| key.to_ascii_lowercase();
        let parents = |key: &String| {
            let ends: Vec<usize> = key.match_indices('.').map(|(at, _)| at).collect();
            let key = lower(key);
            ends.into_iter().map(move |end| key[..end].to_owned())
        };
        Self {
            tables: keys.iter().flat_map(parents).collect(),
            keys: keys.iter().map(|key| (lower(key), key.clone())).collect(),
        }
    }

    /// The table at `path` in the documented spelling, without keys that nothing has asked for or that say no more than an absent one.
    fn canonical(&self, entries: &[Entry], path: &str) -> Map<String, Json> {
        let mut table = Map::new();
        for Entry { key, node, .. } in entries {
            let path = format!("{path}.{key}").to_ascii_lowercase();
            let Some(known) = self.keys.get(&path) else {
                continue;
            };
            let key = known.rsplit('.').next().unwrap_or(known);
            let is_said = match &node.value {
                Value::Boolean(false) => MEANINGFUL_FALSE.contains(&key),
                value => !value.is_zero(),
            };
            let value = self.value(&node.value, &path);
            let is_empty = value.as_object().is_some_and(Map::is_empty);
            if is_said && !is_empty {
                table.insert(key.to_owned(), value);
            }
        }
        table
    }

    fn value(&self, value: &Value, path: &str) -> Json {
        match value {
            Value::Boolean(value) => Json::Bool(*value),
            Value::Float(value) => Number::from_f64(*value).map_or(Json::Null, Json::Number),
            Value::Integer(value) => Json::Number((*value).into()),
            Value::Text(text) => Json::String(text.clone()),
            Value::List(nodes) => {
                let values = nodes.iter().map(|node| self.value(&node.value, path));
                Json::Array(values.collect())
            }
            Value::Table(entries) if self.tables.contains(path) => {
                Json::Object(self.canonical(entries, path))
            }
            // Its keys are free.
            Value::Table(entries) => {
                let entry = |it: &Entry| (it.key.clone(), self.value(&it.node.value, path));
                Json::Object(entries.iter().map(entry).collect())
            }
        }
    }
}
