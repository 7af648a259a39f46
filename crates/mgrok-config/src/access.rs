//! Who may come, by the address that they come from.

use std::net::IpAddr;
use std::num::NonZeroU32;

use crate::network::{Network, NetworkError};

/// All addresses.
const EVERYWHERE: [&str; 2] = ["0.0.0.0/0", "::/0"];

/// The networks from which somebody may come. [`Default`] lets everybody come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessList {
    /// Only from here; empty is from everywhere.
    pub allow: Vec<Network>,
    /// Never from here, whatever `allow` says.
    pub deny: Vec<Network>,
}

/// How much may come from one IPv4 address, or one /64 of IPv6. [`Default`] is as much as they like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceLimits {
    /// Connections at a time.
    pub connections: Option<NonZeroU32>,
    /// New connections in a second. So many may come at once.
    pub rate: Option<NonZeroU32>,
}

impl SourceLimits {
    /// Whether there is no limit.
    pub fn is_open(&self) -> bool {
        *self == Self::default()
    }
}

/// What a list says that its author can hardly have meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccessListFlaw {
    /// Nobody may come.
    #[error("nobody may come: deny has all that may")]
    Closed,
    /// A network of `allow` lets nobody come.
    #[error("{0} in allow lets nobody come, because deny has all of it")]
    Denied(Network),
    /// A network of `deny` keeps nobody out.
    #[error("{0} in deny keeps nobody out, because nothing of it is in allow")]
    NotAllowed(Network),
}

/// Why texts are no access list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccessListError {
    /// There are more networks in `allow` or `deny` than [`AccessList::MAX_NETWORKS`].
    #[error("may have at most {max} networks, not {0}; use larger ones", max = AccessList::MAX_NETWORKS)]
    TooMany(usize),
    /// One of them is no network.
    #[error("{text:?} {source}")]
    Network {
        /// What it is.
        text: String,
        /// What is wrong with it.
        source: NetworkError,
    },
}

impl AccessListFlaw {
    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Closed => "take out of deny what is meant to come: it counts more than allow",
            Self::Denied(_) => "take it out of allow or out of deny, which counts more",
            Self::NotAllowed(_) => {
                "take it out of deny, or mend it: who is not in allow stays out anyway"
            }
        }
    }
}

impl AccessList {
    /// How many networks each of the two lists may have. They are looked through one by one.
    pub const MAX_NETWORKS: usize = 1_000;

    /// Reads the networks of both lists.
    ///
    /// # Errors
    /// One is no network, or there are too many.
    pub fn parse(allow: &[String], deny: &[String]) -> Result<Self, AccessListError> {
        Ok(Self {
            allow: parse(allow)?,
            deny: parse(deny)?,
        })
    }

    /// Whether somebody may come from `addr`. An IPv4-mapped IPv6 address counts as the IPv4 address.
    pub fn admits(&self, addr: IpAddr) -> bool {
        let is_in = |networks: &[Network]| networks.iter().any(|it| it.contains(addr));
        !is_in(&self.deny) && (self.allow.is_empty() || is_in(&self.allow))
    }

    /// What is in the list without effect, the worst of it; `None` if nothing is. Networks are compared one with one, so that what only
    /// several of them make vain together is not found.
    pub fn flaw(&self) -> Option<AccessListFlaw> {
        let Self { allow, deny } = self;
        let is_denied = |network: &Network| deny.iter().any(|it| it.covers(network));
        if allow.is_empty() {
            let mut everywhere = EVERYWHERE.iter().flat_map(|it| it.parse());
            let is_closed = everywhere.all(|it| is_denied(&it));
            return is_closed.then_some(AccessListFlaw::Closed);
        }
        if allow.iter().all(is_denied) {
            return Some(AccessListFlaw::Closed);
        }
        if let Some(network) = allow.iter().find(|it| is_denied(it)) {
            return Some(AccessListFlaw::Denied(*network));
        }
        let is_vain = |network: &&Network| !allow.iter().any(|it| it.overlaps(network));
        let vain = deny.iter().find(is_vain);
        vain.map(|network| AccessListFlaw::NotAllowed(*network))
    }

    /// Whether everybody may come.
    pub fn is_open(&self) -> bool {
        self.allow.is_empty() && self.deny.is_empty()
    }
}

fn parse(texts: &[String]) -> Result<Vec<Network>, AccessListError> {
    if texts.len() > AccessList::MAX_NETWORKS {
        return Err(AccessListError::TooMany(texts.len()));
    }
    let parse = |text: &String| {
        text.parse().map_err(|source| AccessListError::Network {
            text: text.clone(),
            source,
        })
    };
    texts.iter().map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(allow: &[&str], deny: &[&str], admitted: &[&str], refused: &[&str]) {
        let texts = |list: &[&str]| list.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
        let list = AccessList::parse(&texts(allow), &texts(deny)).unwrap();
        for addr in admitted {
            assert!(list.admits(addr.parse().unwrap()), "{list:?} {addr}");
        }
        for addr in refused {
            assert!(!list.admits(addr.parse().unwrap()), "{list:?} {addr}");
        }
    }

    #[test]
    fn without_networks_everybody_may_come() {
        check(&[], &[], &["192.0.2.1", "::1"], &[]);
        assert!(AccessList::default().is_open());
    }

    #[test]
    fn with_networks_allowed_nobody_else_may_come() {
        let (inside, outside) = (["10.1.2.3", "::ffff:10.1.2.3"], ["192.0.2.1", "::1"]);
        check(&["10.0.0.0/8"], &[], &inside, &outside);
        check(
            &["fd00::/8", "::1"],
            &[],
            &["fd00::7", "::1"],
            &["10.1.2.3", "::2"],
        );
    }

    #[test]
    fn what_is_denied_stays_out_even_if_it_is_allowed() {
        let refused = ["10.0.0.7", "::ffff:10.0.0.7", "192.0.2.1"];
        check(&["10.0.0.0/8"], &["10.0.0.7"], &["10.0.0.8"], &refused);
        check(&[], &["10.0.0.0/8"], &["192.0.2.1"], &["10.9.9.9"]);
        check(&["10.0.0.7"], &["0.0.0.0/0"], &[], &["10.0.0.7"]);
    }

    #[test]
    fn what_is_in_a_list_without_effect() {
        let flaw = |allow: &[&str], deny: &[&str]| {
            let texts = |list: &[&str]| list.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
            let list = AccessList::parse(&texts(allow), &texts(deny)).unwrap();
            list.flaw().map(|it| it.to_string())
        };
        for (allow, deny) in [
            (&[][..], &[][..]),
            (&[], &["0.0.0.0/0"]),
            (&["10.0.0.0/8"], &[]),
            (&["10.0.0.0/8"], &["10.1.0.0/16"]),
            (&["10.0.0.0/8", "::/0"], &["fd00::/8"]),
        ] {
            assert_eq!(flaw(allow, deny), None, "{allow:?} {deny:?}");
        }
        let closed = Some("nobody may come: deny has all that may".to_owned());
        assert_eq!(flaw(&[], &["0.0.0.0/0", "::/0"]), closed);
        assert_eq!(
            flaw(&["10.1.0.0/16", "::1"], &["10.0.0.0/8", "::/0"]),
            closed
        );
        let denied = flaw(&["10.1.0.0/16", "192.0.2.0/24"], &["10.0.0.0/8"]).unwrap();
        assert!(
            denied.starts_with("10.1.0.0/16 in allow lets nobody come"),
            "{denied}"
        );
        let vain = flaw(&["10.0.0.0/8"], &["10.0.0.7", "192.0.2.0/24"]).unwrap();
        assert!(
            vain.starts_with("192.0.2.0/24 in deny keeps nobody out"),
            "{vain}"
        );
    }

    #[test]
    fn what_is_no_list() {
        let error = |list: &[String]| AccessList::parse(list, &[]).unwrap_err().to_string();
        let expect = "\"10.0.0.1/8\" has bits set beyond its prefix; did you mean 10.0.0.0/8?";
        assert_eq!(error(&["10.0.0.1/8".to_owned()]), expect);
        let many = vec!["::1".to_owned(); AccessList::MAX_NETWORKS + 1];
        let expect = "may have at most 1000 networks, not 1001; use larger ones";
        assert_eq!(error(&many), expect);
    }
}
