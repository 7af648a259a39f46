//! What an observer sees of a client's proxies.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};

use tokio::sync::watch;

use crate::proxies::Table;

/// Where a proxy is in its life; the words are those of frp's status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProxyPhase {
    /// Its local service is not healthy, or not yet known to be. It is announced once it is.
    CheckFailed,
    /// The client has stopped, and with it the proxy.
    Closed,
    /// Not yet announced to the server, or not since the last session was lost.
    #[default]
    New,
    /// The server serves it.
    Running,
    /// The server refused it, or its plugin cannot be made; that is tried again from time to time.
    StartError,
    /// Announced; the server has not answered yet.
    WaitStart,
}

impl Display for ProxyPhase {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CheckFailed => "check failed",
            Self::Closed => "closed",
            Self::New => "new",
            Self::Running => "running",
            Self::StartError => "start error",
            Self::WaitStart => "wait start",
        })
    }
}

/// One proxy as an observer sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxyStatus {
    /// Where it is in its life.
    pub phase: ProxyPhase,
    /// Where users reach it, as `host:port` with the server's address as configured; `None`
    /// while it is not running.
    pub remote_addr: Option<String>,
    /// Why it could not be started the last time; `None` unless the phase is
    /// [`ProxyPhase::StartError`].
    pub error: Option<String>,
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
