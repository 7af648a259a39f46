//! The table of a client's visitors and their listeners, which others may watch.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::watch;

use super::user::{AcceptUser, UserCount};
use crate::status::ProxyPhase;

/// All visitors by their names.
#[derive(Debug, Default)]
pub(crate) struct Table {
    entries: BTreeMap<Arc<str>, Entry>,
}

#[derive(Debug, Default)]
struct Entry {
    /// Where the listener is; `None` while it is not open.
    listener: Option<SocketAddr>,
    /// Why it is not open; empty if nothing is known of that.
    error: String,
    /// `None` if its users are not connections.
    visitor: Option<Arc<dyn AcceptUser>>,
    users: UserCount,
}

impl Table {
    /// The visitor `name`, if it is one that users can be handed over to.
    pub(crate) fn visitor(&self, name: &str) -> Option<&Arc<dyn AcceptUser>> {
        self.entries.get(name)?.visitor.as_ref()
    }

    /// Where the listener of the visitor `name` is, if it is open.
    pub(crate) fn listener(&self, name: &str) -> Option<SocketAddr> {
        self.entries.get(name)?.listener
    }

    /// How many users of the visitor `name` the service serves.
    pub(crate) fn users(&self, name: &str) -> usize {
        self.entries.get(name).map_or(0, |it| it.users.get())
    }

    /// Adds the visitor `name`, whose listener is not open yet.
    pub(super) fn insert(
        &mut self,
        name: Arc<str>,
        visitor: Option<Arc<dyn AcceptUser>>,
        users: UserCount,
    ) {
        let entry = Entry {
            listener: None,
            error: String::new(),
            visitor,
            users,
        };
        self.entries.insert(name, entry);
    }

    /// Removes the visitors `names`.
    pub(super) fn remove(&mut self, names: &[Arc<str>]) {
        for name in names {
            self.entries.remove(name);
        }
    }

    /// Sets where the visitor `name` listens.
    pub(super) fn set_listener(&mut self, name: &str, listener: Option<SocketAddr>) {
        if let Some(entry) = self.entries.get_mut(name) {
            entry.listener = listener;
            entry.error.clear();
        }
    }

    /// Sets why the visitor `name` does not listen.
    pub(super) fn set_error(&mut self, name: &str, error: String) {
        if let Some(entry) = self.entries.get_mut(name) {
            entry.error = error;
        }
    }

    /// How the visitor `name` is, which has a port, and why.
    pub(crate) fn phase(&self, name: &str) -> (ProxyPhase, String) {
        match self.entries.get(name) {
            Some(entry) if entry.listener.is_some() => (ProxyPhase::Running, String::new()),
            Some(entry) if !entry.error.is_empty() => (ProxyPhase::StartError, entry.error.clone()),
            Some(_) | None => (ProxyPhase::WaitStart, String::new()),
        }
    }
}

/// Follows the listeners of a [`Client`](crate::Client)'s visitors, by the visitors' names.
///
/// Knows of none any more once the client has ended.
#[derive(Clone, Debug)]
pub struct ListenerWatch {
    table: watch::Receiver<Table>,
}

impl ListenerWatch {
    pub(crate) fn new(table: watch::Receiver<Table>) -> Self {
        Self { table }
    }

    /// Waits until the listener of the visitor `name` is open, and gives its address, which has the port that the system chose
    /// if `bind_port` is 0; `None` if the client ended before. A visitor that is not configured is waited for.
    ///
    /// Cancel-safe.
    pub async fn wait_for(&mut self, name: &str) -> Option<SocketAddr> {
        let open = self.table.wait_for(|table| table.listener(name).is_some());
        open.await.ok()?.listener(name)
    }

    /// The address of the listener of the visitor `name`; `None` if it is not open now.
    pub fn listener(&self, name: &str) -> Option<SocketAddr> {
        self.table.borrow().listener(name)
    }
}
