//! What Prometheus is told of a client, made from its tables and counters when it asks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mgrok_admin::{Routes, expose_runtime};
use mgrok_config::WebServer;
use mgrok_metrics::{Exposition, Kind, Value};
use mgrok_proto::FRP_VERSION;
use tokio::sync::watch;

use crate::metrics::Metrics;
use crate::progress::ProgressWatch;
use crate::proxies::Table;
use crate::session_status::SessionStatus;
use crate::status::ProxyPhase;

/// How many names of proxies are told. What is beyond is told in one as [`OTHER`].
const MAX_NAMES: usize = 10_000;

/// The name that stands for all proxies beyond the last that has one of its own.
const OTHER: &str = "other";

/// What is looked at.
#[derive(Clone, Debug)]
pub(crate) struct Exposed {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) progress: ProgressWatch,
    pub(crate) sessions: watch::Receiver<Vec<SessionStatus>>,
    /// One for each server that the client publishes on.
    pub(crate) tables: Vec<watch::Receiver<Table>>,
}

/// Has `/metrics` and the routes of Go's profiler answered, if `web_server` says so.
pub(crate) fn add_to(routes: Routes, web_server: &WebServer, exposed: Exposed) -> Routes {
    let WebServer {
        prometheus, pprof, ..
    } = *web_server;
    routes
        .with_metrics(
            move || prometheus,
            move |exposition| exposed.expose(exposition),
        )
        .with_pprof(move || pprof)
}

/// What a proxy comes to on all servers.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    running: usize,
    users: usize,
    opened: u64,
    received: u64,
    sent: u64,
}

impl Exposed {
    fn expose(&self, exposition: &mut Exposition) {
        self.expose_proxies(exposition);
        self.expose_servers(exposition);
        expose_runtime(exposition, "mgrok_client");
        expose_counters(&self.metrics, exposition);
    }

    fn expose_servers(&self, exposition: &mut Exposition) {
        let (connected, servers) = self.progress.connected();
        exposition.gauge(
            "mgrok_client_servers",
            "Servers that the client wants a session with at the same time.",
            servers,
        );
        exposition.gauge(
            "mgrok_client_sessions",
            "Servers that the client is logged in to.",
            connected,
        );
        let mut transports: BTreeMap<String, usize> = BTreeMap::new();
        for status in &*self.sessions.borrow() {
            if let Some(live) = &status.live {
                *transports.entry(live.transport.clone()).or_default() += 1;
            }
        }
        let mut family = exposition.family(
            "mgrok_client_session_transports",
            Kind::Gauge,
            "Servers that the client is logged in to, by what carries the session.",
        );
        for (transport, count) in transports {
            family.sample(&[("transport", &transport)], count);
        }
        let mut family = exposition.family(
            "mgrok_client_build_info",
            Kind::Gauge,
            "1, with the version of the program, and that of frp that it stands for.",
        );
        let version = env!("CARGO_PKG_VERSION");
        family.sample(&[("version", version), ("frp_version", FRP_VERSION)], 1_u64);
    }

    fn expose_proxies(&self, exposition: &mut Exposition) {
        let mut rows: BTreeMap<(String, &'static str), Sums> = BTreeMap::new();
        let mut counted = BTreeSet::new();
        let mut phases: BTreeMap<(&'static str, String), usize> = BTreeMap::new();
        for table in &self.tables {
            let table = table.borrow();
            for (number, (proxy, status)) in table.live().enumerate() {
                let config = proxy.config();
                let kind = config.kind.as_str();
                *phases.entry((kind, status.phase.to_string())).or_default() += 1;
                let name = match number < MAX_NAMES {
                    true => config.name.clone(),
                    false => OTHER.to_owned(),
                };
                let sums = rows.entry((name, kind)).or_default();
                sums.running += usize::from(status.phase == ProxyPhase::Running);
                // Those of one name are counted together, whichever server they come by.
                if counted.insert(config.name.clone()) {
                    let users = proxy.users().totals();
                    sums.users += users.live;
                    sums.opened += users.opened;
                    sums.received += users.received;
                    sums.sent += users.sent;
                }
            }
        }
        let mut family = exposition.family(
            "mgrok_client_proxies",
            Kind::Gauge,
            "Proxies by type and status, on all servers together.",
        );
        for ((kind, status), count) in phases {
            family.sample(&[("type", kind), ("status", &status)], count);
        }
        let mut each = |name, kind, help, value: fn(&Sums) -> Value| {
            let mut family = exposition.family(name, kind, help);
            for ((name, kind), sums) in &rows {
                family.sample(&[("name", name), ("type", kind)], value(sums));
            }
        };
        each(
            "mgrok_client_proxy_running",
            Kind::Gauge,
            "On how many servers the proxy runs.",
            |it| it.running.into(),
        );
        each(
            "mgrok_client_proxy_users",
            Kind::Gauge,
            "Users who are connected: connections, or addresses that have sent datagrams.",
            |it| it.users.into(),
        );
        each(
            "mgrok_client_proxy_users_so_far_total",
            Kind::Counter,
            "Users who were connected so far.",
            |it| it.opened.into(),
        );
        each(
            "mgrok_client_proxy_received_bytes_total",
            Kind::Counter,
            "Bytes that users of the proxy have sent, also on connections that are open.",
            |it| it.received.into(),
        );
        each(
            "mgrok_client_proxy_sent_bytes_total",
            Kind::Counter,
            "Bytes that users of the proxy were sent, also on connections that are open.",
            |it| it.sent.into(),
        );
    }
}

fn expose_counters(metrics: &Metrics, exposition: &mut Exposition) {
    exposition.counters(
        "mgrok_client_logins_total",
        "Attempts to log in, by how they ended; a server that is reached by the first of several transports counts once.",
        "result",
        &metrics.logins,
    );
    exposition.counters(
        "mgrok_client_sessions_over_total",
        "Sessions that are over, by why.",
        "reason",
        &metrics.sessions_over,
    );
    exposition.histogram(
        "mgrok_client_heartbeat_seconds",
        "From a heartbeat to the server's answer.",
        &metrics.heartbeat,
    );
    exposition.counters(
        "mgrok_client_work_connections_total",
        "Work connections, by what came of them.",
        "result",
        &metrics.work_conns,
    );
    exposition.histogram(
        "mgrok_client_local_dial_seconds",
        "How long it took to connect local services that could be connected.",
        &metrics.local_dial,
    );
    exposition.counters(
        "mgrok_client_local_dials_total",
        "Attempts to connect local services for users, by what came of them.",
        "result",
        &metrics.local_dials,
    );
    exposition.counter(
        "mgrok_client_plugin_users_total",
        "Work connections that plugins have served.",
        metrics.plugin_users.get(),
    );
    exposition.counters(
        "mgrok_client_relays_total",
        "Connections of users that were carried to their end, by how bytes were moved.",
        "path",
        &metrics.relays,
    );
    exposition.counters(
        "mgrok_client_relayed_bytes_total",
        "Bytes of those connections, both ways, counted when they end.",
        "path",
        &metrics.relayed_bytes,
    );
    exposition.counters(
        "mgrok_client_dropped_datagrams_total",
        "Datagrams that were dropped, by why; counted with some delay.",
        "reason",
        &metrics.dropped_datagrams,
    );
    let what = "Multiplexed connections to servers, and tunnels of KCP to other clients.";
    metrics.muxes.expose(exposition, "mgrok_client", what);
    exposition.counters(
        "mgrok_client_dropped_packets_total",
        "Packets of the virtual network that were dropped, by why.",
        "reason",
        &metrics.dropped_packets,
    );
}
