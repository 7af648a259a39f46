//! Tests what the admin port tells of clients, proxies and users, and that what it is told to do is done.

use std::time::Instant;

use mgrok_proto::message::NewProxy;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpStream, UdpSocket};

use crate::client::{Client, Lab, eventually, in_time};

/// The status and the body of the answer to `what`, which is a method and a path.
async fn ask(lab: &Lab, what: &str) -> (u16, String) {
    let mut conn = TcpStream::connect(lab.admin).await.unwrap();
    let request = format!("{what} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    conn.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    in_time(conn.read_to_string(&mut answer)).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap();
    (status.parse().unwrap(), body.to_owned())
}

/// The answer to `what`, which is 200 and JSON.
async fn json(lab: &Lab, what: &str) -> Value {
    let (status, body) = ask(lab, what).await;
    assert_eq!(status, 200, "{what}: {body}");
    serde_json::from_str(&body).unwrap()
}

/// The same of the routes of version 2, without their envelope.
async fn data(lab: &Lab, what: &str) -> Value {
    let mut answer = json(lab, what).await;
    assert_eq!(
        (&answer["code"], &answer["msg"]),
        (&json!(200), &json!("success"))
    );
    answer["data"].take()
}

/// The refusal of `what`: its status and the reason.
async fn refused(lab: &Lab, what: &str) -> (u16, String) {
    let (status, body) = ask(lab, what).await;
    let body: Value = serde_json::from_str(&body).unwrap();
    let [code, message] = match what.contains("/api/v2/") {
        true => {
            assert_eq!(body["data"], Value::Null);
            ["code", "msg"]
        }
        false => ["Code", "Msg"],
    };
    assert_eq!(body[code], json!(status));
    (status, body[message].as_str().unwrap().to_owned())
}

/// A lab with a client `laptop` and its proxies `ssh` and `a/b`.
async fn start() -> (Lab, Client, u16) {
    let lab = Lab::start().await;
    let mut client = lab.login("laptop").await;
    let new = NewProxy {
        proxy_name: "ssh".to_owned(),
        proxy_type: "tcp".to_owned(),
        annotations: [("team".to_owned(), "<b>".to_owned())].into(),
        bandwidth_limit: "10MB".to_owned(),
        use_compression: false,
        ..NewProxy::default()
    };
    let port = client.publish_as(new).await.port();
    let web = NewProxy {
        proxy_name: "a/b".to_owned(),
        proxy_type: "http".to_owned(),
        custom_domains: vec!["web.test".to_owned()],
        ..NewProxy::default()
    };
    client.publish_as(web).await;
    (lab, client, port)
}

/// A user of the echo at `port`, who has had five bytes back.
async fn user(port: u16) -> TcpStream {
    let mut user = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    user.write_all(b"hello").await.unwrap();
    let mut echo = [0; 5];
    in_time(user.read_exact(&mut echo)).await.unwrap();
    user
}

/// Waits until the other end has closed the connection.
async fn closed(mut user: TcpStream) {
    let mut rest = Vec::new();
    // A reset is an end, too.
    let _ = in_time(user.read_to_end(&mut rest)).await;
}

#[tokio::test]
async fn a_proxy_is_told_as_frp_tells_it() {
    let (lab, client, port) = start().await;
    let _user = user(port).await;
    let proxy = json(&lab, "GET /api/proxies/ssh").await;
    let start = proxy["lastStartTime"].as_str().unwrap();
    assert_eq!(start.len(), "11-29 10:00:00".len());
    let expect = json!({
        "name": "ssh",
        "conf": {
            "name": "ssh",
            "type": "tcp",
            "annotations": {"team": "<b>"},
            "transport": {"bandwidthLimit": "10MB", "bandwidthLimitMode": "client"},
            "loadBalancer": {"group": ""},
            "healthCheck": {"type": "", "intervalSeconds": 0},
            "localIP": "127.0.0.1",
            "plugin": null,
            "remotePort": port,
        },
        "clientID": "laptop",
        "todayTrafficIn": 5,
        "todayTrafficOut": 5,
        "curConns": 1,
        "lastStartTime": start,
        "lastCloseTime": "",
        "status": "online",
    });
    assert_eq!(proxy, expect);
    let by_type = json(&lab, "GET /api/proxy/tcp").await;
    assert_eq!(by_type, json!({"proxies": [expect]}));
    assert_eq!(json(&lab, "GET /api/proxy/tcp/ssh").await, expect);
    assert_eq!(
        json(&lab, "GET /api/proxy/none").await,
        json!({"proxies": []})
    );
    let none = (404, "no proxy info found".to_owned());
    for what in [
        "/api/proxy/udp/ssh",
        "/api/proxies/x",
        "/api/traffic/x",
        "/api/v2/proxies/x",
    ] {
        assert_eq!(refused(&lab, &format!("GET {what}")).await, none, "{what}");
    }
    let traffic = json(&lab, "GET /api/traffic/ssh").await;
    let days = [5, 0, 0, 0, 0, 0, 0];
    assert_eq!(
        traffic,
        json!({"name": "ssh", "trafficIn": days, "trafficOut": days})
    );
    let history = data(&lab, "GET /api/v2/proxies/ssh/traffic").await;
    assert_eq!(history["history"].as_array().unwrap().len(), 7);
    assert_eq!(history["history"][6]["trafficIn"], json!(5));
    // A name that is no part of a path.
    let web = data(&lab, "GET /api/v2/proxies/a%2Fb").await;
    assert_eq!(web["spec"]["http"]["customDomains"], json!(["web.test"]));
    assert_eq!(
        json(&lab, "GET /api/proxies/a%2Fb").await["conf"]["locations"],
        Value::Null
    );
    let info = json(&lab, "GET /api/serverinfo").await;
    assert_eq!(info["proxyTypeCount"], json!({"http": 1, "tcp": 1}));
    let counts = ["curConns", "clientCounts", "totalTrafficIn"].map(|key| info[key].as_u64());
    assert_eq!(counts, [Some(1), Some(1), Some(5)]);
    // What has stopped.
    drop(client);
    let key = "DELETE /api/v2/clients/laptop";
    assert_eq!(data(&lab, key).await, json!({"key": "laptop"}));
    in_time(async {
        while json(&lab, "GET /api/proxies/ssh").await["status"] != "offline" {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let stopped = json(&lab, "GET /api/proxies/ssh").await;
    assert_eq!(
        (&stopped["conf"], &stopped["todayTrafficIn"]),
        (&Value::Null, &json!(5))
    );
    assert_ne!(stopped["lastCloseTime"], json!(""));
    let spec = &data(&lab, "GET /api/v2/proxies/ssh").await["spec"];
    assert_eq!(*spec, json!({"type": "tcp", "tcp": {}}));
    let left = json(&lab, "GET /api/clients/laptop").await;
    assert_eq!(
        (&left["online"], &left["runID"]),
        (&json!(false), &json!(""))
    );
    let pruned = data(&lab, "POST /api/v2/system/prune?type=Offline_Proxies").await;
    assert_eq!(
        pruned,
        json!({"type": "offline_proxies", "cleared": 2, "total": 2})
    );
    assert_eq!(refused(&lab, "GET /api/proxies/ssh").await, none);
}

#[tokio::test]
async fn lists_are_filtered_and_come_in_pages() {
    let (lab, mut client, port) = start().await;
    for name in ["one", "two", "three"] {
        client.publish("stcp", name).await;
    }
    let names = async |query: &str| {
        let page = data(&lab, &format!("GET /api/v2/proxies?{query}")).await;
        let items = page["items"].as_array().unwrap().iter();
        let names: Vec<_> = items
            .map(|it| it["name"].as_str().unwrap().to_owned())
            .collect();
        (page["total"].as_u64().unwrap(), names.join(" "))
    };
    assert_eq!(names("").await, (5, "a/b one three two ssh".to_owned()));
    assert_eq!(
        names("page=2&pageSize=2").await,
        (5, "three two".to_owned())
    );
    assert_eq!(names("type=STCP").await, (3, "one three two".to_owned()));
    assert_eq!(names("status=offline").await, (0, String::new()));
    assert_eq!(names("q=WEB.test").await, (1, "a/b".to_owned()));
    assert_eq!(names(&format!("q={port}")).await, (1, "ssh".to_owned()));
    assert_eq!(names("user=ann").await, (0, String::new()));
    let sorted = [
        ("sort=-name", "two three ssh one a/b"),
        ("sort=-type", "ssh one three two a/b"),
        ("sort=public&pageSize=1", "ssh"),
        ("sort=-public&pageSize=1", "a/b"),
        ("sort=phase", "a/b one three two ssh"),
    ];
    for (query, expect) in sorted {
        assert_eq!(names(query).await, (5, expect.to_owned()), "{query}");
    }
    for (query, expect) in [
        (
            "sort=x",
            "sort must be one of name, type, phase, public, client, curConns, todayTrafficIn, todayTrafficOut, or one of them after a -",
        ),
        (
            "type=x",
            "type must be one of tcp, udp, http, https, tcpmux, stcp, xtcp, sudp",
        ),
        ("status=x", "status must be one of all, online, offline"),
        ("page=0", "page must be a positive integer"),
        ("pageSize=201", "pageSize must be between 1 and 200"),
    ] {
        let refusal = refused(&lab, &format!("GET /api/v2/proxies?{query}")).await;
        assert_eq!(refusal, (400, expect.to_owned()));
    }
    let users = data(&lab, "GET /api/v2/users").await;
    assert_eq!(
        users["items"],
        json!([{"user": "", "clientCount": 1, "proxyCount": 5}])
    );
    let detail = data(&lab, "GET /api/v2/clients/laptop").await;
    let expect = json!({"phase": "online", "curConns": 0, "proxyCount": 5});
    assert_eq!(detail["status"], expect);
    let none = refused(&lab, "GET /api/v2/clients/x").await;
    assert_eq!(none, (404, "client x not found".to_owned()));
    let refusal = refused(&lab, "DELETE /api/proxies").await;
    assert_eq!(refusal, (400, "status only support offline".to_owned()));
    let refusal = refused(&lab, "POST /api/v2/system/prune").await;
    assert_eq!(refusal, (400, "type is required".to_owned()));
}

#[tokio::test]
async fn connections_are_listed_and_closed() {
    let (lab, _client, port) = start().await;
    let (first, second, third) = (user(port).await, user(port).await, user(port).await);
    let page = data(&lab, "GET /api/v2/connections?proxy=ssh").await;
    assert_eq!(page["total"], json!(3));
    let newest = &page["items"][0];
    let address_of = |page: &Value| page["items"][0]["remoteAddr"].as_str().unwrap().to_owned();
    let locals = [&first, &second, &third].map(|it| it.local_addr().unwrap());
    let by_address = data(&lab, "GET /api/v2/connections?sort=-remoteAddr").await;
    let highest = locals.iter().max().unwrap().to_string();
    assert_eq!(address_of(&by_address), highest);
    let oldest = data(&lab, "GET /api/v2/connections?sort=since").await;
    assert_eq!(address_of(&oldest), locals[0].to_string());
    let from = third.local_addr().unwrap().to_string();
    assert_eq!(newest["remoteAddr"], json!(from));
    let told = ["type", "client", "user", "received"].map(|key| newest[key].clone());
    assert_eq!(told, [json!("tcp"), json!("laptop"), json!(""), json!(5)]);
    let one = data(&lab, &format!("GET /api/v2/connections?q={from}")).await;
    assert_eq!(one["total"], json!(1));
    let close = format!("DELETE /api/v2/connections/{}", newest["id"]);
    assert_eq!(data(&lab, &close).await, json!({"closed": 1}));
    closed(third).await;
    eventually(|| (lab.directory.connections().len() == 2).then_some(())).await;
    assert_eq!(ask(&lab, &close).await.0, 404);
    assert_eq!(ask(&lab, "DELETE /api/v2/connections/x").await.0, 404);
    let all = data(&lab, "DELETE /api/v2/proxies/ssh/connections").await;
    assert_eq!(all, json!({"closed": 2}));
    closed(first).await;
    closed(second).await;
}

#[tokio::test]
async fn a_proxy_is_disabled_and_enabled() {
    let (lab, _client, port) = start().await;
    let before = user(port).await;
    data(&lab, "POST /api/v2/proxies/ssh/disable").await;
    closed(TcpStream::connect(("127.0.0.1", port)).await.unwrap()).await;
    let proxy = data(&lab, "GET /api/v2/proxies/ssh").await;
    assert_eq!(
        (&proxy["status"]["disabled"], &proxy["status"]["curConns"]),
        (&json!(true), &json!(1))
    );
    let state = data(&lab, "GET /api/v2/system/state").await;
    assert_eq!(state["disabledProxies"], json!(["ssh"]));
    data(&lab, "POST /api/v2/proxies/ssh/enable").await;
    drop(user(port).await);
    assert_eq!(ask(&lab, "POST /api/v2/proxies/ssh/enable").await.0, 404);
    assert_eq!(ask(&lab, "POST /api/v2/proxies/x/disable").await.0, 404);
    drop(before);
}

#[tokio::test]
async fn a_server_that_drains_serves_those_who_are_there() {
    let (lab, mut client, port) = start().await;
    let new = NewProxy {
        proxy_name: "private".to_owned(),
        proxy_type: "stcp".to_owned(),
        sk: mgrok_proto::auth::Secret::new("sk"),
        ..NewProxy::default()
    };
    client.publish_as(new).await;
    let mut before = user(port).await;
    assert_eq!(ask(&lab, "GET /readyz").await.0, 200);
    let state = data(&lab, "POST /api/v2/system/drain").await;
    assert_eq!(state["draining"], json!(true));
    let (status, body) = ask(&lab, "GET /readyz").await;
    assert_eq!((status, body.contains("draining")), (503, true));
    let refused = lab.try_login("desk").await.err().unwrap();
    assert!(refused.contains("draining"), "{refused}");
    let refused = lab.try_visit(&client, "private").await.err().unwrap();
    assert!(refused.contains("draining"), "{refused}");
    closed(TcpStream::connect(("127.0.0.1", port)).await.unwrap()).await;
    let mut web = TcpStream::connect(lab.addr).await.unwrap();
    web.write_all(b"GET / HTTP/1.1\r\nHost: web.test\r\n\r\n")
        .await
        .unwrap();
    let mut head = [0; 12];
    in_time(web.read_exact(&mut head)).await.unwrap();
    assert_eq!(str::from_utf8(&head), Ok("HTTP/1.1 503"));
    before.write_all(b"again").await.unwrap();
    let mut echo = [0; 5];
    in_time(before.read_exact(&mut echo)).await.unwrap();
    let state = data(&lab, "DELETE /api/v2/system/drain").await;
    assert_eq!(state["draining"], json!(false));
    lab.login("desk").await;
    user(port).await;
    assert_eq!(ask(&lab, "GET /readyz").await.0, 200);
}

#[tokio::test]
async fn a_server_that_drains_drops_datagrams_of_new_users() {
    let lab = Lab::start().await;
    let mut client = lab.login("laptop").await;
    let addr = client.publish("udp", "datagrams").await;
    let user = async || {
        let user = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        user.connect(addr).await.unwrap();
        user
    };
    let echoed = async |user: &UdpSocket, word: &[u8]| {
        user.send(word).await.unwrap();
        let mut echo = [0; 16];
        let len = in_time(user.recv(&mut echo)).await.unwrap();
        assert_eq!(&echo[..len], word);
    };
    let old = user().await;
    echoed(&old, b"before").await;
    data(&lab, "POST /api/v2/system/drain").await;
    let new = user().await;
    new.send(b"new").await.unwrap();
    // Datagrams of one socket are taken in their order: those of the new one were dropped by then.
    echoed(&old, b"while").await;
    assert!(new.try_recv(&mut [0; 16]).is_err(), "it was let in");
    assert_eq!(lab.proxy("datagrams").udp_users, 1);
    data(&lab, "DELETE /api/v2/system/drain").await;
    echoed(&new, b"again").await;
}

/// An event stream.
struct Events {
    lines: Lines<BufReader<OwnedReadHalf>>,
    _open: OwnedWriteHalf,
}

impl Events {
    async fn of(lab: &Lab) -> Self {
        let conn = TcpStream::connect(lab.admin).await.unwrap();
        let (read, mut write) = conn.into_split();
        let request = b"GET /api/v2/events HTTP/1.1\r\nHost: localhost\r\n\r\n";
        write.write_all(request).await.unwrap();
        Self {
            lines: BufReader::new(read).lines(),
            _open: write,
        }
    }

    /// The next event that is not about traffic.
    async fn next(&mut self) -> (String, Value) {
        loop {
            let event = self.any().await;
            if event.0 != "traffic" {
                return event;
            }
        }
    }

    async fn any(&mut self) -> (String, Value) {
        let mut name = String::new();
        loop {
            let line = in_time(self.lines.next_line()).await.unwrap().unwrap();
            if let Some(event) = line.strip_prefix("event: ") {
                name = event.to_owned();
            }
            if let Some(data) = line.strip_prefix("data: ") {
                return (name, serde_json::from_str(data).unwrap());
            }
        }
    }

    async fn expect(&mut self, name: &str, data: Value) {
        assert_eq!(self.next().await, (name.to_owned(), data));
    }
}

#[tokio::test]
async fn what_comes_and_goes_is_told_as_it_does() {
    let lab = Lab::start().await;
    let mut events = Events::of(&lab).await;
    events.expect("reset", json!({"missed": 0})).await;
    let (name, traffic) = events.any().await;
    assert_eq!(name, "traffic");
    let expect = json!({"received": 0, "sent": 0, "connections": 0, "clients": 0, "proxies": 0});
    assert_eq!(traffic, expect);
    let mut client = lab.login("laptop").await;
    events
        .expect("client", json!({"key": "laptop", "online": true}))
        .await;
    let port = client.publish("tcp", "ssh").await.port();
    events
        .expect("proxy", json!({"name": "ssh", "state": "started"}))
        .await;
    let user = user(port).await;
    let from = user.local_addr().unwrap().to_string();
    let (name, opened) = events.next().await;
    assert_eq!(name, "connection");
    let connection = |state, bytes| json!({"id": opened["id"], "proxy": "ssh", "state": state, "remoteAddr": from, "received": bytes, "sent": bytes});
    assert_eq!(opened, connection("opened", 0));
    drop(user);
    events.expect("connection", connection("closed", 5)).await;
    data(&lab, "POST /api/v2/proxies/ssh/disable").await;
    events
        .expect("proxy", json!({"name": "ssh", "state": "disabled"}))
        .await;
    data(&lab, "POST /api/v2/proxies/ssh/enable").await;
    events
        .expect("proxy", json!({"name": "ssh", "state": "enabled"}))
        .await;
    let new = NewProxy {
        proxy_name: "web".to_owned(),
        proxy_type: "http".to_owned(),
        custom_domains: vec!["web.test".to_owned()],
        ..NewProxy::default()
    };
    client.publish_as(new).await;
    events
        .expect("proxy", json!({"name": "web", "state": "started"}))
        .await;
    let mut web = TcpStream::connect(lab.addr).await.unwrap();
    let request = b"GET /a?secret HTTP/1.1\r\nHost: web.test\r\nConnection: close\r\n\r\n";
    web.write_all(request).await.unwrap();
    closed(web).await;
    let request = loop {
        let (name, data) = events.next().await;
        if name == "request" {
            break data;
        }
        assert_eq!(name, "connection");
    };
    let told = ["proxy", "method", "host", "path", "status"].map(|key| request[key].clone());
    let expect = [
        json!("web"),
        json!("GET"),
        json!("web.test"),
        json!("/a"),
        json!(200),
    ];
    assert_eq!(told, expect);
    data(&lab, "DELETE /api/v2/clients/laptop").await;
    let mut names = Vec::new();
    while !names.contains(&"client".to_owned()) {
        names.push(events.next().await.0);
    }
}

/// Needs 5,000 open files, and says how long each answer takes.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures; to be run alone, in a release build"]
async fn ten_thousand_proxies_of_two_thousand_clients() {
    let lab = Lab::start().await;
    let mut clients = Vec::new();
    for number in 0..2_000 {
        let mut client = lab.login(&format!("client{number}")).await;
        for proxy in 0..5 {
            client
                .publish("stcp", &format!("proxy{number}-{proxy}"))
                .await;
        }
        clients.push(client);
    }
    for route in [
        "/api/serverinfo",
        "/api/proxy/stcp",
        "/api/proxies/proxy7-3",
        "/api/traffic/proxy7-3",
        "/api/clients",
        "/api/clients/client1999",
        "/api/v2/users",
        "/api/v2/system/info",
        "/api/v2/system/state",
        "/api/v2/clients",
        "/api/v2/clients?q=99&page=2",
        "/api/v2/clients/client1999",
        "/api/v2/proxies",
        "/api/v2/proxies?pageSize=200&page=50",
        "/api/v2/proxies?q=proxy19",
        "/api/v2/proxies/proxy1999-4",
        "/api/v2/proxies/proxy1999-4/traffic",
        "/api/v2/connections",
    ] {
        let what = format!("GET {route}");
        let mut times = Vec::new();
        let mut len = 0;
        for _ in 0..5 {
            let began = Instant::now();
            let (status, body) = ask(&lab, &what).await;
            times.push(began.elapsed());
            assert_eq!(status, 200);
            len = body.len();
        }
        times.sort();
        let [median, slowest] = [times[2], times[4]].map(|it| it.as_secs_f64() * 1e3);
        println!("{median:>7.1} ms, {slowest:>7.1} at most, {len:>9} bytes  {route}");
        assert!(cfg!(debug_assertions) || median < 200.0, "{route}");
    }
}
