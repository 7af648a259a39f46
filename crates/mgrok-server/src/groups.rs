//! Groups of proxies: who may share a public endpoint with whom.
//!
//! A group is there from its first member to its last. `P` is the endpoint they share; it is opened by the first and
//! closed when nobody holds it any more. Whoever holds it is a member: nobody else ever does, not even while it is found out
//! whether a newcomer may join, so no endpoint is closed in passing, and none under the lock that its [`Slot`] takes.

use std::collections::{BTreeSet, HashMap};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use mgrok_config::Strategy;
use mgrok_proto::auth::Secret;
use tokio_util::sync::CancellationToken;

use crate::routes::RouteKey;

/// The groups of one server. Clones share them.
#[derive(Debug)]
pub(crate) struct Groups<P> {
    entries: Arc<Mutex<HashMap<GroupName, Entry<P>>>>,
}

/// What a group is called. Each kind of proxy has groups of its own.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct GroupName {
    pub(crate) kind: &'static str,
    pub(crate) name: String,
}

/// What all members must agree on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum GroupParams {
    /// A public port as asked for, which may be 0.
    Port(i64),
    /// Routes, and who may use them.
    Routes {
        keys: BTreeSet<RouteKey>,
        user: String,
        password: Secret,
    },
}

/// What a member wants of its group.
#[derive(Clone, Debug)]
pub(crate) struct GroupRules {
    pub(crate) key: Secret,
    pub(crate) params: GroupParams,
    /// How they share users; `None` goes along with the others.
    pub(crate) strategy: Option<Strategy>,
}

/// Why a proxy may not join. The texts are frp's where frp has one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JoinError {
    #[error("group auth failed")]
    Key,
    #[error("group params invalid")]
    Routes,
    #[error("group should have same remote port")]
    Port,
    #[error(
        "group should have same loadBalancer.strategy: its first member has said {}, not {}",
        first.as_str(),
        other.as_str()
    )]
    Strategy { first: Strategy, other: Strategy },
}

#[derive(Debug)]
struct Entry<P> {
    rules: GroupRules,
    endpoint: Weak<P>,
    closed: CancellationToken,
}

/// A group's entry, which ends when the endpoint that holds this is closed.
#[derive(Debug)]
pub(crate) struct Slot<P> {
    groups: Groups<P>,
    name: GroupName,
}

impl<P> Default for Groups<P> {
    fn default() -> Self {
        Self {
            entries: Arc::default(),
        }
    }
}

impl<P> Clone for Groups<P> {
    fn clone(&self) -> Self {
        Self {
            entries: self.entries.clone(),
        }
    }
}

impl<P> Groups<P> {
    /// The endpoint of the group `name`, opened with `open` if this is its first member.
    ///
    /// The endpoint must keep its [`Slot`] until it is closed, and give it up after what it held, however it ends: a newcomer
    /// waits for the slot and then takes the same.
    pub(crate) async fn join<E, F>(
        &self,
        name: GroupName,
        rules: GroupRules,
        open: impl FnOnce(Slot<P>) -> F,
    ) -> Result<Arc<P>, E>
    where
        E: From<JoinError>,
        F: Future<Output = Result<P, E>>,
    {
        let slot = loop {
            match self.find_or_claim(&name, &rules)? {
                Found::Open(endpoint) => return Ok(endpoint),
                // Opening and closing are bounded: an endpoint is a socket or some routes.
                Found::Busy(closed) => closed.cancelled().await,
                Found::Claimed(slot) => break slot,
            }
        };
        let endpoint = Arc::new(open(slot).await?);
        let mut entries = self.entries();
        let opening = entries.get_mut(&name).map(|entry| {
            entry.endpoint = Arc::downgrade(&endpoint);
            std::mem::take(&mut entry.closed)
        });
        drop(entries);
        if let Some(opening) = opening {
            // Those who came meanwhile look again.
            opening.cancel();
        }
        Ok(endpoint)
    }

    fn find_or_claim(&self, name: &GroupName, rules: &GroupRules) -> Result<Found<P>, JoinError> {
        let mut entries = self.entries();
        if let Some(entry) = entries.get(name) {
            let busy = || Found::Busy(entry.closed.clone());
            if entry.endpoint.strong_count() == 0 {
                return Ok(busy());
            }
            // Before the newcomer holds the endpoint: it might turn out to be the last one, and would close it here.
            entry.check(rules)?;
            return Ok(entry.endpoint.upgrade().map_or_else(busy, Found::Open));
        }
        entries.insert(
            name.clone(),
            Entry {
                rules: rules.clone(),
                endpoint: Weak::new(),
                closed: CancellationToken::new(),
            },
        );
        Ok(Found::Claimed(Slot {
            groups: self.clone(),
            name: name.clone(),
        }))
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<GroupName, Entry<P>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Found<P> {
    Open(Arc<P>),
    /// Being opened or closed, until this is cancelled.
    Busy(CancellationToken),
    Claimed(Slot<P>),
}

impl<P> Entry<P> {
    fn check(&self, rules: &GroupRules) -> Result<(), JoinError> {
        match (&self.rules.params, &rules.params) {
            (GroupParams::Port(ours), GroupParams::Port(theirs)) if ours != theirs => {
                return Err(JoinError::Port);
            }
            (ours, theirs) if ours != theirs => return Err(JoinError::Routes),
            _ => {}
        }
        if self.rules.key != rules.key {
            return Err(JoinError::Key);
        }
        let first = self.rules.strategy.unwrap_or_default();
        match rules.strategy {
            Some(other) if other != first => return Err(JoinError::Strategy { first, other }),
            Some(_) | None => {}
        }
        Ok(())
    }
}

impl<P> Drop for Slot<P> {
    fn drop(&mut self) {
        let entry = self.groups.entries().remove(&self.name);
        if let Some(entry) = entry {
            entry.closed.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> GroupName {
        GroupName {
            kind: "tcp",
            name: "web".to_owned(),
        }
    }

    /// Groups of an endpoint that is nothing but its slot.
    #[derive(Debug)]
    struct Room(#[expect(dead_code, reason = "held until the room is closed")] Slot<Room>);

    async fn join(groups: &Groups<Room>, key: &str, port: i64) -> Result<Arc<Room>, JoinError> {
        let open = async |slot| Ok(Room(slot));
        groups.join(name(), rules(key, port), open).await
    }

    fn rules(key: &str, port: i64) -> GroupRules {
        GroupRules {
            key: Secret::new(key),
            params: GroupParams::Port(port),
            strategy: None,
        }
    }

    #[tokio::test]
    async fn the_first_member_says_how_users_are_shared() {
        let groups = Groups::default();
        let join = async |strategy| {
            let open = async |slot| Ok::<_, JoinError>(Room(slot));
            let rules = GroupRules {
                strategy,
                ..rules("key", 1)
            };
            groups.join(name(), rules, open).await
        };
        let first = join(Some(Strategy::LeastConnections)).await.unwrap();
        let second = join(Some(Strategy::LeastConnections)).await.unwrap();
        // As frp's clients, who cannot say.
        let third = join(None).await.unwrap();
        let refused = join(Some(Strategy::RoundRobin)).await.unwrap_err();
        let text = "group should have same loadBalancer.strategy: its first member has said leastConnections, not roundRobin";
        assert_eq!(refused.to_string(), text);
        drop((first, second, third));
        let _first = join(None).await.unwrap();
        join(Some(Strategy::SourceAddress)).await.unwrap_err();
        join(Some(Strategy::RoundRobin)).await.unwrap();
    }

    #[tokio::test]
    async fn members_must_know_the_key_and_agree() {
        let groups = Groups::default();
        let first = join(&groups, "key", 1).await.unwrap();
        let second = join(&groups, "key", 1).await.unwrap();
        assert!(Arc::ptr_eq(&first, &second));
        let refused = join(&groups, "other", 1).await.unwrap_err();
        assert_eq!(refused.to_string(), "group auth failed");
        let refused = join(&groups, "key", 2).await.unwrap_err();
        assert_eq!(refused.to_string(), "group should have same remote port");
        drop((first, second));
        join(&groups, "other", 2).await.unwrap();
    }

    #[tokio::test]
    async fn a_newcomer_waits_until_the_old_place_is_closed() {
        let groups = Groups::default();
        let old = join(&groups, "key", 1).await.unwrap();
        let closing = Arc::into_inner(old).unwrap();
        let newcomer = tokio::spawn({
            let groups = groups.clone();
            async move { join(&groups, "key", 2).await.map(drop) }
        });
        tokio::task::yield_now().await;
        assert!(!newcomer.is_finished());
        drop(closing);
        newcomer.await.unwrap().unwrap();
    }

    #[test]
    fn who_is_refused_while_the_last_member_leaves_blocks_nobody() {
        const ROUNDS: usize = 300;
        // So many that comparing them takes a while, in which the other member leaves.
        let key = |number| RouteKey {
            host: format!("a-name-of-some-length-{number}.example.com"),
            location: String::new(),
            user: String::new(),
        };
        let params = GroupParams::Routes {
            keys: (0..5_000).map(key).collect(),
            user: String::new(),
            password: Secret::default(),
        };
        let groups = Groups::default();
        let (done, all_done) = std::sync::mpsc::channel();
        for key in ["key", "wrong"] {
            let (groups, params, done) = (groups.clone(), params.clone(), done.clone());
            std::thread::spawn(move || {
                let mut runtime = tokio::runtime::Builder::new_current_thread();
                let runtime = runtime.build().unwrap();
                for _ in 0..ROUNDS {
                    let open = async |slot| Ok::<_, JoinError>(Room(slot));
                    let rules = GroupRules {
                        key: Secret::new(key),
                        params: params.clone(),
                        strategy: None,
                    };
                    let joined = groups.join(name(), rules, open);
                    drop(runtime.block_on(joined));
                }
                done.send(()).unwrap();
            });
        }
        for _ in 0..2 {
            let patience = std::time::Duration::from_secs(60);
            all_done.recv_timeout(patience).unwrap();
        }
    }

    #[tokio::test]
    async fn a_place_that_cannot_be_opened_leaves_nothing_behind() {
        let groups = Groups::<Room>::default();
        let open = async |_slot| Err(JoinError::Key);
        let failed = groups.join(name(), rules("", 1), open).await;
        failed.unwrap_err();
        join(&groups, "", 2).await.unwrap();
    }
}
