//! What all checks have told.

use crate::outcome::{Outcome, Row};

/// The exit code where there is no configuration to examine.
pub const UNREADABLE: u8 = 2;

/// All checks in the order in which they were made.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Report {
    /// One for each check.
    pub rows: Vec<Row>,
}

impl Report {
    /// Whether nothing is broken.
    pub fn is_good(&self) -> bool {
        self.failed() == 0
    }

    /// The exit code that tells it: 0 if nothing is broken, else 1.
    pub fn exit_code(&self) -> u8 {
        u8::from(!self.is_good())
    }

    /// How many checks have found something broken.
    pub fn failed(&self) -> usize {
        self.count(|it| matches!(it, Outcome::Failed { .. }))
    }

    /// How many have found something that works, but not well.
    pub fn warnings(&self) -> usize {
        self.count(|it| matches!(it, Outcome::Warning { .. }))
    }

    fn count(&self, is_one: impl Fn(&Outcome) -> bool) -> usize {
        self.rows.iter().filter(|it| is_one(&it.outcome)).count()
    }
}
