//! The work connections of one session: idle ones, asked-for ones, and who waits.
//!
//! Pure state. It decides how many `ReqWorkConn` to send so that, when all asked
//! for have come, everybody is served and enough idle ones are left: what the client
//! wants kept, and while users come faster than that, one more for each who had to wait.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Beyond the client's pool count, how many surplus connections are kept, as in frp (PROTOCOL 7.2).
const SURPLUS: usize = 10;

/// How many users of one session may wait for a work connection.
const MAX_WAITING: usize = 16_384;

/// A request counts as on its way for this long; then the client may have lost it. Well below the
/// time that users wait, so that a second one still helps them.
const ASKED_FOR: Duration = Duration::from_secs(3);

/// The extra that waiting users brought about is halved when nobody had to wait for this long.
const CALM: Duration = Duration::from_secs(1);

/// Idle connections `C`, and the replies `R` of those who wait for one.
#[derive(Debug)]
pub(super) struct Pool<C, R> {
    target: usize,
    /// Kept ready beyond the target, [`SURPLUS`] at most.
    extra: usize,
    /// When somebody had to wait last, or the extra was halved.
    waited_at: Option<Instant>,
    idle: VecDeque<C>,
    waiting: VecDeque<R>,
    asked_at: VecDeque<Instant>,
}

/// Who may be waiting for a connection.
pub(super) trait Waiter<C> {
    /// Hands the connection over, or gives it back if nobody waits any more.
    fn hand_over(self, conn: C) -> Result<(), C>;

    /// Whether somebody still waits.
    fn waits(&self) -> bool;
}

impl<C, R: Waiter<C>> Pool<C, R> {
    /// A pool that keeps `target` idle connections ready.
    pub(super) fn new(target: usize) -> Self {
        Self {
            target,
            extra: 0,
            waited_at: None,
            idle: VecDeque::new(),
            waiting: VecDeque::new(),
            asked_at: VecDeque::new(),
        }
    }

    /// Somebody needs a connection: the freshest idle one that `is_live`, or the
    /// next that comes. When too many wait, the reply is dropped, which refuses it; returns `false` then.
    pub(super) fn request(
        &mut self,
        reply: R,
        now: Instant,
        is_live: impl Fn(&mut C) -> bool,
    ) -> bool {
        while let Some(mut conn) = self.idle.pop_back() {
            if !is_live(&mut conn) {
                continue;
            }
            match reply.hand_over(conn) {
                Ok(()) => return true,
                Err(conn) => {
                    self.idle.push_back(conn);
                    return true;
                }
            }
        }
        self.extra = (self.extra + 1).min(SURPLUS);
        self.waited_at = Some(now);
        if self.waiting.len() >= MAX_WAITING {
            self.waiting.retain(R::waits);
        }
        let has_room = self.waiting.len() < MAX_WAITING;
        if has_room {
            self.waiting.push_back(reply);
        }
        has_room
    }

    /// How many connections wait for somebody.
    pub(super) fn idle(&self) -> usize {
        self.idle.len()
    }

    /// How many wait for a connection. Some may have left.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// The client offers a connection. Gives it back if the pool is full.
    pub(super) fn offer(&mut self, mut conn: C) -> Result<(), C> {
        self.asked_at.pop_front();
        while let Some(reply) = self.waiting.pop_front() {
            match reply.hand_over(conn) {
                Ok(()) => return Ok(()),
                Err(back) => conn = back,
            }
        }
        if self.idle.len() >= self.target + SURPLUS {
            return Err(conn);
        }
        self.idle.push_back(conn);
        Ok(())
    }

    /// When to ask again, should nothing happen until then: somebody waits, and the client may have
    /// lost the request.
    pub(super) fn ask_again_at(&self) -> Option<Instant> {
        let oldest = self.asked_at.front()?;
        (!self.waiting.is_empty()).then_some(*oldest + ASKED_FOR)
    }

    /// One more than were wanted is asked for.
    pub(super) fn asked(&mut self, now: Instant) {
        self.asked_at.push_back(now);
    }

    /// How many connections to ask the client for now. They then count as asked for.
    pub(super) fn ask(&mut self, now: Instant) -> usize {
        let asked = self.asked_at.len();
        while self
            .asked_at
            .front()
            .is_some_and(|at| now.saturating_duration_since(*at) >= ASKED_FOR)
        {
            self.asked_at.pop_front();
        }
        if self.asked_at.len() < asked {
            // Nothing is asked for again on behalf of users who have left.
            self.waiting.retain(R::waits);
        }
        if self
            .waited_at
            .is_some_and(|at| now.saturating_duration_since(at) >= CALM)
        {
            self.extra /= 2;
            self.waited_at = (self.extra > 0).then_some(now);
        }
        let wanted = self.waiting.len() + self.target + self.extra;
        let coming = self.idle.len() + self.asked_at.len();
        let missing = wanted.saturating_sub(coming);
        self.asked_at.extend(std::iter::repeat_n(now, missing));
        missing
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::rc::Rc;

    /// Notes what it was given; gives back when nobody waits.
    #[derive(Clone, Default)]
    struct User {
        got: Rc<RefCell<Option<u32>>>,
        left: bool,
    }

    impl Waiter<u32> for User {
        fn hand_over(self, conn: u32) -> Result<(), u32> {
            if self.left {
                return Err(conn);
            }
            *self.got.borrow_mut() = Some(conn);
            Ok(())
        }

        fn waits(&self) -> bool {
            !self.left
        }
    }

    fn live(_: &mut u32) -> bool {
        true
    }

    #[test]
    fn the_pool_asks_for_what_is_missing_and_no_more() {
        let now = Instant::now();
        let mut pool = Pool::<u32, User>::new(2);
        assert_eq!(pool.ask(now), 2, "to fill up after login");
        assert_eq!(pool.ask(now), 0, "they are on their way");
        pool.offer(1).unwrap();
        pool.offer(2).unwrap();
        assert_eq!(pool.ask(now), 0);
        let user = User::default();
        pool.request(user.clone(), now, live);
        assert_eq!(*user.got.borrow(), Some(2), "the freshest first");
        assert_eq!(pool.ask(now), 1, "the one that was taken");
    }

    #[test]
    fn who_waits_is_served_first_come_first_served() {
        let now = Instant::now();
        let mut pool = Pool::new(0);
        let (first, gone, second) = (
            User::default(),
            User {
                left: true,
                ..User::default()
            },
            User::default(),
        );
        for user in [&first, &gone, &second] {
            pool.request(user.clone(), now, live);
        }
        assert_eq!(pool.ask(now), 6, "one for each, and one more to be ready");
        pool.offer(1).unwrap();
        pool.offer(2).unwrap();
        assert_eq!(*first.got.borrow(), Some(1));
        assert_eq!(*second.got.borrow(), Some(2), "who left is passed over");
        pool.offer(3).unwrap();
        assert_eq!(pool.idle.len(), 1, "nobody's connection is kept");
    }

    #[test]
    fn what_is_kept_ready_for_a_rush_goes_back_when_it_is_over() {
        let now = Instant::now();
        let mut pool = Pool::new(1);
        for _ in 0..100 {
            pool.request(User::default(), now, live);
        }
        assert_eq!(pool.ask(now), 100 + 1 + SURPLUS);
        for conn in 0..100 {
            pool.offer(conn).unwrap();
        }
        let later = |seconds| now + ASKED_FOR + CALM * seconds;
        assert_eq!(pool.ask(later(0)), 1 + SURPLUS / 2);
        assert_eq!(pool.ask(later(20)), 1 + SURPLUS / 4);
        assert_eq!(pool.ask(later(40)), 1 + SURPLUS / 8);
        assert_eq!(pool.ask(later(60)), 1);
    }

    #[test]
    fn a_request_that_the_client_lost_is_made_again() {
        let now = Instant::now();
        let mut pool = Pool::<u32, User>::new(1);
        assert_eq!(pool.ask(now), 1);
        assert_eq!(pool.ask_again_at(), None, "nobody waits");
        pool.request(User::default(), now, live);
        assert_eq!(pool.ask(now), 2);
        assert_eq!(pool.ask_again_at(), Some(now + ASKED_FOR));
        assert_eq!(pool.ask(now + ASKED_FOR), 2, "the extra is gone by now");
    }

    #[test]
    fn nothing_is_asked_for_again_for_those_who_left() {
        let now = Instant::now();
        let mut pool = Pool::<u32, User>::new(0);
        let gone = User {
            left: true,
            ..User::default()
        };
        pool.request(gone, now, live);
        assert_eq!(pool.ask(now), 2);
        assert_eq!(pool.ask(now + ASKED_FOR), 0);
    }

    #[test]
    fn dead_idle_connections_are_passed_over() {
        let mut pool = Pool::new(2);
        pool.offer(1).unwrap();
        pool.offer(2).unwrap();
        let user = User::default();
        pool.request(user.clone(), Instant::now(), |conn| *conn == 1);
        assert_eq!(*user.got.borrow(), Some(1));
        assert!(pool.idle.is_empty());
    }

    #[test]
    fn the_surplus_is_given_back() {
        let mut pool = Pool::<u32, User>::new(1);
        for conn in 0..11 {
            pool.offer(conn).unwrap();
        }
        assert_eq!(pool.offer(11), Err(11));
    }
}
