//! Which servers to try by which roads, and in which order. Pure: the time is passed in.
//!
//! A way is a server and a road to it. What worked is tried first the next time. With
//! [`Protocol::Auto`] a road whose session did not last is trusted less for a while.

use std::time::{Duration, Instant};

use mgrok_config::Protocol;

use crate::connect::Road;

/// The roads of [`Protocol::Auto`], the best first.
const AUTO: [Road; 3] = [Road::Quic, Road::Tcp, Road::Wss];

/// The head start of a road over the next to the same server: time for a handshake over a long way.
const ROAD_HEAD_START: Duration = Duration::from_millis(300);
/// The same for a road that worked the last time, and for a server over the next: a slow one is to be preferred.
const HEAD_START: Duration = Duration::from_secs(1);

/// A session that lives this long shows that its road can be trusted.
const STEADY: Duration = Duration::from_secs(20);
/// How long a road comes last whose session did not.
const DISTRUST: Duration = Duration::from_secs(300);

/// A server, by its place in the list, and the road to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Way {
    pub(crate) server: usize,
    pub(crate) road: Road,
}

/// All ways, and what is known of them.
#[derive(Debug)]
pub(crate) struct Ways {
    roads: &'static [Road],
    servers: Vec<Server>,
    /// The server that a session was with last.
    preferred: usize,
}

#[derive(Clone, Debug, Default)]
struct Server {
    /// The road of the last session.
    worked: Option<Road>,
    /// A road that is not trusted, until then.
    distrusted: Option<(Road, Instant)>,
}

impl Ways {
    /// The ways to so many `servers`.
    pub(crate) fn new(servers: usize, protocol: Protocol) -> Self {
        Self {
            roads: match protocol {
                Protocol::Auto => &AUTO,
                Protocol::Kcp => &[Road::Kcp],
                Protocol::Quic => &[Road::Quic],
                Protocol::Tcp => &[Road::Tcp],
                Protocol::WebSocket => &[Road::WebSocket],
                Protocol::Wss => &[Road::Wss],
            },
            servers: vec![Server::default(); servers],
            preferred: 0,
        }
    }

    /// Whether there is but one way.
    pub(crate) fn is_single(&self) -> bool {
        self.servers.len() * self.roads.len() == 1
    }

    /// All ways in the order in which to try them, each with its head start over the next.
    pub(crate) fn order(&self, now: Instant) -> Vec<(Way, Duration)> {
        let others = (0..self.servers.len()).filter(|server| *server != self.preferred);
        std::iter::once(self.preferred)
            .chain(others)
            .flat_map(|server| self.roads_to(server, now))
            .collect()
    }

    fn roads_to(&self, server: usize, now: Instant) -> Vec<(Way, Duration)> {
        let known = &self.servers[server];
        let mut roads = self.roads.to_vec();
        // Stable, so that the order among the others stays.
        roads.sort_by_key(|road| match road {
            road if known.distrusts(*road, now) => 2,
            road if known.worked == Some(*road) => 0,
            _ => 1,
        });
        let last = roads.len() - 1;
        roads
            .into_iter()
            .enumerate()
            .map(|(place, road)| {
                let head_start = if place == last || known.worked == Some(road) {
                    HEAD_START
                } else {
                    ROAD_HEAD_START
                };
                (Way { server, road }, head_start)
            })
            .collect()
    }

    /// The roads to try while a session goes `way`, the best first.
    pub(crate) fn better_than(&self, way: Way, now: Instant) -> Vec<Road> {
        let known = &self.servers[way.server];
        self.roads
            .iter()
            .copied()
            .take_while(|road| *road != way.road)
            .filter(|road| !known.distrusts(*road, now))
            .collect()
    }

    /// Takes note of a login that worked.
    pub(crate) fn logged_in(&mut self, way: Way) {
        self.preferred = way.server;
        self.servers[way.server].worked = Some(way.road);
    }

    /// Takes note of a session that was lost after it had `lived` so long.
    pub(crate) fn lost(&mut self, way: Way, lived: Duration, now: Instant) {
        if lived < STEADY {
            self.servers[way.server].distrusted = Some((way.road, now + DISTRUST));
        }
    }
}

impl Server {
    fn distrusts(&self, road: Road, now: Instant) -> bool {
        self.distrusted
            .is_some_and(|(distrusted, until)| distrusted == road && now < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn way(server: usize, road: Road) -> Way {
        Way { server, road }
    }

    #[track_caller]
    fn check(ways: &Ways, now: Instant, expect: &[(usize, Road, u64)]) {
        let order: Vec<_> = ways
            .order(now)
            .into_iter()
            .map(|(way, head_start)| (way.server, way.road, head_start.as_millis() as u64))
            .collect();
        assert_eq!(order, expect);
    }

    #[test]
    fn the_best_road_and_the_first_server_come_first() {
        let now = Instant::now();
        let one = Ways::new(1, Protocol::Kcp);
        assert!(one.is_single());
        check(&one, now, &[(0, Road::Kcp, 1000)]);
        let two = Ways::new(2, Protocol::Auto);
        assert!(!two.is_single());
        check(
            &two,
            now,
            &[
                (0, Road::Quic, 300),
                (0, Road::Tcp, 300),
                (0, Road::Wss, 1000),
                (1, Road::Quic, 300),
                (1, Road::Tcp, 300),
                (1, Road::Wss, 1000),
            ],
        );
    }

    #[test]
    fn what_worked_comes_first_the_next_time() {
        let now = Instant::now();
        let mut ways = Ways::new(2, Protocol::Auto);
        ways.logged_in(way(1, Road::Tcp));
        check(
            &ways,
            now,
            &[
                (1, Road::Tcp, 1000),
                (1, Road::Quic, 300),
                (1, Road::Wss, 1000),
                (0, Road::Quic, 300),
                (0, Road::Tcp, 300),
                (0, Road::Wss, 1000),
            ],
        );
    }

    #[test]
    fn better_roads_are_those_before_it() {
        let now = Instant::now();
        let ways = Ways::new(1, Protocol::Auto);
        assert_eq!(
            ways.better_than(way(0, Road::Wss), now),
            [Road::Quic, Road::Tcp]
        );
        assert_eq!(ways.better_than(way(0, Road::Quic), now), []);
        let ways = Ways::new(1, Protocol::Wss);
        assert_eq!(ways.better_than(way(0, Road::Wss), now), []);
    }

    #[test]
    fn a_road_whose_session_did_not_last_comes_last_for_a_while() {
        let now = Instant::now();
        let mut ways = Ways::new(1, Protocol::Auto);
        ways.logged_in(way(0, Road::Quic));
        ways.lost(way(0, Road::Quic), STEADY, now);
        check(
            &ways,
            now,
            &[
                (0, Road::Quic, 1000),
                (0, Road::Tcp, 300),
                (0, Road::Wss, 1000),
            ],
        );
        ways.lost(way(0, Road::Quic), Duration::from_secs(1), now);
        check(
            &ways,
            now,
            &[
                (0, Road::Tcp, 300),
                (0, Road::Wss, 300),
                (0, Road::Quic, 1000),
            ],
        );
        assert_eq!(ways.better_than(way(0, Road::Tcp), now), []);
        let later = now + DISTRUST;
        assert_eq!(ways.better_than(way(0, Road::Tcp), later), [Road::Quic]);
    }
}
