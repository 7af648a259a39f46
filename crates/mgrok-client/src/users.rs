//! Who is connected to the services of a client: the live connections of each proxy's users, and what becomes of them.
//!
//! Rows are values whose drop removes them. What is over is told where it ends: to the access log, to whoever follows the events, and to a
//! program that shows users. Nothing of this is on the way of a byte but the counter of the connection itself.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::task::Poll;
use std::time::{Duration, Instant, SystemTime};

use mgrok_http::Meter;
use mgrok_net::access_log::{Access, AccessEnd, AccessLog, AccessProxy, EndCell};
use mgrok_net::connections::{Connection, ConnectionInfo, Connections, Moved, Totals};
use mgrok_net::feed::{Feed, FeedReader};
use mgrok_net::relay::Traffic;

use crate::inspector::{Entry, Inspector};
use crate::observer::{Observer, UserEventKind};

/// The address of a user of whom nobody says where they come from.
pub(crate) const NOBODY: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// The users of one client. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Users(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    access_log: AccessLog,
    connection_ids: AtomicU64,
    feed: Feed<UserChange>,
    inspector: Inspector,
    observer: OnceLock<Observer>,
    /// Those that a proxy or a connection refers to.
    proxies: Mutex<BTreeMap<Arc<str>, Weak<ProxyUsers>>>,
    /// What the users of proxies have moved that are not there any more.
    gone: Traffic,
}

/// Something happened to a user.
#[derive(Clone, Debug)]
pub(crate) enum UserChange {
    /// A connection has reached its service.
    Opened(ConnectionInfo),
    /// A connection is over.
    Closed(ConnectionInfo),
    /// A request has its answer, or what followed it is over.
    Request(Arc<Entry>),
}

/// The users of the proxies of one name, on all servers and from one configuration to the next.
#[derive(Debug)]
pub(crate) struct ProxyUsers {
    name: Arc<str>,
    kind: &'static str,
    connections: Connections,
    /// What those have moved who have no connection.
    datagrams: Traffic,
    udp_users: AtomicUsize,
    udp_users_so_far: AtomicU64,
    shared: Arc<Shared>,
}

/// What the users of a proxy come to.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct UserTotals {
    /// Those that are there: connections, or users of UDP.
    pub(crate) live: usize,
    /// Those that there were, with them.
    pub(crate) opened: u64,
    /// Bytes from the users.
    pub(crate) received: u64,
    /// Bytes to the users.
    pub(crate) sent: u64,
}

/// The row of a user's connection, which is taken out when this is dropped. Every user holds one, so that it is kept small.
#[derive(Debug)]
pub(crate) struct UserRow {
    users: Arc<ProxyUsers>,
    connection: Arc<Connection>,
    /// A number of 32 bits, of which there are more than connections.
    place: u32,
    end: EndCell,
    /// Whether the end is told. Where requests are told one by one, it is not.
    is_told: bool,
}

/// A user of a UDP proxy, from the first datagram on.
#[derive(Debug)]
pub(crate) struct UdpUser {
    users: Arc<ProxyUsers>,
    /// What is told of it; `None` if nobody wants to know.
    told: Option<Box<UdpTold>>,
}

#[derive(Debug)]
struct UdpTold {
    from: SocketAddr,
    since: SystemTime,
    began: Instant,
    /// From `began` to the last datagram.
    lasted: Duration,
    moved: Moved,
}

impl Users {
    /// The users of the proxies called `name`, which is of type `kind`.
    pub(crate) fn of(&self, name: &str, kind: &'static str) -> Arc<ProxyUsers> {
        let mut proxies = self.proxies();
        let known = proxies.get(name).and_then(Weak::upgrade);
        // A proxy of another type starts anew.
        if let Some(known) = known.filter(|it| it.kind == kind) {
            return known;
        }
        let name: Arc<str> = name.into();
        let users = Arc::new(ProxyUsers {
            name: name.clone(),
            kind,
            connections: Connections::default(),
            datagrams: Traffic::default(),
            udp_users: AtomicUsize::new(0),
            udp_users_so_far: AtomicU64::new(0),
            shared: self.0.clone(),
        });
        proxies.insert(name, Arc::downgrade(&users));
        users
    }

    /// Where the ends of connections and requests are noted.
    pub(crate) fn access_log(&self) -> &AccessLog {
        &self.0.access_log
    }

    /// The requests that are kept.
    pub(crate) fn inspector(&self) -> &Inspector {
        &self.0.inspector
    }

    /// Shows users that come from here on to `observer`. Only the first call counts.
    pub(crate) fn observe_by(&self, observer: Observer) {
        let _already_set = self.0.observer.set(observer);
    }

    /// What happens from now on.
    pub(crate) fn subscribe(&self) -> FeedReader<UserChange> {
        self.0.feed.subscribe()
    }

    /// The live connections, each with the type of its proxy, the oldest first.
    pub(crate) fn connections(&self) -> Vec<(&'static str, ConnectionInfo)> {
        let mut connections = Vec::new();
        for users in self.all() {
            let of_proxy = users.connections.list(&users.name);
            connections.extend(of_proxy.into_iter().map(|it| (users.kind, it)));
        }
        connections.sort_by_key(|(_, it)| it.id);
        connections
    }

    /// Has one connection closed; whether it is there.
    pub(crate) fn close_connection(&self, id: u64) -> bool {
        self.all().iter().any(|it| it.connections.close(id))
    }

    /// What the users of the proxies called `name` come to.
    pub(crate) fn totals_of(&self, name: &str) -> UserTotals {
        let users = self.proxies().get(name).and_then(Weak::upgrade);
        users.map(|it| it.totals()).unwrap_or_default()
    }

    /// What all users come to since the start.
    pub(crate) fn totals(&self) -> UserTotals {
        let gone = Moved::of(&self.0.gone);
        let mut totals = UserTotals {
            live: 0,
            opened: 0,
            received: gone.received,
            sent: gone.sent,
        };
        for users in self.all() {
            let of_proxy = users.totals();
            totals.live += of_proxy.live;
            totals.opened += of_proxy.opened;
            totals.received += of_proxy.received;
            totals.sent += of_proxy.sent;
        }
        totals
    }

    fn all(&self) -> Vec<Arc<ProxyUsers>> {
        self.proxies().values().filter_map(Weak::upgrade).collect()
    }

    fn proxies(&self) -> std::sync::MutexGuard<'_, BTreeMap<Arc<str>, Weak<ProxyUsers>>> {
        self.0
            .proxies
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl ProxyUsers {
    /// The name of the proxy.
    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(crate) fn inspector(&self) -> &Inspector {
        &self.shared.inspector
    }

    pub(crate) fn observer(&self) -> Option<&Observer> {
        self.shared.observer.get()
    }

    /// The connection of a user who comes from `from`, from now on, which `is_told` when it is over. The task that it is asked for in is
    /// woken when the connection is to be closed; see [`UserRow::until_closed`].
    pub(crate) async fn enter(self: &Arc<Self>, from: SocketAddr, is_told: bool) -> UserRow {
        let waker = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
        let id = self.shared.connection_ids.fetch_add(1, Ordering::Relaxed) + 1;
        let connection = Arc::new(Connection::new(from, waker));
        let place = self.connections.insert(id, connection.clone()) as u32;
        self.shared
            .feed
            .publish(|| UserChange::Opened(connection.info(id, &self.name)));
        if is_told && let Some(observer) = self.observer() {
            observer.tell(known(from), UserEventKind::Connected);
        }
        UserRow {
            users: self.clone(),
            connection,
            place,
            // Unless it is told that it ended otherwise.
            end: EndCell::new(AccessEnd::Cut),
            is_told,
        }
    }

    /// A user who has no connection, from now on.
    pub(crate) fn enter_udp(self: &Arc<Self>, from: SocketAddr) -> UdpUser {
        self.udp_users.fetch_add(1, Ordering::Relaxed);
        self.udp_users_so_far.fetch_add(1, Ordering::Relaxed);
        let observer = self.observer();
        if let Some(observer) = observer {
            observer.tell(Some(from), UserEventKind::Connected);
        }
        let is_told = observer.is_some() || self.shared.access_log.is_on();
        let told = is_told.then(|| {
            Box::new(UdpTold {
                from,
                since: SystemTime::now(),
                began: Instant::now(),
                lasted: Duration::ZERO,
                moved: Moved::default(),
            })
        });
        UdpUser {
            users: self.clone(),
            told,
        }
    }

    /// Notes that a user who comes from `from` was not served.
    pub(crate) fn refused(&self, from: SocketAddr) {
        if let Some(observer) = self.observer() {
            observer.tell(known(from), UserEventKind::Unreachable);
        }
        self.note(&Access {
            from,
            proxy: None,
            host: "",
            request: None,
            since: SystemTime::now(),
            duration: Duration::ZERO,
            sent: 0,
            received: 0,
            end: AccessEnd::Refused,
            reason: "",
        });
    }

    /// What those have moved who have no connection.
    pub(crate) fn datagrams(&self) -> &Traffic {
        &self.datagrams
    }

    /// Notes `access` in the access log, as one to this proxy.
    pub(crate) fn note(&self, access: &Access<'_>) {
        let proxy = AccessProxy {
            name: &self.name,
            kind: self.kind,
            run_id: "",
        };
        self.shared.access_log.note(&Access {
            proxy: Some(proxy),
            ..*access
        });
    }

    /// Tells those who follow the events.
    pub(crate) fn publish(&self, entry: &Arc<Entry>) {
        self.shared
            .feed
            .publish(|| UserChange::Request(entry.clone()));
    }

    /// What they come to.
    pub(crate) fn totals(&self) -> UserTotals {
        let Totals {
            live,
            opened,
            moved,
        } = self.connections.totals();
        let moved = moved.plus(Moved::of(&self.datagrams));
        UserTotals {
            live: live + self.udp_users.load(Ordering::Relaxed),
            opened: opened + self.udp_users_so_far.load(Ordering::Relaxed),
            received: moved.received,
            sent: moved.sent,
        }
    }
}

impl Drop for ProxyUsers {
    fn drop(&mut self) {
        let UserTotals { received, sent, .. } = self.totals();
        let gone = &self.shared.gone;
        gone.received.fetch_add(received, Ordering::Relaxed);
        gone.sent.fetch_add(sent, Ordering::Relaxed);
        let mut proxies = self
            .shared
            .proxies
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // Another may have the name by now.
        if proxies
            .get(&self.name)
            .is_some_and(|it| it.strong_count() == 0)
        {
            proxies.remove(&self.name);
        }
    }
}

impl UserRow {
    /// Those of the same proxy.
    pub(crate) fn users(&self) -> &Arc<ProxyUsers> {
        &self.users
    }

    /// Where the user comes from.
    pub(crate) fn from(&self) -> SocketAddr {
        self.connection.from
    }

    /// Why the connection is over.
    pub(crate) fn ended(&self, end: AccessEnd) {
        self.end.set(end);
    }

    /// What `serving` comes to; `None` if the connection is to be closed before. It has to be awaited in the task in which the row was
    /// made.
    pub(crate) fn until_closed<F: Future + Unpin>(
        &self,
        serving: F,
    ) -> impl Future<Output = Option<F::Output>> {
        self.connection.until_closed(serving)
    }
}

impl Meter for UserRow {
    fn traffic(&self) -> &Traffic {
        &self.connection.traffic
    }
}

impl Drop for UserRow {
    fn drop(&mut self) {
        let users = &self.users;
        let id = users.connections.remove(self.place as usize);
        let info = || self.connection.info(id.unwrap_or_default(), &users.name);
        users.shared.feed.publish(|| UserChange::Closed(info()));
        if !self.is_told {
            return;
        }
        let observer = users.observer();
        if observer.is_none() && !users.shared.access_log.is_on() {
            return;
        }
        let ConnectionInfo {
            from,
            since,
            sent,
            received,
            ..
        } = info();
        // None, if the clock was set back.
        let duration = since.elapsed().unwrap_or_default();
        if let Some(observer) = observer {
            let what = UserEventKind::Closed {
                received,
                sent,
                after: duration,
            };
            observer.tell(known(from), what);
        }
        users.note(&Access {
            from,
            proxy: None,
            host: "",
            request: None,
            since,
            duration,
            sent,
            received,
            end: self.end.get(),
            reason: "",
        });
    }
}

impl UdpUser {
    /// Counts payload of datagrams to the user.
    pub(crate) fn count_sent(&mut self, bytes: u64) {
        if let Some(told) = &mut self.told {
            told.moved.sent += bytes;
            told.lasted = told.began.elapsed();
        }
    }

    /// Counts payload of datagrams from the user.
    pub(crate) fn count_received(&mut self, bytes: u64) {
        if let Some(told) = &mut self.told {
            told.moved.received += bytes;
            told.lasted = told.began.elapsed();
        }
    }
}

impl Drop for UdpUser {
    fn drop(&mut self) {
        self.users.udp_users.fetch_sub(1, Ordering::Relaxed);
        let Some(told) = &self.told else { return };
        let Moved { sent, received } = told.moved;
        if let Some(observer) = self.users.observer() {
            let what = UserEventKind::Closed {
                received,
                sent,
                after: told.lasted,
            };
            observer.tell(Some(told.from), what);
        }
        self.users.note(&Access {
            from: told.from,
            proxy: None,
            host: "",
            request: None,
            since: told.since,
            duration: told.lasted,
            sent,
            received,
            end: AccessEnd::Gone,
            reason: "",
        });
    }
}

/// `from`, if it is known.
fn known(from: SocketAddr) -> Option<SocketAddr> {
    Some(from).filter(|it| !it.ip().is_unspecified())
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    fn from() -> SocketAddr {
        "192.0.2.7:4711".parse().unwrap()
    }

    #[tokio::test]
    async fn a_row_is_there_as_long_as_its_value() {
        let users = Users::default();
        let proxy = users.of("ssh", "tcp");
        let row = proxy.enter(from(), true).await;
        row.traffic().sent.fetch_add(3, Ordering::Relaxed);
        let listed = users.connections();
        assert_eq!(listed.len(), 1);
        let (kind, info) = &listed[0];
        assert_eq!((*kind, &*info.proxy, info.sent), ("tcp", "ssh", 3));
        drop(row);
        assert!(users.connections().is_empty());
        let expect = UserTotals {
            live: 0,
            opened: 1,
            received: 0,
            sent: 3,
        };
        assert_eq!(users.totals_of("ssh"), expect);
        drop(proxy);
        assert_eq!(users.totals_of("ssh"), UserTotals::default());
        assert_eq!(users.totals().sent, 3, "what it moved still counts");
    }

    #[tokio::test]
    async fn a_proxy_that_is_configured_anew_keeps_its_users() {
        let users = Users::default();
        let before = users.of("ssh", "tcp");
        let row = before.enter(from(), true).await;
        let after = users.of("ssh", "tcp");
        drop(before);
        assert!(Arc::ptr_eq(row.users(), &after));
        let other = users.of("ssh", "udp");
        assert!(!Arc::ptr_eq(&after, &other), "of another type");
    }

    #[tokio::test]
    async fn a_connection_is_closed_by_its_number() {
        let users = Users::default();
        let row = users.of("ssh", "tcp").enter(from(), true).await;
        assert_eq!(row.until_closed(ready(())).await, Some(()));
        let id = users.connections()[0].1.id;
        assert!(!users.close_connection(id + 1));
        assert!(users.close_connection(id));
        assert_eq!(row.until_closed(pending::<()>()).await, None);
    }

    #[tokio::test]
    async fn what_comes_and_goes_is_told() {
        let users = Users::default();
        let mut feed = users.subscribe();
        drop(users.of("ssh", "tcp").enter(from(), true).await);
        let opened = feed.next().await.unwrap().unwrap();
        let closed = feed.next().await.unwrap().unwrap();
        let (UserChange::Opened(opened), UserChange::Closed(closed)) = (&opened, &closed) else {
            panic!("{opened:?}, {closed:?}");
        };
        assert_eq!(opened.id, closed.id);
        assert_eq!(opened.from, from());
    }
}
