//! The table of a client's visitors and their listeners, which others may watch.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::watch;

use super::user::AcceptUser;

/// All visitors by their names.
#[derive(Debug, Default)]
pub(crate) struct Table {
    entries: BTreeMap<Arc<str>, Entry>,
}

#[derive(Debug, Default)]
struct Entry {
    /// Where the listener is; `None` while it is not open.
    listener: Option<SocketAddr>,
    /// `None` if its users are not connections.
    visitor: Option<Arc<dyn AcceptUser>>,
}

impl Table {
    /// The visitor `name`, if it is one that users can be handed over to.
    pub(crate) fn visitor(&self, name: &str) -> Option<&Arc<dyn AcceptUser>> {
        self.entries.get(name)?.visitor.as_ref()
    }

    fn listener(&self, name: &str) -> Option<SocketAddr> {
        self.entries.get(name)?.listener
    }

    /// Adds the visitor `name`, whose listener is not open yet.
    pub(super) fn insert(&mut self, name: Arc<str>, visitor: Option<Arc<dyn AcceptUser>>) {
        let entry = Entry {
            listener: None,
            visitor,
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
