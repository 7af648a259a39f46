//! The client's admin port answers as frpc's, field for field: the same requests to both, and every difference with its reason.

use std::net::SocketAddr;
use std::time::Duration;

use mgrok_lab::{Client, Peer, Proxy, Server, eventually, ports};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::sleep,
};

/// The status of an answer and its body: JSON, or a text.
async fn ask(admin: SocketAddr, request: &str, body: &str) -> (u16, Value) {
    let mut conn = TcpStream::connect(admin).await.unwrap();
    let length = body.len();
    let text = format!(
        "{request} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
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
fn requests(remote: u16, bind: u16) -> Vec<(&'static str, String)> {
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
        "GET /api/visitor/v/config",
        "GET /api/visitor/y/config",
        "GET /api/visitor/z/config",
        "GET /api/status",
    ] {
        all.push((path, String::new()));
    }
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
async fn answers(peer: Peer, remote: u16, bind: u16, web: &Proxy) -> Vec<(u16, Value)> {
    let server = Server::start(Peer::MgrokProgram, "").await;
    let admin = SocketAddr::from(([127, 0, 0, 1], ports::free()));
    let settings = format!(
        "webServer.port = {}\nstore.path = \"store.json\"",
        admin.port()
    );
    let proxies = std::slice::from_ref(web);
    let _client = Client::start(peer, server.addr(), &settings, proxies).await;
    let mut answers = Vec::new();
    for (request, body) in requests(remote, bind) {
        if request == "GET /api/status" {
            // Proxies start after the answer to what has made them.
            eventually("nothing is under way", async || {
                let (_, rows) = ask(admin, request, "").await;
                let text = rows.to_string();
                let waits = text.contains("\"new\"") || text.contains("wait start");
                let all = answers.len() < 5 || text.contains("\"xtcp\"");
                (!waits && all && rows != json!({})).then_some(())
            })
            .await;
        }
        answers.push(ask(admin, request, &body).await);
        // frpc looks at its proxies only so often.
        sleep(Duration::from_millis(1)).await;
    }
    answers
}

/// What mgrok answers otherwise than frpc on purpose: to which request, where in the answer, and why.
const DIFFERENT: &[(&str, &str, &str)] = &[("GET /api/proxy/s/config", "/stcp/bandwidthLimit", "")];

#[tokio::test]
#[cfg_attr(
    not(frp),
    ignore = "FRPS_BIN and FRPC_BIN do not name an frps and an frpc"
)]
async fn every_route_answers_as_frpc_does() {
    let (remote, bind) = (ports::free(), ports::free());
    let web = Proxy::tcp("web", ([127, 0, 0, 1], 80).into());
    let frp = answers(Peer::Frp, remote, bind, &web).await;
    let mgrok = answers(Peer::MgrokProgram, remote, bind, &web).await;
    let mut found = Vec::new();
    for (index, (request, body)) in requests(remote, bind).into_iter().enumerate() {
        let (theirs, ours) = (&frp[index], &mgrok[index]);
        if theirs.0 != ours.0 {
            found.push(format!(
                "{request} {body}: status {} for {}",
                ours.0, theirs.0
            ));
        }
        compare(
            &theirs.1,
            &ours.1,
            &format!("{request} {body}: "),
            &mut found,
        );
    }
    found.retain(|it| {
        !DIFFERENT
            .iter()
            .any(|(request, at, _)| it.starts_with(request) && it.contains(at))
    });
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
