//! The client's admin port answers as frpc's, field for field: the same requests to both, and every difference with its reason.

use std::net::SocketAddr;
use std::path::Path;

use mgrok_lab::{Client, Peer, Proxy, Server, eventually, ports};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// The status of an answer and its body: JSON, or a text.
async fn ask(admin: SocketAddr, request: &str, body: &str) -> (u16, Value) {
    let mut conn = TcpStream::connect(admin).await.unwrap();
    let length = body.len();
    // In HTTP/1.0, so that Go sends a long answer in one piece.
    let text = format!(
        "{request} HTTP/1.0\r\nHost: localhost\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    conn.write_all(text.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    conn.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let json = serde_json::from_str(body);
    (
        status,
        json.unwrap_or_else(|_| Value::String(body.to_owned())),
    )
}

/// What is asked of either client, in this order.
fn requests([remote, bind, other, local]: [u16; 4]) -> Vec<(&'static str, String)> {
    let proxy = |name: &str, kind: &str, block: Value| {
        json!({ "name": name, "type": kind, kind: block }).to_string()
    };
    let create = "POST /api/store/proxies";
    let visit = "POST /api/store/visitors";
    let mut all = vec![
        ("GET /api/status", String::new()),
        ("GET /api/proxy/web/config", String::new()),
        ("GET /api/proxy/none/config", String::new()),
        ("GET /api/visitor/none/config", String::new()),
        ("GET /api/store/proxies", String::new()),
        ("GET /api/store/visitors", String::new()),
        ("GET /api/store/proxies/none", String::new()),
        ("DELETE /api/store/proxies/none", String::new()),
        ("DELETE /api/store/visitors/none", String::new()),
        (
            create,
            proxy("t", "tcp", json!({ "localPort": 22, "remotePort": remote })),
        ),
        (
            create,
            proxy("t", "tcp", json!({ "localPort": 22, "remotePort": remote })),
        ),
        (
            create,
            proxy(
                "u",
                "udp",
                json!({ "localIP": "127.0.0.2", "localPort": 53, "enabled": false }),
            ),
        ),
        (
            create,
            proxy(
                "h",
                "http",
                json!({
                    "localPort": 80, "subdomain": "s", "enabled": false, "locations": ["/a"], "httpUser": "u",
                    "httpPassword": "p", "requestHeaders": { "set": { "X-A": "b" } },
                    "annotations": { "a": "b" }, "metadatas": { "c": "d" },
                    "transport": { "useEncryption": true, "bandwidthLimit": "1MB", "bandwidthLimitMode": "server" },
                    "loadBalancer": { "group": "g", "groupKey": "k" },
                    "healthCheck": { "type": "http", "path": "/", "intervalSeconds": 3 },
                }),
            ),
        ),
        (
            create,
            proxy(
                "p",
                "https",
                json!({
                    "customDomains": ["a.example"], "enabled": false,
                    "plugin": { "type": "https2http", "localAddr": "127.0.0.1:80", "enableHTTP2": false },
                }),
            ),
        ),
        (
            create,
            proxy(
                "f",
                "tcp",
                json!({
                    "remotePort": 0, "enabled": false,
                    "plugin": { "type": "static_file", "localPath": "/srv", "stripPrefix": "v1", "httpUser": "u", "httpPassword": "p" },
                }),
            ),
        ),
        (
            create,
            proxy(
                "o",
                "stcp",
                json!({ "secretKey": "k", "plugin": { "type": "socks5", "username": "u", "password": "p" } }),
            ),
        ),
        (
            create,
            proxy(
                "w",
                "stcp",
                json!({ "secretKey": "k", "plugin": { "type": "http_proxy", "httpUser": "u" } }),
            ),
        ),
        (
            create,
            proxy(
                "m",
                "tcpmux",
                json!({ "localPort": 1, "multiplexer": "httpconnect", "subdomain": "m", "enabled": false }),
            ),
        ),
        (
            create,
            proxy(
                "s",
                "stcp",
                json!({ "localPort": 1, "secretKey": "k", "allowUsers": ["*"] }),
            ),
        ),
        (
            create,
            proxy(
                "x",
                "xtcp",
                json!({ "localPort": 1, "secretKey": "k", "natTraversal": { "disableAssistedAddrs": true } }),
            ),
        ),
        (
            visit,
            proxy(
                "v",
                "stcp",
                json!({ "serverName": "s", "secretKey": "k", "bindPort": bind }),
            ),
        ),
        (
            visit,
            proxy(
                "y",
                "xtcp",
                json!({ "serverName": "x", "secretKey": "k", "bindPort": -1, "fallbackTo": "v" }),
            ),
        ),
        (
            visit,
            proxy(
                "z",
                "sudp",
                json!({ "serverName": "s", "bindPort": 9, "enabled": false }),
            ),
        ),
    ];
    for path in [
        "GET /api/store/proxies",
        "GET /api/store/visitors",
        "GET /api/store/proxies/t",
        "GET /api/proxy/t/config",
        "GET /api/proxy/h/config",
        "GET /api/proxy/s/config",
        "GET /api/proxy/x/config",
        "GET /api/proxy/o/config",
        "GET /api/proxy/w/config",
        "GET /api/visitor/v/config",
        "GET /api/visitor/y/config",
        "GET /api/visitor/z/config",
        "GET /api/status",
    ] {
        all.push((path, String::new()));
    }
    let unwatched =
        json!({ "localPort": local, "remotePort": other, "healthCheck": { "type": "tcp" } });
    let unknown = json!({ "localPort": 1, "enabled": false, "future": 1 });
    all.extend([
        (create, proxy("k", "tcp", unwatched)),
        ("GET /api/status", String::new()),
        ("GET /api/proxy/k/config", String::new()),
        ("DELETE /api/store/proxies/k", String::new()),
        (create, proxy("unknown", "tcp", unknown)),
        ("DELETE /api/store/proxies/unknown", String::new()),
    ]);
    let put = "PUT /api/store/proxies/t";
    all.extend([
        (
            put,
            proxy("t", "tcp", json!({ "localPort": 23, "remotePort": remote })),
        ),
        (put, proxy("other", "tcp", json!({}))),
        (
            "PUT /api/store/proxies/none",
            proxy("none", "tcp", json!({ "localPort": 22 })),
        ),
        (
            "PUT /api/store/visitors/v",
            proxy("v", "stcp", json!({ "serverName": "s2", "bindPort": bind })),
        ),
        (
            "PUT /api/store/visitors/v",
            proxy("w", "stcp", json!({ "serverName": "s2", "bindPort": bind })),
        ),
        (create, "{\"name\": \"\"}".to_owned()),
        (
            create,
            "{\"name\": \"a\", \"type\": \"nonsense\"}".to_owned(),
        ),
        (create, "{\"name\": \"a\", \"type\": \"tcp\"}".to_owned()),
        (
            create,
            "{\"name\": \"a\", \"type\": \"tcp\", \"udp\": {}}".to_owned(),
        ),
        (visit, "{\"name\": \"\"}".to_owned()),
        (visit, "{\"name\": \"a\", \"type\": \"tcp\"}".to_owned()),
        (visit, "{\"name\": \"a\", \"type\": \"stcp\"}".to_owned()),
        ("DELETE /api/store/proxies/t", String::new()),
        ("DELETE /api/store/visitors/v", String::new()),
        ("PUT /api/config", String::new()),
        ("GET /api/reload", String::new()),
        ("GET /api/nonsense", String::new()),
        ("POST /api/status", String::new()),
        ("POST /api/stop", String::new()),
    ]);
    all
}

/// What a client answers to all of it.
async fn answers(peer: Peer, ports: [u16; 4], web: &Proxy) -> Vec<(u16, Value)> {
    let server = Server::start(Peer::MgrokProgram, "").await;
    let admin = SocketAddr::from(([127, 0, 0, 1], ports::free()));
    let settings = format!(
        "webServer.port = {}\nstore.path = \"store.json\"",
        admin.port()
    );
    let proxies = std::slice::from_ref(web);
    let _client = Client::start(peer, server.addr(), &settings, proxies).await;
    let mut answers = Vec::new();
    for (request, body) in requests(ports) {
        if request == "GET /api/status" {
            // Proxies start after the answer to what has made them.
            eventually("nothing is under way", async || {
                let (_, rows) = ask(admin, request, "").await;
                let text = rows.to_string();
                let waits = ["\"new\"", "wait start", "check failed"];
                let waits = waits.iter().any(|it| text.contains(it));
                let all = answers.len() < 5 || text.contains("\"xtcp\"");
                (!waits && all && rows != json!({})).then_some(())
            })
            .await;
        }
        answers.push(ask(admin, request, &body).await);
    }
    answers
}

/// What mgrok answers otherwise than frpc on purpose: the beginning of what is found, and why.
const DIFFERENT: &[(&str, &str)] = &[
    (
        "GET /api/proxy/k/config : /tcp/healthCheck/",
        "the numbers that go without saying are told too",
    ),
    (
        "POST /api/store/proxies {\"name\":\"unknown\"",
        "an unknown key is refused, so that nobody takes it for one that counts",
    ),
    (
        "DELETE /api/store/proxies/unknown",
        "so it is not there either",
    ),
];

#[tokio::test]
#[cfg_attr(
    not(frp),
    ignore = "FRPS_BIN and FRPC_BIN do not name an frps and an frpc"
)]
async fn every_route_answers_as_frpc_does() {
    // What the health check connects to.
    let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let local = service.local_addr().unwrap();
    let ports = [ports::free(), ports::free(), ports::free(), local.port()];
    let web = Proxy::tcp("web", local);
    let frp = answers(Peer::Frp, ports, &web).await;
    let mgrok = answers(Peer::MgrokProgram, ports, &web).await;
    let mut found = Vec::new();
    for (index, (request, body)) in requests(ports).into_iter().enumerate() {
        let (theirs, ours) = (&frp[index], &mgrok[index]);
        let at = format!("{request} {body}: ");
        if theirs.0 != ours.0 {
            found.push(format!("{at}status {} for {}", ours.0, theirs.0));
        }
        compare(&theirs.1, &ours.1, &at, &mut found);
    }
    for (different, why) in DIFFERENT {
        let before = found.len();
        found.retain(|it| !it.starts_with(different));
        assert!(found.len() < before, "{different} is as in frpc: {why}");
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// Adds to `found` where `ours` differs from `theirs`.
fn compare(theirs: &Value, ours: &Value, at: &str, found: &mut Vec<String>) {
    match (theirs, ours) {
        (Value::Object(theirs), Value::Object(ours)) => {
            for key in theirs
                .keys()
                .chain(ours.keys().filter(|key| !theirs.contains_key(*key)))
            {
                let none = json!("(absent)");
                let (theirs, ours) = (theirs.get(key), ours.get(key));
                let at = format!("{at}/{key}");
                compare(theirs.unwrap_or(&none), ours.unwrap_or(&none), &at, found);
            }
        }
        (Value::Array(theirs), Value::Array(ours)) if theirs.len() == ours.len() => {
            for (index, (theirs, ours)) in theirs.iter().zip(ours).enumerate() {
                compare(theirs, ours, &format!("{at}/{index}"), found);
            }
        }
        _ if theirs != ours => found.push(format!("{at}: {ours} for {theirs}")),
        _ => {}
    }
}

/// Adds a proxy to the store at `path`, and gives the names of all that are stored then.
async fn add_to_store(peer: Peer, path: &Path, name: &str) -> Vec<String> {
    let server = Server::start(Peer::MgrokProgram, "").await;
    let admin = SocketAddr::from(([127, 0, 0, 1], ports::free()));
    let settings = format!("webServer.port = {}\nstore.path = {path:?}", admin.port());
    let client = Client::start(peer, server.addr(), &settings, &[]).await;
    client.log().wait_for("login to server success").await;
    let block = json!({ "localPort": 1, "metadatas": { "by": format!("{peer:?}") } });
    let definition = json!({ "name": name, "type": "tcp", "tcp": block }).to_string();
    let (status, told) = ask(admin, "POST /api/store/proxies", &definition).await;
    assert_eq!(status, 200, "{told}");
    let (_, list) = ask(admin, "GET /api/store/proxies", "").await;
    let list = list["proxies"].as_array().unwrap().iter();
    list.map(|it| it["name"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
#[cfg_attr(
    not(frp),
    ignore = "FRPS_BIN and FRPC_BIN do not name an frps and an frpc"
)]
async fn a_store_may_go_from_one_to_the_other_and_back() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store.json");
    assert_eq!(add_to_store(Peer::MgrokProgram, &path, "a").await, ["a"]);
    assert_eq!(add_to_store(Peer::Frp, &path, "b").await, ["a", "b"]);
    let all = add_to_store(Peer::MgrokProgram, &path, "c").await;
    assert_eq!(all, ["a", "b", "c"]);
}
