//! What `[[proxies]]` and `[[visitors]]` have in common: each entry has a name, and not all entries need be used.

use std::collections::{BTreeSet, HashSet};

use crate::section::{Item, Section};

/// The key `start`: the names of the proxies and visitors to use, if not all of them.
pub(super) struct Start {
    items: Vec<Item>,
    chosen: HashSet<String>,
    /// The names of all entries so far, used or not.
    known: HashSet<String>,
}

/// One entry of a list, of which only the name and whether it is used are read.
pub(super) struct Entry<'a> {
    pub(super) section: Section<'a>,
    /// Empty if it is missing, which the caller tells in its own words.
    pub(super) name: String,
    /// If not, the entry is only read as far as it takes to see that it is readable.
    pub(super) used: bool,
}

impl Start {
    pub(super) fn read(root: &mut Section<'_>) -> Self {
        let items = root.texts("start");
        Self {
            chosen: items.iter().map(|item| item.text.clone()).collect(),
            items,
            known: HashSet::new(),
        }
    }

    /// As it was read before.
    pub(super) fn of(chosen: &BTreeSet<String>) -> Self {
        Self {
            chosen: chosen.iter().cloned().collect(),
            items: Vec::new(),
            known: HashSet::new(),
        }
    }

    pub(super) fn into_chosen(self) -> BTreeSet<String> {
        self.chosen.into_iter().collect()
    }

    /// The entries of the list `key`, each of which is `a`.
    pub(super) fn entries<'a>(
        &mut self,
        root: &mut Section<'a>,
        key: &'static str,
        a: &str,
    ) -> Vec<Entry<'a>> {
        let mut names = HashSet::new();
        let mut entries = Vec::new();
        for mut section in root.sections(key) {
            let name = section.text("name").unwrap_or_default();
            if !name.is_empty() && !names.insert(name.clone()) {
                // frp: this wording
                section.malformed(
                    "name",
                    format!("{a} name [{}] is duplicated", name.escape_debug()),
                );
            }
            let enabled = section.boolean("enabled").unwrap_or(true);
            let used = enabled && (self.chosen.is_empty() || self.chosen.contains(&name));
            if !used {
                section.leave_unjudged();
            }
            entries.push(Entry {
                section,
                name,
                used,
            });
        }
        self.known.extend(names);
        entries
    }

    /// Warns of names that no entry of any list has, nor any that will be read later.
    pub(super) fn warn_of_absent(&self, root: &Section<'_>, expected: &BTreeSet<String>) {
        for item in &self.items {
            if !self.known.contains(&item.text) && !expected.contains(&item.text) {
                let what = format!("there is no proxy or visitor {:?}", item.text);
                root.warn_at(item.at, "start", what);
            }
        }
    }
}
