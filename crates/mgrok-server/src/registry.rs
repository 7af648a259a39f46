//! Who is logged in, and which proxy names are taken, over the whole server.
//!
//! A session is here from its claim until its [`Claim`] is dropped. A login with
//! the run id of a session that is still here takes its place: the newcomer ends
//! the old one and waits for it, so that everything the old one held is free.
//!
//! # Who may end a session
//!
//! A run id is no secret, and a `Login` can be recorded and sent again: by itself it says neither that its sender knows
//! the token nor that it was written just now. So
//!
//! 1. a newcomer who has proved to know the token on this very connection ends the session at once. In v2 that is whoever
//!    has sent a record that could be opened, because its key depends on the server's random value;
//! 2. a newcomer who cannot prove it (v1 has no such thing) ends the session at once if its `Login` was signed later than that of
//!    the session, as is the rule when a client of frp reconnects. What was recorded was not signed later;
//! 3. any other newcomer, and any that proves nothing where the session has, waits while the session's client is asked
//!    for a work connection. If it offers one (or says anything) within [`SIGN_OF_LIFE`], it is there, and the newcomer is
//!    refused. If not, it is gone, and the newcomer has its place. This is what a client meets whose clock was set back, or
//!    which reconnects within the same second.
//!
//! Clocks of the two ends are never compared: frp's clients may have any time they like.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mgrok_net::conn::Conn;
use mgrok_proto::hook::Client;
use mgrok_proto::{Negotiated, RunId};
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::hooks::HookClient;
use crate::policy::Keys;
use crate::ports::Rival;

/// How many fresh work connections may wait for their session to look at them.
pub(crate) const WORK_CONN_QUEUE: usize = 256;

/// How long the client of a session may take to show that it is there, when somebody wants its place who has proved
/// nothing. Many times a round trip; frp's clients wait 10 s for the answer to their login.
const SIGN_OF_LIFE: Duration = Duration::from_secs(3);

/// The sessions and proxy names of one server. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Registry {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    sessions: Mutex<HashMap<RunId, Entry>>,
    /// Each with the user whose client has it.
    proxy_names: Mutex<HashMap<Arc<str>, Arc<str>>>,
    claims: AtomicU64,
}

/// A session as others reach it.
#[derive(Clone, Debug)]
struct Entry {
    serial: u64,
    client: Arc<HookClient>,
    keys: Arc<Keys>,
    client_id: String,
    negotiated: Negotiated,
    signed_at: i64,
    life: Arc<Life>,
    work_conns: mpsc::Sender<Conn>,
    stop: CancellationToken,
    moved: CancellationToken,
    ended: CancellationToken,
}

/// What shows that a session's client is there.
#[derive(Debug, Default)]
struct Life {
    /// Whether it has ever sent what nobody could who does not know the token.
    proved: AtomicBool,
    /// Somebody wants to know.
    asked: Notify,
    /// It was heard, or has offered a work connection.
    heard: Notify,
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
    /// What it was verified with.
    pub(crate) keys: Arc<Keys>,
    /// How it frames messages.
    pub(crate) negotiated: Negotiated,
    /// Whether the client takes its session from another connection to this one, so that users who were let in stay there. It does
    /// not if that session speaks in a way that knows nothing of it.
    pub(crate) moves: bool,
    /// Whether it has proved on this connection that it knows the token.
    pub(crate) proved: bool,
    /// When its login says that it was signed, in Unix seconds of its own clock.
    pub(crate) signed_at: i64,
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
    /// The session of this run id is there, and the newcomer has not shown a better right to it.
    #[error(
        "the session of this run id is online, and its client answers; try again, or log in without a run id"
    )]
    StillThere,
}

/// The place of one session in the registry, given back when dropped.
#[derive(Debug)]
pub(crate) struct Claim {
    registry: Registry,
    run_id: RunId,
    serial: u64,
    /// Whose session it is.
    pub(crate) client: Arc<HookClient>,
    /// What both ends are bound to.
    pub(crate) keys: Arc<Keys>,
    life: Arc<Life>,
    /// Cancelled when somebody wants this session to end.
    pub(crate) stop: CancellationToken,
    moved: CancellationToken,
    ended: CancellationToken,
}

impl Registry {
    /// Registers a session, ending an older one of the same run id first.
    ///
    /// `work_conns` receives the session's work connections. Returns when everything
    /// that the older session held is free again.
    pub(crate) async fn claim(
        &self,
        identity: Identity,
        work_conns: mpsc::Sender<Conn>,
    ) -> Result<Claim, ClaimError> {
        let moves = identity.moves;
        let silent = self.silent_rival(&identity).await?;
        let (claim, old) = self.insert(identity, work_conns, silent)?;
        if let Some(old) = old {
            let (run_id, serial) = (claim.run_id.head(), claim.serial);
            if moves && old.negotiated.can_migrate {
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

    /// The serial of the session that stands in the way of `identity` and gives no sign of life, if it has to.
    async fn silent_rival(&self, identity: &Identity) -> Result<Option<u64>, ClaimError> {
        let rival = self.sessions().get(&identity.run_id).cloned();
        let Some(rival) = rival.filter(|it| it.withstands(identity)) else {
            return Ok(None);
        };
        let heard = rival.life.heard.notified();
        tokio::pin!(heard);
        // From now on it is heard; what it said before does not count.
        heard.as_mut().enable();
        rival.life.asked.notify_one();
        tokio::select! {
            () = heard => Err(ClaimError::StillThere),
            // It has ended meanwhile, or it does not answer.
            _ = timeout(SIGN_OF_LIFE, rival.ended.cancelled()) => Ok(Some(rival.serial)),
        }
    }

    /// Whether a login as `identity` would be refused whatever else it shows.
    pub(crate) fn check(&self, identity: &Identity) -> Result<(), ClaimError> {
        check_client_id(&self.sessions(), identity)
    }

    /// Whether there is a session of `run_id`.
    pub(crate) fn is_online(&self, run_id: &RunId) -> bool {
        self.sessions().contains_key(run_id)
    }

    /// `silent` is the session that may be replaced whatever speaks for it.
    fn insert(
        &self,
        identity: Identity,
        work_conns: mpsc::Sender<Conn>,
        silent: Option<u64>,
    ) -> Result<(Claim, Option<Entry>), ClaimError> {
        let mut sessions = self.sessions();
        check_client_id(&sessions, &identity)?;
        let rival = sessions.get(&identity.run_id);
        if rival.is_some_and(|it| Some(it.serial) != silent && it.withstands(&identity)) {
            return Err(ClaimError::Replaced);
        }
        let life = Life {
            proved: AtomicBool::new(identity.proved),
            ..Life::default()
        };
        let entry = Entry {
            serial: self.inner.claims.fetch_add(1, Ordering::Relaxed),
            client: Arc::new(HookClient::from(Client {
                user: identity.user,
                metas: identity.metas,
                run_id: identity.run_id.as_str().to_owned(),
            })),
            keys: identity.keys,
            client_id: identity.client_id,
            negotiated: identity.negotiated,
            signed_at: identity.signed_at,
            life: Arc::new(life),
            work_conns,
            stop: CancellationToken::new(),
            moved: CancellationToken::new(),
            ended: CancellationToken::new(),
        };
        let claim = Claim {
            registry: self.clone(),
            run_id: identity.run_id.clone(),
            serial: entry.serial,
            client: entry.client.clone(),
            keys: entry.keys.clone(),
            life: entry.life.clone(),
            stop: entry.stop.clone(),
            moved: entry.moved.clone(),
            ended: entry.ended.clone(),
        };
        let old = sessions.insert(identity.run_id, entry);
        Ok((claim, old))
    }

    /// Where the session of `run_id` takes its work connections.
    pub(crate) fn work_conns(&self, run_id: &RunId) -> Option<mpsc::Sender<Conn>> {
        self.sessions().get(run_id).map(|it| it.work_conns.clone())
    }

    /// Whose session `run_id` is and what it was verified with, if it is one.
    pub(crate) fn client(&self, run_id: &RunId) -> Option<(Arc<HookClient>, Arc<Keys>)> {
        let sessions = self.sessions();
        let entry = sessions.get(run_id)?;
        Some((entry.client.clone(), entry.keys.clone()))
    }

    /// How the client of the session `run_id` frames messages, if it is one.
    pub(crate) fn negotiated(&self, run_id: &RunId) -> Option<Negotiated> {
        self.sessions().get(run_id).map(|it| it.negotiated)
    }

    /// Takes a proxy name for a client of `user`; it is unique over all clients. Says who has it, if somebody does.
    pub(crate) fn take_name(&self, name: &Arc<str>, user: &Arc<str>) -> Result<NameLease, Rival> {
        let mut names = self.proxy_names();
        if let Some(owner) = names.get(name) {
            return Err(if owner == user {
                Rival::Own(name.clone())
            } else {
                Rival::Other
            });
        }
        names.insert(name.clone(), user.clone());
        Ok(NameLease {
            registry: self.clone(),
            name: name.clone(),
        })
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<RunId, Entry>> {
        self.inner
            .sessions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn proxy_names(&self) -> MutexGuard<'_, HashMap<Arc<str>, Arc<str>>> {
        self.inner
            .proxy_names
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn check_client_id(
    sessions: &HashMap<RunId, Entry>,
    identity: &Identity,
) -> Result<(), ClaimError> {
    if identity.client_id.is_empty() {
        return Ok(());
    }
    let online = sessions.iter().any(|(run_id, it)| {
        *run_id != identity.run_id
            && it.client.user == identity.user
            && it.client_id == identity.client_id
    });
    if online {
        return Err(ClaimError::ClientIdOnline {
            client_id: identity.client_id.clone(),
            user: identity.user.clone(),
        });
    }
    Ok(())
}

impl Entry {
    /// Whether the session has to be found silent before `newcomer` may have its place.
    fn withstands(&self, newcomer: &Identity) -> bool {
        let proved = self.life.proved.load(Ordering::Relaxed);
        !newcomer.proved && (proved || newcomer.signed_at <= self.signed_at)
    }
}

impl Claim {
    /// The client was heard on the control connection. Takes note if only who knows the token could have said that.
    pub(crate) fn heard(&self, proves: bool) {
        if proves {
            self.life.proved.store(true, Ordering::Relaxed);
        }
        self.life.heard.notify_waiters();
    }

    /// Waits until somebody wants to know whether the client is there. Cancel-safe.
    pub(crate) async fn asked_for_life(&self) {
        self.life.asked.notified().await;
    }

    /// Whether the client has taken the session to another connection, so that it is for the client to close the one before.
    pub(crate) fn has_moved(&self) -> bool {
        self.moved.is_cancelled()
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut sessions = self.registry.sessions();
        let entry = match sessions.get(&self.run_id) {
            Some(it) if it.serial == self.serial => sessions.remove(&self.run_id),
            Some(_) | None => None,
        };
        drop(sessions);
        // It may hold the last work connections that were offered.
        drop(entry);
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
        let _ = self.registry.proxy_names().remove(&self.name);
    }
}

#[cfg(test)]
mod tests {
    use mgrok_config::Auth;
    use mgrok_proto::WireVersion;
    use mgrok_proto::hello::Extension;

    use super::*;

    fn identity(run_id: &str, client_id: &str) -> Identity {
        Identity {
            run_id: RunId::from(run_id),
            user: "u".into(),
            client_id: client_id.into(),
            metas: BTreeMap::new(),
            keys: Arc::new(Keys::new(&Auth::default())),
            negotiated: Negotiated::new(WireVersion::V1, "0.70.1", &[]),
            moves: false,
            proved: false,
            signed_at: 0,
        }
    }

    /// As [`identity`], signed so much later.
    fn later(signed_at: i64) -> Identity {
        Identity {
            signed_at,
            ..identity("r", "")
        }
    }

    fn work_conns() -> mpsc::Sender<Conn> {
        mpsc::channel(1).0
    }

    #[tokio::test]
    async fn a_newcomer_waits_until_the_old_session_is_gone() {
        let registry = Registry::default();
        let old = registry
            .claim(identity("r", ""), work_conns())
            .await
            .unwrap();
        let stop = old.stop.clone();
        let newcomer = tokio::spawn({
            let registry = registry.clone();
            async move { registry.claim(later(1), work_conns()).await }
        });
        stop.cancelled().await;
        assert!(
            !newcomer.is_finished(),
            "the old session still holds things"
        );
        drop(old);
        let new = newcomer.await.unwrap().unwrap();
        assert!(registry.work_conns(&RunId::from("r")).is_some());
        drop(new);
        assert!(registry.work_conns(&RunId::from("r")).is_none());
    }

    #[tokio::test]
    async fn a_session_moves_only_if_both_logins_said_so() {
        let (knows, does_not) = (&[Extension::CAN_MIGRATE][..], &[][..]);
        for (before, moves, has_moved) in [
            (knows, true, true),
            (knows, false, false),
            (does_not, true, false),
        ] {
            let registry = Registry::default();
            let before = Identity {
                negotiated: Negotiated::new(WireVersion::V2, "0.70.1", before),
                ..identity("r", "")
            };
            let after = Identity { moves, ..later(1) };
            let old = registry.claim(before, work_conns()).await.unwrap();
            let newcomer = tokio::spawn({
                let registry = registry.clone();
                async move { registry.claim(after, work_conns()).await }
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
        let first = registry
            .claim(identity("r", ""), work_conns())
            .await
            .unwrap();
        let claim = |registry: Registry, signed_at| {
            tokio::spawn(async move { registry.claim(later(signed_at), work_conns()).await })
        };
        let second = claim(registry.clone(), 1);
        first.stop.cancelled().await;
        let third = claim(registry.clone(), 2);
        while registry.inner.claims.load(Ordering::Relaxed) < 3 {
            tokio::task::yield_now().await;
        }
        drop(first);
        assert!(matches!(second.await.unwrap(), Err(ClaimError::Replaced)));
        third.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_login_sent_again_does_not_end_a_session_whose_client_answers() {
        let registry = Registry::default();
        let live = registry.claim(later(7), work_conns()).await.unwrap();
        for replayed in [later(7), later(6)] {
            let answering = async {
                live.asked_for_life().await;
                live.heard(false);
                std::future::pending().await
            };
            let refused = tokio::select! {
                refused = registry.claim(replayed, work_conns()) => refused.unwrap_err(),
                () = answering => unreachable!("it is pending"),
            };
            assert!(matches!(refused, ClaimError::StillThere), "{refused}");
        }
        assert!(!live.stop.is_cancelled());
        assert!(registry.is_online(&RunId::from("r")));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_whose_clock_went_back_has_its_place_when_nobody_else_answers() {
        let registry = Registry::default();
        let dead = registry.claim(later(7), work_conns()).await.unwrap();
        let began = tokio::time::Instant::now();
        let newcomer = tokio::spawn({
            let registry = registry.clone();
            async move { registry.claim(later(3), work_conns()).await }
        });
        dead.stop.cancelled().await;
        assert_eq!(began.elapsed().as_secs(), SIGN_OF_LIFE.as_secs());
        drop(dead);
        newcomer.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn only_proof_ends_a_session_that_has_proved_itself() {
        let registry = Registry::default();
        let live = registry.claim(later(7), work_conns()).await.unwrap();
        live.heard(true);
        let withstands = |identity| registry.sessions()[&RunId::from("r")].withstands(&identity);
        assert!(withstands(later(8)));
        let proved = |signed_at| Identity {
            proved: true,
            ..later(signed_at)
        };
        assert!(!withstands(proved(3)));
    }

    #[tokio::test]
    async fn a_client_id_is_online_once_per_user() {
        let registry = Registry::default();
        let _first = registry
            .claim(identity("a", "id"), work_conns())
            .await
            .unwrap();
        let refused = registry.claim(identity("b", "id"), work_conns()).await;
        assert_eq!(
            refused.unwrap_err().to_string(),
            "client_id [id] for user [u] is already online"
        );
        let mut other = identity("b", "id");
        other.user = "v".into();
        registry.claim(other, work_conns()).await.unwrap();
    }

    #[test]
    fn a_name_is_free_again_when_its_lease_is_dropped() {
        let registry = Registry::default();
        let (ssh, ann, eve): (Arc<str>, Arc<str>, Arc<str>) =
            ("ssh".into(), "ann".into(), "eve".into());
        let lease = registry.take_name(&ssh, &ann).unwrap();
        let taken = |user| registry.take_name(&ssh, user).unwrap_err().to_string();
        assert_eq!(taken(&ann), "your proxy [ssh]");
        assert_eq!(taken(&eve), "another client's proxy");
        drop(lease);
        registry.take_name(&ssh, &eve).unwrap();
    }
}
