//! This host's own addresses, for the case that both sides are on one network.

use std::io;
use std::net::{IpAddr, Ipv4Addr};

use crate::addrs::distinct;

/// How many local addresses are told to the other side; every one costs it a datagram.
///
/// frp: (`pkg/nathole/nathole.go`#Prepare).
const MAX_LOCAL_IPS: usize = 10;

/// The first [`MAX_LOCAL_IPS`] IPv4 addresses of this host that others could reach.
pub(crate) fn local_ips() -> io::Result<Vec<Ipv4Addr>> {
    let found = if_addrs::get_if_addrs()?;
    Ok(select(found.into_iter().map(|interface| interface.ip())))
}

fn select(found: impl Iterator<Item = IpAddr>) -> Vec<Ipv4Addr> {
    let mut ips = distinct(found.filter_map(|ip| match ip {
        IpAddr::V4(ip) if ip.is_loopback() || ip.is_link_local() || ip.is_unspecified() => None,
        IpAddr::V4(ip) => Some(ip),
        IpAddr::V6(_) => None,
    }));
    ips.truncate(MAX_LOCAL_IPS);
    ips
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_that_others_could_reach_are_told() {
        let found = ["127.0.0.1", "::1", "169.254.7.7", "10.0.0.7", "2001:db8::1"];
        let found = found.into_iter().chain(["192.0.2.1", "10.0.0.7"]);
        let ips = select(found.map(|ip| ip.parse().unwrap()));
        assert_eq!(ips, [[10, 0, 0, 7], [192, 0, 2, 1]].map(Ipv4Addr::from));

        let many = (1..=20).map(|last| IpAddr::from([10, 0, 0, last]));
        assert_eq!(select(many).len(), MAX_LOCAL_IPS);
    }

    #[test]
    fn this_host_can_be_asked() {
        assert!(local_ips().unwrap().iter().all(|ip| !ip.is_loopback()));
    }
}
