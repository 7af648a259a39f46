//! Whose a name or a port is, and how the clients that want it hear of that.

use std::fmt;
use std::sync::Arc;

/// The proxy that asks for a name or a port, or has it.
#[derive(Clone, Debug)]
pub(crate) struct Holder {
    pub(crate) proxy: Arc<str>,
    /// Whose client it is of.
    pub(crate) user: Arc<str>,
}

/// Who has what a proxy wants, as its client may know: only clients of one user hear of each other's names.
#[derive(Debug)]
pub(crate) enum Rival {
    /// A proxy of the same user.
    Own(Arc<str>),
    /// Somebody else's.
    Other,
}

impl Holder {
    /// Who this is to `other`, which wants what it has.
    pub(crate) fn as_rival_of(&self, other: &Self) -> Rival {
        if self.user == other.user {
            Rival::Own(self.proxy.clone())
        } else {
            Rival::Other
        }
    }
}

impl fmt::Display for Rival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own(proxy) => write!(f, "your proxy [{proxy}]"),
            Self::Other => f.write_str("another client's proxy"),
        }
    }
}
