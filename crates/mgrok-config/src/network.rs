//! A range of IP addresses in the usual notation: `10.0.0.0/8`, `::1`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

/// All addresses that share a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network(IpNet);

/// Why a text is no network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// The part before the `/`, or the whole text, is no IP address.
    #[error("must be an IP address, or one with the length of a prefix such as 10.0.0.0/8")]
    Address,
    /// The address has bits set after the prefix, so it is not clear which network is meant.
    #[error("has bits set beyond its prefix; did you mean {0}?")]
    HostBits(Network),
    /// The part after the `/` is no prefix length for this address family.
    #[error("must have a prefix of a length between 0 and {0}")]
    Prefix(u8),
}

impl Network {
    /// Whether `addr` is in the network. An IPv4-mapped IPv6 address counts as the IPv4 address.
    pub fn contains(&self, addr: IpAddr) -> bool {
        self.0.contains(&addr.to_canonical())
    }

    /// Whether all of `other` is in the network.
    pub fn covers(&self, other: &Self) -> bool {
        self.0.contains(&other.0)
    }

    /// Whether some address is in both.
    pub fn overlaps(&self, other: &Self) -> bool {
        // Of two prefixes that share an address, one is the beginning of the other.
        self.covers(other) || other.covers(self)
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (addr, prefix) = match text.split_once('/') {
            Some((addr, prefix)) => (addr, Some(prefix)),
            None => (text, None),
        };
        // `IpNet` reads the notation too, but does not say which of the two parts is wrong.
        let addr: IpAddr = addr.parse().map_err(|_| NetworkError::Address)?;
        let single = IpNet::from(addr);
        let network = match prefix {
            None => single,
            Some(prefix) => prefix
                .parse()
                .ok()
                .and_then(|prefix| IpNet::new(addr, prefix).ok())
                .ok_or(NetworkError::Prefix(single.max_prefix_len()))?,
        };
        if network.trunc() != network {
            return Err(NetworkError::HostBits(Self(network.trunc())));
        }
        Ok(Self(network))
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(network: &str, inside: &[&str], outside: &[&str]) {
        let network: Network = network.parse().unwrap();
        for addr in inside {
            assert!(network.contains(addr.parse().unwrap()), "{network} {addr}");
        }
        for addr in outside {
            assert!(!network.contains(addr.parse().unwrap()), "{network} {addr}");
        }
    }

    #[test]
    fn networks() {
        let (v4, v6) = ("10.255.0.1", "fd00::1");
        check("10.0.0.0/8", &[v4, "::ffff:10.1.2.3"], &["11.0.0.0", v6]);
        check("0.0.0.0/0", &[v4, "255.255.255.255"], &[v6]);
        check("::/0", &[v6, "::1"], &[v4]);
        check("fd00::/8", &[v6], &["fe80::1", v4]);
        check("127.0.0.1", &["127.0.0.1"], &["127.0.0.2"]);
        check("::1", &["::1"], &["::2", "0.0.0.1"]);
    }

    #[test]
    fn what_is_no_network() {
        let parse = |text: &str| text.parse::<Network>().unwrap_err().to_string();
        assert_eq!(
            parse("10.0.0.1/8"),
            "has bits set beyond its prefix; did you mean 10.0.0.0/8?"
        );
        assert!(parse("fd00::1/0").contains("::/0"));
        assert!(parse("10.0.0.0/33").contains("between 0 and 32"));
        assert!(parse("::/-1").contains("between 0 and 128"));
        for text in ["", "/8", "localhost", "10.0.0"] {
            assert!(parse(text).starts_with("must be an IP address"), "{text}");
        }
    }
}
