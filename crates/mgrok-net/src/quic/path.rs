//! How large packets may become on the way to a peer.

use std::net::{IpAddr, SocketAddr};

/// The payload of UDP that fits a packet of Ethernet by IPv6.
pub(super) const USUAL: u16 = 1452;

/// The largest payload that is tried. quinn hands ten packets to the system at a time, and together, with the headers of one
/// packet and of its frame, they must not be longer than Linux lets an interface take at once (`gso_max_size`, 65,536
/// bytes unless somebody has raised it). It would cut them up itself, and the other end would get ten messages in place of one.
const LARGEST: u16 = 6_540;

/// What a packet has in front of its payload: the headers of IPv6 and UDP.
const HEADERS: u32 = 40 + 8;

/// The largest payload of UDP that is worth trying on the way to `peer`: in a network of its own what the route takes where it
/// begins, of which probes show whether the rest of the way takes it; [`USUAL`] elsewhere, since nothing larger crosses the Internet, and each
/// size that is tried in vain takes some round trips.
pub(super) fn largest_payload(peer: SocketAddr) -> u16 {
    if !is_near(peer.ip().to_canonical()) {
        return USUAL;
    }
    match mtu(peer) {
        Some(mtu) => u16::try_from(mtu.saturating_sub(HEADERS))
            .unwrap_or(LARGEST)
            .clamp(USUAL, LARGEST),
        None => USUAL,
    }
}

/// Whether an address is one of this host or of a network that is not the Internet.
fn is_near(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

/// The longest packet in bytes that the system sends to `peer`.
#[cfg(target_os = "linux")]
fn mtu(peer: SocketAddr) -> Option<u32> {
    use std::net::{Ipv4Addr, Ipv6Addr, UdpSocket};

    use rustix::net::sockopt;

    // A socket that is connected, which sends nothing, has a route.
    let any: SocketAddr = match peer {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).ok()?;
    socket.connect(peer).ok()?;
    match peer {
        SocketAddr::V4(_) => sockopt::ip_mtu(&socket).ok(),
        SocketAddr::V6(_) => sockopt::ipv6_mtu(&socket).ok(),
    }
}

#[cfg(not(target_os = "linux"))]
fn mtu(_: SocketAddr) -> Option<u32> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many packets quinn hands over at a time, at most.
    const BURST: u32 = 10;

    #[test]
    fn an_interface_takes_a_burst_at_once() {
        const FRAME: u32 = 14;
        assert!(BURST * u32::from(LARGEST) + HEADERS + FRAME <= 65_536);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_route_tells_what_it_takes() {
        // The loopback has 65,536 bytes, and everybody may send there.
        for host in ["127.0.0.1:9", "[::1]:9"] {
            let peer = host.parse().unwrap();
            if mtu(peer).is_some() || peer.is_ipv4() {
                assert_eq!(largest_payload(peer), LARGEST, "{peer}");
            }
        }
    }

    #[test]
    fn packets_to_the_internet_stay_usual() {
        for peer in ["192.0.2.1:7000", "[2001:db8::1]:7000"] {
            assert_eq!(largest_payload(peer.parse().unwrap()), USUAL, "{peer}");
        }
        for near in [
            "10.1.2.3",
            "172.16.0.1",
            "192.168.0.1",
            "fd00::1",
            "fe80::1",
        ] {
            assert!(is_near(near.parse().unwrap()), "{near}");
        }
    }
}
