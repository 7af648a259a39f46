//! The stream of what comes and goes, for pages and programs that show it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::stream::{Stream, unfold};
use mgrok_admin::{EventStream, Method, Routes, ServerEvent};
use mgrok_net::access_log::FinishedRequest;
use mgrok_net::feed::FeedReader;
use serde::Serialize;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::context::AdminContext;
use crate::directory::{Change, ChangeFeed, ConnectionInfo, Directory, Lagged};

/// How often readers are told how much has moved.
const TRAFFIC_INTERVAL: Duration = Duration::from_secs(1);

pub(super) fn add(routes: Routes, context: &AdminContext) -> Routes {
    let directory = context.directory.clone();
    let sampler = Arc::new(Sampler::default());
    routes.with(
        Method::GET,
        "/api/v2/events",
        async move |stream: EventStream| stream.answer(events(&directory, sampler)),
    )
}

/// Sums that all readers share, so that many of them cost no more than one, and none nothing.
#[derive(Debug, Default)]
struct Sampler(Mutex<Option<(Instant, Traffic)>>);

#[derive(Clone, Debug, Serialize)]
struct Traffic {
    received: u64,
    sent: u64,
    connections: usize,
    clients: usize,
    proxies: usize,
}

impl Sampler {
    fn sample(&self, directory: &Directory) -> Traffic {
        let mut latest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Readers do not ask in the same moment.
        let fresh = latest
            .as_ref()
            .filter(|(at, _)| at.elapsed() < TRAFFIC_INTERVAL / 2);
        if let Some((_, traffic)) = fresh {
            return traffic.clone();
        }
        let totals = directory.totals();
        let traffic = Traffic {
            received: totals.moved.received,
            sent: totals.moved.sent,
            connections: totals.connections,
            clients: totals.clients,
            proxies: totals.proxies.values().sum(),
        };
        *latest = Some((Instant::now(), traffic.clone()));
        traffic
    }
}

/// What one reader is told from.
struct Sources {
    directory: Directory,
    sampler: Arc<Sampler>,
    changes: ChangeFeed,
    requests: FeedReader<Arc<FinishedRequest>>,
    ticks: Interval,
    is_new: bool,
}

fn events(
    directory: &Directory,
    sampler: Arc<Sampler>,
) -> impl Stream<Item = ServerEvent> + Send + 'static {
    let mut ticks = interval(TRAFFIC_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let sources = Sources {
        directory: directory.clone(),
        sampler,
        changes: directory.subscribe(),
        requests: directory.access_log().requests(),
        ticks,
        is_new: true,
    };
    unfold(sources, async |mut sources| {
        let event = sources.next().await?;
        Some((event, sources))
    })
}

impl Sources {
    async fn next(&mut self) -> Option<ServerEvent> {
        if std::mem::take(&mut self.is_new) {
            return Some(reset(0));
        }
        tokio::select! {
            _ = self.ticks.tick() => {
                Some(ServerEvent::new("traffic", &self.sampler.sample(&self.directory)))
            }
            change = self.changes.next() => Some(match change? {
                Ok(change) => event(&change),
                Err(Lagged { missed }) => reset(missed),
            }),
            request = self.requests.next() => Some(match request? {
                Ok(request) => ServerEvent::new("request", &RequestRow::new(&request)),
                Err(Lagged { missed }) => reset(missed),
            }),
        }
    }
}

#[derive(Serialize)]
struct Reset {
    missed: u64,
}

fn reset(missed: u64) -> ServerEvent {
    ServerEvent::new("reset", &Reset { missed })
}

#[derive(Serialize)]
struct ClientRow<'a> {
    key: &'a str,
    online: bool,
}

#[derive(Serialize)]
struct ProxyRow<'a> {
    name: &'a str,
    state: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ConnectionRow<'a> {
    id: u64,
    proxy: &'a str,
    state: &'static str,
    remote_addr: SocketAddr,
    received: u64,
    sent: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct RequestRow<'a> {
    proxy: Option<&'a str>,
    remote_addr: SocketAddr,
    method: &'a str,
    host: &'a str,
    path: &'a str,
    status: Option<u16>,
    /// In milliseconds.
    duration: u64,
    sent: u64,
}

impl<'a> RequestRow<'a> {
    fn new(request: &'a FinishedRequest) -> Self {
        Self {
            proxy: request.proxy.as_deref(),
            remote_addr: request.from,
            method: &request.method,
            host: &request.host,
            path: &request.path,
            status: request.status,
            duration: u64::try_from(request.duration.as_millis()).unwrap_or(u64::MAX),
            sent: request.sent,
        }
    }
}

fn event(change: &Change) -> ServerEvent {
    let client = |key, online| ServerEvent::new("client", &ClientRow { key, online });
    let proxy = |name, state| ServerEvent::new("proxy", &ProxyRow { name, state });
    match change {
        Change::SessionStarted { key, .. } => client(key, true),
        Change::SessionEnded { key, .. } => client(key, false),
        Change::ProxyStarted { name, .. } => proxy(name, "started"),
        Change::ProxyStopped { name, .. } => proxy(name, "stopped"),
        Change::ProxyDisabled { name } => proxy(name, "disabled"),
        Change::ProxyEnabled { name } => proxy(name, "enabled"),
        Change::ConnectionOpened { id, proxy, from } => ServerEvent::new(
            "connection",
            &ConnectionRow {
                id: *id,
                proxy,
                state: "opened",
                remote_addr: *from,
                received: 0,
                sent: 0,
            },
        ),
        Change::ConnectionClosed { connection } => {
            let ConnectionInfo {
                id,
                proxy,
                from,
                sent,
                received,
                ..
            } = connection;
            ServerEvent::new(
                "connection",
                &ConnectionRow {
                    id: *id,
                    proxy,
                    state: "closed",
                    remote_addr: *from,
                    received: *received,
                    sent: *sent,
                },
            )
        }
    }
}
