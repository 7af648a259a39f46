//! The stream of what happens, for pages and tools that would have to ask again and again.
//!
//! A stream costs something while somebody reads it and nothing otherwise. A reader that is slow misses some, and is told.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use futures_util::stream;
use mgrok_admin::{EventStream, Method, Routes, ServerEvent};
use mgrok_net::connections::ConnectionInfo;
use mgrok_net::feed::{FeedReader, Lagged};
use serde::Serialize;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until};

use super::connections::remote_addr;
use crate::inspector::Summary;
use crate::progress::ProgressWatch;
use crate::proxies::Table;
use crate::session_status::SessionStatus;
use crate::status::ProxyStatus;
use crate::users::{UserChange, Users};

/// How often traffic is told.
const TRAFFIC_INTERVAL: Duration = Duration::from_secs(1);

/// How long changes of proxies gather: a thousand that start are not looked at one by one.
const LOOK_PAUSE: Duration = Duration::from_millis(100);

/// What events are about. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Watched {
    pub(crate) users: Users,
    pub(crate) tables: Vec<watch::Receiver<Table>>,
    pub(crate) sessions: watch::Receiver<Vec<SessionStatus>>,
    pub(crate) progress: ProgressWatch,
}

/// One stream.
struct Reader {
    watched: Watched,
    feed: FeedReader<UserChange>,
    ticks: Interval,
    /// When to look at proxies and sessions again.
    look_at: Instant,
    /// What was told last: for each table and name.
    proxies: BTreeMap<(usize, String), ProxyStatus>,
    sessions: Vec<SessionStatus>,
    /// What has yet to be told.
    queue: VecDeque<ServerEvent>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Connection {
    id: u64,
    proxy: String,
    state: &'static str,
    remote_addr: String,
    received: u64,
    sent: u64,
}

/// Adds the route to `routes`.
pub(super) fn add_to(routes: Routes, watched: Watched) -> Routes {
    routes.with(
        Method::GET,
        "/api/v2/events",
        async move |stream: EventStream| {
            let reader = Reader::new(watched);
            let events = stream::unfold(reader, async |mut reader| {
                let event = reader.next().await;
                Some((event, reader))
            });
            stream.answer(events)
        },
    )
}

impl Reader {
    fn new(watched: Watched) -> Self {
        let mut ticks = interval(TRAFFIC_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut reader = Self {
            feed: watched.users.subscribe(),
            ticks,
            look_at: Instant::now(),
            proxies: BTreeMap::new(),
            sessions: Vec::new(),
            queue: VecDeque::new(),
            watched,
        };
        // What there is already is for other routes to tell.
        reader.look();
        reader.queue.clear();
        reader.queue.push_back(reset(0));
        reader
    }

    async fn next(&mut self) -> ServerEvent {
        loop {
            if let Some(event) = self.queue.pop_front() {
                return event;
            }
            let (progress, look_at) = (&mut self.watched.progress, self.look_at);
            let sessions = &mut self.watched.sessions;
            let changed = async {
                sleep_until(look_at).await;
                tokio::select! {
                    () = progress.changed() => {}
                    Ok(()) = sessions.changed() => {}
                }
            };
            tokio::select! {
                change = self.feed.next() => match change {
                    Some(Ok(change)) => self.queue.push_back(event(&change)),
                    Some(Err(Lagged { missed })) => return reset(missed),
                    // The client has ended, and the port soon does.
                    None => return std::future::pending().await,
                },
                _ = self.ticks.tick() => return self.traffic(),
                () = changed => {
                    self.look();
                    self.look_at = Instant::now() + LOOK_PAUSE;
                }
            }
        }
    }

    fn traffic(&self) -> ServerEvent {
        let totals = self.watched.users.totals();
        let proxies: usize = self
            .watched
            .tables
            .iter()
            .map(|it| it.borrow().statuses().count())
            .sum();
        ServerEvent::new(
            "traffic",
            &json!({
                "received": totals.received,
                "sent": totals.sent,
                "connections": totals.live,
                "clients": 1,
                "proxies": proxies,
            }),
        )
    }

    /// Queues what has changed since the last look.
    fn look(&mut self) {
        // Ahead of its proxies.
        let sessions = self.watched.sessions.borrow_and_update().clone();
        for (place, status) in sessions.iter().enumerate() {
            let before = self.sessions.get(place);
            if before == Some(status) {
                continue;
            }
            let last = before.and_then(|it| it.live.as_ref());
            let server = status
                .live
                .as_ref()
                .or(last)
                .map(|it| it.server.to_string());
            let event = json!({
                "address": server.unwrap_or_default(),
                "connected": status.live.is_some(),
                "error": status.error.as_ref().filter(|_| status.live.is_none()),
            });
            self.queue.push_back(ServerEvent::new("session", &event));
        }
        self.sessions = sessions;

        let mut proxies = BTreeMap::new();
        for (place, table) in self.watched.tables.iter_mut().enumerate() {
            let table = table.borrow_and_update();
            let statuses = table.statuses();
            proxies
                .extend(statuses.map(|(name, status)| ((place, name.to_owned()), status.clone())));
        }
        for (key, status) in &proxies {
            if self.proxies.get(key) != Some(status) {
                let state = status.phase.to_string();
                let error = status.error.as_deref().unwrap_or_default();
                self.queue.push_back(proxy(&key.1, &state, error));
            }
        }
        for (_, name) in self.proxies.keys().filter(|it| !proxies.contains_key(*it)) {
            self.queue.push_back(proxy(name, "removed", ""));
        }
        self.proxies = proxies;
    }
}

fn reset(missed: u64) -> ServerEvent {
    ServerEvent::new("reset", &json!({"missed": missed}))
}

fn proxy(name: &str, status: &str, error: &str) -> ServerEvent {
    let event = json!({"name": name, "status": status, "error": error});
    ServerEvent::new("proxy", &event)
}

fn event(change: &UserChange) -> ServerEvent {
    match change {
        UserChange::Opened(info) => connection(info, "opened"),
        UserChange::Closed(info) => connection(info, "closed"),
        UserChange::Request(entry) => ServerEvent::new("request", &Summary::of(entry)),
    }
}

fn connection(info: &ConnectionInfo, state: &'static str) -> ServerEvent {
    let event = Connection {
        id: info.id,
        proxy: info.proxy.to_string(),
        state,
        remote_addr: remote_addr(info),
        received: info.received,
        sent: info.sent,
    };
    ServerEvent::new("connection", &event)
}
