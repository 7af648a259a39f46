//! What kind of NAT a side is behind, judged by how two addresses of a STUN server see one and the same socket.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};

/// The most by which the ports of a NAT may differ for the next one to be worth a guess.
///
/// frp: (`pkg/nathole/classify.go`#ClassifyNATFeature).
const MAX_REGULAR_DIFFERENCE: u16 = 5;

/// How hard it is to be reached.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Kind {
    /// Whoever is written to, the outside address is the same, so it can be told.
    Easy,
    /// The outside address depends on who is written to, so it must be guessed.
    Hard,
}

/// What changes of the outside address from one destination to the next.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Behavior {
    /// IP and port.
    BothChanged,
    /// The IP.
    IpChanged,
    /// Nothing.
    NoChange,
    /// The port.
    PortChanged,
}

/// What is known of one side's NAT.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Nat {
    /// What changes.
    pub behavior: Behavior,
    /// From the lowest to the highest port seen; 0 unless it is the port alone that changes.
    pub ports_difference: u16,
    /// An outside address is the host's own: there is no NAT, though perhaps a firewall.
    pub public: bool,
}

/// Why a side's NAT cannot be judged.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ClassifyError {
    /// With fewer than two outside addresses there is nothing to compare. Begins as frp's text does.
    #[error("not enough addresses: need 2 that are ip:port of IPv4, got {got}")]
    NotEnough {
        /// The number of usable addresses.
        got: usize,
    },
}

impl Nat {
    /// Judges by the outside addresses of one socket (`mapped`), in the order of asking, and by the host's own addresses.
    pub fn classify(mapped: &[SocketAddrV4], local: &[Ipv4Addr]) -> Result<Self, ClassifyError> {
        let [first, rest @ ..] = mapped else {
            return Err(ClassifyError::NotEnough { got: 0 });
        };
        if rest.is_empty() {
            return Err(ClassifyError::NotEnough { got: 1 });
        }
        let ip_changed = rest.iter().any(|addr| addr.ip() != first.ip());
        let port_changed = rest.iter().any(|addr| addr.port() != first.port());
        let behavior = match (ip_changed, port_changed) {
            (false, false) => Behavior::NoChange,
            (true, false) => Behavior::IpChanged,
            (false, true) => Behavior::PortChanged,
            (true, true) => Behavior::BothChanged,
        };
        let ports_difference = if behavior == Behavior::PortChanged {
            let (low, high) = mapped.iter().fold((u16::MAX, 0), |(low, high), addr| {
                (low.min(addr.port()), high.max(addr.port()))
            });
            high - low
        } else {
            0
        };
        Ok(Self {
            behavior,
            ports_difference,
            public: mapped.iter().any(|addr| local.contains(addr.ip())),
        })
    }

    /// How hard this side is to be reached.
    pub fn kind(&self) -> Kind {
        match self.behavior {
            Behavior::NoChange => Kind::Easy,
            Behavior::BothChanged | Behavior::IpChanged | Behavior::PortChanged => Kind::Hard,
        }
    }

    /// Whether the next port will be near the last one.
    pub fn is_regular(&self) -> bool {
        (1..=MAX_REGULAR_DIFFERENCE).contains(&self.ports_difference)
    }
}

/// As frp names it.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Easy => "EasyNAT",
            Self::Hard => "HardNAT",
        })
    }
}

/// As frp names it.
impl fmt::Display for Behavior {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BothChanged => "BehaviorBothChanged",
            Self::IpChanged => "BehaviorIPChanged",
            Self::NoChange => "BehaviorNoChange",
            Self::PortChanged => "BehaviorPortChanged",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addrs(texts: &[&str]) -> Vec<SocketAddrV4> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[track_caller]
    fn check(mapped: &[&str], expected: &str) {
        let nat = Nat::classify(&addrs(mapped), &[[192, 0, 2, 7].into()]).unwrap();
        let mut text = format!("{} {}", nat.kind(), nat.behavior);
        if nat.ports_difference > 0 {
            text += &format!(" by {}", nat.ports_difference);
        }
        for (says, word) in [(nat.is_regular(), " regular"), (nat.public, " public")] {
            text += if says { word } else { "" };
        }
        assert_eq!(text, expected);
    }

    #[test]
    fn what_changes_makes_the_kind() {
        let same = "192.0.2.1:4000";
        check(&[same, same], "EasyNAT BehaviorNoChange");
        check(&[same, "192.0.2.2:4000"], "HardNAT BehaviorIPChanged");
        check(&[same, "192.0.2.2:4001"], "HardNAT BehaviorBothChanged");
        check(
            &[same, "192.0.2.7:4001"],
            "HardNAT BehaviorBothChanged public",
        );
        check(
            &["192.0.2.7:1", "192.0.2.7:1"],
            "EasyNAT BehaviorNoChange public",
        );
        check(
            &[same, "192.0.2.1:4001"],
            "HardNAT BehaviorPortChanged by 1 regular",
        );
        check(
            &["192.0.2.1:4005", same, "192.0.2.1:4003"],
            "HardNAT BehaviorPortChanged by 5 regular",
        );
        check(
            &[same, "192.0.2.1:3994"],
            "HardNAT BehaviorPortChanged by 6",
        );
        check(
            &["192.0.2.1:1", "192.0.2.1:65535"],
            "HardNAT BehaviorPortChanged by 65534",
        );
    }

    #[test]
    fn one_address_says_nothing() {
        for got in 0..2 {
            let error = Nat::classify(&addrs(&["192.0.2.1:1"][..got]), &[]).unwrap_err();
            assert_eq!(error, ClassifyError::NotEnough { got });
            assert!(error.to_string().starts_with("not enough addresses"));
        }
    }
}
