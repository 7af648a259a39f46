//! The request inspector of a client.

use std::net::SocketAddr;

use futures_util::{SinkExt as _, StreamExt as _};
use mgrok_lab::{
    Client, PATIENCE, Peer, Proxy, Server, eventually, ports,
    service::{self, Service},
    web::{self, User, Web},
    within,
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

use crate::client_users::Admin;
use crate::named;

/// A proxy of a service, which is inspected as `inspect` says.
struct Lab {
    _server: Server,
    _client: Client,
    admin: Admin,
    at: SocketAddr,
}

impl Lab {
    async fn new(service: SocketAddr, inspect: &str) -> Self {
        let proxy = named("http", "web", service, "a.test").with(inspect);
        Self::of("", proxy).await
    }

    async fn of(for_client: &str, proxy: Proxy) -> Self {
        let port = ports::free();
        let server = Server::start(Peer::Mgrok, &format!("vhostHTTPPort = {port}")).await;
        let (admin, settings) = Admin::new();
        let settings = settings + for_client;
        Self {
            _client: Client::start(Peer::Mgrok, server.addr(), &settings, &[proxy]).await,
            _server: server,
            admin,
            at: ([127, 0, 0, 1], port).into(),
        }
    }

    async fn get(&self, path: &str) -> web::Answer {
        web::get(self.at, "a.test", path).await
    }

    /// The requests that are kept, as soon as there are so many; the newest first.
    async fn requests(&self, count: usize) -> Vec<Value> {
        self.admin.items("/api/v2/requests", count).await
    }

    async fn detail(&self, entry: &Value) -> Value {
        let path = format!("/api/v2/requests/{}", entry["id"]);
        self.admin.data(&path).await
    }
}

/// The value of a header of a message.
fn header<'a>(message: &'a Value, name: &str) -> Option<&'a str> {
    let headers = message["headers"].as_array().unwrap();
    let found = headers.iter().find(|it| it[0] == name)?;
    found[1].as_str()
}

#[tokio::test]
async fn requests_are_kept_with_their_answers() {
    let web = Web::start("a").await;
    let lab = Lab::new(web.addr(), "inspect.requests = 3").await;
    let mut user = User::of(lab.at).await;
    let from = user.stream().get_ref().local_addr().unwrap().ip();
    // Two on one connection.
    user.ask("POST /form?a=1 HTTP/1.1\r\nHost: a.test\r\nAuthorization: Basic c2VjcmV0\r\nContent-Length: 5\r\n\r\nhello")
        .await;
    user.ask("GET /second HTTP/1.1\r\nHost: a.test\r\n\r\n")
        .await;
    let kept = lab.requests(2).await;
    assert_eq!(kept[0]["path"], "/second");
    assert_eq!(kept[0]["status"], 200);
    assert_eq!(kept[0]["error"], Value::Null);
    let first = lab.detail(&kept[1]).await;
    assert_eq!(first["method"], "POST");
    assert_eq!(first["path"], "/form");
    assert_eq!(first["query"], "a=1");
    assert_eq!(first["proxy"], "web");
    assert_eq!(first["requestSize"], 5);
    assert_eq!(first["request"]["body"], "hello");
    assert_eq!(first["request"]["bodyEncoding"], "utf8");
    assert_eq!(header(&first["request"], "authorization"), Some("***"));
    assert_eq!(header(&first["response"], "x-service"), Some("a"));
    let body = first["response"]["body"].as_str().unwrap();
    assert!(body.contains("c2VjcmV0"), "the service got it: {body}");
    assert!(
        first["remoteAddr"]
            .as_str()
            .unwrap()
            .starts_with(&from.to_string())
    );
    assert!(
        first["timing"]["toFirstByte"].as_f64().unwrap()
            <= first["timing"]["total"].as_f64().unwrap()
    );

    for path in ["/third", "/fourth"] {
        lab.get(path).await;
    }
    let kept = lab.requests(3).await;
    assert_eq!(kept[2]["path"], "/second", "the first is gone");
    let (gone, _) = lab
        .admin
        .ask("GET", &format!("/api/v2/requests/{}", first["id"]), "")
        .await;
    assert_eq!(gone, 404);
    let filtered = lab
        .admin
        .items(
            "/api/v2/requests?path=third&status=2xx&header=x-service:a",
            1,
        )
        .await;
    assert_eq!(filtered[0]["path"], "/third");
    let (_, har) = lab
        .admin
        .ask("GET", "/api/v2/requests.har?path=th", "")
        .await;
    let archived = har["log"]["entries"].as_array().unwrap();
    assert_eq!(archived.len(), 2);
    assert_eq!(archived[0]["request"]["url"], "http://a.test/third");
    lab.admin.ask("DELETE", "/api/v2/requests", "").await;
    lab.requests(0).await;
}

#[tokio::test]
async fn nothing_is_kept_without_the_key() {
    let web = Web::start("a").await;
    let lab = Lab::new(web.addr(), "").await;
    let answer = lab.get("/").await;
    assert!(!answer.shows("Via: mgrok"));
    assert_eq!(answer.service(), "a");
    lab.requests(0).await;
    let proxies = lab.admin.items("/api/v2/proxies", 1).await;
    assert_eq!(proxies[0]["inspect"], false);
}

#[tokio::test]
async fn a_request_is_repeated_as_it_was_or_with_edits() {
    let web = Web::start("a").await;
    let more = "inspect.requests = 9\nhostHeaderRewrite = \"inside.test\"";
    let lab = Lab::new(web.addr(), more).await;
    let mut user = User::of(lab.at).await;
    user.ask("PUT /x?y=1 HTTP/1.1\r\nHost: a.test\r\nCookie: secret\r\nX-Mine: 1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n")
        .await;
    let kept = lab.requests(1).await;
    let path = format!("/api/v2/requests/{}/replay", kept[0]["id"]);
    let (status, answer) = lab.admin.ask("POST", &path, "").await;
    assert_eq!(status, 200, "{answer}");
    let again = &answer["data"];
    assert_eq!(again["replayOf"], kept[0]["id"]);
    assert_eq!(again["status"], 200);
    assert_eq!(header(&again["request"], "host"), Some("inside.test"));
    let seen = web.requests();
    assert_eq!(seen.len(), 2);
    let last = seen[1].to_lowercase();
    assert!(last.contains("put /x?y=1"), "{last}");
    assert!(
        last.contains("x-mine: 1") && last.contains("host: inside.test"),
        "{last}"
    );
    assert!(!last.contains("secret") && last.contains("hi"), "{last}");

    let edits = json!({
        "method": "POST", "path": "/other", "headers": [["host", "b.test"], ["x-new", "2"]], "body": "changed"
    });
    let (status, answer) = lab.admin.ask("POST", &path, &edits.to_string()).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["data"]["path"], "/other");
    let seen = web.requests();
    let last = seen[2].to_lowercase();
    assert!(
        last.contains("post /other") && last.contains("x-new: 2"),
        "{last}"
    );
    assert!(
        last.contains("changed") && !last.contains("x-mine"),
        "{last}"
    );
    lab.requests(3).await;

    for (edits, status) in [
        ("{\"method\":\"A B\"}", 400),
        ("{\"path\":\"http://elsewhere.test/\"}", 400),
        ("{\"path\":\"no slash\"}", 400),
        ("{\"headers\":[[\"a b\",\"1\"]]}", 400),
        ("{\"headers\":[[\"a\",\"1\\r\\nb: 2\"]]}", 400),
        ("{\"unknown\":1}", 400),
        ("{", 400),
    ] {
        assert_eq!(
            lab.admin.ask("POST", &path, edits).await.0,
            status,
            "{edits}"
        );
    }
    let (status, _) = lab
        .admin
        .ask("POST", "/api/v2/requests/999/replay", "")
        .await;
    assert_eq!(status, 404);
    assert_eq!(web.requests().len(), 3);
}

/// A service that reads the head of a request and answers with these bytes.
async fn answering(answer: Vec<u8>) -> Service {
    service::tcp(move |mut stream: TcpStream| {
        let answer = answer.clone();
        async move {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                match stream.read_u8().await {
                    Ok(byte) => head.push(byte),
                    Err(_) => return,
                }
            }
            let _ = stream.write_all(&answer).await;
        }
    })
    .await
}

#[tokio::test]
async fn a_large_body_is_kept_up_to_the_limit() {
    const SIZE: usize = 100 << 20;
    let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n").into_bytes();
    answer.resize(answer.len() + SIZE, b'x');
    let service = answering(answer).await;
    let lab = Lab::new(
        service.addr(),
        "inspect.requests = 1\ninspect.bodyLimit = \"1KB\"",
    )
    .await;
    let mut user = User::of(lab.at).await;
    user.send("GET /large HTTP/1.1\r\nHost: a.test\r\n\r\n")
        .await;
    user.head().await;
    let mut left = SIZE;
    let mut buffer = vec![0; 1 << 20];
    while left > 0 {
        let read = user.stream().read(&mut buffer);
        let read = within(PATIENCE, "more of the body", read).await.unwrap();
        assert_ne!(read, 0, "{left} bytes are missing");
        left -= read;
    }
    let kept = lab.requests(1).await;
    assert_eq!(kept[0]["responseSize"], SIZE);
    let detail = lab.detail(&kept[0]).await;
    assert_eq!(detail["response"]["truncated"], true);
    assert_eq!(detail["response"]["body"].as_str().unwrap().len(), 1024);
}

#[tokio::test]
async fn what_is_compressed_is_kept_as_it_is_and_trailers_with_it() {
    let gzip = b"\x1f\x8b\x08\x00\xff";
    let mut answer = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTrailer: x-sum\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n".to_vec();
    answer.extend(gzip);
    answer.extend(b"\r\n0\r\nx-sum: 7\r\n\r\n");
    let service = answering(answer).await;
    let lab = Lab::new(service.addr(), "inspect.requests = 1").await;
    let mut user = User::of(lab.at).await;
    user.send("GET / HTTP/1.1\r\nHost: a.test\r\nTE: trailers\r\nConnection: TE\r\n\r\n")
        .await;
    user.head().await;
    let kept = lab.requests(1).await;
    let detail = lab.detail(&kept[0]).await;
    assert_eq!(detail["response"]["bodyEncoding"], "base64");
    assert_eq!(detail["response"]["body"], "H4sIAP8=");
    assert_eq!(
        header(&detail["response"], "content-encoding"),
        Some("gzip")
    );
    assert_eq!(detail["response"]["trailers"], json!([["x-sum", "7"]]));
}

#[tokio::test]
async fn frames_of_a_websocket_are_counted_while_it_is_open() {
    let service = service::tcp(async move |stream: TcpStream| {
        let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else {
            return;
        };
        while let Some(Ok(message)) = socket.next().await {
            if message.is_close() || socket.send(message).await.is_err() {
                return;
            }
        }
    })
    .await;
    let lab = Lab::new(service.addr(), "inspect.requests = 1").await;
    let stream = TcpStream::connect(lab.at).await.unwrap();
    let opened = tokio_tungstenite::client_async("ws://a.test/chat", stream);
    let (mut socket, _) = within(PATIENCE, "a websocket", opened).await.unwrap();
    for message in [
        Message::text("hello"),
        Message::binary(vec![7; 100_000]),
        Message::text(""),
    ] {
        socket.send(message).await.unwrap();
        let back = within(PATIENCE, "a message", socket.next()).await;
        back.unwrap().unwrap();
    }
    let kept = lab.requests(1).await;
    assert_eq!(kept[0]["status"], 101);
    assert_eq!(kept[0]["websocket"], json!({"received": 3, "sent": 3}));
    assert_eq!(kept[0]["duration"], Value::Null, "it is still open");
    let path = format!("/api/v2/requests/{}/replay", kept[0]["id"]);
    assert_eq!(lab.admin.ask("POST", &path, "").await.0, 400);
    socket.close(None).await.unwrap();
    eventually("it is over", async || {
        let kept = lab.requests(1).await;
        kept[0]["duration"].as_f64()
    })
    .await;
}

#[tokio::test]
async fn a_service_that_is_not_there_and_one_that_breaks_off_are_told() {
    let nobody = ([127, 0, 0, 1], ports::free()).into();
    let lab = Lab::new(nobody, "inspect.requests = 1").await;
    assert_eq!(lab.get("/").await.status, 502);
    let kept = lab.requests(1).await;
    assert_eq!(kept[0]["status"], 502);
    assert!(
        kept[0]["error"]
            .as_str()
            .unwrap()
            .contains("cannot connect"),
        "{kept:?}"
    );

    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf".to_vec();
    let service = answering(answer).await;
    let lab = Lab::new(service.addr(), "inspect.requests = 1").await;
    let mut user = User::of(lab.at).await;
    user.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    user.head().await;
    user.rest().await;
    let kept = lab.requests(1).await;
    assert_eq!(kept[0]["error"], "the service broke the answer off");
    assert_eq!(lab.detail(&kept[0]).await["response"]["body"], "half");
}
