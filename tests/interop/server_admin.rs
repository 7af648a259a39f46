//! The server's admin port beside that of a stock frps: with the same clients and the same proxies both answer every route of frp's with
//! the same JSON, but for the differences that are listed here, each with its reason.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use mgrok_lab::web::Web;
use mgrok_lab::{Client, Peer, Proxy, Server, ports, service};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// Where the answers differ, and why. `*` stands for any one step of the way.
const DIFFERENCES: &[(&str, &str)] = &[
    (
        "/api/serverinfo/version",
        "each tells the version of frp that it speaks",
    ),
    (
        "*/data/version",
        "each tells the version of frp that it speaks",
    ),
    (
        "/api/proxy/sudp/proxies/*/conf/transport/bandwidthLimit",
        "frps shows an empty object where all other types have a text",
    ),
    (
        "/api/proxy/sudp/proxies/*/conf/plugin",
        "frps shows an empty plugin where all other types have null",
    ),
    ("*/proxies/*/conf/loadBalancer/groupKey", "it is a secret"),
    ("*/status/connectionsOpened", "ours"),
    ("*/status/disabled", "ours"),
    ("*/status/received", "ours"),
    ("*/status/sent", "ours"),
    ("*/status/udpUsers", "ours"),
];

/// What is asked of both, in this order.
const ROUTES: &[&str] = &[
    "GET /api/serverinfo",
    "GET /api/proxy/tcp",
    "GET /api/proxy/udp",
    "GET /api/proxy/http",
    "GET /api/proxy/https",
    "GET /api/proxy/tcpmux",
    "GET /api/proxy/stcp",
    "GET /api/proxy/sudp",
    "GET /api/proxy/xtcp",
    "GET /api/proxy/nothing",
    "GET /api/proxy/tcp/ann.ssh",
    "GET /api/proxy/udp/ann.ssh",
    "GET /api/proxies/ann.ssh",
    "GET /api/proxies/bob.left",
    "GET /api/proxies/nothing",
    "GET /api/traffic/ann.ssh",
    "GET /api/traffic/nothing",
    "GET /api/clients",
    "GET /api/clients?status=OFFLINE",
    "GET /api/clients?user=ann&clientId=laptop",
    "GET /api/clients?status=odd",
    "GET /api/clients/ann.laptop",
    "GET /api/clients/bob.desk",
    "GET /api/clients/nothing",
    "GET /api/v2/users",
    "GET /api/v2/users?q=AN",
    "GET /api/v2/users?page=2&pageSize=1",
    "GET /api/v2/system/info",
    "GET /api/v2/clients",
    "GET /api/v2/clients?user=",
    "GET /api/v2/clients?q=bob&status=all",
    "GET /api/v2/clients/ann.laptop",
    "GET /api/v2/clients/bob%2Edesk",
    "GET /api/v2/clients/nothing",
    "GET /api/v2/proxies",
    "GET /api/v2/proxies?page=2&pageSize=3",
    "GET /api/v2/proxies?page=99",
    "GET /api/v2/proxies?type=HTTP",
    "GET /api/v2/proxies?status=offline",
    "GET /api/v2/proxies?clientID=laptop&q=ssh",
    "GET /api/v2/proxies?q=web.test",
    "GET /api/v2/proxies?page=0",
    "GET /api/v2/proxies?page=9223372036854775807",
    "GET /api/v2/proxies?pageSize=201",
    "GET /api/v2/proxies?pageSize=many",
    "GET /api/v2/proxies?status=odd",
    "GET /api/v2/proxies?type=odd",
    "GET /api/v2/proxies/ann.ssh",
    "GET /api/v2/proxies/bob.left",
    "GET /api/v2/proxies/nothing",
    "GET /api/v2/proxies/ann.ssh/traffic",
    "GET /api/v2/proxies/nothing/traffic",
    "GET /healthz",
    "GET /api/nothing",
    "HEAD /api/serverinfo",
    "POST /api/serverinfo",
    "DELETE /api/proxies",
    "DELETE /api/proxies?status=online",
    "POST /api/v2/system/prune",
    "POST /api/v2/system/prune?type=odd",
    "POST /api/v2/system/prune?type=Offline_Proxies",
    "DELETE /api/proxies?status=offline",
    "GET /api/proxies/bob.left",
    "GET /api/v2/proxies?status=offline",
];

#[tokio::test]
#[cfg_attr(
    not(frp),
    ignore = "FRPS_BIN and FRPC_BIN do not name an frps and an frpc"
)]
async fn every_route_answers_as_frps_does() {
    let scene = Scene::new().await;
    let theirs = scene.play(Peer::Frp).await;
    let ours = scene.play(Peer::MgrokProgram).await;
    let mut found = Vec::new();
    for ((route, theirs), (_, ours)) in theirs.iter().zip(&ours) {
        let path = route.split_once(' ').unwrap().1;
        compare(path.to_owned(), theirs, ours, &mut found);
    }
    let mut unexplained = Vec::new();
    let mut seen = BTreeSet::new();
    for (path, theirs, ours) in found {
        match DIFFERENCES
            .iter()
            .find(|(pattern, _)| matches(pattern, &path))
        {
            Some(known) => {
                seen.insert(known);
            }
            None => unexplained.push(format!("{path}\n    frps   {theirs}\n    mgroks {ours}")),
        }
    }
    assert!(unexplained.is_empty(), "{}", unexplained.join("\n"));
    for known in DIFFERENCES {
        assert!(
            seen.contains(known),
            "this is no difference any more: {known:?}"
        );
        println!("{}: {}", known.0, known.1);
    }
}

/// The clients and their proxies, which are the same for both servers.
struct Scene {
    server: SocketAddr,
    admin: u16,
    settings: String,
    ann: Vec<Proxy>,
    nameless: Vec<Proxy>,
    bob: Vec<Proxy>,
    _echo: service::Service,
    _web: Web,
}

impl Scene {
    async fn new() -> Self {
        let echo = service::tcp_echo().await;
        let web = Web::start("web").await;
        let [bind, admin, http, https, tcpmux] = ports::several();
        let local = echo.addr();
        let all = "annotations = { team = \"blue\", note = \"<b>\" }\nmetadatas = { id = \"7\" }\n\
                   transport.bandwidthLimit = \"10MB\"";
        let ann = vec![
            Proxy::tcp("ssh", local).with(all),
            Proxy::tcp("sealed", local)
                // Nobody uses it: with such a limit frps does not notice when a user leaves.
                .with(
                    "transport.useEncryption = true\ntransport.useCompression = true\ntransport.bandwidthLimit = \"1MB\"\n\
                     transport.bandwidthLimitMode = \"server\"",
                ),
            Proxy::tcp("shared", local).with("loadBalancer.group = \"g\"\nloadBalancer.groupKey = \"k\""),
            Proxy::udp("dns", local).with("transport.bandwidthLimit = \"512KB\""),
            Proxy::new("http", "web", web.addr()).with(
                "customDomains = [\"web.test\", \"www.test\"]\nsubdomain = \"sub\"\nlocations = [\"/a\", \"/\"]\n\
                 hostHeaderRewrite = \"local.test\"\nhttpUser = \"u\"\nhttpPassword = \"p\"",
            ),
            Proxy::new("http", "plain", web.addr()).with("customDomains = [\"plain.test\"]"),
            Proxy::new("https", "tls", local).with("customDomains = [\"tls.test\"]"),
            Proxy::new("tcpmux", "mux", local).with(
                "multiplexer = \"httpconnect\"\ncustomDomains = [\"mux.test\"]\nrouteByHTTPUser = \"me\"",
            ),
            Proxy::new("stcp", "private", local).with("secretKey = \"s\"\nallowUsers = [\"*\"]"),
            Proxy::new("sudp", "datagrams", local).with("secretKey = \"s\""),
            Proxy::new("xtcp", "hole", local).with("secretKey = \"s\""),
        ];
        Self {
            server: ([127, 0, 0, 1], bind).into(),
            admin,
            settings: format!(
                "webServer.port = {admin}\nvhostHTTPPort = {http}\nvhostHTTPSPort = {https}\ntcpmuxHTTPConnectPort = {tcpmux}\n\
                 subDomainHost = \"example.test\"\nmaxPortsPerClient = 20\nallowPorts = [{{ start = 1024, end = 65535 }}]\n\
                 transport.tls.force = true"
            ),
            ann,
            nameless: vec![Proxy::tcp("lone", local)],
            bob: vec![Proxy::tcp("left", local)],
            _echo: echo,
            _web: web,
        }
    }

    /// What a server of `peer` answers.
    async fn play(&self, peer: Peer) -> Vec<(&'static str, Value)> {
        let server = Server::start_at(peer, self.server, &self.settings).await;
        let launch =
            |settings: &str, proxies| Client::launch(Peer::Frp, self.server, settings, proxies);
        let _ann = launch("user = \"ann\"\nclientID = \"laptop\"", &self.ann);
        let _nameless = launch("transport.wireProtocol = \"v1\"", &self.nameless);
        let bob = launch("user = \"bob\"\nclientID = \"desk\"", &self.bob);
        let all = self.ann.len() + self.nameless.len() + self.bob.len();
        self.until("GET /api/v2/proxies?status=online", all).await;
        let mut user = TcpStream::connect(self.ann[0].public()).await.unwrap();
        user.write_all(b"hello").await.unwrap();
        user.read_exact(&mut [0; 5]).await.unwrap();
        drop(user);
        bob.stop().await;
        self.until("GET /api/v2/proxies?status=offline", self.bob.len())
            .await;
        self.until("GET /api/v2/clients?status=offline", 1).await;
        // frps counts what a user has moved when it has left.
        let counted = async {
            while self.ask("GET /api/traffic/ann.ssh").await["body"]["trafficOut"][0] != json!(5)
                || self.ask("GET /api/serverinfo").await["body"]["curConns"] != json!(0)
            {
                sleep(Duration::from_millis(10)).await;
            }
        };
        let counted = timeout(Duration::from_secs(20), counted).await;
        counted.expect("the user has left");
        let mut answers = Vec::new();
        for route in ROUTES {
            answers.push((*route, same_every_time(self.ask(route).await)));
        }
        server.stop().await;
        answers
    }

    /// Waits until a list has this many entries.
    async fn until(&self, route: &str, count: usize) {
        let waiting = async {
            while self.ask(route).await["body"]["data"]["total"] != json!(count) {
                sleep(Duration::from_millis(20)).await;
            }
        };
        let waited = timeout(Duration::from_secs(20), waiting).await;
        waited.unwrap_or_else(|_| panic!("{route} never came to {count}"));
    }

    /// Status, content type and body of an answer.
    async fn ask(&self, route: &str) -> Value {
        let mut conn = TcpStream::connect(("127.0.0.1", self.admin)).await.unwrap();
        let request = format!("{route} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        conn.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        conn.read_to_end(&mut answer).await.unwrap();
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap();
        let content_type = head.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("content-type").then_some(value)
        });
        let chunked = head
            .to_ascii_lowercase()
            .contains("transfer-encoding: chunked");
        let body = if chunked {
            unchunked(body)
        } else {
            body.to_owned()
        };
        let body = serde_json::from_str(&body).unwrap_or(Value::String(body));
        json!({"status": status, "type": content_type, "body": body})
    }
}

fn unchunked(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        whole.push_str(&rest[..size]);
        body = rest[size..].trim_start_matches("\r\n");
    }
    whole
}

/// The answer without what no two runs have in common: times, and random run ids.
fn same_every_time(mut answer: Value) -> Value {
    let text = answer.to_string();
    for name in ["runID", "clientID", "key"] {
        for part in text.split(&format!("\"{name}\":\"")).skip(1) {
            let id = part.split('"').next().unwrap();
            let id = id.rsplit('.').next().unwrap();
            if id.len() == 16 && id.bytes().all(|it| it.is_ascii_hexdigit()) {
                answer = serde_json::from_str(&answer.to_string().replace(id, "RUN ID")).unwrap();
            }
        }
    }
    hide_times(&mut answer);
    answer
}

fn hide_times(value: &mut Value) {
    match value {
        Value::Array(values) => values.iter_mut().for_each(hide_times),
        Value::Object(members) => {
            for (name, value) in members {
                let is_time = name.ends_with("At") || name.ends_with("Time");
                let is_unset = *value == json!("") || *value == json!(0);
                match is_time && !is_unset {
                    true => *value = json!(format!("a time: {}", kind(value))),
                    false => hide_times(value),
                }
            }
        }
        _ => {}
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Number(_) => "Unix seconds",
        Value::String(text) if text.len() == "11-29 10:00:00".len() => "month, day and time",
        _ => "something else",
    }
}

/// Adds the differences below `path`, each with both values.
fn compare(path: String, theirs: &Value, ours: &Value, found: &mut Vec<(String, Value, Value)>) {
    match (theirs, ours) {
        (Value::Object(a), Value::Object(b)) => {
            let names: BTreeSet<_> = a.keys().chain(b.keys()).collect();
            for name in names {
                let step = if name == "body" {
                    path.clone()
                } else {
                    format!("{path}/{name}")
                };
                let missing = Value::String("(not there)".to_owned());
                let (a, b) = (
                    a.get(name).unwrap_or(&missing),
                    b.get(name).unwrap_or(&missing),
                );
                compare(step, a, b, found);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (number, (a, b)) in a.iter().zip(b).enumerate() {
                compare(format!("{path}/{number}"), a, b, found);
            }
        }
        _ if theirs == ours => {}
        _ => found.push((path, theirs.clone(), ours.clone())),
    }
}

/// A `*` at the beginning stands for any way to what follows, elsewhere for one step.
fn matches(pattern: &str, path: &str) -> bool {
    let path: Vec<_> = path.split('/').collect();
    let (path, pattern): (&[_], Vec<_>) = match pattern.strip_prefix("*/") {
        None => (&path, pattern.split('/').collect()),
        Some(end) => {
            let end: Vec<_> = end.split('/').collect();
            (&path[path.len().saturating_sub(end.len())..], end)
        }
    };
    path.len() == pattern.len()
        && path
            .iter()
            .zip(&pattern)
            .all(|(step, wanted)| *wanted == "*" || step == wanted)
}
