//! Who is here: sessions, the proxies they publish, and the live connections of users, as one table that can be watched.
//!
//! Rows are values whose drop removes them, so that no row is left behind by a task that panics or is cancelled. Whoever wants to know
//! takes a snapshot, which is a plain value, and may follow the changes from then on. Commands go the other way.

// Lowest layer first.
mod changes;
mod gate;
mod takeover;

mod proxies;
mod sessions;
mod udp_users;

use std::sync::Arc;

use mgrok_net::access_log::AccessLog;
use mgrok_net::conn::Conn;
use mgrok_proto::RunId;
use tokio::sync::mpsc;
use tracing::info;

use self::changes::Changes;
use self::proxies::Proxies;
use self::sessions::Sessions;
use crate::excerpt::Excerpt;
#[cfg(test)]
use crate::holder::Holder;
use crate::holder::Rival;
use crate::metrics::Metrics;

pub use self::changes::{Change, ChangeFeed};
pub use self::proxies::{ProxyInfo, TooManyDisabled};
pub use self::sessions::{ClientInfo, SessionInfo};
pub use mgrok_net::connections::ConnectionInfo;
pub use mgrok_net::feed::Lagged;

pub(crate) use self::gate::Gate;
pub(crate) use self::proxies::{ConnectionRow, ProxyEntry, ProxyRow, ProxySpec};
pub(crate) use self::sessions::{ClaimError, Identity, SessionHandle, SessionRow, StopCause};
pub(crate) use self::udp_users::UdpUsers;

/// Who is on one server, and how to act on them. Clones are the same.
///
/// Snapshots are taken under short locks and hold none. To follow what changes, [subscribe](Self::subscribe) first and take the
/// snapshot then.
///
/// ```no_run
/// # async fn example(server: mgrok_server::Server) {
/// let directory = server.directory();
/// let mut feed = directory.subscribe();
/// let mut proxies = directory.proxies();
/// while let Some(change) = feed.next().await {
///     match change {
///         Ok(change) => println!("{change:?}"),
///         // Too many changes at once: what they came to is in a new snapshot.
///         Err(_) => proxies = directory.proxies(),
///     }
/// }
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Directory {
    sessions: Arc<Sessions>,
    proxies: Arc<Proxies>,
    changes: Arc<Changes>,
    access_log: AccessLog,
    metrics: Arc<Metrics>,
}

impl Default for Directory {
    fn default() -> Self {
        let changes = Arc::new(Changes::default());
        let access_log = AccessLog::default();
        let metrics = Arc::new(Metrics::default());
        Self {
            sessions: Arc::new(Sessions::new(changes.clone())),
            proxies: Arc::new(Proxies::new(
                changes.clone(),
                access_log.clone(),
                metrics.clone(),
            )),
            changes,
            access_log,
            metrics,
        }
    }
}

/// Snapshots and changes.
impl Directory {
    /// The clients that are logged in, and those with a name of their own that were, in no order.
    pub fn sessions(&self) -> Vec<SessionInfo> {
        self.sessions.list()
    }

    /// The proxies that let users in, and those that have stopped and whose users have yet to leave, in no order.
    pub fn proxies(&self) -> Vec<ProxyInfo> {
        self.proxies.list()
    }

    /// The proxy that lets users in under this name.
    pub fn proxy(&self, name: &str) -> Option<ProxyInfo> {
        self.proxies.find(name)
    }

    /// The names of proxies that are disabled, whether they are published or not, in no order.
    pub fn disabled_proxies(&self) -> Vec<Arc<str>> {
        self.proxies.disabled()
    }

    /// The live connections of users, in no order. Users of UDP ports have none; see [`ProxyInfo::udp_users`].
    pub fn connections(&self) -> Vec<ConnectionInfo> {
        self.proxies.connections()
    }

    /// What comes and goes from now on. A snapshot that is taken after this has all that is not in the feed; what happens meanwhile may
    /// be in both.
    ///
    /// A reader that is slow delays nobody, and learns that it missed something.
    pub fn subscribe(&self) -> ChangeFeed {
        self.changes.subscribe()
    }

    /// Where the ends of connections and requests are noted.
    pub fn access_log(&self) -> AccessLog {
        self.access_log.clone()
    }
}

/// Commands. `who` wants it, and `why`, is for the log.
impl Directory {
    /// Ends a session and closes its connection, and with it those of its users; whether there was one. A client that is not stopped
    /// logs in again.
    pub fn end_session(&self, run_id: &RunId, who: &str, why: &str) -> bool {
        let found = self.sessions.end(run_id);
        let what = format!("end session [{}]", run_id.head());
        log_command(&what, found, who, why);
        found
    }

    /// Lets no new users in to the proxy `name`, now and whenever it is published again, until it is
    /// [enabled](Self::enable_proxy); whether there is one. Its users are sent to the other members of its group, if it has one.
    /// Connections that are open go on; a UDP port passes no more datagrams.
    ///
    /// # Errors
    /// Too many proxies are disabled.
    pub fn disable_proxy(&self, name: &str, who: &str, why: &str) -> Result<bool, TooManyDisabled> {
        let found = self.proxies.disable(name)?;
        log_command(
            &format!("disable proxy [{}]", Excerpt(name)),
            found,
            who,
            why,
        );
        Ok(found)
    }

    /// Lets users in again to a proxy that was disabled; whether it was.
    pub fn enable_proxy(&self, name: &str, who: &str, why: &str) -> bool {
        let found = self.proxies.enable(name);
        log_command(
            &format!("enable proxy [{}]", Excerpt(name)),
            found,
            who,
            why,
        );
        found
    }

    /// Closes a user's connection; whether there was one.
    pub fn close_connection(&self, id: u64, who: &str, why: &str) -> bool {
        let found = self.proxies.close_connection(id);
        log_command(&format!("close user connection {id}"), found, who, why);
        found
    }

    /// Closes all connections of the users of the proxy `name`, of which others may come; how many there were.
    pub fn close_connections_of(&self, name: &str, who: &str, why: &str) -> usize {
        let closed = self.proxies.close_connections_of(name);
        let what = format!(
            "close {closed} user connections of proxy [{}]",
            Excerpt(name)
        );
        log_command(&what, closed > 0, who, why);
        closed
    }
}

/// Rows.
impl Directory {
    /// What is counted beside the rows.
    pub(crate) fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Adds a session, ending an older one of the same run id first; see `takeover`.
    ///
    /// `work_conns` receives the session's work connections. Returns when everything that the older session held is free again.
    pub(crate) async fn claim(
        &self,
        identity: Identity,
        work_conns: mpsc::Sender<Conn>,
    ) -> Result<SessionRow, ClaimError> {
        self.sessions.claim(identity, work_conns).await
    }

    /// Whether a login as `identity` would be refused whatever else it shows.
    pub(crate) fn check(&self, identity: &Identity) -> Result<(), ClaimError> {
        self.sessions.check(identity)
    }

    /// Whether there is a session of `run_id`.
    pub(crate) fn is_online(&self, run_id: &RunId) -> bool {
        self.sessions.is_online(run_id)
    }

    /// The session of `run_id`, if there is one.
    pub(crate) fn session(&self, run_id: &RunId) -> Option<SessionHandle> {
        self.sessions.find(run_id)
    }

    /// Takes the name of a proxy, which is unique over all clients. Says who has it, if somebody does.
    pub(crate) fn take_name(&self, spec: ProxySpec) -> Result<ProxyRow, Rival> {
        self.proxies.take_name(spec)
    }

    /// A running proxy, for tests.
    #[cfg(test)]
    pub(crate) fn proxy_for_test(&self, name: &str) -> ProxyRow {
        let holder = Holder {
            proxy: name.into(),
            user: "ann".into(),
        };
        let spec = ProxySpec {
            holder,
            kind: "tcp",
            run_id: RunId::from("r"),
            client_id: "".into(),
        };
        let row = self.take_name(spec).unwrap();
        row.start(":7");
        row
    }
}

fn log_command(what: &str, found: bool, who: &str, why: &str) {
    let outcome = if found { "" } else { ", which is not there" };
    info!(
        "{what}{outcome}, asked for by {}: {}",
        Excerpt(who),
        Excerpt(why)
    );
}

#[cfg(test)]
mod tests;
