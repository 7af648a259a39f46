//! The users of a UDP port by address: the value kept for each, and the choice of the user to drop for a new one.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use slab::Slab;
use tokio::time::Instant;

/// No slot.
const NONE: u32 = u32::MAX;

/// A bounded table of users, each with a value `T`. Every operation takes constant time, apart from
/// [`drop_idle`](Self::drop_idle), whose time grows with the number of users that it drops.
///
/// A user who was answered and then writes again is a *regular*; everybody else is a *newcomer*. A full table drops the
/// newcomer that was silent for longest. Regulars take up at most three quarters of the table; beyond that it drops the
/// regular that was silent for longest. The reason is that source addresses of datagrams can be forged. A flood of
/// forged ones displaces only newcomers: a forger does not see the answer, and most services do not answer datagrams
/// that they do not understand.
#[derive(Debug)]
pub struct UserTable<T> {
    users: Slab<User<T>>,
    by_addr: HashMap<SocketAddr, u32>,
    newcomers: Queue,
    regulars: Queue,
    max_users: usize,
}

#[derive(Debug)]
struct User<T> {
    addr: SocketAddr,
    value: T,
    active_at: Instant,
    answered: bool,
    regular: bool,
    older: u32,
    newer: u32,
}

/// Slots in the order of their last activity.
#[derive(Debug)]
struct Queue {
    oldest: u32,
    newest: u32,
    len: usize,
}

impl Queue {
    const EMPTY: Self = Self {
        oldest: NONE,
        newest: NONE,
        len: 0,
    };
}

impl<T> UserTable<T> {
    /// A table of at most `max_users` users, at least one. Allocates memory as users are added, and releases all of it
    /// when the last one leaves.
    pub fn new(max_users: usize) -> Self {
        Self {
            users: Slab::new(),
            by_addr: HashMap::new(),
            newcomers: Queue::EMPTY,
            regulars: Queue::EMPTY,
            // Slot numbers have 32 bits.
            max_users: max_users.clamp(1, NONE as usize),
        }
    }

    /// How many users there are.
    pub fn len(&self) -> usize {
        self.by_addr.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_addr.is_empty()
    }

    /// The slot of the user at `addr`, which stays the same while the user is in the table.
    pub fn slot(&self, addr: &SocketAddr) -> Option<usize> {
        self.by_addr.get(addr).map(|&slot| slot as usize)
    }

    /// The value of the user in `slot`.
    pub fn get(&self, slot: usize) -> Option<&T> {
        self.users.get(slot).map(|user| &user.value)
    }

    /// As [`get`](Self::get).
    pub fn get_mut(&mut self, slot: usize) -> Option<&mut T> {
        self.users.get_mut(slot).map(|user| &mut user.value)
    }

    /// When the user in `slot` was last active.
    pub fn active_at(&self, slot: usize) -> Option<Instant> {
        self.users.get(slot).map(|user| user.active_at)
    }

    /// Makes room for one more user, by dropping one if necessary.
    pub fn make_room(&mut self) {
        if self.len() >= self.max_users {
            let gives_way = match self.newcomers.oldest {
                NONE => self.regulars.oldest,
                newcomer => newcomer,
            };
            self.remove(gives_way as usize);
        }
    }

    /// Adds a user who has written, replacing any user at the same address. `value` gets the slot.
    pub fn insert(
        &mut self,
        addr: SocketAddr,
        now: Instant,
        value: impl FnOnce(usize) -> T,
    ) -> usize {
        if let Some(slot) = self.slot(&addr) {
            self.remove(slot);
        }
        self.make_room();
        let entry = self.users.vacant_entry();
        let slot = entry.key();
        entry.insert(User {
            addr,
            value: value(slot),
            active_at: now,
            answered: false,
            regular: false,
            older: NONE,
            newer: NONE,
        });
        // Fits: there are fewer slots than 32-bit numbers.
        self.by_addr.insert(addr, slot as u32);
        self.link(slot as u32);
        slot
    }

    /// Records that the user in `slot` has written.
    pub fn wrote(&mut self, slot: usize, now: Instant) {
        let Some(user) = self.users.get_mut(slot) else {
            return;
        };
        let becomes_regular = user.answered && !user.regular;
        if becomes_regular {
            self.unlink(slot as u32);
            self.users[slot].regular = true;
            self.link(slot as u32);
            if self.regulars.len > self.max_users - self.max_users / 4 {
                self.remove(self.regulars.oldest as usize);
            }
        }
        self.renew(slot, now);
    }

    /// Records that the user in `slot` is being answered. That alone is not activity.
    pub fn answered(&mut self, slot: usize) {
        if let Some(user) = self.users.get_mut(slot) {
            user.answered = true;
        }
    }

    /// Records other activity of the user in `slot`.
    pub fn renew(&mut self, slot: usize, now: Instant) {
        let Some(user) = self.users.get_mut(slot) else {
            return;
        };
        user.active_at = now;
        if user.newer != NONE {
            self.unlink(slot as u32);
            self.link(slot as u32);
        }
    }

    /// Drops the user in `slot`, and returns its value.
    pub fn remove(&mut self, slot: usize) -> Option<T> {
        if !self.users.contains(slot) {
            return None;
        }
        self.unlink(slot as u32);
        let user = self.users.remove(slot);
        self.by_addr.remove(&user.addr);
        if self.is_empty() {
            *self = Self::new(self.max_users);
        }
        Some(user.value)
    }

    /// Drops all users that have not been active for the time of `idle`.
    pub fn drop_idle(&mut self, idle: Duration, now: Instant) {
        loop {
            let oldest = [self.newcomers.oldest, self.regulars.oldest];
            let gone = oldest.into_iter().find(|&slot| {
                let active_at = self.active_at(slot as usize);
                active_at.is_some_and(|at| now.saturating_duration_since(at) >= idle)
            });
            match gone {
                Some(slot) => self.remove(slot as usize),
                None => break,
            };
        }
    }

    fn queue(&mut self, regular: bool) -> &mut Queue {
        if regular {
            &mut self.regulars
        } else {
            &mut self.newcomers
        }
    }

    /// Puts `slot` at the newest end of its queue.
    fn link(&mut self, slot: u32) {
        let queue = self.queue(self.users[slot as usize].regular);
        let older = std::mem::replace(&mut queue.newest, slot);
        queue.len += 1;
        match older {
            NONE => queue.oldest = slot,
            older => self.users[older as usize].newer = slot,
        }
        let user = &mut self.users[slot as usize];
        (user.older, user.newer) = (older, NONE);
    }

    /// Takes `slot` out of its queue.
    fn unlink(&mut self, slot: u32) {
        let User {
            older,
            newer,
            regular,
            ..
        } = self.users[slot as usize];
        match older {
            NONE => self.queue(regular).oldest = newer,
            older => self.users[older as usize].newer = newer,
        }
        match newer {
            NONE => self.queue(regular).newest = older,
            newer => self.users[newer as usize].older = older,
        }
        self.queue(regular).len -= 1;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::super::LocalAddr;
    use super::*;

    /// A server keeps up to 16,384 users for each of its UDP ports and no task for any of them, so this is the whole
    /// cost of a user: an entry of the slab, which is a user and at most one word more, and an entry of the hash table.
    #[test]
    fn a_user_is_small() {
        let entry = size_of::<User<Option<LocalAddr>>>() + size_of::<usize>();
        let size = entry + size_of::<(SocketAddr, u32)>();
        assert!(size <= 160, "{size} bytes");
    }

    fn addr(number: u32) -> SocketAddr {
        (number.to_be_bytes(), 7).into()
    }

    fn there(table: &UserTable<u32>) -> HashSet<u32> {
        let there = table.by_addr.values();
        there
            .map(|&slot| *table.get(slot as usize).unwrap())
            .collect()
    }

    /// Makes a user write, and adds the user first if necessary.
    fn write(table: &mut UserTable<u32>, number: u32, now: Instant) -> usize {
        match table.slot(&addr(number)) {
            Some(slot) => {
                table.wrote(slot, now);
                slot
            }
            None => table.insert(addr(number), now, |_| number),
        }
    }

    fn make_regular(table: &mut UserTable<u32>, number: u32, now: Instant) {
        let slot = write(table, number, now);
        table.answered(slot);
        write(table, number, now);
    }

    #[test]
    fn the_newcomer_silent_for_longest_is_dropped() {
        let (mut table, now) = (UserTable::new(3), Instant::now());
        for number in [1, 2, 3, 1, 4] {
            write(&mut table, number, now);
        }
        assert_eq!(there(&table), [1, 3, 4].into());
        write(&mut table, 5, now);
        assert_eq!(there(&table), [1, 4, 5].into());
    }

    #[test]
    fn a_flood_of_forged_sources_pushes_out_no_user_who_talks_to_the_service() {
        let (mut table, now) = (UserTable::new(1_000), Instant::now());
        for number in 0..700 {
            make_regular(&mut table, number, now);
        }
        for number in 1_000..100_000 {
            let slot = write(&mut table, number, now);
            // The service answers some of the datagrams.
            if number % 3 == 0 {
                table.answered(slot);
            }
        }
        assert_eq!(table.len(), 1_000);
        let there = there(&table);
        assert!((0..700).all(|number| there.contains(&number)));
    }

    #[test]
    fn newcomers_find_room_however_many_regulars_there_are() {
        let (mut table, now) = (UserTable::new(1_000), Instant::now());
        for number in 0..2_000 {
            make_regular(&mut table, number, now);
        }
        let regulars: HashSet<u32> = (1_250..2_000).collect();
        assert_eq!(there(&table), regulars);
        for number in 2_000..2_250 {
            write(&mut table, number, now);
        }
        assert_eq!(there(&table), (1_250..2_250).collect());
    }

    #[test]
    fn a_user_who_only_writes_or_is_only_answered_is_no_regular() {
        let (mut table, now) = (UserTable::new(2), Instant::now());
        for _ in 0..9 {
            write(&mut table, 1, now);
        }
        let slot = write(&mut table, 2, now);
        table.answered(slot);
        for number in [3, 4] {
            write(&mut table, number, now);
        }
        assert_eq!(there(&table), [3, 4].into());
    }

    #[test]
    fn the_idle_leave_and_take_their_memory_with_them() {
        let (mut table, start) = (UserTable::new(1_000), Instant::now());
        let second = Duration::from_secs(1);
        for number in 0..300 {
            make_regular(&mut table, number, start);
            write(&mut table, 1_000 + number, start + second);
        }
        write(&mut table, 5, start + second * 2);
        table.drop_idle(second * 3, start + second * 3);
        assert_eq!(table.len(), 301);
        table.drop_idle(second * 3, start + second * 4);
        assert_eq!(there(&table), [5].into());
        let slot = table.slot(&addr(5)).unwrap();
        assert_eq!(table.active_at(slot), Some(start + second * 2));
        table.drop_idle(second * 3, start + second * 5);
        assert!(table.is_empty());
        assert_eq!((table.users.capacity(), table.by_addr.capacity()), (0, 0));
        assert_eq!(table.active_at(slot), None);
    }

    #[test]
    fn slots_are_used_again_and_a_free_one_is_nobody() {
        let (mut table, now) = (UserTable::new(9), Instant::now());
        let first = write(&mut table, 1, now);
        let second = write(&mut table, 2, now);
        assert_eq!(table.remove(first), Some(1));
        assert_eq!(table.get(first), None);
        assert_eq!(table.remove(first), None);
        table.answered(first);
        table.wrote(first, now);
        assert_eq!(table.slot(&addr(1)), None);
        assert_eq!(write(&mut table, 3, now), first);
        assert_eq!((table.get(first), table.get(second)), (Some(&3), Some(&2)));
        // An address belongs to one user at most.
        table.insert(addr(2), now, |_| 4);
        assert_eq!(there(&table), [3, 4].into());
    }

    #[test]
    fn a_table_for_one_serves_one() {
        let (mut table, now) = (UserTable::new(0), Instant::now());
        for number in 0..5 {
            make_regular(&mut table, number, now);
            assert_eq!(there(&table), [number].into());
        }
    }
}
