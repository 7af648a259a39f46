//! What worked between two sides, and what to try next.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Instant;

use super::way::{Role, Way};
use crate::nat::{Behavior, Kind, Nat};

/// What a success adds. An attempt costs 1.
const REWARD: i8 = 2;
/// A way that always worked is still given up after this many failures.
const MAX_SCORE: i8 = 10;

/// Which two sides: their outside IPs and the nature of their NATs.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct Key {
    client: KeySide,
    visitor: KeySide,
}

type KeySide = (Ipv4Addr, Behavior, bool);

/// The scores of one pair of sides.
#[derive(Debug)]
pub(super) struct Record {
    scores: Vec<(Way, i8)>,
    used_at: Instant,
}

impl Key {
    pub(super) fn new(client: (SocketAddrV4, &Nat), visitor: (SocketAddrV4, &Nat)) -> Self {
        let side = |(addr, nat): (SocketAddrV4, &Nat)| (*addr.ip(), nat.behavior, nat.is_regular());
        Self {
            client: side(client),
            visitor: side(visitor),
        }
    }
}

impl Record {
    /// The ways that suit two NATs, the best first.
    ///
    /// frp: (`pkg/nathole/analysis.go`#newMakeHoleRecordsWithClock).
    pub(super) fn new(client: &Nat, visitor: &Nat, now: Instant) -> Self {
        let nats = [client, visitor];
        let hard = nats.iter().filter(|nat| nat.kind() == Kind::Hard).count();
        let regular = nats.iter().filter(|nat| nat.is_regular()).count();
        let modes: &[u8] = match (hard, regular) {
            (0, _) => &[0],
            (1, 1) => &[1, 2, 0],
            (1, _) => &[2, 1, 0],
            (_, 2) => &[3, 4],
            (_, 1) => &[4],
            (_, _) => &[0, 1, 3],
        };
        let hopeless = hard == 2 && regular == 0;
        // Who has a public address should receive: the other side's datagram is sure to arrive.
        let client_should = match (client.public, visitor.public) {
            _ if hopeless => None,
            (true, _) => Some(Role::Receiver),
            (false, true) => Some(Role::Sender),
            (false, false) => None,
        };
        let ways = modes.iter().copied().flat_map(Way::of_mode);
        let scores = ways.map(|way| {
            let (first, _) = way.entry();
            let preferred = way.mode == 0 && client_should == Some(first.role);
            (way, i8::from(preferred || hopeless))
        });
        Self {
            scores: scores.collect(),
            used_at: now,
        }
    }

    /// The first of the ways with the highest score, which then counts as tried.
    pub(super) fn choose(&mut self, now: Instant) -> Way {
        self.used_at = now;
        // Of equals `max_by_key` finds the last.
        let best = self.scores.iter_mut().rev().max_by_key(|(_, score)| *score);
        let Some((way, score)) = best else {
            return Way { mode: 0, index: 0 };
        };
        *score = score.saturating_sub(1);
        *way
    }

    /// Takes note that `way` worked.
    pub(super) fn reward(&mut self, way: Way, now: Instant) {
        self.used_at = now;
        if let Some((_, score)) = self.scores.iter_mut().find(|(known, _)| *known == way) {
            *score = score.saturating_add(REWARD).min(MAX_SCORE);
        }
    }

    pub(super) fn used_at(&self) -> Instant {
        self.used_at
    }
}
