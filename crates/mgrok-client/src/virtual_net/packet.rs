//! What a packet says of itself: from which address to which.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// From where to where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Addresses {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
}

impl Addresses {
    /// Those of `packet`; `None` if it is neither IPv4 nor IPv6, or too short for its header.
    pub(super) fn of(packet: &[u8]) -> Option<Self> {
        match packet.first()? >> 4 {
            4 => {
                let header: &[u8; 20] = packet.first_chunk()?;
                let addr = |at: usize| {
                    let [a, b, c, d] = [0, 1, 2, 3].map(|byte| header[at + byte]);
                    Ipv4Addr::new(a, b, c, d).into()
                };
                Some(Self {
                    source: addr(12),
                    destination: addr(16),
                })
            }
            6 => {
                let header: &[u8; 40] = packet.first_chunk()?;
                let addr = |at: usize| {
                    let octets: Option<&[u8; 16]> = header[at..].first_chunk();
                    octets.map(|octets| Ipv6Addr::from(*octets).into())
                };
                Some(Self {
                    source: addr(8)?,
                    destination: addr(24)?,
                })
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_families_are_read() {
        let mut packet = [0; 20];
        packet[0] = 0x45;
        packet[12..16].copy_from_slice(&[100, 86, 0, 1]);
        packet[16..20].copy_from_slice(&[100, 86, 0, 2]);
        let expect = Addresses {
            source: Ipv4Addr::new(100, 86, 0, 1).into(),
            destination: Ipv4Addr::new(100, 86, 0, 2).into(),
        };
        assert_eq!(Addresses::of(&packet), Some(expect));

        let [source, destination] = ["fd00::1", "fd00::2"].map(|it| it.parse().unwrap());
        let octets = |addr: IpAddr| match addr {
            IpAddr::V6(addr) => addr.octets(),
            IpAddr::V4(_) => [0; 16],
        };
        let mut packet = [0; 40];
        packet[0] = 0x60;
        packet[8..24].copy_from_slice(&octets(source));
        packet[24..40].copy_from_slice(&octets(destination));
        let expect = Addresses {
            source,
            destination,
        };
        assert_eq!(Addresses::of(&packet), Some(expect));
    }

    #[test]
    fn what_is_no_packet_of_ip_has_none() {
        for version in 0..=u8::MAX {
            let enough = match version >> 4 {
                4 => 20,
                6 => 40,
                _ => usize::MAX,
            };
            for len in 0..64 {
                let packet = vec![version; len];
                assert_eq!(Addresses::of(&packet).is_some(), len >= enough, "{len}");
            }
        }
    }
}
