//! A client's store: proxies and visitors that were added while it ran, kept in a file of their own.
//!
//! The file is frp's: JSON with the lists `proxies` and `visitors`, whose entries have the keys that they have in a configuration. Of an
//! entry with the name of one in the configuration the stored one counts, unless it is disabled.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Debug, Display, Formatter};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::auth::Auth;
use crate::options::LoadOptions;
use crate::proxy::ProxyConfig;
use crate::visitor::VisitorConfig;
use crate::web_server::WebServer;

/// What an entry of a store is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StoredKind {
    /// A proxy.
    Proxy,
    /// A visitor.
    Visitor,
}

impl StoredKind {
    /// The list of its kind in the file.
    pub(crate) fn list(self) -> &'static str {
        match self {
            Self::Proxy => "proxies",
            Self::Visitor => "visitors",
        }
    }
}

impl Display for StoredKind {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Proxy => "proxy",
            Self::Visitor => "visitor",
        })
    }
}

/// An entry of a store, as it was written: without what goes without saying.
#[derive(Clone, PartialEq)]
pub struct StoredEntry {
    /// What it is called; not empty.
    pub(crate) name: String,
    /// Its keys as in a configuration, with `name` and `type`, in their documented spelling.
    pub(crate) keys: Map<String, Value>,
}

impl StoredEntry {
    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its `type`.
    pub fn type_name(&self) -> &str {
        let word = self.keys.get("type").and_then(Value::as_str);
        word.unwrap_or_default()
    }

    /// Whether it may stand for several proxies, or for none, whose names are others than its own.
    pub(crate) fn is_range(&self) -> bool {
        let of_range = |key: &str| self.keys.contains_key(key);
        of_range("localPorts") || of_range("remotePorts")
    }

    /// Whether it is used, as far as it says so itself.
    pub fn is_enabled(&self) -> bool {
        self.keys.get("enabled") != Some(&Value::Bool(false))
    }
}

/// Without its keys, some of which are secrets.
impl Debug for StoredEntry {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "StoredEntry({:?})", self.name)
    }
}

/// A store: its entries, and what becomes of them together with the configuration that names it. A value; a change makes another.
#[derive(Clone, PartialEq)]
pub struct Store {
    /// Where the file is.
    pub(crate) path: PathBuf,
    pub(crate) context: StoreContext,
    pub(crate) entries: Entries,
    /// The text of the file that this was read from, if it was; otherwise that which is to be written.
    pub(crate) text: String,
    /// The proxies that are used: those of the file and the stored ones.
    pub(crate) proxies: Vec<ProxyConfig>,
    /// The visitors, likewise.
    pub(crate) visitors: Vec<VisitorConfig>,
}

/// The entries of a store by their names.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Entries {
    pub(crate) proxies: BTreeMap<String, StoredEntry>,
    pub(crate) visitors: BTreeMap<String, StoredEntry>,
}

/// What the file says that names the store, against which entries are checked.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct StoreContext {
    pub(crate) auth: Auth,
    pub(crate) options: LoadOptions,
    /// The proxies of the file that are used.
    pub(crate) proxies: Vec<ProxyConfig>,
    /// The names that `start` chooses; none is all.
    pub(crate) start: BTreeSet<String>,
    /// The visitors of the file that are used.
    pub(crate) visitors: Vec<VisitorConfig>,
    pub(crate) web_server: Option<WebServer>,
}

impl StoreContext {
    /// Whether `start` chooses what is called so.
    pub(crate) fn starts(&self, name: &str) -> bool {
        self.start.is_empty() || self.start.contains(name)
    }
}

impl Entries {
    pub(crate) fn of(&self, kind: StoredKind) -> &BTreeMap<String, StoredEntry> {
        match kind {
            StoredKind::Proxy => &self.proxies,
            StoredKind::Visitor => &self.visitors,
        }
    }

    pub(crate) fn of_mut(&mut self, kind: StoredKind) -> &mut BTreeMap<String, StoredEntry> {
        match kind {
            StoredKind::Proxy => &mut self.proxies,
            StoredKind::Visitor => &mut self.visitors,
        }
    }

    /// The file's text.
    // frp: this form, without a line break at the end (pkg/config/source/store.go)
    pub(crate) fn to_text(&self) -> String {
        let mut lists = Map::new();
        for kind in [StoredKind::Proxy, StoredKind::Visitor] {
            let entries = self.of(kind).values();
            let list: Vec<Value> = entries.map(|it| Value::Object(it.keys.clone())).collect();
            if !list.is_empty() {
                lists.insert(kind.list().to_owned(), Value::Array(list));
            }
        }
        format!("{:#}", Value::Object(lists))
    }
}

/// Without its text, in which there are secrets.
impl Debug for Store {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Store");
        shown.field("path", &self.path);
        shown
            .field("entries", &self.entries)
            .finish_non_exhaustive()
    }
}

impl Store {
    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the file says, or is to say.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The entries of a kind, in the order of their names.
    pub fn entries(&self, kind: StoredKind) -> impl Iterator<Item = &StoredEntry> {
        self.entries.of(kind).values()
    }

    /// The entry of this name.
    pub fn entry(&self, kind: StoredKind, name: &str) -> Option<&StoredEntry> {
        self.entries.of(kind).get(name)
    }

    /// Whether there is such an entry, which is enabled, so that it counts in place of one in the configuration.
    pub fn counts(&self, kind: StoredKind, name: &str) -> bool {
        self.entry(kind, name).is_some_and(StoredEntry::is_enabled)
    }

    /// Where the proxy `name` is among those that are used, or where it would be.
    pub(crate) fn place(&self, name: &str) -> Result<usize, usize> {
        self.proxies
            .binary_search_by(|it| it.name.as_str().cmp(name))
    }

    /// The proxies that are used: those of the configuration and the stored ones, in the order of their names.
    pub fn proxies(&self) -> &[ProxyConfig] {
        &self.proxies
    }

    /// The visitors that are used, likewise.
    pub fn visitors(&self) -> &[VisitorConfig] {
        &self.visitors
    }
}
