//! When a source that guesses wrong is kept out for a while.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::network::Network;

/// The server's `bans` section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BanRules {
    /// After how many wrong guesses at one thing, by one IPv4 address or one /64 of IPv6.
    pub failures: NonZeroU32,
    /// For how long they count, from the first of them on.
    pub window: Duration,
    /// How long a ban lasts.
    pub duration: Duration,
    /// Never from here.
    pub exempt: Vec<Network>,
}

impl BanRules {
    /// Those of a section that only says `failures`.
    pub fn new(failures: NonZeroU32) -> Self {
        Self {
            failures,
            window: Duration::from_secs(60),
            duration: Duration::from_secs(600),
            exempt: Vec::new(),
        }
    }
}
