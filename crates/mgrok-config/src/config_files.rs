//! The files that a configuration was read from, for whoever wants to read it again when they change.

use std::collections::BTreeSet;
use std::path::PathBuf;

use crate::file_pattern::find;

/// The files that a configuration was read from: the first one, those that it includes, and those with its secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigFiles {
    /// The first one; `None` if there is none.
    pub(crate) main: Option<PathBuf>,
    /// What it includes, as it stands there.
    pub(crate) patterns: Vec<String>,
    /// What the patterns have led to.
    pub(crate) included: BTreeSet<PathBuf>,
    /// Others, such as those with secrets.
    pub(crate) others: BTreeSet<PathBuf>,
}

impl ConfigFiles {
    /// Those that were read.
    pub fn as_read(&self) -> BTreeSet<PathBuf> {
        self.with(&self.included)
    }

    /// Those that would be read now: there may be others for what is included. It lists directories.
    pub fn now(&self) -> BTreeSet<PathBuf> {
        let mut included = BTreeSet::new();
        if let Some(main) = &self.main {
            for pattern in &self.patterns {
                // A directory that cannot be listed has nothing that could be read.
                included.extend(find(pattern, main).unwrap_or_default());
            }
        }
        self.with(&included)
    }

    fn with(&self, included: &BTreeSet<PathBuf>) -> BTreeSet<PathBuf> {
        let single = self.main.iter().chain(&self.others);
        single.chain(included).cloned().collect()
    }
}

impl FromIterator<PathBuf> for ConfigFiles {
    /// Files of which none includes another.
    fn from_iter<T: IntoIterator<Item = PathBuf>>(files: T) -> Self {
        Self {
            others: files.into_iter().collect(),
            ..Self::default()
        }
    }
}
