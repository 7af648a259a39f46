//! A text, and what is known about it ahead of reading it.

use crate::source_map::Shift;

/// Whose configuration it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Client,
    Server,
}

/// A text that is to be read.
#[derive(Clone, Copy)]
pub(crate) struct Text<'t> {
    pub(crate) text: &'t str,
    /// What messages call it.
    pub(crate) origin: &'t str,
    pub(crate) role: Role,
    /// How many entries of each list stand ahead of those of an included file.
    pub(crate) included: Option<Shift>,
    /// Whether it is in frp's old format because the file is that includes it.
    pub(crate) is_old: bool,
}
