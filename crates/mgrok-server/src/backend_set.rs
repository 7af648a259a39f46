//! Who serves the users of one public place: one backend, or several that share them.
//!
//! Balancing is here and nowhere else. A proxy without a group has a set of one, which costs nothing beyond a look at how many there are.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mgrok_config::Strategy;

use crate::source::Source;

/// Whoever can be a member.
pub(crate) trait Member {
    /// What it is told apart by from other members, the same after a restart.
    fn name(&self) -> &str;

    /// How many users it has; `None` if it takes no others now.
    fn load(&self) -> Option<usize>;
}

/// The members that share users. `M` is what a member is to those who serve them.
pub(crate) struct BackendSet<M> {
    strategy: Strategy,
    members: Mutex<Arc<Members<M>>>,
    next: AtomicUsize,
}

/// Those who are there, and how turns pass between them.
struct Members<M> {
    all: Box<[Share<M>]>,
    /// How many turns there are until all have had theirs: as many as the weights come to, in lowest terms.
    turns: usize,
    /// From one turn to the next. It has no divisor in common with `turns`, so that none is left out.
    stride: usize,
}

/// A member and its part of the users.
struct Share<M> {
    member: Arc<M>,
    /// In lowest terms.
    weight: usize,
    /// As it was asked for.
    asked: usize,
    /// Up to where its turns go, from where those of the member before it end.
    until: usize,
    /// Stands for its name.
    key: u64,
}

/// One member's place, which is given up when this is dropped. Users it has already stay with it.
#[derive(Debug)]
pub(crate) struct Membership<M> {
    backends: Arc<BackendSet<M>>,
    member: Arc<M>,
}

/// All members, the one first that is to serve a user: whoever cannot leaves it to the next.
pub(crate) struct InTurn<M> {
    members: Arc<Members<M>>,
    order: Order,
    /// How many have been handed out.
    done: usize,
}

enum Order {
    /// From this one on, in a circle.
    Circle(usize),
    /// By how well each goes with this source.
    Source {
        source: Source,
        last: Option<(f64, usize)>,
    },
}

impl<M: Member> BackendSet<M> {
    /// A set without members, which are to share users by `strategy`.
    pub(crate) fn new(strategy: Strategy) -> Self {
        Self {
            strategy,
            members: Mutex::new(Arc::new(Members::of(Box::default()))),
            next: AtomicUsize::new(0),
        }
    }

    /// Adds a member, who gets users from now on: `weight` as many as one of weight 1.
    pub(crate) fn join(self: &Arc<Self>, member: M, weight: usize) -> Membership<M> {
        let member = Arc::new(member);
        let joined = Share::new(member.clone(), weight);
        let mut members = self.members();
        let all = members.all.iter().map(Share::again).chain([joined]);
        let all = Arc::new(Members::of(all.collect()));
        let before = std::mem::replace(&mut *members, all);
        drop(members);
        drop(before);
        Membership {
            backends: self.clone(),
            member,
        }
    }

    /// All members, the one whose turn it is for a user from `from` first.
    pub(crate) fn in_turn(&self, from: IpAddr) -> InTurn<M> {
        let members = self.members().clone();
        let order = match self.strategy {
            // Whose turn it is means nothing then, and a shared counter would only be passed about.
            _ if members.all.len() < 2 => Order::Circle(0),
            Strategy::RoundRobin => Order::Circle(members.whose(self.turn())),
            Strategy::LeastConnections => Order::Circle(members.idlest(self.turn())),
            Strategy::SourceAddress => Order::Source {
                source: Source::of(from),
                last: None,
            },
        };
        InTurn {
            members,
            order,
            done: 0,
        }
    }

    fn turn(&self) -> usize {
        self.next.fetch_add(1, Ordering::Relaxed)
    }
}

impl<M> BackendSet<M> {
    /// Whether `test` is of any member, or nobody is here; else the last error.
    pub(crate) fn any_ok<E>(&self, test: impl Fn(&M) -> Result<(), E>) -> Result<(), E> {
        let members = self.members().clone();
        let mut last = Ok(());
        for share in &members.all {
            last = test(&share.member);
            if last.is_ok() {
                break;
            }
        }
        last
    }

    /// Does `each` for every member.
    pub(crate) fn for_each(&self, each: impl Fn(&M)) {
        let members = self.members().clone();
        members.all.iter().for_each(|it| each(&it.member));
    }

    fn members(&self) -> MutexGuard<'_, Arc<Members<M>>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<M: Member> Members<M> {
    /// The member with the fewest users for its weight; of several the one whose turn it is, or the next after it.
    fn idlest(&self, turn: usize) -> usize {
        let first = self.whose(turn);
        let mut best: Option<(usize, usize, usize)> = None;
        for step in 0..self.all.len() {
            let index = (first + step) % self.all.len();
            let Share { member, weight, .. } = &self.all[index];
            let Some(load) = member.load() else { continue };
            let is_less = best.is_none_or(|(_, least, of)| load * of < least * weight);
            if is_less {
                best = Some((index, load, *weight));
            }
        }
        best.map_or(first, |(index, ..)| index)
    }
}

impl<M> Members<M> {
    fn of(mut all: Box<[Share<M>]>) -> Self {
        let common = all.iter().fold(0, |common, it| divisor(common, it.asked));
        let mut turns = 0;
        for share in &mut all {
            share.weight = share.asked / common.max(1);
            turns += share.weight;
            share.until = turns;
        }
        let is_even = turns == all.len();
        Self {
            stride: if is_even { 1 } else { stride(turns) },
            turns,
            all,
        }
    }

    /// Whose turn it is: in so many turns as there are each has had as many as its weight, spread over all of them.
    fn whose(&self, turn: usize) -> usize {
        let turns = self.turns.max(1) as u64;
        let place = (turn as u64 % turns) * self.stride as u64 % turns;
        self.all.partition_point(|it| it.until as u64 <= place)
    }

    /// The member that goes best with `source` of those that go worse with it than `last`. Another that comes or goes changes that for
    /// none but its own part of the sources (rendezvous hashing).
    fn next_of(&self, source: Source, last: Option<(f64, usize)>) -> Option<(f64, usize)> {
        let scores = self.all.iter().enumerate();
        let scores = scores.map(|(index, share)| (share.score(source), index));
        let order = |a: &(f64, usize), b: &(f64, usize)| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1));
        let worse = scores.filter(|score| last.is_none_or(|last| order(score, &last).is_lt()));
        worse.max_by(order)
    }
}

impl<M: Member> Share<M> {
    fn new(member: Arc<M>, weight: usize) -> Self {
        Self {
            key: hash(member.name()),
            member,
            weight,
            asked: weight.max(1),
            until: 0,
        }
    }
}

impl<M> Share<M> {
    fn again(&self) -> Self {
        Self {
            member: self.member.clone(),
            ..*self
        }
    }

    /// The more the better. Of many sources, a member has the highest score for a part that goes by its weight.
    fn score(&self, source: Source) -> f64 {
        // Between 0 and 1, neither of them.
        let even = ((hash((self.key, source)) >> 12) as f64 + 0.5) / (1_u64 << 52) as f64;
        -(self.asked as f64) / even.ln()
    }
}

/// The same in every process of this build.
fn hash(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// The greatest that divides both.
fn divisor(a: usize, b: usize) -> usize {
    match b {
        0 => a,
        _ => divisor(b, a % b),
    }
}

/// A number below `turns` that has no divisor in common with it, near the golden section, which spreads what follows it well.
fn stride(turns: usize) -> usize {
    let golden = (turns as f64 * 0.618) as usize;
    let fits = |it: &usize| divisor(turns, *it) == 1;
    (golden.max(1)..turns).find(fits).unwrap_or(1)
}

impl<M> Iterator for InTurn<M> {
    type Item = Arc<M>;

    fn next(&mut self) -> Option<Arc<M>> {
        let all = &self.members.all;
        if self.done == all.len() {
            return None;
        }
        let index = match &mut self.order {
            Order::Circle(first) => (*first + self.done) % all.len(),
            Order::Source { source, last } => {
                *last = self.members.next_of(*source, *last);
                last.as_ref()?.1
            }
        };
        self.done += 1;
        Some(all[index].member.clone())
    }
}

impl<M> Drop for Membership<M> {
    fn drop(&mut self) {
        let mut members = self.backends.members();
        let others = members.all.iter();
        let others = others.filter(|it| !Arc::ptr_eq(&it.member, &self.member));
        let others = Arc::new(Members::of(others.map(Share::again).collect()));
        let before = std::mem::replace(&mut *members, others);
        // Members are dropped when the others can be reached again.
        drop(members);
        drop(before);
    }
}

impl<M> fmt::Debug for BackendSet<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BackendSet")
            .field("strategy", &self.strategy)
            .field("members", &self.members().all.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::Ipv4Addr;

    use super::*;

    #[derive(Debug)]
    struct Letter {
        name: String,
        /// `usize::MAX` takes no users.
        load: AtomicUsize,
    }

    impl Member for Letter {
        fn name(&self) -> &str {
            &self.name
        }

        fn load(&self) -> Option<usize> {
            let load = self.load.load(Ordering::Relaxed);
            (load < usize::MAX).then_some(load)
        }
    }

    type Set = Arc<BackendSet<Letter>>;

    fn set(strategy: Strategy) -> Set {
        Arc::new(BackendSet::new(strategy))
    }

    fn join(set: &Set, name: &str, weight: usize) -> Membership<Letter> {
        let letter = Letter {
            name: name.to_owned(),
            load: AtomicUsize::new(0),
        };
        set.join(letter, weight)
    }

    fn from(number: u32) -> IpAddr {
        Ipv4Addr::from_bits(0x0a00_0000 + number).into()
    }

    fn turns_of(set: &Set, number: u32) -> Vec<String> {
        set.in_turn(from(number))
            .map(|it| it.name.clone())
            .collect()
    }

    fn turns(set: &Set) -> Vec<String> {
        turns_of(set, 1)
    }

    /// Who comes first, for so many users of as many sources; each stays.
    fn firsts(set: &Set, users: u32) -> Vec<String> {
        let serve = |number| {
            let member = set.in_turn(from(number)).next().unwrap();
            member.load.fetch_add(1, Ordering::Relaxed);
            member.name.clone()
        };
        (0..users).map(serve).collect()
    }

    fn shares(names: Vec<String>) -> BTreeMap<String, usize> {
        let mut shares = BTreeMap::new();
        for name in names {
            *shares.entry(name).or_default() += 1;
        }
        shares
    }

    #[track_caller]
    fn check_shares(shares: &BTreeMap<String, usize>, expect: &[(&str, usize)], slack: usize) {
        for (name, expect) in expect {
            let got = shares.get(*name).copied().unwrap_or_default();
            assert!(got.abs_diff(*expect) <= slack, "{shares:?}, not {expect:?}");
        }
    }

    #[test]
    fn members_take_turns() {
        let backends = set(Strategy::RoundRobin);
        assert!(turns(&backends).is_empty());
        let _a = join(&backends, "a", 1);
        assert_eq!(turns(&backends), ["a"]);
        let b = join(&backends, "b", 1);
        let _c = join(&backends, "c", 1);
        assert_eq!(firsts(&backends, 6), ["a", "b", "c", "a", "b", "c"]);
        assert_eq!(turns(&backends), ["a", "b", "c"], "the others stand by");
        drop(b);
        assert_eq!(turns(&backends).len(), 2);
    }

    #[test]
    fn a_member_that_left_is_still_there_for_whom_it_serves() {
        let backends = set(Strategy::RoundRobin);
        let membership = join(&backends, "a", 1);
        let mut serving = backends.in_turn(from(1));
        drop(membership);
        assert_eq!(serving.next().unwrap().name, "a");
        assert!(turns(&backends).is_empty());
    }

    #[test]
    fn turns_go_by_weight_and_are_spread() {
        let backends = set(Strategy::RoundRobin);
        let _members = [
            join(&backends, "a", 50),
            join(&backends, "b", 20),
            join(&backends, "c", 10),
        ];
        // In lowest terms there are eight turns.
        for _ in 0..3 {
            let turns = firsts(&backends, 8);
            let runs = turns.join("").split(|it| it != 'a').map(str::len).max();
            assert!(runs <= Some(2), "{turns:?}");
            check_shares(&shares(turns), &[("a", 5), ("b", 2), ("c", 1)], 0);
        }
    }

    #[test]
    fn every_weight_is_kept() {
        for weights in [[1, 999], [7, 1000], [3, 3], [1000, 1000], [1, 2]] {
            let backends = set(Strategy::RoundRobin);
            let _members = [
                join(&backends, "a", weights[0]),
                join(&backends, "b", weights[1]),
            ];
            let all = (weights[0] + weights[1]) as u32;
            let shares = shares(firsts(&backends, all));
            check_shares(&shares, &[("a", weights[0]), ("b", weights[1])], 0);
        }
    }

    #[test]
    fn who_has_the_fewest_users_for_its_weight_gets_the_next() {
        let backends = set(Strategy::LeastConnections);
        let (a, b) = (join(&backends, "a", 3), join(&backends, "b", 1));
        check_shares(&shares(firsts(&backends, 40)), &[("a", 30), ("b", 10)], 0);
        // All users of one leave: it gets those who come until it has its part again.
        a.member.load.store(0, Ordering::Relaxed);
        assert_eq!(shares(firsts(&backends, 25))["a"], 25);
        b.member.load.store(usize::MAX, Ordering::Relaxed);
        assert_eq!(shares(firsts(&backends, 9))["a"], 9);
        assert_eq!(turns(&backends), ["a", "b"]);
    }

    #[test]
    fn equals_take_turns_even_before_they_have_users() {
        let backends = set(Strategy::LeastConnections);
        let _members = [join(&backends, "a", 1), join(&backends, "b", 1)];
        let firsts: Vec<_> = (0..4).map(|_| turns(&backends).swap_remove(0)).collect();
        assert_eq!(firsts, ["a", "b", "a", "b"]);
    }

    #[test]
    fn a_source_stays_with_its_member() {
        let backends = set(Strategy::SourceAddress);
        let mut members: Vec<_> = ["a", "b", "c", "d"]
            .iter()
            .map(|name| join(&backends, name, 1))
            .collect();
        let before: Vec<_> = (0..4_000).map(|it| turns_of(&backends, it)).collect();
        for (number, turns) in before.iter().enumerate() {
            assert_eq!(turns_of(&backends, number as u32), *turns);
            let mut all = turns.clone();
            all.sort();
            assert_eq!(all, ["a", "b", "c", "d"], "each stands by once");
        }
        let firsts = before.iter().map(|it| it[0].clone()).collect();
        let even = ["a", "b", "c", "d"].map(|name| (name, 1_000));
        check_shares(&shares(firsts), &even, 150);
        // The one that leaves leaves its sources to those that stood by, and nobody else moves.
        drop(members.remove(1));
        for (number, turns) in before.into_iter().enumerate() {
            let others: Vec<_> = turns.into_iter().filter(|it| it != "b").collect();
            assert_eq!(turns_of(&backends, number as u32), others);
        }
    }

    #[test]
    fn sources_go_by_weight_and_a_64_of_ipv6_is_one() {
        let backends = set(Strategy::SourceAddress);
        let _members = [join(&backends, "a", 3), join(&backends, "b", 1)];
        check_shares(
            &shares(firsts(&backends, 4_000)),
            &[("a", 3_000), ("b", 1_000)],
            150,
        );
        let first = |addr: &str| {
            let addr = addr.parse().unwrap();
            backends.in_turn(addr).next().unwrap().name.clone()
        };
        for net in 0..64 {
            let of = |host: u32| first(&format!("2001:db8:0:{net:x}::{host:x}"));
            assert!((1..9).all(|host| of(host) == of(0)));
        }
        assert_eq!(first("::ffff:10.0.0.7"), first("10.0.0.7"));
    }
}
