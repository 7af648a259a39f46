//! The clients that are logged in, and those that were.
//!
//! A session is here from its claim until its [`SessionRow`] is dropped. A login with the run id of a session that is still here takes
//! its place (see `takeover`): the newcomer ends the old one and waits for it, so that everything the old one held is free. A client
//! with a name of its own is remembered when its session is over.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use mgrok_net::conn::Conn;
use mgrok_proto::hook::Client;
use mgrok_proto::{Negotiated, RunId};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::changes::{Change, Changes};
use super::takeover::{Credit, Life};
use crate::hooks::HookClient;
use crate::keys::{Keys, Subject};
use crate::links::SessionLinks;
use crate::who::Who;

/// How many clients are remembered that are not here. The one that left first is forgotten first.
const MAX_OFFLINE: usize = 10_000;

/// How long they are remembered.
const REMEMBERED_FOR: Duration = Duration::from_hours(7 * 24);

/// What a client says of itself, and where it comes from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClientInfo {
    /// Its user, which may be empty.
    pub user: String,
    /// Its own name, which may be empty. A client that has one is remembered.
    pub client_id: String,
    /// Its version.
    pub version: String,
    /// The version of the wire protocol that it speaks: `v1` or `v2`; `ssh` for a client of the SSH gateway.
    pub wire_protocol: &'static str,
    /// The name of its host.
    pub hostname: String,
    /// The operating system of its host.
    pub os: String,
    /// The processor of its host.
    pub arch: String,
    /// Where its control connection comes from.
    pub addr: SocketAddr,
}

/// A client that is logged in, or that was.
#[derive(Clone, Debug)]
pub struct SessionInfo {
    /// The client.
    pub client: Arc<ClientInfo>,
    /// Its session; `None` once that is over.
    pub run_id: Option<RunId>,
    /// How many connections the session has, as far as the server knows which are its; 0 once it is over.
    pub links: usize,
    /// When the client logged in for the first time since the server began to remember it.
    pub first_connected_at: SystemTime,
    /// When it logged in for the last time.
    pub last_connected_at: SystemTime,
    /// When its session was over.
    pub disconnected_at: Option<SystemTime>,
}

/// A client that has been verified, by whatever proof.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    /// Names the session; work connections present it.
    pub(crate) run_id: RunId,
    /// Who it is.
    pub(crate) client: Arc<ClientInfo>,
    /// What its operator wants hooks to know.
    pub(crate) metas: BTreeMap<String, String>,
    /// What it was verified with.
    pub(crate) keys: Arc<Keys>,
    /// How it frames messages.
    pub(crate) negotiated: Negotiated,
    /// The connections that it may add to its session.
    pub(crate) links: Arc<SessionLinks>,
    /// Whether the client takes its session from another connection to this one, so that users who were let in stay there. It does
    /// not if that session has not agreed on it.
    pub(crate) migrates: bool,
    /// Whether it has proved on this connection that it may have the session.
    pub(crate) proved: bool,
    /// When its login says that it was signed, in Unix seconds of its own clock.
    pub(crate) signed_at: i64,
    /// Of whom its token is, if it showed one.
    pub(crate) subject: Subject,
}

/// Why a client was not given a session. The texts are frp's.
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
    /// The operator wants no new clients. The text is ours.
    #[error("the server is draining and takes no new clients; try again later, or another server")]
    Draining,
    /// The run id is that of a session of somebody else. The text is ours.
    #[error("the session of this run id is of another OIDC subject; log in without a run id")]
    OtherSubject,
    /// A newer login with the same run id came while this one waited.
    #[error("control was replaced during login")]
    Replaced,
    /// The session of this run id is there, and the newcomer has not shown a better right to it.
    #[error(
        "the session of this run id is online, and its client answers; try again, or log in without a run id"
    )]
    StillThere,
}

/// Why a session was told to end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum StopCause {
    /// The client goes on over another connection, so that it is for the client to close this one.
    Moved,
    /// An operator wants it.
    Operator,
    /// The client has logged in again.
    Replaced,
}

/// A session as others reach it.
#[derive(Clone, Debug)]
pub(crate) struct SessionHandle {
    pub(crate) client: Arc<HookClient>,
    /// What both ends are bound to.
    pub(crate) keys: Arc<Keys>,
    /// Of whom the token of its login is.
    pub(crate) subject: Subject,
    pub(crate) negotiated: Negotiated,
    pub(crate) links: Arc<SessionLinks>,
    /// Where it takes its work connections.
    pub(crate) work_conns: mpsc::Sender<Conn>,
}

/// The clients of one server.
#[derive(Debug)]
pub(super) struct Sessions {
    table: Mutex<Table>,
    changes: Arc<Changes>,
    /// Whether no new clients are let in.
    is_draining: AtomicBool,
}

#[derive(Debug, Default)]
struct Table {
    online: HashMap<RunId, Entry>,
    /// Who of them has a name of its own.
    by_name: HashMap<ClientName, RunId>,
    offline: Offline,
    claims: u64,
}

#[derive(Clone, Debug)]
struct Entry {
    serial: u64,
    about: Arc<ClientInfo>,
    handle: SessionHandle,
    first_connected_at: SystemTime,
    connected_at: SystemTime,
    life: Arc<Life>,
    ending: Arc<Ending>,
}

/// How a session is told to end, and says that it has.
#[derive(Debug, Default)]
struct Ending {
    cause: OnceLock<StopCause>,
    stop: CancellationToken,
    ended: CancellationToken,
}

/// Clients with a name of their own that have left, in the order in which they did.
#[derive(Debug, Default)]
struct Offline {
    clients: BTreeMap<u64, SessionInfo>,
    by_name: HashMap<ClientName, u64>,
    departures: u64,
}

/// A client's user and its own name.
type ClientName = (String, String);

/// The row of one session. When it is dropped, the session is over.
#[derive(Debug)]
pub(crate) struct SessionRow {
    sessions: Arc<Sessions>,
    serial: u64,
    pub(crate) run_id: RunId,
    /// The client.
    pub(crate) about: Arc<ClientInfo>,
    /// The client as hooks hear of it.
    pub(crate) client: Arc<HookClient>,
    /// What both ends are bound to.
    pub(crate) keys: Arc<Keys>,
    /// Of whom the token of the login is.
    pub(crate) subject: Subject,
    /// The connections that it has.
    pub(crate) links: Arc<SessionLinks>,
    first_connected_at: SystemTime,
    connected_at: SystemTime,
    life: Arc<Life>,
    ending: Arc<Ending>,
    /// Whether the session before it is over, so that this one counts.
    has_started: bool,
}

impl Sessions {
    pub(super) fn new(changes: Arc<Changes>) -> Self {
        Self {
            table: Mutex::default(),
            changes,
            is_draining: AtomicBool::new(false),
        }
    }

    /// Adds a session, ending an older one of the same run id first.
    ///
    /// `work_conns` receives the session's work connections. Returns when everything
    /// that the older session held is free again.
    pub(super) async fn claim(
        self: &Arc<Self>,
        identity: Identity,
        work_conns: mpsc::Sender<Conn>,
    ) -> Result<SessionRow, ClaimError> {
        let migrates = identity.migrates;
        let silent = self.silent_rival(&identity).await?;
        let (mut row, old) = self.insert(identity, work_conns, silent)?;
        if let Some(old) = old {
            let (run_id, serial) = (row.run_id.head(), row.serial);
            let cause = if migrates && old.handle.negotiated.can_migrate {
                info!(source = %run_id, "moved to another connection by client [{run_id}] (control ID {serial})");
                StopCause::Moved
            } else {
                info!(source = %run_id, "replaced by client [{run_id}] (control ID {serial})");
                StopCause::Replaced
            };
            old.ending.stop(cause);
            // Bounded: a session that was told to stop waits for nothing that
            // has no deadline of its own.
            old.ending.ended.cancelled().await;
        }
        if row.stop().is_cancelled() {
            return Err(ClaimError::Replaced);
        }
        row.has_started = true;
        self.changes.publish(|| Change::SessionStarted {
            run_id: row.run_id.clone(),
            key: row.about.key(&row.run_id),
        });
        Ok(row)
    }

    /// The serial of the session that stands in the way of `identity` and gives no sign of life, if it has to.
    async fn silent_rival(&self, identity: &Identity) -> Result<Option<u64>, ClaimError> {
        self.table().check_subject(identity)?;
        let rival = self.table().online.get(&identity.run_id).cloned();
        let Some(rival) = rival.filter(|it| it.life.withstands(identity.credit())) else {
            return Ok(None);
        };
        match rival.life.is_silent(rival.ending.ended.cancelled()).await {
            true => Ok(Some(rival.serial)),
            false => Err(ClaimError::StillThere),
        }
    }

    /// Whether a login as `identity` would be refused whatever else it shows.
    pub(super) fn check(&self, identity: &Identity) -> Result<(), ClaimError> {
        let table = self.table();
        self.check_drain(&table, identity)?;
        table.check_subject(identity)?;
        table.check_client_id(identity)
    }

    /// One that is here may go on over another connection.
    fn check_drain(&self, table: &Table, identity: &Identity) -> Result<(), ClaimError> {
        match self.is_draining.load(Ordering::Acquire)
            && !table.online.contains_key(&identity.run_id)
        {
            true => Err(ClaimError::Draining),
            false => Ok(()),
        }
    }

    /// Lets no new clients in from now on, or lets them in again.
    pub(super) fn set_draining(&self, is_draining: bool) {
        self.is_draining.store(is_draining, Ordering::Release);
    }

    /// The session `run_id`, if there is one.
    pub(super) fn find(&self, run_id: &RunId) -> Option<SessionHandle> {
        let table = self.table();
        table.online.get(run_id).map(|it| it.handle.clone())
    }

    /// Whether there is a session of `run_id`.
    pub(super) fn is_online(&self, run_id: &RunId) -> bool {
        self.table().online.contains_key(run_id)
    }

    /// `silent` is the session that may be replaced whatever speaks for it.
    fn insert(
        self: &Arc<Self>,
        identity: Identity,
        work_conns: mpsc::Sender<Conn>,
        silent: Option<u64>,
    ) -> Result<(SessionRow, Option<Entry>), ClaimError> {
        let credit = identity.credit();
        let mut table = self.table();
        self.check_drain(&table, &identity)?;
        table.check_subject(&identity)?;
        table.check_client_id(&identity)?;
        let rival = table.online.get(&identity.run_id);
        if rival.is_some_and(|it| Some(it.serial) != silent && it.life.withstands(credit)) {
            return Err(ClaimError::Replaced);
        }
        let about = identity.client;
        let before = rival.filter(|it| it.about.name() == about.name());
        let before = before.map(|it| it.first_connected_at);
        let remembered = about.name().and_then(|name| table.offline.take(&name));
        let now = SystemTime::now();
        let first = before.or(remembered.map(|it| it.first_connected_at));
        let serial = table.claims;
        table.claims += 1;
        let entry = Entry {
            serial,
            handle: SessionHandle {
                client: Arc::new(HookClient::from(Client {
                    user: about.user.clone(),
                    metas: identity.metas,
                    run_id: identity.run_id.as_str().to_owned(),
                })),
                keys: identity.keys,
                subject: identity.subject,
                negotiated: identity.negotiated,
                links: identity.links,
                work_conns,
            },
            about,
            first_connected_at: first.unwrap_or(now),
            connected_at: now,
            life: Arc::new(Life::new(credit)),
            ending: Arc::default(),
        };
        let row = SessionRow {
            sessions: self.clone(),
            serial,
            run_id: identity.run_id.clone(),
            about: entry.about.clone(),
            client: entry.handle.client.clone(),
            keys: entry.handle.keys.clone(),
            subject: entry.handle.subject.clone(),
            links: entry.handle.links.clone(),
            first_connected_at: entry.first_connected_at,
            connected_at: now,
            life: entry.life.clone(),
            ending: entry.ending.clone(),
            has_started: false,
        };
        let name = entry.about.name();
        let old = table.online.insert(identity.run_id.clone(), entry);
        if let Some(old_name) = old.as_ref().and_then(|it| it.about.name()) {
            table.by_name.remove(&old_name);
        }
        if let Some(name) = name {
            table.by_name.insert(name, identity.run_id);
        }
        Ok((row, old))
    }

    /// All who are here, and those that were and are remembered, in no order.
    pub(super) fn list(&self) -> Vec<SessionInfo> {
        let table = self.table();
        let online = table.online.iter().map(|(run_id, it)| SessionInfo {
            client: it.about.clone(),
            run_id: Some(run_id.clone()),
            links: it.handle.links.count(),
            first_connected_at: it.first_connected_at,
            last_connected_at: it.connected_at,
            disconnected_at: None,
        });
        let offline = table.offline.clients.values().cloned();
        online.chain(offline).collect()
    }

    /// How many are here.
    pub(super) fn online(&self) -> usize {
        self.table().online.len()
    }

    /// Forgets clients that left long before `now`.
    pub(super) fn forget_old(&self, now: SystemTime) {
        let mut table = self.table();
        let is_old = |client: &SessionInfo| {
            let left = client
                .disconnected_at
                .and_then(|at| now.duration_since(at).ok());
            left.is_some_and(|age| age > REMEMBERED_FOR)
        };
        while table.offline.clients.values().next().is_some_and(is_old) {
            table.offline.forget_first();
        }
    }

    /// The session of the client that is called `key`, if it is here.
    pub(super) fn find_key(&self, key: &str) -> Option<RunId> {
        let table = self.table();
        let mut online = table.online.iter();
        let found = online.find(|(run_id, it)| it.about.key(run_id) == key);
        found.map(|(run_id, _)| run_id.clone())
    }

    /// Has the session `run_id` end; whether it is there.
    pub(super) fn end(&self, run_id: &RunId) -> bool {
        let found = self.table().online.get(run_id).map(|it| it.ending.clone());
        found.inspect(|it| it.stop(StopCause::Operator)).is_some()
    }

    /// How many logins have come so far.
    #[cfg(test)]
    pub(super) fn claims(&self) -> u64 {
        self.table().claims
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Nobody takes the place of a session that somebody else has logged in.
    fn check_subject(&self, identity: &Identity) -> Result<(), ClaimError> {
        let rival = self.online.get(&identity.run_id);
        let rival = rival.and_then(|it| it.handle.subject.as_ref());
        match (rival, &identity.subject) {
            (Some(rival), Some(subject)) if rival != subject => Err(ClaimError::OtherSubject),
            _ => Ok(()),
        }
    }

    fn check_client_id(&self, identity: &Identity) -> Result<(), ClaimError> {
        let online = identity.client.name().and_then(|it| self.by_name.get(&it));
        match online {
            Some(run_id) if *run_id != identity.run_id => Err(ClaimError::ClientIdOnline {
                client_id: identity.client.client_id.clone(),
                user: identity.client.user.clone(),
            }),
            Some(_) | None => Ok(()),
        }
    }
}

impl ClientInfo {
    /// Its user and its own name; `None` if it has no name of its own.
    fn name(&self) -> Option<ClientName> {
        (!self.client_id.is_empty()).then(|| (self.user.clone(), self.client_id.clone()))
    }

    /// What clients are told apart by.
    fn key(&self, run_id: &RunId) -> String {
        client_key(&self.user, &self.client_id, run_id)
    }
}

/// What clients are told apart by.
// frp: so (server/registry)
pub(super) fn client_key(user: &str, client_id: &str, run_id: &RunId) -> String {
    let id = match client_id {
        "" => run_id.as_str(),
        client_id => client_id,
    };
    match user {
        "" => id.to_owned(),
        user => format!("{user}.{id}"),
    }
}

impl Identity {
    /// The client as lines of the log have it.
    pub(crate) fn who(&self) -> Who {
        let ClientInfo {
            user,
            client_id,
            addr,
            ..
        } = &*self.client;
        Who::new(user, client_id, &self.run_id, *addr)
    }

    fn credit(&self) -> Credit {
        Credit {
            proved: self.proved,
            signed_at: self.signed_at,
        }
    }
}

impl Ending {
    fn stop(&self, cause: StopCause) {
        // The first cause counts, but for an operator whose session is replaced before it has ended.
        let _ = self.cause.set(cause);
        self.stop.cancel();
    }
}

impl Offline {
    fn take(&mut self, name: &ClientName) -> Option<SessionInfo> {
        let number = self.by_name.remove(name)?;
        self.clients.remove(&number)
    }

    fn remember(&mut self, name: ClientName, client: SessionInfo) {
        self.departures += 1;
        if let Some(before) = self.by_name.insert(name, self.departures) {
            self.clients.remove(&before);
        }
        self.clients.insert(self.departures, client);
        if self.clients.len() > MAX_OFFLINE {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        if let Some((_, oldest)) = self.clients.pop_first()
            && let Some(name) = oldest.client.name()
        {
            self.by_name.remove(&name);
        }
    }
}

impl SessionInfo {
    /// What clients are told apart by: their user and their own name, or their run id if they have no name.
    pub fn key(&self) -> String {
        self.client
            .key(self.run_id.as_ref().unwrap_or(&RunId::from("")))
    }

    /// The client's own name, or its run id.
    pub fn client_id(&self) -> &str {
        match (self.client.client_id.as_str(), &self.run_id) {
            ("", Some(run_id)) => run_id.as_str(),
            (client_id, _) => client_id,
        }
    }

    /// Whether the client is logged in.
    pub fn is_online(&self) -> bool {
        self.run_id.is_some()
    }
}

impl SessionRow {
    /// Cancelled when somebody wants this session to end.
    pub(crate) fn stop(&self) -> &CancellationToken {
        &self.ending.stop
    }

    /// Why somebody wants this session to end, if somebody does.
    pub(crate) fn stop_cause(&self) -> Option<StopCause> {
        self.ending.cause.get().copied()
    }

    /// The client was heard on the control connection. Takes note if only who knows the token could have said that.
    pub(crate) fn heard(&self, proves: bool) {
        self.life.heard(proves);
    }

    /// Waits until somebody wants to know whether the client is there. Cancel-safe.
    pub(crate) async fn asked_for_life(&self) {
        self.life.asked().await;
    }
}

impl Drop for SessionRow {
    fn drop(&mut self) {
        let name = self.about.name();
        let mut table = self.sessions.table();
        let is_current = table.online.get(&self.run_id);
        let is_current = is_current.is_some_and(|it| it.serial == self.serial);
        let entry = is_current
            .then(|| table.online.remove(&self.run_id))
            .flatten();
        if let Some(name) = name {
            if is_current {
                table.by_name.remove(&name);
            }
            // frp: who has no name of its own is gone for good
            if !table.by_name.contains_key(&name) {
                let client = SessionInfo {
                    client: self.about.clone(),
                    run_id: None,
                    links: 0,
                    first_connected_at: self.first_connected_at,
                    last_connected_at: self.connected_at,
                    disconnected_at: Some(SystemTime::now()),
                };
                table.offline.remember(name, client);
            }
        }
        drop(table);
        // It may hold the last work connections that were offered.
        drop(entry);
        if self.has_started {
            self.sessions.changes.publish(|| Change::SessionEnded {
                run_id: self.run_id.clone(),
                key: self.about.key(&self.run_id),
            });
        }
        self.ending.ended.cancel();
    }
}
