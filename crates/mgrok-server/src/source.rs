//! Where something comes from, as far as it can be told from outside.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

/// One IPv4 address, or one /64 of IPv6, which is what one subscriber gets.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Source {
    Address(IpAddr),
    /// The first half of an IPv6 address; the other half is the subscriber's to choose.
    Network(Ipv6Addr),
}

impl Source {
    /// The source to which `addr` belongs. An IPv4-mapped IPv6 address counts as the IPv4 address.
    pub(crate) fn of(addr: IpAddr) -> Self {
        match addr.to_canonical() {
            IpAddr::V4(addr) => Self::Address(addr.into()),
            IpAddr::V6(addr) => {
                let [a, b, c, d, ..] = addr.segments();
                Self::Network(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
            }
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(addr) => addr.fmt(f),
            Self::Network(addr) => write!(f, "{addr}/64"),
        }
    }
}
