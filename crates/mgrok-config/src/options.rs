//! How a configuration is loaded.

/// What becomes of keys that nothing knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strictness {
    /// They are mistakes.
    #[default]
    Strict,
    /// They are warnings.
    Lenient,
}

/// How a configuration is loaded. A [`Strictness`] alone stands for the rest at its default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadOptions {
    pub(crate) strictness: Strictness,
    pub(crate) resolves_sources: bool,
    pub(crate) allows_exec: bool,
}

impl LoadOptions {
    /// Files that hold secrets are read, and programs that print secrets are refused.
    pub fn new(strictness: Strictness) -> Self {
        Self {
            strictness,
            resolves_sources: true,
            allows_exec: false,
        }
    }

    /// Leaves the files and programs that secrets come from alone, as `verify` does. A random text that nobody knows then stands for each
    /// of those secrets.
    #[must_use]
    pub fn without_sources(self) -> Self {
        Self {
            resolves_sources: false,
            ..self
        }
    }

    /// Lets secrets come from programs that are run.
    // frp: `--allow-unsafe TokenSourceExec`
    #[must_use]
    pub fn allowing_exec(self, allowed: bool) -> Self {
        Self {
            allows_exec: allowed,
            ..self
        }
    }

    /// The same with another strictness.
    #[must_use]
    pub fn with_strictness(self, strictness: Strictness) -> Self {
        Self { strictness, ..self }
    }

    /// What becomes of unknown keys.
    pub fn strictness(self) -> Strictness {
        self.strictness
    }
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self::new(Strictness::default())
    }
}

impl From<Strictness> for LoadOptions {
    fn from(strictness: Strictness) -> Self {
        Self::new(strictness)
    }
}
