//! What both ends tell Prometheus, and what is written of it in the documentation and the examples.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::Path,
};

use mgrok_lab::{
    Client, Peer, Proxy, Server, eventually, ports, service, traffic,
    web::{self, Web},
};
use tokio::net::TcpStream;

use crate::{
    admin::{CREDENTIALS, WITH_CREDENTIALS, admin_port, get},
    named,
};

/// What one answer of `/metrics` says.
#[derive(Debug, Default)]
pub(crate) struct Told {
    families: BTreeMap<String, Family>,
    /// By name and labels, as they are written.
    samples: BTreeMap<String, f64>,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Family {
    kind: String,
    help: String,
    labels: BTreeSet<String>,
    /// Of each label.
    values: BTreeMap<String, BTreeSet<String>>,
}

impl Told {
    /// Reads the text format.
    fn parse(text: &str) -> Self {
        let mut told = Self::default();
        let mut current = String::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').unwrap();
                current = name.to_owned();
                let family = Family {
                    help: help.to_owned(),
                    ..Family::default()
                };
                let twice = told.families.insert(current.clone(), family);
                assert!(twice.is_none(), "{name} is told twice");
                continue;
            }
            let family = told.families.get_mut(&current).unwrap();
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert_eq!(name, current);
                family.kind = kind.to_owned();
                continue;
            }
            let (sample, value) = line.rsplit_once(' ').unwrap();
            let value = value.parse().unwrap();
            assert!(sample.starts_with(&current), "{sample} is not of {current}");
            let labels = sample.split_once('{').map_or("", |(_, it)| it);
            for label in labels.trim_end_matches('}').split("\",") {
                let Some((name, value)) = label.split_once("=\"") else {
                    continue;
                };
                if name != "le" {
                    let value = value.trim_end_matches('"').to_owned();
                    family.labels.insert(name.to_owned());
                    family
                        .values
                        .entry(name.to_owned())
                        .or_default()
                        .insert(value);
                }
            }
            let twice = told.samples.insert(sample.to_owned(), value);
            assert!(twice.is_none(), "{sample} is told twice");
        }
        told
    }

    pub(crate) async fn by(port: SocketAddr) -> Self {
        let (status, text) = get(port, "/metrics", "").await;
        assert_eq!(status, 200, "{text}");
        Self::parse(&text)
    }

    #[track_caller]
    pub(crate) fn value(&self, sample: &str) -> f64 {
        let found = self.samples.get(sample).copied();
        found.unwrap_or_else(|| panic!("{sample}: {self:#?}"))
    }

    /// All names that a query may use.
    fn names(&self) -> BTreeSet<&str> {
        let samples = self.samples.keys();
        samples.map(|it| it.split('{').next().unwrap()).collect()
    }
}

/// A server and a client that are asked, and published services.
struct Lab {
    server: SocketAddr,
    client: SocketAddr,
    _server: Server,
    _client: Client,
}

impl Lab {
    async fn new(for_server: &str, for_client: &str, proxies: &[Proxy]) -> Self {
        let on = "\nenablePrometheus = true\n";
        let (server_port, settings) = admin_port();
        let server = Server::start(Peer::Mgrok, &(settings + on + for_server)).await;
        let (client_port, settings) = admin_port();
        let settings = settings + on + for_client;
        let client = Client::start(Peer::Mgrok, server.addr(), &settings, proxies).await;
        Self {
            server: server_port,
            client: client_port,
            _server: server,
            _client: client,
        }
    }
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(repository().join(path)).unwrap()
}

/// The cells of a row of a table.
fn cells(line: &str) -> Option<Vec<&str>> {
    let cells = line.strip_prefix("| ")?.strip_suffix(" |")?;
    Some(cells.split(" | ").collect())
}

/// What is between backticks.
fn quoted(cell: &str) -> BTreeSet<String> {
    cell.split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

#[tokio::test]
async fn the_documentation_has_every_metric_and_no_other() {
    let (echo, web) = (service::tcp_echo().await, Web::start("web").await);
    let vhost = ports::free();
    let proxies = [
        Proxy::tcp("ssh", echo.addr()),
        named("http", "web", web.addr(), "a.test"),
    ];
    let settings = format!("vhostHTTPPort = {vhost}");
    let lab = Lab::new(&settings, "", &proxies).await;
    let (server, client) = (Told::by(lab.server).await, Told::by(lab.client).await);

    let document = read("docs/metrics.md");
    let mut documented: BTreeMap<&str, BTreeMap<String, Family>> = BTreeMap::new();
    let mut values = BTreeMap::new();
    let mut section = "";
    for line in document.lines() {
        section = line.strip_prefix("## ").unwrap_or(section);
        let Some(cells) = cells(line).filter(|it| it[0].starts_with('`')) else {
            continue;
        };
        let name = cells[0].trim_matches('`').to_owned();
        match cells[..] {
            [_, kind, labels, help] => {
                let family = Family {
                    kind: kind.to_owned(),
                    help: help.to_owned(),
                    labels: quoted(labels),
                    ..Family::default()
                };
                documented.entry(section).or_default().insert(name, family);
            }
            [_, label, told] => {
                values.insert((name, label.trim_matches('`').to_owned()), quoted(told));
            }
            _ => panic!("{line}"),
        }
    }
    for (told, sections) in [
        (
            &server,
            ["Of frp", "Of the server", "Of either process"].as_slice(),
        ),
        (&client, &["Of the client", "Of either process"]),
    ] {
        let mut expect = BTreeMap::new();
        for section in sections {
            expect.extend(documented.get(section).unwrap());
        }
        for (name, family) in &told.families {
            let Some(documented) = expect.remove(name) else {
                panic!("{name} is not in docs/metrics.md: {family:?}");
            };
            let Family { values: told, .. } = family;
            let plain = Family {
                values: BTreeMap::new(),
                kind: family.kind.clone(),
                help: family.help.clone(),
                labels: family.labels.clone(),
            };
            assert_eq!(*documented, plain, "{name}");
            for (label, told) in told {
                if let Some(values) = values.remove(&(name.clone(), label.clone())) {
                    assert_eq!(*told, values, "{name} {label}");
                } else if label != "name" && label != "type" {
                    let fixed = ["wire", "version", "frp_version", "status", "transport"];
                    assert!(fixed.contains(&label.as_str()), "{name} {label}: no values");
                }
            }
        }
        // The operating system of the test may say less of a process.
        let missing: Vec<_> = expect
            .keys()
            .filter(|it| !it.starts_with("process_"))
            .collect();
        assert!(missing.is_empty(), "{missing:?} are told by no program");
    }
    assert!(values.is_empty(), "{values:?}");
}

/// The names of metrics in a query.
fn names(query: &str) -> BTreeSet<&str> {
    let words = query.split(|it: char| !it.is_ascii_alphanumeric() && it != '_' && it != ':');
    let prefixes = ["frp_", "mgrok_", "process_"];
    words
        .filter(|word| prefixes.iter().any(|prefix| word.starts_with(prefix)))
        // A label.
        .filter(|word| *word != "frp_version")
        .collect()
}

/// All texts of `value` under the key `key`.
fn texts<'a>(value: &'a serde_json::Value, key: &str, found: &mut Vec<&'a str>) {
    match value {
        serde_json::Value::Object(members) => {
            for (name, value) in members {
                match value.as_str() {
                    Some(text) if name == key => found.push(text),
                    _ => texts(value, key, found),
                }
            }
        }
        serde_json::Value::Array(values) => {
            values.iter().for_each(|value| texts(value, key, found));
        }
        _ => {}
    }
}

#[tokio::test]
async fn the_examples_ask_for_metrics_that_there_are() {
    let echo = service::tcp_echo().await;
    let lab = Lab::new("", "", &[Proxy::tcp("ssh", echo.addr())]).await;
    let (server, client) = (Told::by(lab.server).await, Told::by(lab.client).await);
    let told: BTreeSet<_> = server.names().union(&client.names()).copied().collect();

    let board: serde_json::Value =
        serde_json::from_str(&read("examples/grafana/mgrok.json")).unwrap();
    let mut queries = Vec::new();
    texts(&board, "expr", &mut queries);
    texts(&board, "definition", &mut queries);
    assert!(queries.len() > 40, "{queries:?}");
    let rules = read("examples/prometheus/mgrok-alerts.yml");
    // Summaries may have names, too.
    queries.push(&rules);
    for query in queries {
        let unknown: Vec<_> = names(query).difference(&told).copied().collect();
        assert!(unknown.is_empty(), "{unknown:?} in {query}");
    }
}

#[tokio::test]
async fn bytes_count_while_a_connection_lives() {
    let echo = service::tcp_echo().await;
    let proxy = Proxy::tcp("ssh", echo.addr());
    let public = proxy.public();
    let lab = Lab::new("", "", &[proxy]).await;
    let mut user = TcpStream::connect(public).await.unwrap();
    traffic::echo(&mut user, 1_000).await.unwrap();
    // What is sent is counted after the user may have it.
    let sent = "frp_server_traffic_out{name=\"ssh\",type=\"tcp\"}";
    let server = eventually("all is counted", async || {
        let told = Told::by(lab.server).await;
        (told.value(sent) > 0.0).then_some(told)
    })
    .await;
    for (name, value) in [
        ("frp_server_client_counts", 1.0),
        ("frp_server_proxy_counts{type=\"tcp\"}", 1.0),
        (
            "frp_server_proxy_counts_detailed{name=\"ssh\",type=\"tcp\"}",
            1.0,
        ),
        (
            "frp_server_connection_counts{name=\"ssh\",type=\"tcp\"}",
            1.0,
        ),
        ("frp_server_traffic_in{name=\"ssh\",type=\"tcp\"}", 1_000.0),
        ("frp_server_traffic_out{name=\"ssh\",type=\"tcp\"}", 1_000.0),
        ("mgrok_server_logins_total{result=\"ok\"}", 1.0),
        ("mgrok_server_proxy_starts_total{result=\"ok\"}", 1.0),
        ("mgrok_server_work_connections_total{result=\"ok\"}", 1.0),
        ("mgrok_server_work_connection_wait_seconds_count", 1.0),
        ("mgrok_server_waiting_users", 0.0),
        ("mgrok_server_mux_connections", 1.0),
    ] {
        assert_eq!(server.value(name), value, "{name}");
    }
    assert!(server.value("mgrok_server_mux_streams") >= 2.0);
    let client = Told::by(lab.client).await;
    for (name, value) in [
        ("mgrok_client_sessions", 1.0),
        ("mgrok_client_servers", 1.0),
        ("mgrok_client_session_transports{transport=\"tcp\"}", 1.0),
        ("mgrok_client_mux_connections", 1.0),
        ("mgrok_client_logins_total{result=\"ok\"}", 1.0),
        ("mgrok_client_proxies{type=\"tcp\",status=\"running\"}", 1.0),
        ("mgrok_client_proxy_running{name=\"ssh\",type=\"tcp\"}", 1.0),
        (
            "mgrok_client_proxy_received_bytes_total{name=\"ssh\",type=\"tcp\"}",
            1_000.0,
        ),
        ("mgrok_client_local_dials_total{result=\"ok\"}", 1.0),
        ("mgrok_client_local_dial_seconds_count", 1.0),
        (
            "mgrok_client_work_connections_total{result=\"served\"}",
            1.0,
        ),
    ] {
        assert_eq!(client.value(name), value, "{name}");
    }
    drop(user);
    let server = eventually("the connection is over", async || {
        let told = Told::by(lab.server).await;
        let live = told.value("frp_server_connection_counts{name=\"ssh\",type=\"tcp\"}");
        (live == 0.0).then_some(told)
    })
    .await;
    for (name, value) in [
        ("frp_server_traffic_in{name=\"ssh\",type=\"tcp\"}", 1_000.0),
        (
            "mgrok_server_connections_over_total{reason=\"closed\"}",
            1.0,
        ),
        ("mgrok_server_relays_total{path=\"mux\"}", 1.0),
        ("mgrok_server_relayed_bytes_total{path=\"mux\"}", 2_000.0),
    ] {
        assert_eq!(server.value(name), value, "{name}");
    }
}

#[tokio::test]
async fn what_goes_wrong_is_counted_by_its_reason() {
    let nobody = ([127, 0, 0, 1], ports::free()).into();
    let proxy = Proxy::tcp("gone", nobody);
    let public = proxy.public();
    let lab = Lab::new("auth.token = \"right\"", "auth.token = \"right\"", &[proxy]).await;
    let wrong = Client::launch(
        Peer::Mgrok,
        lab._server.addr(),
        "auth.token = \"wrong\"",
        &[],
    );
    wrong.log().wait_for("token in login doesn't match").await;
    let mut user = TcpStream::connect(public).await.unwrap();
    traffic::echo(&mut user, 10).await.unwrap_err();
    let client = Told::by(lab.client).await;
    assert_eq!(
        client.value("mgrok_client_local_dials_total{result=\"failed\"}"),
        1.0
    );
    // A stranger who says something else.
    let mut stranger = TcpStream::connect(lab._server.addr()).await.unwrap();
    traffic::echo(&mut stranger, 100).await.unwrap_err();
    eventually("all is counted", async || {
        let server = Told::by(lab.server).await;
        let refused = server.value("mgrok_server_logins_total{result=\"token\"}");
        let strangers = server.value("mgrok_server_handshakes_total{result=\"not_a_client\"}");
        (refused >= 1.0 && strangers == 1.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn http_requests_are_counted_by_the_class_of_their_status() {
    let web = Web::start("web").await;
    let port = ports::free();
    let at = SocketAddr::from(([127, 0, 0, 1], port));
    let settings = format!("vhostHTTPPort = {port}");
    let lab = Lab::new(&settings, "", &[named("http", "web", web.addr(), "a.test")]).await;
    web::get(at, "a.test", "/").await;
    web::get(at, "nobody.test", "/").await;
    let server = Told::by(lab.server).await;
    assert_eq!(
        server.value("mgrok_server_http_requests_total{status=\"2xx\"}"),
        1.0
    );
    assert_eq!(
        server.value("mgrok_server_http_requests_total{status=\"4xx\"}"),
        1.0
    );
    assert_eq!(server.value("mgrok_server_http_wait_seconds_count"), 2.0);
}

#[tokio::test]
async fn it_is_off_unless_it_is_on_and_behind_the_password() {
    let (server_port, settings) = admin_port();
    let server = Server::start(Peer::Mgrok, &settings).await;
    let (client_port, settings) = admin_port();
    let on = "\nenablePrometheus = true\nwebServer.pprofEnable = true";
    let settings = settings + WITH_CREDENTIALS + on;
    let client = Client::start(Peer::Mgrok, server.addr(), &settings, &[]).await;
    client.log().wait_for("admin server listen on").await;
    for path in [
        "/metrics",
        "/debug/pprof/",
        "/debug/pprof/goroutine",
        "/debug/pprof/cmdline",
    ] {
        let (status, body) = get(server_port, path, "").await;
        assert_eq!(status, 404, "{path}: {body}");
        assert_eq!(get(client_port, path, "").await.0, 401, "{path}");
        assert_eq!(get(client_port, path, CREDENTIALS).await.0, 200, "{path}");
    }
    let goroutine = "/debug/pprof/goroutine?debug=2";
    let (_, text) = get(client_port, goroutine, CREDENTIALS).await;
    assert!(text.contains("\ntasks "), "{text}");
    let (status, text) = get(client_port, "/debug/pprof/profile", CREDENTIALS).await;
    assert!(status == 501 && text.contains("perf record"), "{text}");
    let accept = format!("{CREDENTIALS}Accept: application/openmetrics-text;version=1.0.0\r\n");
    let (_, text) = get(client_port, "/metrics", &accept).await;
    assert!(text.ends_with("# EOF\n"), "{text}");
    let families = text.lines().filter(|line| line.starts_with("# TYPE "));
    let names: Vec<_> = families.map(|line| line.split(' ').nth(2)).collect();
    let distinct: BTreeSet<_> = names.iter().collect();
    assert_eq!(
        names.len(),
        distinct.len(),
        "a name without _total is taken: {text}"
    );
}
