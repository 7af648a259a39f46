//! Who serves the users of one public place: one backend, or several that take turns.
//!
//! Balancing is here and nowhere else. A proxy without a group has a set of one.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The members that share users. `M` is what a member is to those who serve them.
pub(crate) struct BackendSet<M> {
    members: Mutex<Arc<[Arc<M>]>>,
    next: AtomicUsize,
}

/// One member's place, which is given up when this is dropped. Users it has already stay with it.
#[derive(Debug)]
pub(crate) struct Membership<M> {
    backends: Arc<BackendSet<M>>,
    member: Arc<M>,
}

impl<M> BackendSet<M> {
    /// Adds a member, who gets users from now on.
    pub(crate) fn join(self: &Arc<Self>, member: M) -> Membership<M> {
        let member = Arc::new(member);
        let mut members = self.members();
        let all = members.iter().chain([&member]).cloned().collect();
        let before = std::mem::replace(&mut *members, all);
        drop(members);
        drop(before);
        Membership {
            backends: self.clone(),
            member,
        }
    }

    /// All members, the one whose turn it is first: whoever cannot serve a user leaves it to the next.
    pub(crate) fn in_turn(&self) -> impl Iterator<Item = Arc<M>> + use<M> {
        let members = self.members().clone();
        let first = match members.len() {
            // Whose turn it is means nothing then, and a shared counter would only be passed about.
            0 | 1 => 0,
            len => self.next.fetch_add(1, Ordering::Relaxed) % len,
        };
        (0..members.len()).map(move |turn| members[(first + turn) % members.len()].clone())
    }

    /// Whether nobody is here.
    pub(crate) fn is_empty(&self) -> bool {
        self.members().is_empty()
    }

    /// Whether `test` is true of any member.
    pub(crate) fn any(&self, test: impl Fn(&M) -> bool) -> bool {
        let members = self.members().clone();
        members.iter().any(|member| test(member))
    }

    fn members(&self) -> MutexGuard<'_, Arc<[Arc<M>]>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<M> Drop for Membership<M> {
    fn drop(&mut self) {
        let mut members = self.backends.members();
        let others = members
            .iter()
            .filter(|it| !Arc::ptr_eq(it, &self.member))
            .cloned()
            .collect();
        let before = std::mem::replace(&mut *members, others);
        // Members are dropped when the others can be reached again.
        drop(members);
        drop(before);
    }
}

impl<M> Default for BackendSet<M> {
    fn default() -> Self {
        Self {
            members: Mutex::new(Arc::new([])),
            next: AtomicUsize::new(0),
        }
    }
}

impl<M> fmt::Debug for BackendSet<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BackendSet")
            .field("members", &self.members().len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(backends: &BackendSet<&'static str>) -> Vec<&'static str> {
        backends.in_turn().map(|member| *member).collect()
    }

    #[test]
    fn members_take_turns() {
        let backends = Arc::new(BackendSet::default());
        assert!(turns(&backends).is_empty());
        let _a = backends.join("a");
        assert_eq!(turns(&backends), ["a"]);
        let b = backends.join("b");
        let _c = backends.join("c");
        let firsts: Vec<_> = (0..6).map(|_| turns(&backends)[0]).collect();
        assert_eq!(firsts, ["a", "b", "c", "a", "b", "c"]);
        assert_eq!(turns(&backends), ["a", "b", "c"], "the others stand by");
        drop(b);
        assert_eq!(turns(&backends).len(), 2);
    }

    #[test]
    fn a_member_that_left_is_still_there_for_whom_it_serves() {
        let backends = Arc::new(BackendSet::default());
        let membership = backends.join("a");
        let mut serving = backends.in_turn();
        drop(membership);
        assert_eq!(serving.next().as_deref(), Some(&"a"));
        assert!(turns(&backends).is_empty());
    }
}
