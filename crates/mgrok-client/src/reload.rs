//! Reload: a client gets another configuration while it runs.
//!
//! One task owns what the client is to have, so that reloads happen one after the other. A reload is first checked as a whole, with
//! the ports of new visitors open, and only then applied: one that fails changes nothing. A start is a reload from nothing.
//!
//! Without a session, changes of proxies take effect with the next login; changes of visitors take effect at once in any case. What a
//! session has agreed on with its server stays until the next login.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::sync::Arc;

use mgrok_admin::{AdminAccess, NextAdminAccess};
use mgrok_config::{ClientConfig, Mistakes, ProxyConfig, Store, StoredEntry, VisitorConfig};
use mgrok_net::resolver::Resolver;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use crate::connect::SetUpError;
use crate::replace_file::replace_file;
use crate::settings::{KeyChanges, LoginSettings};
use crate::store::{StoreChange, StoreChanges, StoreFailure, StoreRequest};
use crate::tasks::Tasks;
use crate::visitor::{ListenError, Visitors};

/// Reloads that may wait for their turn.
const MAX_QUEUED: usize = 8;

/// Why a reload was refused. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// What cannot change while the client runs differs.
    #[error("{} cannot change while the client runs; restart it for that", .0.join(", "))]
    FixedKeys(Vec<&'static str>),
    /// A new visitor cannot have its port.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The files of TLS cannot be used.
    #[error(transparent)]
    SetUp(#[from] SetUpError),
    /// The store has become wrong since the configuration was loaded.
    #[error(transparent)]
    Store(#[from] Mistakes),
    /// The client stops, or has stopped.
    #[error("the client stops")]
    Stopping,
}

/// The names of what a reload has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// The new ones.
    pub added: Vec<String>,
    /// Those that were replaced because their configuration differs.
    pub changed: Vec<String>,
    /// Those that are no more.
    pub removed: Vec<String>,
}

/// What a reload has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReloadReport {
    /// Changes of proxies.
    pub proxies: Changes,
    /// Changes of visitors.
    pub visitors: Changes,
    /// Keys of other changes that have taken effect.
    pub at_once: Vec<&'static str>,
    /// Keys of other changes that take effect with the next login.
    pub at_login: Vec<&'static str>,
}

impl Display for ReloadReport {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self {
            proxies,
            visitors,
            at_once,
            at_login,
        } = self;
        write!(
            f,
            "{} proxies added, {} changed, {} removed; {} visitors added, {} changed, {} removed",
            proxies.added.len(),
            proxies.changed.len(),
            proxies.removed.len(),
            visitors.added.len(),
            visitors.changed.len(),
            visitors.removed.len(),
        )?;
        for (keys, when) in [(at_once, "at once"), (at_login, "with the next login")] {
            if !keys.is_empty() {
                write!(f, "; {} {when}", keys.join(", "))?;
            }
        }
        Ok(())
    }
}

impl Changes {
    /// What is different in `next`. Of several with one name the last counts.
    fn between<T: PartialEq>(before: &[T], next: &[T], name: impl Fn(&T) -> &str) -> Self {
        let by_name = |all| -> BTreeMap<String, &T> {
            let all: &[T] = all;
            all.iter().map(|it| (name(it).to_owned(), it)).collect()
        };
        let (before, next) = (by_name(before), by_name(next));
        let mut changes = Self::default();
        for (name, config) in &next {
            match before.get(name) {
                None => changes.added.push(name.clone()),
                Some(old) if old != config => changes.changed.push(name.clone()),
                Some(_) => {}
            }
        }
        let gone = before.into_keys().filter(|name| !next.contains_key(name));
        changes.removed.extend(gone);
        changes
    }
}

/// Gives a [`Client`](crate::Client) another configuration, also while it runs. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Reloader {
    requests: mpsc::Sender<Request>,
}

#[derive(Debug)]
struct Request {
    config: Box<ClientConfig>,
    answer: oneshot::Sender<Result<ReloadReport, ReloadError>>,
}

impl Reloader {
    /// Makes the proxies and visitors of `config` those of the client. Those that did not change are left alone with their
    /// connections, new ones are started, the others are closed or replaced. Users of what is closed may stay. Of the rest some keys
    /// take effect at once, and most with the next login.
    ///
    /// Waits until the client runs, and for reloads that were asked for earlier. Dropping the future does not undo a reload.
    ///
    /// # Errors
    /// If `config` differs in what cannot change, if its files of TLS cannot be used, if the port of a new visitor is taken, or if the client
    /// stops. Nothing has changed then.
    pub async fn reload(&self, config: ClientConfig) -> Result<ReloadReport, ReloadError> {
        let (answer, answered) = oneshot::channel();
        let request = Request {
            config: Box::new(config),
            answer,
        };
        // Either end is gone only with the client.
        let sent = self.requests.send(request).await;
        sent.map_err(|_| ReloadError::Stopping)?;
        answered.await.unwrap_or(Err(ReloadError::Stopping))
    }
}

/// Changes which proxies a [`Client`](crate::Client) has, also while it runs. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ProxySet {
    wanted: Wanted,
}

impl ProxySet {
    /// Makes `proxies` the proxies of the client: those that are not among them are closed, new
    /// ones started, changed ones started anew, and the others left alone. Of several with one
    /// name the last counts.
    ///
    /// Takes effect soon after, or with the next login if there is no session.
    pub fn apply(&self, proxies: Vec<ProxyConfig>) {
        self.wanted.replace(Some(proxies), None);
    }
}

/// Changes which visitors a [`Client`](crate::Client) has, also while it runs. Cheap to clone.
#[derive(Clone, Debug)]
pub struct VisitorSet {
    wanted: Wanted,
}

impl VisitorSet {
    /// Makes `visitors` the visitors of the client: the listeners of those that are not among them are closed, new ones
    /// opened, and those that did not change left alone. Their users may stay. Of several with one name the last
    /// counts.
    ///
    /// Takes effect soon after, once the client runs.
    pub fn apply(&self, visitors: Vec<VisitorConfig>) {
        self.wanted.replace(None, Some(visitors));
    }
}

/// The proxies and visitors that the client is to have. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    proxies: watch::Sender<Vec<ProxyConfig>>,
    visitors: watch::Sender<Vec<VisitorConfig>>,
}

impl Wanted {
    /// The only place where they change, from the start on, when both lists are empty. `None` leaves a list as it is.
    pub(crate) fn replace(
        &self,
        proxies: Option<Vec<ProxyConfig>>,
        visitors: Option<Vec<VisitorConfig>>,
    ) -> ReloadReport {
        let mut report = ReloadReport::default();
        if let Some(next) = proxies {
            self.proxies.send_if_modified(|wanted| {
                report.proxies = Changes::between(wanted, &next, |it| &it.name);
                *wanted = next;
                true
            });
        }
        if let Some(next) = visitors {
            self.visitors.send_if_modified(|wanted| {
                report.visitors = Changes::between(wanted, &next, |it| &it.name);
                *wanted = next;
                true
            });
        }
        report
    }

    /// The visitors, for the admin port.
    pub(crate) fn visitors(&self) -> watch::Receiver<Vec<VisitorConfig>> {
        self.visitors.subscribe()
    }

    /// The proxies, for a supervisor.
    pub(crate) fn proxies(&self) -> watch::Receiver<Vec<ProxyConfig>> {
        self.proxies.subscribe()
    }

    pub(crate) fn proxy_set(&self) -> ProxySet {
        ProxySet {
            wanted: self.clone(),
        }
    }

    pub(crate) fn visitor_set(&self) -> VisitorSet {
        VisitorSet {
            wanted: self.clone(),
        }
    }
}

/// The reloads that are asked for, and what they change.
#[derive(Debug)]
pub(crate) struct Reloads {
    requests: mpsc::Receiver<Request>,
    settings: watch::Sender<Arc<LoginSettings>>,
    /// Looks up the names of servers.
    resolver: Resolver,
    store: StoreChanges,
    wanted: Wanted,
}

impl Reloads {
    pub(crate) fn new(
        settings: watch::Sender<Arc<LoginSettings>>,
        resolver: Resolver,
        store: StoreChanges,
        wanted: Wanted,
    ) -> (Reloader, Self) {
        let (sender, requests) = mpsc::channel(MAX_QUEUED);
        let reloads = Self {
            requests,
            settings,
            resolver,
            store,
            wanted,
        };
        (Reloader { requests: sender }, reloads)
    }

    /// Keeps `visitors` as they are wanted and does the reloads and changes of the store that are asked for, until the client stops. Then it
    /// closes them. `admin` is who is let in to the admin port, if there is one.
    pub(crate) async fn run(
        mut self,
        mut visitors: Visitors,
        admin: Option<AdminAccess>,
        stopping: CancellationToken,
        tasks: Tasks,
    ) {
        let mut wanted = self.wanted.visitors.subscribe();
        wanted.mark_changed();
        loop {
            tokio::select! {
                biased;
                () = stopping.cancelled() => break,
                () = tasks.is_cut() => break,
                Ok(()) = wanted.changed() => {
                    let configs = wanted.borrow_and_update().clone();
                    visitors.apply(&configs).await;
                }
                Some(Request { config, answer }) = self.requests.recv() => {
                    let outcome = self.reload(*config, &mut visitors, admin.as_ref(), &stopping).await;
                    // The reload stands, whether anybody waits for the answer or not.
                    let _ = answer.send(outcome);
                }
                Some(StoreRequest { change, answer }) = self.store.requests.recv() => {
                    let outcome = self.change_store(change, &mut visitors, &stopping).await;
                    // So does the change.
                    let _ = answer.send(outcome);
                }
            }
        }
        // Later requests get the error that the client stops at once.
        drop((self.requests, self.store.requests));
        visitors.close_all().await;
    }

    async fn reload(
        &self,
        mut next: ClientConfig,
        visitors: &mut Visitors,
        admin: Option<&AdminAccess>,
        stopping: &CancellationToken,
    ) -> Result<ReloadReport, ReloadError> {
        let before = self.settings.borrow().clone();
        let changes = KeyChanges::between(&before.config, &next);
        if !changes.fixed.is_empty() {
            return Err(ReloadError::FixedKeys(changes.fixed));
        }
        let mut store = next.store.take();
        if let Some(loaded) = store {
            // It may have been changed since it was loaded.
            let read = spawn_blocking(move || loaded.read_again()).await;
            let read = read.map_err(|_| ReloadError::Stopping)??;
            next.proxies = read.proxies().to_vec();
            next.visitors = read.visitors().to_vec();
            store = Some(read);
        }
        let next_proxies = std::mem::take(&mut next.proxies);
        let next_visitors = std::mem::take(&mut next.visitors);
        let resolver = self.resolver.clone();
        // It reads the files of TLS.
        let prepared = spawn_blocking(move || {
            let access = next.web_server.as_ref().map(NextAdminAccess::new);
            let access = access.transpose().map_err(SetUpError::from)?;
            Ok::<_, SetUpError>((before.next(next, &resolver)?, access))
        });
        let (settings, access) = prepared.await.map_err(|_| ReloadError::Stopping)??;
        let listeners = tokio::select! {
            biased;
            () = stopping.cancelled() => return Err(ReloadError::Stopping),
            bound = visitors.bind(&next_visitors) => bound?,
        };
        let mut report = self
            .wanted
            .replace(Some(next_proxies), Some(next_visitors.clone()));
        self.store.current.send_replace(store.map(Arc::new));
        visitors.apply_bound(&next_visitors, listeners).await;
        report.at_once = changes.at_once;
        report.at_login = changes.at_login;
        if let (Some(admin), Some(access)) = (admin, access) {
            admin.replace(access);
        }
        // Who waits to log in need not wait any longer if there is something new.
        self.settings.send_if_modified(|current| {
            *current = Arc::new(settings);
            !report.at_login.is_empty()
        });
        Ok(report)
    }

    /// Changes the store in steps of which each but the last can fail, and leaves all as it was then: the change is checked, new listeners are
    /// opened, the file is written, and the client gets what it is to have.
    async fn change_store(
        &self,
        change: StoreChange,
        visitors: &mut Visitors,
        stopping: &CancellationToken,
    ) -> Result<Option<StoredEntry>, StoreFailure> {
        let store = self.store.current.borrow().clone();
        let store = store.ok_or(StoreFailure::Disabled)?;
        let only_check = change.only_check;
        // A secret may come from a program that takes its time.
        let checked = tokio::select! {
            biased;
            () = stopping.cancelled() => return Err(StoreFailure::Stopping),
            checked = spawn_blocking(move || change.apply(&store)) => checked,
        };
        let (next, entry) = checked.map_err(|_| StoreFailure::Stopping)??;
        if only_check {
            return Ok(entry);
        }
        let listeners = tokio::select! {
            biased;
            () = stopping.cancelled() => return Err(StoreFailure::Stopping),
            bound = visitors.bind(next.visitors()) => bound,
        };
        let listeners = listeners.map_err(|error| StoreFailure::NotApplied(error.to_string()))?;
        let next = write(next).await?;
        self.wanted.replace(
            Some(next.proxies().to_vec()),
            Some(next.visitors().to_vec()),
        );
        let configs = next.visitors().to_vec();
        self.store.current.send_replace(Some(Arc::new(next)));
        visitors.apply_bound(&configs, listeners).await;
        Ok(entry)
    }
}

/// Writes the file of `store`, and returns it.
async fn write(store: Store) -> Result<Store, StoreFailure> {
    let written = spawn_blocking(move || {
        let written = replace_file(store.path(), store.text().as_bytes());
        written.map(|()| store)
    });
    match written.await {
        Ok(written) => written.map_err(StoreFailure::NotWritten),
        Err(error) => Err(StoreFailure::NotWritten(error.to_string())),
    }
}

#[cfg(test)]
mod tests;
