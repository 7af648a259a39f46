//! From where somebody may come, and how much from one place.

use std::num::NonZeroU32;

use crate::access::{AccessList, AccessListError, SourceLimits};
use crate::network::Network;
use crate::section::Section;

/// The `allow` and `deny` of a section, which are mgrok's own keys.
pub(super) fn access_list(section: &mut Section<'_>) -> AccessList {
    let list = AccessList {
        allow: networks(section, "allow"),
        deny: networks(section, "deny"),
    };
    for (key, networks) in [("allow", &list.allow), ("deny", &list.deny)] {
        if networks.len() > AccessList::MAX_NETWORKS {
            let why = AccessListError::TooMany(networks.len()).to_string();
            section.invalid(key, why);
        }
    }
    list
}

/// The limits of a section, which are mgrok's own keys.
pub(super) fn source_limits(section: &mut Section<'_>) -> SourceLimits {
    SourceLimits {
        connections: section
            .count("maxConnectionsPerSource")
            .and_then(NonZeroU32::new),
        rate: section.count("maxRatePerSource").and_then(NonZeroU32::new),
    }
}

/// The networks of one key.
pub(super) fn networks(section: &mut Section<'_>, key: &'static str) -> Vec<Network> {
    let mut networks = Vec::new();
    for item in section.texts(key) {
        match item.text.parse() {
            Ok(network) => networks.push(network),
            Err(error) => section.invalid_item(key, &item, format!("{:?} {error}", item.text)),
        }
    }
    networks
}
