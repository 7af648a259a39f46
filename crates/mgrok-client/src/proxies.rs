//! The schedule of a client's proxies: which there are, and what to announce and withdraw when.
//!
//! All proxies are in one table (`proxies/table.rs`) that others may watch but only [`Proxies`] changes. It does no I/O and takes the
//! time as an argument. Configuration is always applied as a difference to what there is, start-up being the difference to nothing.

mod table;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mgrok_config::ProxyConfig;
use mgrok_net::resolver::Resolver;
use mgrok_proto::cipher::CipherKey;
use mgrok_proto::message::{CloseProxy, NewProxy, NewProxyResp};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::table::Entry;
pub use self::table::StatusWatch;
pub(crate) use self::table::Table;
use crate::metrics::Metrics;
use crate::proxy::{Proxy, local_name};
use crate::server_text::server_text;
use crate::status::{ProxyPhase, ProxyStatus};
use crate::users::Users;
use crate::virtual_net::VirtualNetwork;
use mgrok_config::wire_name;

/// How long an announcement may stay unanswered before it is repeated.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a proxy that was refused, or not ready, waits before it is announced again.
pub(crate) const RETRY_AFTER_ERROR: Duration = Duration::from_secs(30);
/// How long announcements pause when too much waits to be sent.
const RETRY_WHEN_FULL: Duration = Duration::from_secs(1);
/// The most announcements without an answer at a time. Keeps the queue of the control connection
/// short however many proxies there are, and is many enough to hide a long round trip.
const MAX_UNANSWERED: usize = 256;

/// What is to be announced when. Ordered, so that thousands of proxies cost no search.
#[derive(Debug, Default)]
struct Due {
    /// Those that were never announced, or refused.
    fresh: BTreeSet<(Instant, Arc<str>)>,
    /// Those whose announcement has to be repeated if no answer comes.
    repeat: BTreeSet<(Instant, Arc<str>)>,
}

impl Due {
    fn insert(&mut self, phase: ProxyPhase, at: Instant, name: Arc<str>) {
        match phase {
            ProxyPhase::WaitStart => self.repeat.insert((at, name)),
            ProxyPhase::CheckFailed
            | ProxyPhase::Closed
            | ProxyPhase::New
            | ProxyPhase::Running
            | ProxyPhase::StartError => self.fresh.insert((at, name)),
        };
    }

    fn remove(&mut self, at: Instant, name: &Arc<str>) {
        let due = (at, name.clone());
        self.fresh.remove(&due);
        self.repeat.remove(&due);
    }
}

/// What [`Proxies::apply`] changed. A proxy whose configuration differs is in both lists.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    pub(crate) added: Vec<Arc<str>>,
    pub(crate) removed: Vec<Arc<str>>,
}

/// The announcements of one name in this session. An answer carries only the name, no number; but a server handles messages in order,
/// so the answers to a name arrive in the order of its announcements.
#[derive(Debug, Default)]
struct Announcements {
    /// Whether the server may serve the proxy: it was announced, not refused, and not withdrawn since.
    announced: bool,
    /// Announcements that the server has not answered.
    unanswered: usize,
}

/// What to send to the server.
#[derive(Debug, PartialEq)]
pub(crate) enum Outgoing {
    Announce(Arc<str>, Box<NewProxy>),
    Withdraw(Arc<str>, CloseProxy),
}

/// What an answer of the server means.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Nothing: it is for no proxy that waits for one.
    Ignored,
    /// The server does not want the proxy, for this reason; it is announced again after this time.
    Refused(Arc<str>, String, Duration),
    /// The server serves the proxy, at this address if it is public.
    Started(Arc<str>, String),
}

/// What a report on the health of a proxy's local service means.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum HealthChange {
    /// The proxy is not to be announced any more, and is withdrawn if it was.
    Failed,
    /// Nothing: it says nothing new, or is of no proxy that there is.
    Ignored,
    /// The proxy is to be announced.
    Succeeded,
}

/// The one owner of the table.
#[derive(Debug)]
pub(crate) struct Proxies {
    user: String,
    server_addr: String,
    key: CipherKey,
    resolver: Resolver,
    metrics: Arc<Metrics>,
    /// Who is connected to the services.
    users: Users,
    virtual_net: Option<VirtualNetwork>,
    table: watch::Sender<Table>,
    due: Due,
    /// By configured name; only names with an announcement in force or unanswered.
    announcements: HashMap<Arc<str>, Announcements>,
    /// What is to be withdrawn before anything else is announced. A name is here once at most, and then not `announced`.
    withdrawals: VecDeque<Arc<str>>,
    /// Announcements without an answer, over all names.
    unanswered: usize,
    /// When there may be room again for what waits to be sent.
    room_at: Option<Instant>,
}

impl Proxies {
    /// No proxies yet. `user` is put before their names on the wire, `server_addr` before the
    /// ports of their public addresses, `key` encrypts those that ask for it. `resolver` looks up the names of local services.
    pub(crate) fn new(
        user: String,
        server_addr: String,
        key: CipherKey,
        resolver: Resolver,
    ) -> Self {
        Self {
            user,
            server_addr,
            key,
            resolver,
            metrics: Arc::default(),
            users: Users::default(),
            virtual_net: None,
            table: watch::Sender::new(Table::default()),
            due: Due::default(),
            announcements: HashMap::new(),
            withdrawals: VecDeque::new(),
            unanswered: 0,
            room_at: None,
        }
    }

    /// The same, whose users are among these.
    pub(crate) fn with_users(self, users: Users) -> Self {
        Self { users, ..self }
    }

    /// The same, on a client with this virtual network.
    pub(crate) fn within(self, virtual_net: Option<VirtualNetwork>) -> Self {
        Self {
            virtual_net,
            ..self
        }
    }

    /// Counts proxies that start from here on in `metrics`.
    pub(crate) fn count_in(&mut self, metrics: Arc<Metrics>) {
        self.metrics = metrics;
    }

    /// Encrypts with `key` from now on, while there is no session. The proxies begin anew.
    pub(crate) fn set_key(&mut self, key: CipherKey, now: Instant) {
        self.key = key;
        let configs: Vec<_> = {
            let table = self.table.borrow();
            let proxies = table.entries.values().map(|it| &it.proxy);
            proxies.map(|it| it.config().clone()).collect()
        };
        self.apply(&[], now);
        self.apply(&configs, now);
    }

    /// Makes `configs` the proxies there are. Those that did not change are left alone.
    pub(crate) fn apply(&mut self, configs: &[ProxyConfig], now: Instant) -> Changes {
        let mut changes = Changes::default();
        let wanted: BTreeMap<&str, &ProxyConfig> =
            configs.iter().map(|it| (it.name.as_str(), it)).collect();

        let obsolete: Vec<Arc<str>> = self
            .table
            .borrow()
            .entries
            .iter()
            .filter(|(name, entry)| wanted.get(&***name) != Some(&entry.proxy.config()))
            .map(|(name, _)| name.clone())
            .collect();
        for name in obsolete {
            self.withdraw(&name);
            self.table.send_modify(|table| {
                table.entries.remove(&name);
            });
            changes.removed.push(name);
        }

        let in_session = self.table.borrow().in_session;
        for (name, config) in wanted {
            if self.table.borrow().entries.contains_key(name) {
                continue;
            }
            let name: Arc<str> = name.into();
            let retired = CancellationToken::new();
            let proxy = Proxy::new(config.clone(), &self.key, &self.resolver, retired.clone())
                .with_users(&self.users)
                .counted_in(self.metrics.clone())
                .within(self.virtual_net.clone());
            let entry = Entry {
                healthy: proxy.health_check().is_none(),
                proxy: Arc::new(proxy),
                status: ProxyStatus::default(),
                due_at: None,
                _retire: retired.drop_guard(),
            };
            self.table.send_modify(|table| {
                table.entries.insert(name.clone(), entry);
            });
            self.rest(&name, in_session.then_some(now));
            changes.added.push(name);
        }
        changes
    }

    /// Whose ports are public addresses from now on.
    pub(crate) fn set_server_addr(&mut self, server_addr: &str) {
        server_addr.clone_into(&mut self.server_addr);
    }

    /// A session has begun: every healthy proxy is to be announced.
    pub(crate) fn begin_session(&mut self, now: Instant) {
        self.set_all(Entry::resting, Some(now));
    }

    /// The session is lost, and with it what the server served.
    pub(crate) fn end_session(&mut self) {
        self.set_all(Entry::resting, None);
    }

    /// The messages that close all proxies; they count as sent. Proxies go on serving users until [`close`](Self::close).
    pub(crate) fn withdraw_all(&mut self) -> Vec<CloseProxy> {
        let mut names: Vec<_> = self.withdrawals.drain(..).collect();
        for (name, of_name) in &mut self.announcements {
            if std::mem::take(&mut of_name.announced) {
                names.push(name.clone());
            }
        }
        names.iter().map(|name| self.close_proxy(name)).collect()
    }

    /// Closes every proxy for good.
    pub(crate) fn close(&mut self) {
        self.set_all(|_| ProxyPhase::Closed, None);
    }

    /// What to send `now`, which counts as sent from here on. What a proxy that was announced before has become is withdrawn ahead of the next
    /// announcement.
    pub(crate) fn poll_send(&mut self, now: Instant) -> Option<Outgoing> {
        if self.room_at.is_some_and(|at| now < at) {
            return None;
        }
        self.room_at = None;
        self.repeat(now);
        if let Some(name) = self.withdrawals.pop_front() {
            let close = self.close_proxy(&name);
            return Some(Outgoing::Withdraw(name, close));
        }
        if self.unanswered >= MAX_UNANSWERED {
            return None;
        }
        let (_, name) = self.due.fresh.first().filter(|(at, _)| *at <= now)?;
        let name = name.clone();
        let announcement = {
            let table = self.table.borrow();
            let entry = table.entries.get(&name)?;
            entry.proxy.announcement(&self.user)
        };
        let of_name = self.announcements.entry(name.clone()).or_default();
        of_name.announced = true;
        of_name.unanswered += 1;
        self.unanswered += 1;
        let status = ProxyStatus {
            phase: ProxyPhase::WaitStart,
            ..ProxyStatus::default()
        };
        self.set(&name, status, Some(now + ANSWER_TIMEOUT));
        Some(Outgoing::Announce(name, announcement))
    }

    /// Announces anew what has had no answer for too long.
    fn repeat(&mut self, now: Instant) {
        while let Some((at, name)) = self.due.repeat.first()
            && *at <= now
        {
            let name = name.clone();
            self.withdraw_announced(&name);
            self.rest(&name, Some(now));
        }
    }

    /// `outgoing` was not sent after all, because the send queue is full.
    pub(crate) fn handle_full(&mut self, outgoing: Outgoing, now: Instant) {
        self.room_at = Some(now + RETRY_WHEN_FULL);
        match outgoing {
            Outgoing::Announce(name, _) => {
                self.forget_announcement(&name);
                self.set(&name, ProxyStatus::default(), Some(now));
            }
            Outgoing::Withdraw(name, _) => self.withdrawals.push_front(name),
        }
    }

    /// The proxy `name` could not be announced; only another configuration would change that.
    pub(crate) fn handle_unsendable(&mut self, name: &str, reason: &str) {
        self.forget_announcement(name);
        self.set(name, failed(reason.to_owned()), None);
    }

    /// The proxy `name` was not announced after all, because something was missing that may be there later. Returns when it is tried again.
    pub(crate) fn handle_unready(&mut self, name: &str, reason: &str, now: Instant) -> Duration {
        self.forget_announcement(name);
        let status = failed(reason.to_owned());
        self.set(name, status, Some(now + RETRY_AFTER_ERROR));
        RETRY_AFTER_ERROR
    }

    /// Takes the server's answer to an announcement. Only that to the last one counts, and only if the proxy was not withdrawn since.
    pub(crate) fn handle_answer(&mut self, answer: &NewProxyResp, now: Instant) -> Answer {
        let of_name = local_name(&self.user, &answer.proxy_name)
            .and_then(|name| self.announcements.get_key_value(name))
            .filter(|(_, of_name)| of_name.unanswered > 0);
        let Some((name, _)) = of_name else {
            return Answer::Ignored;
        };
        let name = name.clone();
        if !self.answered(&name) {
            return Answer::Ignored;
        }
        if answer.error.is_empty() {
            let remote_addr = public_addr(&self.server_addr, &answer.remote_addr);
            let status = ProxyStatus {
                phase: ProxyPhase::Running,
                remote_addr: Some(remote_addr.clone()),
                error: None,
            };
            self.set(&name, status, None);
            Answer::Started(name, remote_addr)
        } else {
            let reason = server_text(&answer.error);
            self.announcements.remove(&name);
            let status = failed(reason.clone());
            self.set(&name, status, Some(now + RETRY_AFTER_ERROR));
            Answer::Refused(name, reason, RETRY_AFTER_ERROR)
        }
    }

    /// Takes what a health check has found out about the local service of `proxy`.
    pub(crate) fn handle_health(
        &mut self,
        proxy: &Arc<Proxy>,
        healthy: bool,
        now: Instant,
    ) -> HealthChange {
        let name: Arc<str> = proxy.config().name.as_str().into();
        let mut changed = false;
        self.table.send_if_modified(|table| {
            if let Some(entry) = table.entries.get_mut(&name)
                // Another proxy may have the name by now.
                && Arc::ptr_eq(&entry.proxy, proxy)
            {
                changed = std::mem::replace(&mut entry.healthy, healthy) != healthy;
            }
            // Nobody sees this before the phase follows.
            false
        });
        if !changed {
            HealthChange::Ignored
        } else if healthy {
            let in_session = self.table.borrow().in_session;
            self.rest(&name, in_session.then_some(now));
            HealthChange::Succeeded
        } else {
            self.withdraw(&name);
            HealthChange::Failed
        }
    }

    /// The proxy `name`, whatever its phase.
    pub(crate) fn get(&self, name: &str) -> Option<Arc<Proxy>> {
        let table = self.table.borrow();
        table.entries.get(name).map(|entry| entry.proxy.clone())
    }

    /// When to come back to [`poll_send`](Self::poll_send); `None` if only an answer can change anything.
    pub(crate) fn wake_at(&self, now: Instant) -> Option<Instant> {
        let repeat = self.due.repeat.first();
        let fresh = self.due.fresh.first();
        let fresh = fresh.filter(|_| self.unanswered < MAX_UNANSWERED);
        let due = [repeat, fresh].into_iter().flatten().map(|(at, _)| *at);
        let due = match self.withdrawals.is_empty() {
            true => due.min(),
            false => Some(now),
        };
        due.map(|at| self.room_at.map_or(at, |room_at| at.max(room_at)))
    }

    /// The table, for observers.
    pub(crate) fn watch(&self) -> watch::Receiver<Table> {
        self.table.subscribe()
    }

    /// Forgets what is due for the proxy `name`, and withdraws it if the server may serve it.
    fn withdraw(&mut self, name: &Arc<str>) {
        self.withdraw_announced(name);
        self.rest(name, None);
    }

    fn withdraw_announced(&mut self, name: &Arc<str>) {
        let Some(of_name) = self.announcements.get_mut(name) else {
            return;
        };
        if std::mem::take(&mut of_name.announced) {
            self.withdrawals.push_back(name.clone());
        }
        self.tidy(name);
    }

    /// An announcement of `name` was answered, or was not sent. Returns whether it was the last one and is still in force.
    fn answered(&mut self, name: &str) -> bool {
        let Some(of_name) = self.announcements.get_mut(name) else {
            return false;
        };
        of_name.unanswered = of_name.unanswered.saturating_sub(1);
        self.unanswered = self.unanswered.saturating_sub(1);
        let counts = of_name.unanswered == 0 && of_name.announced;
        self.tidy(name);
        counts
    }

    fn forget_announcement(&mut self, name: &str) {
        if let Some(of_name) = self.announcements.get_mut(name) {
            of_name.announced = false;
        }
        self.answered(name);
    }

    fn tidy(&mut self, name: &str) {
        if self
            .announcements
            .get(name)
            .is_some_and(|of_name| !of_name.announced && of_name.unanswered == 0)
        {
            self.announcements.remove(name);
        }
    }

    fn close_proxy(&self, name: &str) -> CloseProxy {
        CloseProxy {
            proxy_name: wire_name(&self.user, name),
        }
    }

    /// Puts the proxy `name` back to the start of its life. It is announced at `due_at`, if it may be.
    fn rest(&mut self, name: &str, due_at: Option<Instant>) {
        let phase = match self.table.borrow().entries.get(name) {
            Some(entry) => entry.resting(),
            None => return,
        };
        let status = ProxyStatus {
            phase,
            ..ProxyStatus::default()
        };
        self.set(name, status, due_at.filter(|_| phase == ProxyPhase::New));
    }

    /// The only place where an entry's phase changes, so that [`Self::due`] and the table agree.
    fn set(&mut self, name: &str, status: ProxyStatus, due_at: Option<Instant>) {
        let due = &mut self.due;
        self.table.send_if_modified(|table| {
            let Some((name, _)) = table.entries.get_key_value(name) else {
                return false;
            };
            let name = name.clone();
            let Some(entry) = table.entries.get_mut(&name) else {
                return false;
            };
            if let Some(before) = entry.due_at.take() {
                due.remove(before, &name);
            }
            entry.due_at = due_at;
            if let Some(at) = due_at {
                due.insert(status.phase, at, name);
            }
            std::mem::replace(&mut entry.status, status) != entry.status
        });
    }

    /// Puts every proxy into its phase; the new ones are announced at `due_at`, without which there is no session.
    fn set_all(&mut self, phase_of: impl Fn(&Entry) -> ProxyPhase, due_at: Option<Instant>) {
        self.due = Due::default();
        self.announcements.clear();
        self.withdrawals.clear();
        self.unanswered = 0;
        self.room_at = None;
        let due = &mut self.due;
        self.table.send_modify(|table| {
            table.in_session = due_at.is_some();
            for (name, entry) in &mut table.entries {
                let phase = phase_of(entry);
                entry.due_at = due_at.filter(|_| phase == ProxyPhase::New);
                entry.status = ProxyStatus {
                    phase,
                    ..ProxyStatus::default()
                };
                if let Some(at) = entry.due_at {
                    due.insert(phase, at, name.clone());
                }
            }
        });
    }
}

fn failed(reason: String) -> ProxyStatus {
    ProxyStatus {
        phase: ProxyPhase::StartError,
        remote_addr: None,
        error: Some(reason),
    }
}

/// Where users reach a proxy: servers answer `:port`, since they need not know their own name.
fn public_addr(server_addr: &str, answered: &str) -> String {
    let answered = server_text(answered);
    if !answered.starts_with(':') {
        return answered;
    }
    if server_addr.contains(':') && !server_addr.starts_with('[') {
        format!("[{server_addr}]{answered}")
    } else {
        format!("{server_addr}{answered}")
    }
}

#[cfg(test)]
mod tests;
