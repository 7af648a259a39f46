//! The table of a client's proxies, which others may watch.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use mgrok_config::ProxyConfig;
use tokio::sync::watch;
use tokio_util::sync::DropGuard;

use crate::proxy::Proxy;
use crate::status::{ProxyPhase, ProxyStatus};

/// All proxies by their configured names, in the order of the names.
#[derive(Debug, Default)]
pub(crate) struct Table {
    pub(super) entries: BTreeMap<Arc<str>, Entry>,
    /// Whether there is a session, without which nothing is due.
    pub(super) in_session: bool,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) proxy: Arc<Proxy>,
    pub(super) status: ProxyStatus,
    /// Whether its local service is healthy, without which it is not announced.
    pub(super) healthy: bool,
    /// When it is to be announced; the same instant is in the schedule.
    pub(super) due_at: Option<Instant>,
    /// Ends the proxy's UDP connection and health check when the entry is dropped.
    pub(super) _retire: DropGuard,
}

impl Entry {
    /// The phase of a proxy that the server does not know.
    pub(super) fn resting(&self) -> ProxyPhase {
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

    /// The proxy `name`, whatever its phase.
    pub(crate) fn get(&self, name: &str) -> Option<&Arc<Proxy>> {
        self.entries.get(name).map(|entry| &entry.proxy)
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

    /// The same, with the proxies themselves.
    pub(crate) fn live(&self) -> impl Iterator<Item = (&Proxy, &ProxyStatus)> {
        let entries = self.entries.values();
        entries.map(|entry| (&*entry.proxy, &entry.status))
    }

    /// Whether there is a session.
    pub(crate) fn in_session(&self) -> bool {
        self.in_session
    }
}

/// Follows the proxies of a [`Client`](crate::Client), by their names in the configuration.
///
/// Shows the last state for ever once the client has ended.
#[derive(Clone, Debug)]
pub struct StatusWatch {
    table: watch::Receiver<Table>,
}

impl StatusWatch {
    pub(crate) fn new(table: watch::Receiver<Table>) -> Self {
        Self { table }
    }

    /// Waits until the status of the proxy `name` satisfies `condition`, and gives that status;
    /// `None` if the client ended before. A proxy that is not configured is waited for.
    ///
    /// Cancel-safe. Looks at states, not at changes: a state that is there already is found, one
    /// that lasted only between two looks may be missed.
    pub async fn wait_for(
        &mut self,
        name: &str,
        mut condition: impl FnMut(&ProxyStatus) -> bool,
    ) -> Option<ProxyStatus> {
        let table = self
            .table
            .wait_for(|table| table.status(name).is_some_and(&mut condition))
            .await
            .ok()?;
        table.status(name).cloned()
    }

    /// The status of the proxy `name` now; `None` if it is not configured.
    pub fn proxy(&self, name: &str) -> Option<ProxyStatus> {
        self.table.borrow().status(name).cloned()
    }

    /// The status of every configured proxy now.
    pub fn proxies(&self) -> BTreeMap<String, ProxyStatus> {
        self.table
            .borrow()
            .statuses()
            .map(|(name, status)| (name.to_owned(), status.clone()))
            .collect()
    }
}
