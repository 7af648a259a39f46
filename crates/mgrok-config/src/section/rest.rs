//! What a section says beyond what it was asked for.

use super::{Section, join};
use crate::{
    later::{Later, Place},
    source::{Entry, Value},
};

impl Drop for Section<'_> {
    fn drop(&mut self) {
        // Keys of lists' tables belong to these.
        if self.path.eq_ignore_ascii_case(&self.schema) && self.judged {
            for key in &self.asked {
                self.report.know(&join(&self.schema, key));
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
        match Later::find(self.later, &key) {
            Place::Key(later) => {
                if self.judged && !later.says_nothing(&entry.node.value) {
                    self.report.unsupported(entry.at, format!("`{shown}`"));
                }
            }
            Place::Above => match &entry.node.value {
                Value::Table(entries) => {
                    for entry in entries {
                        self.refuse(entry, &shown, &key);
                    }
                }
                value => {
                    if self.judged && !value.is_zero() {
                        self.report.unsupported(entry.at, format!("`{shown}`"));
                    }
                }
            },
            Place::Nowhere => {
                let asked = self.asked.iter().copied().filter(|_| path == self.path);
                let known = asked.chain(Later::below(self.later, schema));
                self.report.unknown(entry.at, shown, &entry.key, known);
            }
        }
    }
}
