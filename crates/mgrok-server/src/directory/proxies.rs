//! The proxies that are published, by name, each with the live connections of its users.
//!
//! A proxy is listed from when it lets users in until it has stopped and the last of its users has left.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::{Poll, Waker};
use std::time::{Duration, SystemTime};

use jiff::civil::Date;
use mgrok_http::Meter;
use mgrok_net::access_log::{Access, AccessEnd, AccessLog, AccessProxy};
use mgrok_net::connections::{Connection, ConnectionInfo, Connections, Moved, Totals};
use mgrok_net::relay::Traffic;
use mgrok_proto::RunId;

use super::changes::{Change, Changes};
use super::gate::Gate;
use super::sessions::client_key;
use super::settings::ProxySettings;
use super::statistics::{DAYS, Record, Statistics};
use crate::admission::Visits;
use crate::holder::{Holder, Rival};
use crate::metrics::{Metrics, UserRefusal};

/// How many names may be disabled. They are kept until they are enabled again, whether somebody has them or not.
const MAX_DISABLED: usize = 16_384;

/// So many names are disabled that no other can be.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{MAX_DISABLED} proxies are disabled, and no more can be; enable some of them first")]
pub struct TooManyDisabled;

/// A proxy as it is at this moment.
#[derive(Clone, Debug)]
pub struct ProxyInfo {
    /// Tells it from other proxies that had or will have its name.
    pub id: u64,
    /// Its name, which is unique among those that run.
    pub name: Arc<str>,
    /// Its type, as in frp's configuration.
    pub kind: &'static str,
    /// The session whose proxy it is.
    pub run_id: RunId,
    /// The user of its client, which may be empty.
    pub user: Arc<str>,
    /// The client's own name, which may be empty.
    pub client_id: Arc<str>,
    /// What its client shows as its public address: `:PORT`, or names; empty where there is none.
    pub remote_addr: Arc<str>,
    /// When it let the first users in.
    pub started_at: SystemTime,
    /// Whether it lets users in. One that has stopped is listed as long as it has connections.
    pub is_running: bool,
    /// Whether an operator has users turned away.
    pub is_disabled: bool,
    /// Live connections of users.
    pub connections: usize,
    /// Connections of users so far, with those that live.
    pub connections_opened: u64,
    /// Users of a UDP port that can be answered at present.
    pub udp_users: usize,
    /// Bytes that users were sent so far, also on connections that live.
    pub sent: u64,
    /// Bytes that users have sent so far, also on connections that live.
    pub received: u64,
    /// What its client wants it to be.
    pub settings: Arc<ProxySettings>,
}

impl ProxyInfo {
    /// What its client is told apart by; see [`SessionInfo::key`](crate::SessionInfo::key).
    pub fn client_key(&self) -> String {
        client_key(&self.user, &self.client_id, &self.run_id)
    }

    /// The port by which users come, if it has one of its own.
    pub fn remote_port(&self) -> Option<u16> {
        self.remote_addr.strip_prefix(':')?.parse().ok()
    }
}

/// What is remembered of a proxy by its name. One that has stopped is remembered for a week.
#[derive(Clone, Debug)]
pub struct ProxyStatistics {
    /// Its name.
    pub name: Arc<str>,
    /// Its type, as in frp's configuration.
    pub kind: &'static str,
    /// The user of its client, which may be empty.
    pub user: Arc<str>,
    /// The client's own name, or its run id.
    pub client_id: Arc<str>,
    /// When it started for the last time.
    pub started_at: SystemTime,
    /// When it stopped for the last time, if it has.
    pub stopped_at: Option<SystemTime>,
    /// What its users have moved today, yesterday, and so on, by the local time of this machine.
    pub days: [Moved; DAYS],
    /// What they have moved since it is remembered.
    pub moved: Moved,
    /// Live connections of users, also of those who were let in by one that has stopped.
    pub connections: usize,
    /// The proxy, while it lets users in.
    pub running: Option<ProxyInfo>,
}

/// What a proxy says of itself when it takes its name.
#[derive(Debug)]
pub(crate) struct ProxySpec {
    pub(crate) holder: Holder,
    pub(crate) kind: &'static str,
    pub(crate) run_id: RunId,
    pub(crate) client_id: Arc<str>,
    pub(crate) settings: Arc<ProxySettings>,
}

/// The proxies of one server.
#[derive(Debug)]
pub(super) struct Proxies {
    table: Mutex<Table>,
    proxy_ids: AtomicU64,
    connection_ids: AtomicU64,
    changes: Arc<Changes>,
    access_log: AccessLog,
    metrics: Arc<Metrics>,
    statistics: Statistics,
    /// Whether no new users are let in to any of them.
    is_draining: AtomicBool,
}

#[derive(Debug, Default)]
struct Table {
    /// Those whose names nobody else may take.
    taken: HashMap<Arc<str>, Arc<ProxyEntry>>,
    /// Those that somebody refers to: the proxy itself, its backend, or a connection.
    all: HashMap<u64, Weak<ProxyEntry>>,
    disabled: HashSet<Arc<str>>,
}

/// One proxy.
#[derive(Debug)]
pub(crate) struct ProxyEntry {
    id: u64,
    spec: ProxySpec,
    started: OnceLock<Started>,
    has_stopped: AtomicBool,
    gate: Gate,
    connections: Connections,
    datagrams: Traffic,
    udp_users: AtomicUsize,
    /// What the statistics have of it.
    counted: Mutex<Moved>,
    proxies: Arc<Proxies>,
}

#[derive(Debug)]
struct Started {
    at: SystemTime,
    remote_addr: Arc<str>,
}

/// A proxy's row, which gives its name back when it is dropped.
#[derive(Debug)]
pub(crate) struct ProxyRow(Arc<ProxyEntry>);

/// What few connections have.
#[derive(Debug)]
struct Extras {
    /// The name that the user has asked for, if the access log is to be told; else empty.
    host: Box<str>,
    /// Counts it as one of its source.
    _visits: Option<Visits>,
}

/// The row of a user's connection, which is taken out when this is dropped.
#[derive(Debug)]
pub(crate) struct ConnectionRow {
    proxy: Arc<ProxyEntry>,
    connection: Arc<Connection>,
    /// A number of 32 bits, of which there are more than connections: each user holds this.
    place: u32,
    /// What the access log is told at the end; `None`: nothing, because each request is noted for itself.
    end: Option<AccessEnd>,
    /// Boxed, because hardly anybody has anything there.
    extras: Option<Box<Extras>>,
}

impl Proxies {
    pub(super) fn new(changes: Arc<Changes>, access_log: AccessLog, metrics: Arc<Metrics>) -> Self {
        Self {
            table: Mutex::default(),
            proxy_ids: AtomicU64::new(1),
            connection_ids: AtomicU64::new(1),
            changes,
            access_log,
            metrics,
            statistics: Statistics::default(),
            is_draining: AtomicBool::new(false),
        }
    }

    /// Takes a name, which is unique over all clients. Says who has it, if somebody does.
    pub(super) fn take_name(self: &Arc<Self>, spec: ProxySpec) -> Result<ProxyRow, Rival> {
        let mut table = self.table();
        let name = spec.holder.proxy.clone();
        if let Some(other) = table.taken.get(&name) {
            return Err(other.spec.holder.as_rival_of(&spec.holder));
        }
        let entry = Arc::new(ProxyEntry {
            id: self.proxy_ids.fetch_add(1, Ordering::Relaxed),
            spec,
            started: OnceLock::new(),
            has_stopped: AtomicBool::new(false),
            gate: Gate::new(table.disabled.contains(&name)),
            connections: Connections::default(),
            datagrams: Traffic::default(),
            udp_users: AtomicUsize::new(0),
            counted: Mutex::default(),
            proxies: self.clone(),
        });
        table.all.insert(entry.id, Arc::downgrade(&entry));
        table.taken.insert(name, entry.clone());
        Ok(ProxyRow(entry))
    }

    /// All that are listed, in no order.
    pub(super) fn list(&self) -> Vec<ProxyInfo> {
        // The table is free again before anything is read or dropped.
        let all = self.all();
        all.iter().filter_map(|it| it.info()).collect()
    }

    /// The running proxy `name`.
    pub(super) fn find(&self, name: &str) -> Option<ProxyInfo> {
        let found = self.table().taken.get(name).cloned();
        found?.info()
    }

    /// The live connections of all proxies, in no order.
    pub(super) fn connections(&self) -> Vec<ConnectionInfo> {
        let lists = self.all();
        let lists = lists.iter().map(|it| it.connections.list(it.name()));
        lists.flatten().collect()
    }

    /// The proxies that have live connections, each with them, in no order.
    pub(super) fn connections_by_proxy(&self) -> Vec<(ProxyInfo, Vec<ConnectionInfo>)> {
        let all = self.all().into_iter();
        all.filter_map(|it| {
            let live = it.connections.list(it.name());
            (!live.is_empty()).then_some((it.info()?, live))
        })
        .collect()
    }

    /// Has users of the proxy `name` turned away; whether it is there.
    pub(super) fn disable(&self, name: &str) -> Result<bool, TooManyDisabled> {
        let mut table = self.table();
        let Some(entry) = table.taken.get(name).cloned() else {
            return Ok(false);
        };
        if table.disabled.len() >= MAX_DISABLED && !table.disabled.contains(name) {
            return Err(TooManyDisabled);
        }
        let name = entry.name().clone();
        if table.disabled.insert(name.clone()) {
            entry.gate.set_closed(true);
            self.changes.publish(|| Change::ProxyDisabled { name });
        }
        drop(table);
        Ok(true)
    }

    /// Lets users in again to the proxy `name`; whether it was disabled.
    pub(super) fn enable(&self, name: &str) -> bool {
        let mut table = self.table();
        let Some(name) = table.disabled.take(name) else {
            return false;
        };
        if let Some(entry) = table.taken.get(&name) {
            entry.gate.set_closed(false);
        }
        self.changes.publish(|| Change::ProxyEnabled { name });
        true
    }

    /// The names that are disabled, in no order.
    pub(super) fn disabled(&self) -> Vec<Arc<str>> {
        self.table().disabled.iter().cloned().collect()
    }

    /// Has one connection closed; whether it is there.
    pub(super) fn close_connection(&self, id: u64) -> bool {
        self.all().iter().any(|it| it.connections.close(id))
    }

    /// Has all connections closed of proxies called `name`, also of one that has stopped; how many there were.
    pub(super) fn close_connections_of(&self, name: &str) -> usize {
        let all = self.all();
        let called_so = all.iter().filter(|it| &**it.name() == name);
        called_so.map(|it| it.connections.close_all()).sum()
    }

    /// What is remembered of proxies, in no order.
    pub(super) fn statistics(&self) -> Vec<ProxyStatistics> {
        let all = self.count();
        let today = self.statistics.today();
        let mut live: HashMap<Arc<str>, (usize, Option<ProxyInfo>)> = HashMap::new();
        for proxy in all.iter().filter_map(|it| it.info()) {
            let (connections, running) = live.entry(proxy.name.clone()).or_default();
            *connections += proxy.connections;
            if proxy.is_running {
                *running = Some(proxy);
            }
        }
        let records = self.statistics.list().into_iter();
        records
            .map(|(name, record)| {
                let (connections, running) = live.remove(&name).unwrap_or_default();
                ProxyStatistics::new(name, &record, today, connections, running)
            })
            .collect()
    }

    /// What is remembered of the proxy `name`.
    pub(super) fn statistics_of(&self, name: &str) -> Option<ProxyStatistics> {
        let all = self.count();
        let called_so = all.iter().filter(|it| &**it.name() == name);
        let mut connections = 0;
        let mut running = None;
        for proxy in called_so.filter_map(|it| it.info()) {
            connections += proxy.connections;
            running = Some(proxy).filter(|it| it.is_running).or(running);
        }
        let record = self.statistics.find(name)?;
        let today = self.statistics.today();
        Some(ProxyStatistics::new(
            name.into(),
            &record,
            today,
            connections,
            running,
        ))
    }

    /// What users of all proxies have moved so far, and what of it today.
    pub(super) fn moved(&self) -> (Moved, Moved) {
        self.count();
        self.statistics.moved()
    }

    /// How many live connections there are.
    pub(super) fn live(&self) -> usize {
        self.all().iter().map(|it| it.connections.live()).sum()
    }

    /// How many proxies are published of each kind that has been.
    pub(super) fn kinds(&self) -> BTreeMap<&'static str, usize> {
        self.statistics.kinds()
    }

    /// Forgets all that is remembered of proxies that are not published; how many there were, and how many of any kind.
    pub(super) fn forget_stopped(&self) -> (usize, usize) {
        self.statistics.forget_stopped()
    }

    /// How long to wait until [`look`](Self::look) is to be called again.
    pub(super) fn until_look(&self) -> Duration {
        self.statistics.until_look()
    }

    /// Brings the statistics to what they are at `now`.
    pub(super) fn look(&self, now: SystemTime) {
        self.count();
        self.statistics.forget_old(now);
    }

    /// Whether no new users are let in.
    pub(super) fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Acquire)
    }

    /// Lets no new users in from now on, or lets them in again; whether that is new.
    pub(super) fn set_draining(&self, is_draining: bool) -> bool {
        self.is_draining.swap(is_draining, Ordering::AcqRel) != is_draining
    }

    /// Adds to the statistics what users have moved.
    fn count(&self) -> Vec<Arc<ProxyEntry>> {
        let all = self.all();
        all.iter().for_each(|it| it.count());
        all
    }

    fn all(&self) -> Vec<Arc<ProxyEntry>> {
        let table = self.table();
        table.all.values().filter_map(Weak::upgrade).collect()
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ProxyEntry {
    pub(crate) fn name(&self) -> &Arc<str> {
        &self.spec.holder.proxy
    }

    /// Whether an operator has let it take users.
    pub(crate) fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Whether users are turned away who are not there yet.
    pub(crate) fn turns_away(&self) -> bool {
        self.gate.is_closed() || self.proxies.is_draining()
    }

    /// How many live connections its users have.
    pub(crate) fn live_connections(&self) -> usize {
        self.connections.live()
    }

    /// Whether the whole server lets no new users in.
    pub(crate) fn is_draining(&self) -> bool {
        self.proxies.is_draining()
    }

    /// The same, for whoever looks often.
    pub(crate) fn draining(&self) -> &AtomicBool {
        &self.proxies.is_draining
    }

    /// What its users have moved who have no connection.
    pub(crate) fn datagrams(&self) -> &Traffic {
        &self.datagrams
    }

    /// How many users there are who have no connection.
    pub(crate) fn udp_users(&self) -> &AtomicUsize {
        &self.udp_users
    }

    /// The connection of a user who comes from `from`, from now on. The task that it is asked for in is woken when the connection is
    /// to be closed; see [`ConnectionRow::until_closed`].
    pub(crate) async fn open_connection(self: &Arc<Self>, from: SocketAddr) -> ConnectionRow {
        let waker = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
        let mut row = self.add_connection(from, waker);
        // Unless it is told that it ended otherwise.
        row.end = Some(AccessEnd::Cut);
        row
    }

    /// As [`open_connection`](Self::open_connection), but the end is not noted. `waker` is woken once when the connection is to be closed.
    pub(crate) fn add_connection(
        self: &Arc<Self>,
        from: SocketAddr,
        waker: Waker,
    ) -> ConnectionRow {
        let id = self.proxies.connection_ids.fetch_add(1, Ordering::Relaxed);
        let connection = Arc::new(Connection::new(from, waker));
        let place = self.connections.insert(id, connection.clone()) as u32;
        self.proxies.changes.publish(|| Change::ConnectionOpened {
            id,
            proxy: self.name().clone(),
            from,
        });
        ConnectionRow {
            proxy: self.clone(),
            connection,
            place,
            end: None,
            extras: None,
        }
    }

    /// Where the ends of its users are noted.
    pub(crate) fn access_log(&self) -> &AccessLog {
        &self.proxies.access_log
    }

    /// What is counted of all proxies of its server.
    pub(crate) fn metrics(&self) -> &Arc<Metrics> {
        &self.proxies.metrics
    }

    /// As the access log names it.
    pub(crate) fn as_accessed(&self) -> AccessProxy<'_> {
        let ProxySpec {
            holder,
            kind,
            run_id,
            ..
        } = &self.spec;
        AccessProxy {
            name: &holder.proxy,
            kind,
            run_id: run_id.as_str(),
        }
    }

    /// Counts as `why` that a user from `from`, who has asked for `host`, was not let in, and notes it with `reason`.
    pub(crate) fn note_refusal(
        &self,
        from: SocketAddr,
        host: &str,
        why: UserRefusal,
        reason: &dyn fmt::Display,
    ) {
        self.metrics().users_refused.of(why).inc();
        self.note_refused(from, host, reason);
    }

    /// Notes in the access log, and nowhere else, that somebody from `from`, who has asked for `host`, was not let in.
    pub(crate) fn note_refused(&self, from: SocketAddr, host: &str, reason: &dyn fmt::Display) {
        let log = self.access_log();
        if log.is_on() {
            let proxy = Some(self.as_accessed());
            log.note_refused(from, proxy, host, None, &reason.to_string());
        }
    }

    /// `None` if it is not listed.
    fn info(&self) -> Option<ProxyInfo> {
        let started = self.started.get()?;
        let is_running = !self.has_stopped.load(Ordering::Acquire);
        if !is_running && self.connections.is_empty() {
            return None;
        }
        let ProxySpec {
            holder,
            kind,
            run_id,
            client_id,
            settings,
        } = &self.spec;
        let Totals {
            live,
            opened,
            moved,
        } = self.connections.totals();
        let moved = moved.plus(Moved::of(&self.datagrams));
        Some(ProxyInfo {
            id: self.id,
            name: holder.proxy.clone(),
            kind,
            run_id: run_id.clone(),
            user: holder.user.clone(),
            client_id: client_id.clone(),
            remote_addr: started.remote_addr.clone(),
            started_at: started.at,
            is_running,
            is_disabled: self.gate.is_closed(),
            connections: live,
            connections_opened: opened,
            udp_users: self.udp_users.load(Ordering::Relaxed),
            sent: moved.sent,
            received: moved.received,
            settings: settings.clone(),
        })
    }

    /// Adds to the statistics what its users have moved since the last time.
    fn count(&self) {
        if self.started.get().is_none() {
            return;
        }
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let moved = self.connections.totals().moved;
        let moved = moved.plus(Moved::of(&self.datagrams));
        let new = moved.since(*counted);
        *counted = moved;
        drop(counted);
        if new != Moved::default() {
            let statistics = &self.proxies.statistics;
            statistics.count(self.name(), self.spec.kind, new, statistics.today());
        }
    }
}

impl ProxyStatistics {
    fn new(
        name: Arc<str>,
        record: &Record,
        today: Date,
        connections: usize,
        running: Option<ProxyInfo>,
    ) -> Self {
        Self {
            name,
            kind: record.kind,
            user: record.user.clone(),
            client_id: record.client_id.clone(),
            started_at: record.started_at,
            stopped_at: record.stopped_at,
            days: record.days(today),
            moved: record.moved,
            connections,
            running,
        }
    }

    /// What its users have moved today.
    pub fn today(&self) -> Moved {
        let [today, ..] = self.days;
        today
    }
}

impl ProxyRow {
    /// What users' connections and datagrams are counted in.
    pub(crate) fn entry(&self) -> &Arc<ProxyEntry> {
        &self.0
    }

    /// Users are let in from now on, at `remote_addr`.
    pub(crate) fn start(&self, remote_addr: &str) {
        let entry = &self.0;
        let at = SystemTime::now();
        let started = Started {
            at,
            remote_addr: remote_addr.into(),
        };
        if entry.started.set(started).is_ok() {
            let ProxySpec {
                holder,
                kind,
                run_id,
                client_id,
                settings: _,
            } = &entry.spec;
            let client_id = match &**client_id {
                "" => &run_id.as_str().into(),
                _ => client_id,
            };
            let statistics = &entry.proxies.statistics;
            statistics.started(&holder.proxy, kind, &holder.user, client_id, at);
            entry.proxies.changes.publish(|| Change::ProxyStarted {
                id: entry.id,
                name: entry.name().clone(),
            });
        }
    }
}

impl ConnectionRow {
    /// The same, of a user who has asked for `host`, which is empty if nobody is to be told, and is counted by `visits`.
    pub(crate) fn with_extras(mut self, host: &str, visits: Option<Visits>) -> Self {
        let has_any = !host.is_empty() || visits.is_some();
        self.extras = has_any.then(|| {
            Box::new(Extras {
                host: host.into(),
                _visits: visits,
            })
        });
        self
    }

    /// Notes why the connection is over.
    pub(crate) fn note_end(&mut self, end: AccessEnd) {
        self.end = Some(end);
    }

    /// Where the user comes from.
    pub(crate) fn from(&self) -> SocketAddr {
        self.connection.from
    }

    /// What is counted of all users of the server.
    pub(crate) fn metrics(&self) -> &Metrics {
        self.proxy.metrics()
    }

    /// What the connection moves is counted here.
    pub(crate) fn traffic(&self) -> &Traffic {
        &self.connection.traffic
    }

    /// Whether `proxy` is the one whose connection this is.
    pub(crate) fn is_of(&self, proxy: &Arc<ProxyEntry>) -> bool {
        Arc::ptr_eq(&self.proxy, proxy)
    }

    /// What `serving` comes to; `None` if the connection is to be closed before. It has to be awaited in the task in which the row was
    /// opened.
    pub(crate) fn until_closed<F: Future + Unpin>(
        &self,
        serving: F,
    ) -> impl Future<Output = Option<F::Output>> {
        self.connection.until_closed(serving)
    }
}

impl Meter for ConnectionRow {
    fn traffic(&self) -> &Traffic {
        self.traffic()
    }
}

impl Drop for ProxyRow {
    fn drop(&mut self) {
        let entry = &self.0;
        let mut table = entry.proxies.table();
        entry.has_stopped.store(true, Ordering::Release);
        let row = table.taken.remove(entry.name());
        // While nobody else can take the name: readers see the two in order.
        if entry.started.get().is_some() {
            entry.count();
            let statistics = &entry.proxies.statistics;
            statistics.stopped(entry.name(), entry.spec.kind, SystemTime::now());
            entry.proxies.changes.publish(|| Change::ProxyStopped {
                id: entry.id,
                name: entry.name().clone(),
            });
        }
        drop(table);
        drop(row);
    }
}

impl Drop for ProxyEntry {
    fn drop(&mut self) {
        // What the last of its users have moved.
        self.count();
        let gone = self.proxies.table().all.remove(&self.id);
        drop(gone);
    }
}

impl Drop for ConnectionRow {
    fn drop(&mut self) {
        if let Some(id) = self.proxy.connections.remove(self.place as usize) {
            let proxies = &self.proxy.proxies;
            proxies.changes.publish(|| Change::ConnectionClosed {
                connection: self.connection.info(id, self.proxy.name()),
            });
        }
        if let Some(end) = self.end {
            self.proxy.metrics().users_over.of(end).inc();
        }
        let access_log = self.proxy.access_log();
        if let Some(end) = self.end
            && access_log.is_on()
        {
            let ConnectionInfo {
                from,
                since,
                sent,
                received,
                ..
            } = self.connection.info(0, self.proxy.name());
            access_log.note(&Access {
                from,
                proxy: Some(self.proxy.as_accessed()),
                host: self.extras.as_ref().map_or("", |it| &it.host),
                request: None,
                since,
                // None, if the clock was set back.
                duration: since.elapsed().unwrap_or_default(),
                sent,
                received,
                end,
                reason: "",
            });
        }
    }
}
