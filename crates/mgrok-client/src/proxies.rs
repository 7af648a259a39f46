//! The proxies of a client: which there are, and where each is in its life.
//!
//! All proxies are in one table that others may watch but only [`Proxies`] changes. It decides
//! what to announce and when; it does no I/O and takes the time as an argument. Configuration is
//! always applied as a difference to what there is, start-up being the difference to nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mgrok_config::ProxyConfig;
use mgrok_net::resolver::Resolver;
use mgrok_proto::cipher::CipherKey;
use mgrok_proto::message::{CloseProxy, NewProxy, NewProxyResp};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::printable::server_text;
use crate::proxy::{Proxy, local_name, wire_name};
use crate::status::{ProxyPhase, ProxyStatus};

/// How long an announcement may stay unanswered before it is repeated.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a proxy that was refused, or not ready, waits before it is announced again.
pub(crate) const RETRY_AFTER_ERROR: Duration = Duration::from_secs(30);
/// How long announcements pause when too much waits to be sent.
const RETRY_WHEN_FULL: Duration = Duration::from_secs(1);
/// The most announcements without an answer at a time. Keeps the queue of the control connection
/// short however many proxies there are, and is many enough to hide a long round trip.
const MAX_UNANSWERED: usize = 256;

/// All proxies by their configured names, in the order of the names.
#[derive(Debug, Default)]
pub(crate) struct Table {
    entries: BTreeMap<Arc<str>, Entry>,
    /// Whether there is a session, without which nothing is due.
    in_session: bool,
}

#[derive(Debug)]
struct Entry {
    proxy: Arc<Proxy>,
    status: ProxyStatus,
    /// Whether its local service is well enough for it to be announced.
    healthy: bool,
    /// When it is to be announced; the same instant is in [`Proxies::due`].
    due_at: Option<Instant>,
    /// Ends the proxy's UDP connection and health check when the entry goes.
    _retire: DropGuard,
}

impl Entry {
    /// Where a proxy is in its life that the server does not know of.
    fn resting(&self) -> ProxyPhase {
        if self.healthy {
            ProxyPhase::New
        } else {
            ProxyPhase::CheckFailed
        }
    }
}

impl Table {
    /// The proxy `name` if the server serves it.
    pub(crate) fn running(&self, name: &str) -> Option<&Arc<Proxy>> {
        let entry = self.entries.get(name)?;
        (entry.status.phase == ProxyPhase::Running).then_some(&entry.proxy)
    }

    /// Whether the server may just have started the proxy `name` without our knowing yet.
    pub(crate) fn is_waiting(&self, name: &str) -> bool {
        self.status(name)
            .is_some_and(|status| status.phase == ProxyPhase::WaitStart)
    }

    pub(crate) fn status(&self, name: &str) -> Option<&ProxyStatus> {
        self.entries.get(name).map(|entry| &entry.status)
    }

    pub(crate) fn statuses(&self) -> impl Iterator<Item = (&str, &ProxyStatus)> {
        self.proxies()
            .map(|(config, status)| (config.name.as_str(), status))
    }

    /// Every proxy, in the order of the names.
    pub(crate) fn proxies(&self) -> impl Iterator<Item = (&ProxyConfig, &ProxyStatus)> {
        self.entries
            .values()
            .map(|entry| (entry.proxy.config(), &entry.status))
    }

    /// Whether there is a session.
    pub(crate) fn in_session(&self) -> bool {
        self.in_session
    }
}

/// What is to be announced when. Ordered, so that thousands of proxies cost no search.
#[derive(Debug, Default)]
struct Due {
    /// Those that were never announced, or refused.
    fresh: BTreeSet<(Instant, Arc<str>)>,
    /// Those whose announcement may have to be repeated.
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
    /// What to tell the server, before anything else is announced.
    pub(crate) withdrawn: Vec<CloseProxy>,
}

/// What an answer of the server means.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Nothing: it is for no proxy that waits for one.
    Ignored,
    /// The server does not want the proxy, for this reason.
    Refused(Arc<str>, String),
    /// The server serves the proxy.
    Started(Arc<str>),
}

/// What a report on the health of a proxy's local service means.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum HealthChange {
    /// The proxy is not to be announced any more. The server is to be told this, if it may know it.
    Failed(Option<CloseProxy>),
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
    table: watch::Sender<Table>,
    due: Due,
    unanswered: usize,
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
            table: watch::Sender::new(Table::default()),
            due: Due::default(),
            unanswered: 0,
        }
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
            changes.withdrawn.extend(self.withdraw(&name));
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
            let proxy = Proxy::new(config.clone(), &self.key, &self.resolver, retired.clone());
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

    /// What to tell the server if all proxies are to close.
    pub(crate) fn announced(&self) -> Vec<CloseProxy> {
        let table = self.table.borrow();
        let announced = table
            .statuses()
            .filter(|(_, status)| is_announced(status.phase));
        announced.map(|(name, _)| self.close_proxy(name)).collect()
    }

    /// Closes every proxy for good.
    pub(crate) fn close(&mut self) {
        let names: Vec<Arc<str>> = self.table.borrow().entries.keys().cloned().collect();
        for name in &names {
            self.withdraw(name);
        }
        self.set_all(|_| ProxyPhase::Closed, None);
    }

    /// The next proxy to announce `now`, which counts as announced from here on.
    pub(crate) fn poll_announce(&mut self, now: Instant) -> Option<(Arc<str>, Box<NewProxy>)> {
        let is_due = |due: &&(Instant, Arc<str>)| due.0 <= now;
        let name = if let Some((_, name)) = self.due.repeat.first().filter(is_due) {
            // A repetition takes no further place among the unanswered.
            name.clone()
        } else if self.unanswered < MAX_UNANSWERED {
            let (_, name) = self.due.fresh.first().filter(is_due)?;
            self.unanswered += 1;
            name.clone()
        } else {
            return None;
        };
        let announcement = {
            let table = self.table.borrow();
            let entry = table.entries.get(&name)?;
            entry.proxy.announcement(&self.user)
        };
        let status = ProxyStatus {
            phase: ProxyPhase::WaitStart,
            ..ProxyStatus::default()
        };
        self.set(&name, status, Some(now + ANSWER_TIMEOUT));
        Some((name, announcement))
    }

    /// The proxy `name` was not announced after all, since too much waits to be sent.
    pub(crate) fn handle_unsent(&mut self, name: &str, now: Instant) {
        self.answered();
        self.set(name, ProxyStatus::default(), Some(now + RETRY_WHEN_FULL));
    }

    /// The proxy `name` could not be announced; only another configuration would change that.
    pub(crate) fn handle_unsendable(&mut self, name: &str, reason: &str) {
        self.answered();
        self.set(name, failed(reason.to_owned()), None);
    }

    /// The proxy `name` was not announced after all, for want of something that may be there later.
    pub(crate) fn handle_unready(&mut self, name: &str, reason: &str, now: Instant) {
        self.answered();
        let status = failed(reason.to_owned());
        self.set(name, status, Some(now + RETRY_AFTER_ERROR));
    }

    /// Takes the server's answer to an announcement.
    pub(crate) fn handle_answer(&mut self, answer: &NewProxyResp, now: Instant) -> Answer {
        let name = {
            let table = self.table.borrow();
            let entry = local_name(&self.user, &answer.proxy_name)
                .and_then(|name| table.entries.get_key_value(name));
            match entry {
                // Only the answer to the last announcement counts: when one was repeated, the
                // answer to the repetition says that the name is taken, by ourselves.
                Some((name, entry)) if entry.status.phase == ProxyPhase::WaitStart => name.clone(),
                Some(_) | None => return Answer::Ignored,
            }
        };
        self.answered();
        if answer.error.is_empty() {
            let status = ProxyStatus {
                phase: ProxyPhase::Running,
                remote_addr: Some(public_addr(&self.server_addr, &answer.remote_addr)),
                error: None,
            };
            self.set(&name, status, None);
            Answer::Started(name)
        } else {
            let reason = server_text(&answer.error);
            let status = failed(reason.clone());
            self.set(&name, status, Some(now + RETRY_AFTER_ERROR));
            Answer::Refused(name, reason)
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
            HealthChange::Failed(self.withdraw(&name))
        }
    }

    /// The proxy `name`, wherever in its life it is.
    pub(crate) fn get(&self, name: &str) -> Option<Arc<Proxy>> {
        let table = self.table.borrow();
        table.entries.get(name).map(|entry| entry.proxy.clone())
    }

    /// When to come back to [`poll_announce`](Self::poll_announce); `None` if only an answer can
    /// change anything.
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        let repeat = self.due.repeat.first();
        let fresh = self.due.fresh.first();
        let fresh = fresh.filter(|_| self.unanswered < MAX_UNANSWERED);
        [repeat, fresh]
            .into_iter()
            .flatten()
            .map(|(at, _)| *at)
            .min()
    }

    /// The table, for those who look.
    pub(crate) fn watch(&self) -> watch::Receiver<Table> {
        self.table.subscribe()
    }

    /// Forgets what is due for the proxy `name`; gives what to tell the server if it may know it.
    fn withdraw(&mut self, name: &Arc<str>) -> Option<CloseProxy> {
        let phase = self.table.borrow().status(name)?.phase;
        if phase == ProxyPhase::WaitStart {
            self.answered();
        }
        self.rest(name, None);
        is_announced(phase).then(|| self.close_proxy(name))
    }

    fn close_proxy(&self, name: &str) -> CloseProxy {
        CloseProxy {
            proxy_name: wire_name(&self.user, name),
        }
    }

    fn answered(&mut self) {
        self.unanswered = self.unanswered.saturating_sub(1);
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

    /// The one place where an entry's phase changes, so that [`Self::due`] and the table agree.
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
        self.unanswered = 0;
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

/// Whether the server may know of a proxy in this phase.
fn is_announced(phase: ProxyPhase) -> bool {
    match phase {
        ProxyPhase::Running | ProxyPhase::WaitStart => true,
        ProxyPhase::CheckFailed | ProxyPhase::Closed | ProxyPhase::New | ProxyPhase::StartError => {
            false
        }
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
