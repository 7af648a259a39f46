//! What comes out of the reader of one format.

use std::collections::HashMap;

use crate::value::{Entry, Node};

/// How deeply lists and tables may be nested. frp's own keys need six levels.
pub(super) const MAX_DEPTH: usize = 128;

/// What became of a text.
#[derive(Default)]
pub(super) struct Outcome {
    /// `None` if there is nothing in it.
    pub(super) root: Option<Node>,
    pub(super) mistakes: Vec<(usize, String)>,
    /// Keys that do not count, because they come again.
    pub(super) overridden: Vec<(usize, String)>,
}

impl Outcome {
    /// Keeps the last of entries with the same key.
    // frp: the last counts, in YAML and JSON
    pub(super) fn last_of_each(&mut self, entries: &mut Vec<Entry>) {
        let mut last: HashMap<String, usize> = HashMap::with_capacity(entries.len());
        for (index, entry) in entries.iter().enumerate() {
            last.insert(entry.key.clone(), index);
        }
        if last.len() == entries.len() {
            return;
        }
        let mut index = 0;
        entries.retain(|entry| {
            index += 1;
            let counts = last.get(&entry.key) == Some(&(index - 1));
            if !counts {
                self.overridden.push((entry.at, entry.key.clone()));
            }
            counts
        });
    }
}
