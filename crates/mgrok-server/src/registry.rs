//! Who is logged in, and which proxy names are taken, over the whole server.
//!
//! A session is here from its claim until its [`Claim`] is dropped. A login with
//! the run id of a session that is still here takes its place: the newcomer ends
//! the old one and waits for it, so that everything the old one held is free.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use mgrok_net::conn::Conn;
use mgrok_proto::{Dialect, RunId, hook::Client};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::info;

/// How many fresh work connections may wait for their session to look at them.
pub(crate) const OFFER_QUEUE: usize = 256;

/// The sessions and proxy names of one server. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Registry {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    sessions: Mutex<HashMap<RunId, Entry>>,
    proxy_names: Mutex<HashSet<Arc<str>>>,
    claims: AtomicU64,
}

/// A session as others reach it.
#[derive(Clone, Debug)]
struct Entry {
    serial: u64,
    client: Arc<Client>,
    client_id: String,
    dialect: Dialect,
    offers: mpsc::Sender<Conn>,
    stop: CancellationToken,
    moved: CancellationToken,
    ended: CancellationToken,
}

/// Who wants to be registered.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    /// Names the session; work connections present it.
    pub(crate) run_id: RunId,
    /// The client's user, which may be empty.
    pub(crate) user: String,
    /// The client's own stable name, which may be empty.
    pub(crate) client_id: String,
    /// What its operator wants hooks to know.
    pub(crate) metas: BTreeMap<String, String>,
    /// How it frames messages.
    pub(crate) dialect: Dialect,
    /// Whether the client takes its session from another connection to this one, so that users who were let in stay there. It does
    /// not if that session speaks in a way that knows nothing of it.
    pub(crate) moves: bool,
}

/// Why a login was not registered. The texts are frp's.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClaimError {
    /// Another run id is online under the same user and client id.
    #[error("client_id [{client_id}] for user [{user}] is already online")]
    ClientIdOnline {
        /// The id in question.
        client_id: String,
        /// Its user.
        user: String,
    },
    /// A newer login with the same run id came while this one waited.
    #[error("control was replaced during login")]
    Replaced,
}

/// The place of one session in the registry, given back when dropped.
#[derive(Debug)]
pub(crate) struct Claim {
    registry: Registry,
    run_id: RunId,
    serial: u64,
    /// Whose session it is.
    pub(crate) client: Arc<Client>,
    /// Cancelled when somebody wants this session to end.
    pub(crate) stop: CancellationToken,
    moved: CancellationToken,
    ended: CancellationToken,
}

impl Registry {
    /// Registers a session, ending an older one of the same run id first.
    ///
    /// `offers` receives the session's work connections. Returns when everything
    /// that the older session held is free again.
    pub(crate) async fn claim(
        &self,
        identity: Identity,
        offers: mpsc::Sender<Conn>,
    ) -> Result<Claim, ClaimError> {
        let moves = identity.moves;
        let (claim, old) = self.insert(identity, offers)?;
        if let Some(old) = old {
            let (run_id, serial) = (&claim.run_id, claim.serial);
            if moves && old.dialect.moves {
                info!(source = %run_id, "moved to another connection by client [{run_id}] (control ID {serial})");
                old.moved.cancel();
            } else {
                info!(source = %run_id, "replaced by client [{run_id}] (control ID {serial})");
            }
            old.stop.cancel();
            // Bounded: a session that was told to stop waits for nothing that
            // has no deadline of its own.
            old.ended.cancelled().await;
        }
        if claim.stop.is_cancelled() {
            return Err(ClaimError::Replaced);
        }
        Ok(claim)
    }

    fn insert(
        &self,
        identity: Identity,
        offers: mpsc::Sender<Conn>,
    ) -> Result<(Claim, Option<Entry>), ClaimError> {
        let mut sessions = self.sessions();
        if !identity.client_id.is_empty() {
            let online = sessions.iter().any(|(run_id, it)| {
                *run_id != identity.run_id
                    && it.client.user == identity.user
                    && it.client_id == identity.client_id
            });
            if online {
                return Err(ClaimError::ClientIdOnline {
                    client_id: identity.client_id,
                    user: identity.user,
                });
            }
        }
        let entry = Entry {
            serial: self.inner.claims.fetch_add(1, Ordering::Relaxed),
            client: Arc::new(Client {
                user: identity.user,
                metas: identity.metas,
                run_id: identity.run_id.as_str().to_owned(),
            }),
            client_id: identity.client_id,
            dialect: identity.dialect,
            offers,
            stop: CancellationToken::new(),
            moved: CancellationToken::new(),
            ended: CancellationToken::new(),
        };
        let claim = Claim {
            registry: self.clone(),
            run_id: identity.run_id.clone(),
            serial: entry.serial,
            client: entry.client.clone(),
            stop: entry.stop.clone(),
            moved: entry.moved.clone(),
            ended: entry.ended.clone(),
        };
        let old = sessions.insert(identity.run_id, entry);
        Ok((claim, old))
    }

    /// Where the session of `run_id` takes its work connections.
    pub(crate) fn offers(&self, run_id: &RunId) -> Option<mpsc::Sender<Conn>> {
        self.sessions().get(run_id).map(|it| it.offers.clone())
    }

    /// Whose session `run_id` is, if it is one.
    pub(crate) fn client(&self, run_id: &RunId) -> Option<Arc<Client>> {
        self.sessions().get(run_id).map(|it| it.client.clone())
    }

    /// How the client of the session `run_id` frames messages, if it is one.
    pub(crate) fn dialect(&self, run_id: &RunId) -> Option<Dialect> {
        self.sessions().get(run_id).map(|it| it.dialect)
    }

    /// Takes a proxy name, which is unique over all clients; `None` if somebody has it.
    pub(crate) fn take_name(&self, name: &str) -> Option<NameLease> {
        let name: Arc<str> = name.into();
        self.proxy_names().insert(name.clone()).then(|| NameLease {
            registry: self.clone(),
            name,
        })
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<RunId, Entry>> {
        self.inner
            .sessions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn proxy_names(&self) -> MutexGuard<'_, HashSet<Arc<str>>> {
        self.inner
            .proxy_names
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Claim {
    /// Whether the client has taken the session to another connection, so that it is for the client to close the one before.
    pub(crate) fn has_moved(&self) -> bool {
        self.moved.is_cancelled()
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut sessions = self.registry.sessions();
        if sessions
            .get(&self.run_id)
            .is_some_and(|it| it.serial == self.serial)
        {
            sessions.remove(&self.run_id);
        }
        drop(sessions);
        self.ended.cancel();
    }
}

/// A proxy name that nobody else may take until this is dropped.
#[derive(Debug)]
pub(crate) struct NameLease {
    registry: Registry,
    name: Arc<str>,
}

impl Drop for NameLease {
    fn drop(&mut self) {
        self.registry.proxy_names().remove(&self.name);
    }
}

#[cfg(test)]
mod tests {
    use mgrok_proto::{WireVersion, hello::Extension};

    use super::*;

    fn identity(run_id: &str, client_id: &str) -> Identity {
        Identity {
            run_id: RunId::from(run_id),
            user: "u".into(),
            client_id: client_id.into(),
            metas: BTreeMap::new(),
            dialect: Dialect::new(WireVersion::V1, "0.70.1", &[]),
            moves: false,
        }
    }

    fn offers() -> mpsc::Sender<Conn> {
        mpsc::channel(1).0
    }

    #[tokio::test]
    async fn a_newcomer_waits_until_the_old_session_is_gone() {
        let registry = Registry::default();
        let old = registry.claim(identity("r", ""), offers()).await.unwrap();
        let stop = old.stop.clone();
        let newcomer = tokio::spawn({
            let registry = registry.clone();
            async move { registry.claim(identity("r", ""), offers()).await }
        });
        stop.cancelled().await;
        assert!(
            !newcomer.is_finished(),
            "the old session still holds things"
        );
        drop(old);
        let new = newcomer.await.unwrap().unwrap();
        assert!(registry.offers(&RunId::from("r")).is_some());
        drop(new);
        assert!(registry.offers(&RunId::from("r")).is_none());
    }

    #[tokio::test]
    async fn a_session_moves_only_if_both_logins_said_so() {
        let (knows, does_not) = (&[Extension::MOVES][..], &[][..]);
        for (before, moves, has_moved) in [
            (knows, true, true),
            (knows, false, false),
            (does_not, true, false),
        ] {
            let registry = Registry::default();
            let before = Identity {
                dialect: Dialect::new(WireVersion::V2, "0.70.1", before),
                ..identity("r", "")
            };
            let after = Identity {
                moves,
                ..identity("r", "")
            };
            let old = registry.claim(before, offers()).await.unwrap();
            let newcomer = tokio::spawn({
                let registry = registry.clone();
                async move { registry.claim(after, offers()).await }
            });
            old.stop.cancelled().await;
            assert_eq!(old.has_moved(), has_moved);
            drop(old);
            assert!(!newcomer.await.unwrap().unwrap().has_moved());
        }
    }

    #[tokio::test]
    async fn of_three_logins_the_last_one_wins() {
        let registry = Registry::default();
        let first = registry.claim(identity("r", ""), offers()).await.unwrap();
        let claim = |registry: Registry| {
            tokio::spawn(async move { registry.claim(identity("r", ""), offers()).await })
        };
        let second = claim(registry.clone());
        first.stop.cancelled().await;
        let third = claim(registry.clone());
        while registry.inner.claims.load(Ordering::Relaxed) < 3 {
            tokio::task::yield_now().await;
        }
        drop(first);
        assert!(matches!(second.await.unwrap(), Err(ClaimError::Replaced)));
        third.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_client_id_is_online_once_per_user() {
        let registry = Registry::default();
        let _first = registry.claim(identity("a", "id"), offers()).await.unwrap();
        let refused = registry.claim(identity("b", "id"), offers()).await;
        assert_eq!(
            refused.unwrap_err().to_string(),
            "client_id [id] for user [u] is already online"
        );
        let mut other = identity("b", "id");
        other.user = "v".into();
        registry.claim(other, offers()).await.unwrap();
    }

    #[test]
    fn a_name_is_free_again_when_its_lease_is_dropped() {
        let registry = Registry::default();
        let lease = registry.take_name("ssh").unwrap();
        assert!(registry.take_name("ssh").is_none());
        drop(lease);
        assert!(registry.take_name("ssh").is_some());
    }
}
