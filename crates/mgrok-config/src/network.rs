//! A range of IP addresses in the usual notation: `10.0.0.0/8`, `::1`.

use std::{fmt, net::IpAddr, str::FromStr};

/// All addresses that share the first bits of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// The first of them.
    addr: IpAddr,
    /// How many bits they share.
    prefix: u8,
}

/// Why a text is no network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// What stands before the `/`, or the whole of it, is no address.
    #[error("must be an IP address, or one with the length of a prefix such as 10.0.0.0/8")]
    Address,
    /// There are bits after the prefix: what is meant is not clear.
    #[error("has bits set beyond its prefix; did you mean {0}?")]
    HostBits(Network),
    /// What stands after the `/` is no length of this kind of address.
    #[error("must have a prefix of a length between 0 and {0}")]
    Prefix(u8),
}

impl Network {
    /// Whether `addr` is one of them. An IPv4 address in IPv6 clothes counts as what it is.
    pub fn contains(&self, addr: IpAddr) -> bool {
        match (self.addr, addr.to_canonical()) {
            (IpAddr::V4(_), IpAddr::V4(_)) | (IpAddr::V6(_), IpAddr::V6(_)) => {
                let (ours, width) = bits(self.addr);
                let (theirs, _) = bits(addr.to_canonical());
                (ours ^ theirs)
                    .checked_shr(u32::from(width - self.prefix))
                    .unwrap_or(0)
                    == 0
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

/// An address as a number, and how many bits it has.
fn bits(addr: IpAddr) -> (u128, u8) {
    match addr {
        IpAddr::V4(addr) => (u128::from(addr.to_bits()), 32),
        IpAddr::V6(addr) => (addr.to_bits(), 128),
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (addr, prefix) = match text.split_once('/') {
            Some((addr, prefix)) => (addr, Some(prefix)),
            None => (text, None),
        };
        let addr: IpAddr = addr.parse().map_err(|_| NetworkError::Address)?;
        let (number, width) = bits(addr);
        let prefix = match prefix {
            None => width,
            Some(prefix) => prefix
                .parse()
                .ok()
                .filter(|prefix| *prefix <= width)
                .ok_or(NetworkError::Prefix(width))?,
        };
        let below = width - prefix;
        let first = number
            .checked_shr(u32::from(below))
            .and_then(|shared| shared.checked_shl(u32::from(below)))
            .unwrap_or(0);
        if first != number {
            let addr = match addr {
                // Shifting bits out and zeros in keeps it in range.
                IpAddr::V4(_) => IpAddr::V4((first as u32).into()),
                IpAddr::V6(_) => IpAddr::V6(first.into()),
            };
            return Err(NetworkError::HostBits(Self { addr, prefix }));
        }
        Ok(Self { addr, prefix })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.addr, self.prefix)
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
