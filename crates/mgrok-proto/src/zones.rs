//! Zones of IPv6 users, that is, the interface by which a link-local address is reached on the host that the user came to.
//!
//! A zone is a text on frp's wire, most often the name of an interface, and means nothing on any other host than that of the user's
//! port. Whoever is there must get it back unchanged, or cannot answer. A [`SocketAddr`](std::net::SocketAddr) has room for a number only.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::decimal::decimal;

/// How many names are remembered. A host has so many interfaces at most; datagrams of more zones are not for anybody.
const MAX_NAMES: usize = 64;

/// The longest name in bytes, as in frp's binary codec.
const MAX_NAME_LEN: usize = 255;

/// Scope ids from here on stand for names. No interface has such a number.
const FIRST_NAMED: u32 = 0x8000_0000;

/// The names of zones that came on a connection, each with the scope id that stands for it. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Zones {
    names: Arc<Mutex<Vec<Arc<str>>>>,
}

impl Zones {
    /// The scope id for a zone: the zone itself if it is a number, else one that stands for it. `None` if there were too many.
    pub fn scope_id(&self, zone: &str) -> Option<u32> {
        if zone.is_empty() {
            return Some(0);
        }
        if let Ok(number @ 1..FIRST_NAMED) = zone.parse()
            && decimal(number, &mut [0; 10]) == zone.as_bytes()
        {
            return Some(number);
        }
        let mut names = self.names();
        let at = match names.iter().position(|name| **name == *zone) {
            Some(at) => at,
            None if names.len() < MAX_NAMES && zone.len() <= MAX_NAME_LEN => {
                names.push(zone.into());
                names.len() - 1
            }
            None => return None,
        };
        // There are few.
        Some(FIRST_NAMED + at as u32)
    }

    /// The zone that `scope_id` stands for; `None` if it is a number.
    pub(super) fn name(&self, scope_id: u32) -> Option<Arc<str>> {
        let at = scope_id.checked_sub(FIRST_NAMED)?;
        self.names().get(at as usize).cloned()
    }

    fn names(&self) -> MutexGuard<'_, Vec<Arc<str>>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_comes_back_as_it_was() {
        let zones = Zones::default();
        assert_eq!(zones.scope_id(""), Some(0));
        assert_eq!(zones.scope_id("7"), Some(7));
        for zone in [
            "eth0",
            "wlan0",
            "0",
            "07",
            "+7",
            "3000000000",
            "é\"",
            "eth0",
        ] {
            let scope_id = zones.scope_id(zone).unwrap();
            assert_eq!(zones.clone().name(scope_id).as_deref(), Some(zone));
        }
        assert_eq!(zones.names().len(), 7);
        for number in [0, 7, FIRST_NAMED - 1, FIRST_NAMED + 7] {
            assert_eq!(zones.name(number), None);
        }
    }

    #[test]
    fn names_are_bounded() {
        let zones = Zones::default();
        assert_eq!(zones.scope_id(&"x".repeat(256)), None);
        for number in 0..MAX_NAMES {
            assert!(zones.scope_id(&format!("eth{number}")).is_some());
        }
        assert_eq!(zones.scope_id("one too many"), None);
        assert!(zones.scope_id("eth0").is_some());
        assert_eq!(zones.scope_id("7"), Some(7));
    }
}
