//! Who may come, by the address that they come from.

use std::net::IpAddr;
use std::num::NonZeroU32;

use crate::network::{Network, NetworkError};

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
    fn what_is_no_list() {
        let error = |list: &[String]| AccessList::parse(list, &[]).unwrap_err().to_string();
        let expect = "\"10.0.0.1/8\" has bits set beyond its prefix; did you mean 10.0.0.0/8?";
        assert_eq!(error(&["10.0.0.1/8".to_owned()]), expect);
        let many = vec!["::1".to_owned(); AccessList::MAX_NETWORKS + 1];
        let expect = "may have at most 1000 networks, not 1001; use larger ones";
        assert_eq!(error(&many), expect);
    }
}
