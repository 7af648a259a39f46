//! Which servers to try by which transports, and in which order. Pure: the time is passed in.
//!
//! A candidate is a server and a transport to it. What worked is tried first the next time. With
//! [`Protocol::Auto`] a transport whose session did not last is trusted less for a while.

use std::time::{Duration, Instant};

use mgrok_config::Protocol;

use crate::connect::Transport;

/// The transports of [`Protocol::Auto`], the best first.
const AUTO: [Transport; 3] = [Transport::Quic, Transport::Tcp, Transport::Wss];

/// The head start of a transport over the next to the same server: time for a handshake over a long distance.
const TRANSPORT_HEAD_START: Duration = Duration::from_millis(300);
/// The same for a transport that worked the last time, and for a server over the next: a slow one is to be preferred.
const HEAD_START: Duration = Duration::from_secs(1);

/// A session that lives this long shows that its transport can be trusted.
const STEADY: Duration = Duration::from_secs(20);
/// How long a transport comes last whose session did not.
const DISTRUST: Duration = Duration::from_secs(300);

/// A server, by its index in the list, and the transport to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DialCandidate {
    pub(crate) server: usize,
    pub(crate) transport: Transport,
}

/// All candidates, and what is known of them.
#[derive(Debug)]
pub(crate) struct DialCandidates {
    transports: &'static [Transport],
    servers: Vec<Server>,
    /// The server that a session was with last.
    preferred: usize,
}

#[derive(Clone, Debug, Default)]
struct Server {
    /// The transport of the last session.
    worked: Option<Transport>,
    /// A transport that is not trusted, until then.
    distrusted: Option<(Transport, Instant)>,
}

impl DialCandidates {
    /// The candidates to so many `servers`.
    pub(crate) fn new(servers: usize, protocol: Protocol) -> Self {
        Self {
            transports: match protocol {
                Protocol::Auto => &AUTO,
                Protocol::Kcp => &[Transport::Kcp],
                Protocol::Quic => &[Transport::Quic],
                Protocol::Tcp => &[Transport::Tcp],
                Protocol::WebSocket => &[Transport::WebSocket],
                Protocol::Wss => &[Transport::Wss],
            },
            servers: vec![Server::default(); servers],
            preferred: 0,
        }
    }

    /// Whether there is only one candidate.
    pub(crate) fn is_single(&self) -> bool {
        self.servers.len() * self.transports.len() == 1
    }

    /// All candidates in the order in which to try them, each with its head start over the next.
    pub(crate) fn order(&self, now: Instant) -> Vec<(DialCandidate, Duration)> {
        let others = (0..self.servers.len()).filter(|server| *server != self.preferred);
        std::iter::once(self.preferred)
            .chain(others)
            .flat_map(|server| self.transports_to(server, now))
            .collect()
    }

    fn transports_to(&self, server: usize, now: Instant) -> Vec<(DialCandidate, Duration)> {
        let known = &self.servers[server];
        let mut transports = self.transports.to_vec();
        // Stable, so that the order among the others stays.
        transports.sort_by_key(|transport| match transport {
            transport if known.distrusts(*transport, now) => 2,
            transport if known.worked == Some(*transport) => 0,
            _ => 1,
        });
        let last = transports.len() - 1;
        transports
            .into_iter()
            .enumerate()
            .map(|(place, transport)| {
                let head_start = if place == last || known.worked == Some(transport) {
                    HEAD_START
                } else {
                    TRANSPORT_HEAD_START
                };
                (DialCandidate { server, transport }, head_start)
            })
            .collect()
    }

    /// The transports to try while a session uses `candidate`, the best first.
    pub(crate) fn better_than(&self, candidate: DialCandidate, now: Instant) -> Vec<Transport> {
        let known = &self.servers[candidate.server];
        self.transports
            .iter()
            .copied()
            .take_while(|transport| *transport != candidate.transport)
            .filter(|transport| !known.distrusts(*transport, now))
            .collect()
    }

    /// Takes note of a login that worked.
    pub(crate) fn logged_in(&mut self, candidate: DialCandidate) {
        self.preferred = candidate.server;
        self.servers[candidate.server].worked = Some(candidate.transport);
    }

    /// Takes note of a session that was lost after it had `lived` so long.
    pub(crate) fn lost(&mut self, candidate: DialCandidate, lived: Duration, now: Instant) {
        if lived < STEADY {
            self.servers[candidate.server].distrusted = Some((candidate.transport, now + DISTRUST));
        }
    }
}

impl Server {
    fn distrusts(&self, transport: Transport, now: Instant) -> bool {
        self.distrusted
            .is_some_and(|(distrusted, until)| distrusted == transport && now < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn candidate(server: usize, transport: Transport) -> DialCandidate {
        DialCandidate { server, transport }
    }

    #[track_caller]
    fn check(candidates: &DialCandidates, now: Instant, expect: &[(usize, Transport, u64)]) {
        let order: Vec<_> = candidates
            .order(now)
            .into_iter()
            .map(|(candidate, head_start)| {
                (
                    candidate.server,
                    candidate.transport,
                    head_start.as_millis() as u64,
                )
            })
            .collect();
        assert_eq!(order, expect);
    }

    #[test]
    fn the_best_transport_and_the_first_server_come_first() {
        let now = Instant::now();
        let one = DialCandidates::new(1, Protocol::Kcp);
        assert!(one.is_single());
        check(&one, now, &[(0, Transport::Kcp, 1000)]);
        let two = DialCandidates::new(2, Protocol::Auto);
        assert!(!two.is_single());
        check(
            &two,
            now,
            &[
                (0, Transport::Quic, 300),
                (0, Transport::Tcp, 300),
                (0, Transport::Wss, 1000),
                (1, Transport::Quic, 300),
                (1, Transport::Tcp, 300),
                (1, Transport::Wss, 1000),
            ],
        );
    }

    #[test]
    fn what_worked_comes_first_the_next_time() {
        let now = Instant::now();
        let mut candidates = DialCandidates::new(2, Protocol::Auto);
        candidates.logged_in(candidate(1, Transport::Tcp));
        check(
            &candidates,
            now,
            &[
                (1, Transport::Tcp, 1000),
                (1, Transport::Quic, 300),
                (1, Transport::Wss, 1000),
                (0, Transport::Quic, 300),
                (0, Transport::Tcp, 300),
                (0, Transport::Wss, 1000),
            ],
        );
    }

    #[test]
    fn better_transports_are_those_before_it() {
        let now = Instant::now();
        let candidates = DialCandidates::new(1, Protocol::Auto);
        assert_eq!(
            candidates.better_than(candidate(0, Transport::Wss), now),
            [Transport::Quic, Transport::Tcp]
        );
        assert_eq!(
            candidates.better_than(candidate(0, Transport::Quic), now),
            []
        );
        let candidates = DialCandidates::new(1, Protocol::Wss);
        assert_eq!(
            candidates.better_than(candidate(0, Transport::Wss), now),
            []
        );
    }

    #[test]
    fn a_transport_whose_session_did_not_last_comes_last_for_a_while() {
        let now = Instant::now();
        let mut candidates = DialCandidates::new(1, Protocol::Auto);
        candidates.logged_in(candidate(0, Transport::Quic));
        candidates.lost(candidate(0, Transport::Quic), STEADY, now);
        check(
            &candidates,
            now,
            &[
                (0, Transport::Quic, 1000),
                (0, Transport::Tcp, 300),
                (0, Transport::Wss, 1000),
            ],
        );
        candidates.lost(candidate(0, Transport::Quic), Duration::from_secs(1), now);
        check(
            &candidates,
            now,
            &[
                (0, Transport::Tcp, 300),
                (0, Transport::Wss, 300),
                (0, Transport::Quic, 1000),
            ],
        );
        assert_eq!(
            candidates.better_than(candidate(0, Transport::Tcp), now),
            []
        );
        let later = now + DISTRUST;
        assert_eq!(
            candidates.better_than(candidate(0, Transport::Tcp), later),
            [Transport::Quic]
        );
    }
}
