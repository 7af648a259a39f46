//! Who is here: sessions, the proxies they publish, and the live connections of users, as one table that can be watched.
//!
//! Rows are values whose drop removes them, so that no row is left behind by a task that panics or is cancelled. Whoever wants to know
//! takes a snapshot, which is a plain value, and may follow the changes from then on. Commands go the other way.

// Lowest layer first.
mod changes;
mod gate;
mod settings;
mod takeover;

mod statistics;

mod sessions;

mod proxies;
mod udp_users;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::SystemTime;

use mgrok_net::access_log::AccessLog;
use mgrok_net::conn::Conn;
use mgrok_proto::RunId;
use tokio::sync::mpsc;
use tokio::time::sleep;
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
pub use self::proxies::{ProxyInfo, ProxyStatistics, TooManyDisabled};
pub use self::sessions::{ClientInfo, SessionInfo};
pub use self::settings::ProxySettings;
pub use mgrok_net::connections::{ConnectionInfo, Moved};
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
    since: SystemTime,
}

/// Sums over all clients and proxies of one server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Totals {
    /// Clients that are logged in.
    pub clients: usize,
    /// How many proxies let users in, by type. A type that has been there stays, with none.
    pub proxies: BTreeMap<&'static str, usize>,
    /// Live connections of users.
    pub connections: usize,
    /// What users have moved since the server has started, also on connections that live.
    pub moved: Moved,
    /// What of it today, by the local time of this machine.
    pub today: Moved,
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
            since: SystemTime::now(),
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

    /// The proxies that have live connections of users, each with them, in no order.
    pub fn connections_by_proxy(&self) -> Vec<(ProxyInfo, Vec<ConnectionInfo>)> {
        self.proxies.connections_by_proxy()
    }

    /// What is remembered of proxies, those that run and those that ran lately, in no order.
    pub fn statistics(&self) -> Vec<ProxyStatistics> {
        self.proxies.statistics()
    }

    /// What is remembered of the proxy `name`.
    pub fn statistics_of(&self, name: &str) -> Option<ProxyStatistics> {
        self.proxies.statistics_of(name)
    }

    /// Sums over all clients and proxies.
    pub fn totals(&self) -> Totals {
        let (moved, today) = self.proxies.moved();
        Totals {
            clients: self.sessions.online(),
            proxies: self.proxies.kinds(),
            connections: self.proxies.live(),
            moved,
            today,
        }
    }

    /// Since when all this is counted.
    pub fn since(&self) -> SystemTime {
        self.since
    }

    /// Whether no new clients and no new users are let in.
    pub fn is_draining(&self) -> bool {
        self.proxies.is_draining()
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

    /// Ends the session of the client that is called so; see [`SessionInfo::key`]. Whether there was one.
    pub fn end_client(&self, key: &str, who: &str, why: &str) -> bool {
        let run_id = self.sessions.find_key(key);
        run_id.is_some_and(|run_id| self.end_session(&run_id, who, why))
    }

    /// Lets no new clients and no new users in, until [`resume`](Self::resume). Those that are there go on, and a client that is there may
    /// change its connection. An HTTP request is new even if it comes on a connection that is not.
    pub fn drain(&self, who: &str, why: &str) {
        self.sessions.set_draining(true);
        let is_new = self.proxies.set_draining(true);
        log_command("drain the server", is_new, who, why);
    }

    /// Lets new clients and users in again.
    pub fn resume(&self, who: &str, why: &str) {
        let is_new = self.proxies.set_draining(false);
        self.sessions.set_draining(false);
        log_command("end the draining of the server", is_new, who, why);
    }

    /// Forgets all that is remembered of proxies that have stopped; how many there were, and how many of any kind.
    pub fn forget_stopped_proxies(&self, who: &str, why: &str) -> (usize, usize) {
        let (forgotten, all) = self.proxies.forget_stopped();
        // frp: these words (server/http/controller.go#DeleteProxies)
        info!(
            "cleared [{forgotten}] offline proxies, total [{all}] proxies, asked for by {}: {}",
            Excerpt(who),
            Excerpt(why)
        );
        (forgotten, all)
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

    /// Keeps the statistics by day, and forgets what is old, until the future is dropped.
    pub(crate) async fn keep_statistics(&self) -> Infallible {
        loop {
            sleep(self.proxies.until_look()).await;
            let now = SystemTime::now();
            self.proxies.look(now);
            self.sessions.forget_old(now);
        }
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
            settings: Arc::default(),
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
