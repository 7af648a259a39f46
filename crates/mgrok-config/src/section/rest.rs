//! What a section says beyond what it was asked for.

use super::{Section, join};
use crate::value::Entry;

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
                self.refuse(entry);
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

    /// Refuses `entry`, with everything below it.
    fn refuse(&self, entry: &Entry) {
        let asked = self.asked.iter().copied();
        self.report
            .unknown(entry.at, join(&self.path, &entry.key), &entry.key, asked);
    }
}
