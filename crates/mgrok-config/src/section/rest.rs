//! What a section says beyond what it was asked for.

use super::{Section, join};
use crate::unsupported_keys::{Lookup, UnsupportedKey};
use crate::value::{Entry, Value};

impl Drop for Section<'_> {
    fn drop(&mut self) {
        // Keys of lists' tables belong to these.
        if self.path.eq_ignore_ascii_case(&self.schema) && self.judged {
            for key in &self.asked {
                self.report.know(&join(&self.schema, key));
            }
        }
        if self.report.notes_keys() {
            for key in &self.asked {
                self.report.note_key(join(&self.schema, key));
            }
        }
        for entry in self.entries {
            if !self.was_asked(&entry.key) {
                self.refuse(entry, &self.path, &self.schema);
            }
        }
    }
}

impl Section<'_> {
    fn was_asked(&self, key: &str) -> bool {
        self.asked
            .iter()
            .any(|asked| asked.eq_ignore_ascii_case(key))
    }

    /// Refuses `entry`, which stands in the table `path`, with everything below it.
    fn refuse(&self, entry: &Entry, path: &str, schema: &str) {
        let shown = join(path, &entry.key);
        let key = join(schema, &entry.key);
        match UnsupportedKey::find(self.unsupported_keys, &key) {
            Lookup::Key(unsupported) => {
                if self.judged && !unsupported.is_default(&entry.node.value) {
                    self.report.unsupported_key(entry.at, shown);
                }
            }
            Lookup::Prefix => match &entry.node.value {
                Value::Table(entries) => {
                    for entry in entries {
                        self.refuse(entry, &shown, &key);
                    }
                }
                value => {
                    if self.judged && !value.is_zero() {
                        self.report.unsupported_key(entry.at, shown);
                    }
                }
            },
            Lookup::NotListed => {
                let asked = self.asked.iter().copied().filter(|_| path == self.path);
                let known = asked.chain(UnsupportedKey::below(self.unsupported_keys, schema));
                self.report.unknown(entry.at, shown, &entry.key, known);
            }
        }
    }
}
