//! What came of one check.

use std::fmt::Display;

use serde::Serialize;

/// What a check has found, if nothing is broken.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Sound<T> {
    /// What later checks need.
    pub value: T,
    /// What was found, in one line.
    pub finding: String,
    /// What to do about it; `None` if there is nothing to do.
    pub remedy: Option<String>,
}

/// What is broken, and what to do about it, in one line each.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Fault {
    /// What is broken.
    pub cause: String,
    /// What to do about it.
    pub remedy: String,
}

/// What a check comes to.
pub type Verdict<T> = Result<Sound<T>, Fault>;

impl<T> Sound<T> {
    /// Nothing is to be done.
    pub fn good(value: T, finding: impl Display) -> Self {
        Self {
            value,
            finding: finding.to_string(),
            remedy: None,
        }
    }

    /// It works, but something should be done.
    pub fn doubtful(value: T, finding: impl Display, remedy: impl Display) -> Self {
        Self {
            value,
            finding: finding.to_string(),
            remedy: Some(remedy.to_string()),
        }
    }
}

impl Fault {
    /// Something is broken.
    pub fn new(cause: impl Display, remedy: impl Display) -> Self {
        Self {
            cause: cause.to_string(),
            remedy: remedy.to_string(),
        }
    }
}

/// One check, as it is told.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Row {
    /// Its name.
    pub check: &'static str,
    /// What was checked; empty if there is only one thing.
    pub subject: String,
    /// What came of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What came of a check.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase", tag = "outcome")]
pub enum Outcome {
    /// All is well.
    Ok {
        /// What was found.
        finding: String,
    },
    /// It works, but something should be done.
    Warning {
        /// What was found.
        finding: String,
        /// What to do.
        remedy: String,
    },
    /// It does not work.
    Failed {
        /// What is broken.
        cause: String,
        /// What to do.
        remedy: String,
    },
    /// The check was not made.
    Skipped {
        /// Why not.
        because: String,
    },
}

impl Outcome {
    /// The outcome, and what it was that passed.
    pub(crate) fn of<T>(verdict: Verdict<T>) -> (Self, Option<T>) {
        match verdict {
            Ok(Sound {
                value,
                finding,
                remedy: None,
            }) => (Self::Ok { finding }, Some(value)),
            Ok(Sound {
                value,
                finding,
                remedy: Some(remedy),
            }) => (Self::Warning { finding, remedy }, Some(value)),
            Err(Fault { cause, remedy }) => (Self::Failed { cause, remedy }, None),
        }
    }

    /// The same where others do what this does not.
    pub(crate) fn excused(self) -> Self {
        match self {
            Self::Failed { cause, remedy } => Self::Warning {
                finding: cause,
                remedy,
            },
            other => other,
        }
    }

    /// One word for it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Ok { .. } => "ok",
            Self::Warning { .. } => "warning",
            Self::Failed { .. } => "failed",
            Self::Skipped { .. } => "skipped",
        }
    }
}
