//! What Prometheus is told of a server, made from the directory and the counters when it asks.
//!
//! frp's metrics have their names, types and labels, so that boards for frp go on working; ours stand beside them.

use std::collections::BTreeMap;
use std::sync::Arc;

use mgrok_admin::{Routes, expose_runtime};
use mgrok_metrics::{Exposition, Kind, Value};
use mgrok_proto::FRP_VERSION;

use crate::bans::Bans;
use crate::directory::Directory;
use crate::metrics::Metrics;
use crate::policy::CurrentPolicy;

/// How many names of proxies are told. What is beyond is told in one as [`OTHER`].
const MAX_NAMES: usize = 10_000;

/// The name that stands for all proxies beyond the last that has one of its own.
const OTHER: &str = "other";

/// Has `/metrics` and the routes of Go's profiler answered, while the policy says so.
pub(crate) fn add_to(routes: Routes, policy: &CurrentPolicy, directory: &Directory) -> Routes {
    let (metrics_policy, pprof_policy) = (policy.clone(), policy.clone());
    let (directory, bans) = (directory.clone(), policy.bans().clone());
    let web_server = |policy: &CurrentPolicy| policy.now().config.web_server.clone();
    routes
        .with_metrics(
            move || web_server(&metrics_policy).is_some_and(|it| it.prometheus),
            move |exposition| {
                expose(&directory, exposition);
                expose_bans(&bans, exposition);
            },
        )
        .with_pprof(move || web_server(&pprof_policy).is_some_and(|it| it.pprof))
}

/// What proxies of one name and type come to. One that has stopped is there as long as it is remembered.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Sums {
    running: usize,
    connections: usize,
    received: u64,
    sent: u64,
}

impl Sums {
    fn add(&mut self, other: Self) {
        self.running += other.running;
        self.connections += other.connections;
        self.received += other.received;
        self.sent += other.sent;
    }
}

/// By name and type.
type Rows = BTreeMap<(Arc<str>, &'static str), Sums>;

/// `rows` with at most `max` names; the others are summed.
fn bounded(rows: Rows, max: usize) -> Rows {
    let other: Arc<str> = OTHER.into();
    let mut names = 0;
    let mut last: Option<Arc<str>> = None;
    let mut bounded = Rows::new();
    for ((name, kind), sums) in rows {
        if last.as_ref() != Some(&name) {
            names += 1;
            last = Some(name.clone());
        }
        let name = if names > max { other.clone() } else { name };
        bounded.entry((name, kind)).or_default().add(sums);
    }
    bounded
}

fn expose(directory: &Directory, exposition: &mut Exposition) {
    expose_proxies(directory, exposition);
    expose_sessions(directory, exposition);
    expose_runtime(exposition, "mgrok_server");
    expose_counters(directory.metrics(), exposition);
}

fn expose_bans(bans: &Bans, exposition: &mut Exposition) {
    exposition.gauge(
        "mgrok_server_bans",
        "Sources that are kept out for a while, each once for all logins and for each proxy.",
        bans.list().len(),
    );
    exposition.counters(
        "mgrok_server_bans_total",
        "Bans that were made, by what was guessed.",
        "guess",
        bans.made(),
    );
}

fn expose_proxies(directory: &Directory, exposition: &mut Exposition) {
    let mut rows = Rows::new();
    let mut udp_users = 0;
    for proxy in directory.statistics() {
        let running = proxy.running.as_ref();
        udp_users += running.map_or(0, |it| it.udp_users);
        rows.entry((proxy.name, proxy.kind)).or_default().add(Sums {
            running: proxy.running.is_some().into(),
            connections: proxy.connections,
            received: proxy.moved.received,
            sent: proxy.moved.sent,
        });
    }
    let rows = bounded(rows, MAX_NAMES);
    let mut family = exposition.family(
        "frp_server_proxy_counts",
        Kind::Gauge,
        "Proxies that run, by type.",
    );
    for (kind, count) in directory.totals().proxies {
        family.sample(&[("type", kind)], count);
    }
    let mut each = |name, kind, help, value: fn(&Sums) -> Value| {
        let mut family = exposition.family(name, kind, help);
        for ((name, kind), sums) in &rows {
            family.sample(&[("name", name), ("type", kind)], value(sums));
        }
    };
    each(
        "frp_server_proxy_counts_detailed",
        Kind::Gauge,
        "Whether the proxy runs.",
        |it| it.running.into(),
    );
    each(
        "frp_server_connection_counts",
        Kind::Gauge,
        "Connections of users that are open.",
        |it| it.connections.into(),
    );
    each(
        "frp_server_traffic_in",
        Kind::Counter,
        "Bytes that users have sent, also on connections that are open.",
        |it| it.received.into(),
    );
    each(
        "frp_server_traffic_out",
        Kind::Counter,
        "Bytes that users were sent, also on connections that are open.",
        |it| it.sent.into(),
    );
    exposition.gauge(
        "mgrok_server_udp_users",
        "Users of UDP ports that can be answered.",
        udp_users,
    );
    exposition.gauge(
        "mgrok_server_disabled_proxies",
        "Names of proxies that an operator has disabled.",
        directory.disabled_proxies().len(),
    );
}

fn expose_sessions(directory: &Directory, exposition: &mut Exposition) {
    let (mut v1, mut v2, mut ssh, mut offline) = (0_usize, 0_usize, 0_usize, 0_usize);
    for session in directory.sessions() {
        match session.client.wire_protocol {
            _ if !session.is_online() => offline += 1,
            "v1" => v1 += 1,
            "ssh" => ssh += 1,
            _ => v2 += 1,
        }
    }
    exposition.gauge(
        "frp_server_client_counts",
        "Clients that are logged in.",
        v1 + v2 + ssh,
    );
    let mut family = exposition.family(
        "mgrok_server_sessions",
        Kind::Gauge,
        "Clients that are logged in, by version of the wire protocol, and those of the SSH gateway.",
    );
    family.sample(&[("wire", "v1")], v1);
    family.sample(&[("wire", "v2")], v2);
    family.sample(&[("wire", "ssh")], ssh);
    exposition.gauge(
        "mgrok_server_offline_clients",
        "Clients with a name of their own that were here and are remembered.",
        offline,
    );
    let mut family = exposition.family(
        "mgrok_server_build_info",
        Kind::Gauge,
        "1, with the version of the program, and that of frp that it stands for.",
    );
    let version = env!("CARGO_PKG_VERSION");
    family.sample(&[("version", version), ("frp_version", FRP_VERSION)], 1_u64);
}

fn expose_counters(metrics: &Metrics, exposition: &mut Exposition) {
    exposition.counters(
        "mgrok_server_handshakes_total",
        "Connections and streams to the ports of clients, by what became of them.",
        "result",
        &metrics.handshakes,
    );
    exposition.counters(
        "mgrok_server_logins_total",
        "Logins, by how they ended.",
        "result",
        &metrics.logins,
    );
    exposition.counters(
        "mgrok_server_sessions_over_total",
        "Sessions that are over, by why.",
        "reason",
        &metrics.sessions_over,
    );
    exposition.counters(
        "mgrok_server_proxy_starts_total",
        "Proxies that clients wanted to publish, by what came of it.",
        "result",
        &metrics.proxy_starts,
    );
    exposition.counters(
        "mgrok_server_refusals_total",
        "What was refused because there was too much of it, by the limit.",
        "limit",
        &metrics.refusals,
    );
    exposition.gauge(
        "mgrok_server_idle_work_connections",
        "Work connections that wait for a user.",
        metrics.idle_work_conns.get(),
    );
    exposition.gauge(
        "mgrok_server_waiting_users",
        "Users who wait for a work connection.",
        metrics.waiting_users.get(),
    );
    exposition.histogram(
        "mgrok_server_work_connection_wait_seconds",
        "How long users waited for their work connections.",
        &metrics.work_conn_wait,
    );
    exposition.counters(
        "mgrok_server_work_connections_total",
        "Work connections that users needed, by what came of it.",
        "result",
        &metrics.work_conns,
    );
    exposition.counters(
        "mgrok_server_users_refused_total",
        "Users who were not let in, by why.",
        "reason",
        &metrics.users_refused,
    );
    exposition.counters(
        "mgrok_server_connections_over_total",
        "Connections of users that are over, by why; those of HTTP proxies are not among them.",
        "reason",
        &metrics.users_over,
    );
    exposition.counters(
        "mgrok_server_visitor_connections_total",
        "Connections of visitors, by what came of them.",
        "result",
        &metrics.visitors,
    );
    exposition.counters(
        "mgrok_server_relays_total",
        "Connections of users that were carried to their end, by how bytes were moved.",
        "path",
        &metrics.relays,
    );
    exposition.counters(
        "mgrok_server_relayed_bytes_total",
        "Bytes of those connections, both ways, counted when they end.",
        "path",
        &metrics.relayed_bytes,
    );
    exposition.counters(
        "mgrok_server_http_requests_total",
        "HTTP requests of users, by the status of the answer.",
        "status",
        &metrics.http_requests,
    );
    exposition.histogram(
        "mgrok_server_http_wait_seconds",
        "From the head of an HTTP request to the head of its answer.",
        &metrics.http_wait,
    );
    exposition.counters(
        "mgrok_server_dropped_datagrams_total",
        "Datagrams that were dropped, by why; counted with up to a minute's delay.",
        "reason",
        &metrics.dropped_datagrams,
    );
    let what = "Multiplexed connections of clients.";
    metrics.muxes.expose(exposition, "mgrok_server", what);
}

#[cfg(test)]
mod tests {
    use mgrok_metrics::Format;

    use super::*;

    fn row(received: u64) -> Sums {
        Sums {
            running: 1,
            received,
            ..Sums::default()
        }
    }

    #[test]
    fn names_beyond_the_bound_are_summed_by_type() {
        let rows = [
            ("a", "tcp", 1),
            ("b", "tcp", 2),
            ("b", "udp", 4),
            ("c", "tcp", 8),
            ("d", "tcp", 16),
            // Called as those beyond are.
            ("other", "tcp", 32),
            ("p", "udp", 64),
        ];
        let rows: Rows = rows
            .map(|(name, kind, it)| ((name.into(), kind), row(it)))
            .into();
        assert_eq!(bounded(rows.clone(), 7), rows);
        let bounded: Vec<_> = bounded(rows, 2)
            .into_iter()
            .map(|((name, kind), sums)| (name.to_string(), kind, sums.running, sums.received))
            .collect();
        let expect = [
            ("a", "tcp", 1, 1),
            ("b", "tcp", 1, 2),
            ("b", "udp", 1, 4),
            ("other", "tcp", 3, 56),
            ("other", "udp", 1, 64),
        ];
        assert_eq!(
            bounded,
            expect.map(|(name, kind, running, it)| (name.to_owned(), kind, running, it))
        );
    }

    #[tokio::test]
    async fn what_is_told_is_what_is_there() {
        let directory = Directory::default();
        let proxy = directory.proxy_for_test("s\"sh");
        let row = proxy
            .entry()
            .open_connection("192.0.2.1:7".parse().unwrap());
        let row = row.await;
        row.traffic()
            .sent
            .fetch_add(7, std::sync::atomic::Ordering::Relaxed);
        let text = || {
            let mut exposition = Exposition::new(Format::Text);
            expose(&directory, &mut exposition);
            exposition.finish()
        };
        let labels = r#"{name="s\"sh",type="tcp"}"#;
        let before = text();
        for line in [
            "frp_server_proxy_counts{type=\"tcp\"} 1".to_owned(),
            format!("frp_server_proxy_counts_detailed{labels} 1"),
            format!("frp_server_connection_counts{labels} 1"),
            format!("frp_server_traffic_in{labels} 0"),
            format!("frp_server_traffic_out{labels} 7"),
            "mgrok_server_connections_over_total{reason=\"cut\"} 0".to_owned(),
        ] {
            assert!(before.lines().any(|it| it == line), "{line}: {before}");
        }
        drop(row);
        let after = text();
        for line in [
            format!("frp_server_connection_counts{labels} 0"),
            format!("frp_server_traffic_out{labels} 7"),
            "mgrok_server_connections_over_total{reason=\"cut\"} 1".to_owned(),
        ] {
            assert!(after.lines().any(|it| it == line), "{line}: {after}");
        }
    }
}
