//! The server's instructions, cut to size: it could be hostile, or repeat what a hostile visitor told it, and what we do with
//! its numbers is to send datagrams to strangers.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use mgrok_proto::message::{DetectBehavior, NatHoleResp, PortsRange};

use super::error::PunchError;
use crate::addrs::{self, distinct};

/// The longest wait ahead of sending; frp's longest is 10 s.
pub(super) const MAX_SEND_DELAY: Duration = Duration::from_secs(30);

/// The longest wait for the other side; frp's longest is 45 s.
const MAX_READ_TIMEOUT: Duration = Duration::from_secs(60);

/// How long to wait for the other side if the server does not say.
///
/// frp: (`pkg/nathole/nathole.go`#MakeHole).
const DEFAULT_READ_TIMEOUT: Duration = Duration::from_secs(5);

/// How many sockets are opened at most, as many as frp asks for.
const MAX_LISTEN_SOCKETS: usize = 256;

/// How many ports near the other side's last one are tried at most; frp asks for up to 21.
const MAX_NEAR_PORTS: usize = 64;

/// How many random ports are tried at most; frp asks for 1,000.
const MAX_RANDOM_PORTS: usize = 4_096;

/// What this side does.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) role: Role,
    /// How long to wait ahead of everything else.
    pub(super) send_delay: Duration,
    /// Time to live of requests; `None` leaves it alone.
    pub(super) ttl: Option<u32>,
    /// Addresses that get a request at once.
    pub(super) targets: Vec<SocketAddrV4>,
    /// The other side's outside IPs.
    pub(super) ips: Vec<Ipv4Addr>,
    /// Ports of them that get a request each, then.
    pub(super) near_ports: Vec<u16>,
    /// How many random ports of them get a request each, after that.
    pub(super) random_ports: usize,
    /// How many more sockets to open.
    pub(super) listen_sockets: usize,
    /// How long to wait once the first requests are out.
    pub(super) read_timeout: Duration,
}

/// Which side this is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Role {
    /// Answers requests.
    Receiver,
    /// Waits for the answer to its own.
    Sender,
}

impl Plan {
    /// What to do about a server's answer.
    ///
    /// # Errors
    /// If it is an error, or there is no address to send to.
    pub(super) fn read(resp: &NatHoleResp) -> Result<Self, PunchError> {
        if !resp.error.is_empty() {
            return Err(PunchError::Refused(resp.error.clone()));
        }
        let candidates = addrs::read(&resp.candidate_addrs);
        if candidates.is_empty() {
            return Err(PunchError::NoCandidates);
        }
        let DetectBehavior {
            role,
            ttl,
            send_delay_ms,
            read_timeout,
            candidate_ports,
            send_random_ports,
            listen_random_ports,
            ..
        } = &resp.detect_behavior;

        let ips = distinct(candidates.iter().map(|addr| *addr.ip()));
        let near_ports = near_ports(candidate_ports);
        // frp: whatever is not a sender is a receiver, and only a sender delays, only a receiver opens sockets
        // (`pkg/nathole/nathole.go`#MakeHole).
        let role = match role.as_str() {
            "sender" => Role::Sender,
            _ => Role::Receiver,
        };
        let (send_delay_ms, listen_random_ports, targets) = match role {
            Role::Sender => {
                let mut targets = addrs::read(&resp.assisted_addrs);
                targets.extend(candidates);
                (*send_delay_ms, 0, distinct(targets))
            }
            Role::Receiver if near_ports.is_empty() => {
                (0, *listen_random_ports, distinct(candidates))
            }
            Role::Receiver => (0, *listen_random_ports, Vec::new()),
        };
        Ok(Self {
            role,
            send_delay: millis(send_delay_ms).min(MAX_SEND_DELAY),
            // More than the header has room for is as good as nothing said.
            ttl: u8::try_from(*ttl)
                .ok()
                .filter(|&ttl| ttl > 0)
                .map(u32::from),
            targets,
            ips,
            near_ports,
            random_ports: count(*send_random_ports, MAX_RANDOM_PORTS),
            listen_sockets: count(listen_random_ports, MAX_LISTEN_SOCKETS),
            read_timeout: if *read_timeout > 0 {
                millis(*read_timeout).min(MAX_READ_TIMEOUT)
            } else {
                DEFAULT_READ_TIMEOUT
            },
        })
    }
}

fn near_ports(ranges: &[PortsRange]) -> Vec<u16> {
    let ports = ranges.iter().flat_map(|range| {
        let from = range.from.max(1);
        let to = range.to.min(u16::MAX.into());
        (from..=to).filter_map(|port| u16::try_from(port).ok())
    });
    distinct(ports.take(MAX_NEAR_PORTS))
}

/// A number of milliseconds, of which there are none if it is negative.
fn millis(number: i64) -> Duration {
    Duration::from_millis(u64::try_from(number).unwrap_or(0))
}

fn count(number: i64, limit: usize) -> usize {
    usize::try_from(number).unwrap_or(0).min(limit)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn resp(detect_behavior: DetectBehavior) -> NatHoleResp {
        NatHoleResp {
            candidate_addrs: vec!["192.0.2.1:4000".into(), "192.0.2.1:4001".into()],
            assisted_addrs: vec!["10.0.0.7:5000".into(), "192.0.2.1:4001".into()],
            detect_behavior,
            ..NatHoleResp::default()
        }
    }

    fn receiver() -> DetectBehavior {
        DetectBehavior {
            role: "receiver".into(),
            ..DetectBehavior::default()
        }
    }

    fn sender() -> DetectBehavior {
        DetectBehavior {
            role: "sender".into(),
            ..DetectBehavior::default()
        }
    }

    fn read(detect_behavior: DetectBehavior) -> Plan {
        Plan::read(&resp(detect_behavior)).unwrap()
    }

    #[track_caller]
    fn check_targets(detect_behavior: DetectBehavior, expected: &[&str]) {
        assert_eq!(addrs::write(&read(detect_behavior).targets), expected);
    }

    #[test]
    fn who_writes_to_which_address_first() {
        let near = vec![PortsRange { from: 1, to: 2 }];
        check_targets(
            sender(),
            &["10.0.0.7:5000", "192.0.2.1:4001", "192.0.2.1:4000"],
        );
        check_targets(
            DetectBehavior {
                candidate_ports: near.clone(),
                ..sender()
            },
            &["10.0.0.7:5000", "192.0.2.1:4001", "192.0.2.1:4000"],
        );
        check_targets(receiver(), &["192.0.2.1:4000", "192.0.2.1:4001"]);
        check_targets(
            DetectBehavior {
                candidate_ports: near,
                ..receiver()
            },
            &[],
        );
    }

    #[test]
    fn only_a_sender_delays_and_only_a_receiver_opens_sockets() {
        let both = |behavior| DetectBehavior {
            send_delay_ms: 3_000,
            listen_random_ports: 256,
            ..behavior
        };
        let plan = read(both(sender()));
        assert_eq!(plan.send_delay, Duration::from_secs(3));
        assert_eq!(plan.listen_sockets, 0);
        let plan = read(both(receiver()));
        assert_eq!(plan.send_delay, Duration::ZERO);
        assert_eq!(plan.listen_sockets, 256);
    }

    #[test]
    fn what_the_server_leaves_out_has_a_meaning() {
        let plan = read(DetectBehavior::default());
        assert_eq!(plan.role, Role::Receiver);
        assert_eq!(plan.ttl, None);
        assert_eq!(plan.read_timeout, DEFAULT_READ_TIMEOUT);
    }

    #[test]
    fn ports_are_those_of_the_ranges() {
        let range = |from, to| PortsRange { from, to };
        assert_eq!(near_ports(&[range(7, 9), range(8, 10)]), [7, 8, 9, 10]);
        assert_eq!(
            near_ports(&[range(-5, 2), range(65_534, i64::MAX)]),
            [1, 2, 65_534, 65_535]
        );
        assert!(near_ports(&[range(9, 7), range(i64::MAX, i64::MIN)]).is_empty());
        assert_eq!(near_ports(&[range(1, 65_535)]).len(), MAX_NEAR_PORTS);
    }

    #[test]
    fn without_an_address_there_is_no_plan() {
        let mut refused = resp(sender());
        refused.error = "no".into();
        let error = Plan::read(&refused).unwrap_err();
        assert!(matches!(error, PunchError::Refused(text) if text == "no"));

        let mut hostile = resp(sender());
        hostile.candidate_addrs = vec!["255.255.255.255:1".into(), "nowhere".into()];
        let error = Plan::read(&hostile).unwrap_err();
        assert!(matches!(error, PunchError::NoCandidates));
    }

    proptest! {
        #[test]
        fn any_numbers_make_a_bounded_plan(
            is_sender: bool,
            numbers: [i64; 5],
            ranges: Vec<(i64, i64)>,
            mapped in proptest::collection::vec((any::<u32>(), any::<u16>()), 1..100),
        ) {
            let [ttl, send_delay_ms, read_timeout, send_random_ports, listen_random_ports] = numbers;
            let mut resp = resp(DetectBehavior {
                ttl,
                send_delay_ms,
                read_timeout,
                candidate_ports: ranges.into_iter().map(|(from, to)| PortsRange { from, to }).collect(),
                send_random_ports,
                listen_random_ports,
                ..if is_sender { sender() } else { receiver() }
            });
            let mapped = mapped.into_iter().map(|(ip, port)| SocketAddrV4::new(ip.into(), port));
            resp.candidate_addrs.extend(mapped.map(|addr| addr.to_string()));
            let plan = Plan::read(&resp).unwrap();
            prop_assert!(plan.send_delay <= MAX_SEND_DELAY);
            prop_assert!(!plan.read_timeout.is_zero() && plan.read_timeout <= MAX_READ_TIMEOUT);
            prop_assert!(plan.ttl.is_none_or(|ttl| (1..=255).contains(&ttl)));
            prop_assert!(plan.targets.len() <= 2 * addrs::MAX_ADDRS);
            prop_assert!(plan.ips.len() <= addrs::MAX_ADDRS);
            prop_assert!(plan.near_ports.len() <= MAX_NEAR_PORTS);
            prop_assert!(plan.random_ports <= MAX_RANDOM_PORTS);
            prop_assert!(plan.listen_sockets <= MAX_LISTEN_SOCKETS);
        }
    }
}
