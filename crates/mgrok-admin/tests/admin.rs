//! An admin port over real sockets.

#![allow(
    clippy::unwrap_used,
    reason = "a panic is how a test fails, in its helpers too"
)]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use futures_util::stream::{self, StreamExt as _};
use mgrok_admin::{
    AdminPort, Answer, Dashboard, EventStream, Method, Path as PathOf, Refusal, Routes,
    ServerEvent, StatusCode,
};
use mgrok_config::{WebServer, WebServerTls};
use mgrok_net::tls::{ClientTls, ClientTlsOptions};
use mgrok_proto::auth::Secret;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

/// `admin:secret` in the header that asks for it.
const CREDENTIALS: &str = "Authorization: Basic YWRtaW46c2VjcmV0\r\n";

/// What every answer has, and is not looked at but in one test.
const EVERYWHERE: [&str; 5] = [
    "cache-control: no-store",
    "content-security-policy: default-src 'none'; frame-ancestors 'none'",
    "referrer-policy: no-referrer",
    "x-content-type-options: nosniff",
    "x-frame-options: DENY",
];

/// A port that is served for as long as the value lives.
struct Served {
    addr: SocketAddr,
    ended: JoinHandle<()>,
    stop: DropGuard,
}

/// What came back.
struct Response {
    /// The status line and the headers, but for the date and those of `EVERYWHERE`.
    head: String,
    body: String,
}

async fn served(user: &str, password: &str) -> Served {
    let config = WebServer {
        user: user.to_owned(),
        password: Secret::new(password),
        ..WebServer::default()
    };
    let port = AdminPort::bind(&config).await.unwrap();
    let addr = port.local_addr().unwrap();
    let routes = Routes::default()
        .with(Method::GET, "/api/names", async || {
            Answer::json(&["ada", "bob"])
        })
        .with(
            Method::GET,
            "/api/v2/names/{name}",
            async |PathOf(name): PathOf<String>| match name.as_str() {
                "a/b" => Err(Refusal::not_found("a/b is not here")),
                name => Answer::data(&name),
            },
        )
        .with(
            Method::GET,
            "/api/v2/events",
            async |stream: EventStream| {
                let numbers = [1, 2].map(|it| ServerEvent::new("number", &it));
                stream.answer(stream::iter(numbers).chain(stream::pending()))
            },
        )
        .with(
            Method::DELETE,
            "/api/names",
            async || -> Result<Answer, Refusal> {
                Err(Refusal {
                    status: StatusCode::CONFLICT,
                    message: "\"ada\" is here".to_owned(),
                })
            },
        );
    let stop = CancellationToken::new();
    let ended = tokio::spawn(port.run(routes, stop.clone()));
    Served {
        addr,
        ended,
        stop: stop.drop_guard(),
    }
}

impl Served {
    async fn send(&self, bytes: &[u8]) -> Response {
        let mut conn = TcpStream::connect(self.addr).await.unwrap();
        conn.write_all(bytes).await.unwrap();
        let mut text = String::new();
        conn.read_to_string(&mut text).await.unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let head = head.lines().filter(|line| !EVERYWHERE.contains(line));
        let head = head.filter(|line| !line.starts_with("date: "));
        Response {
            head: head.collect::<Vec<_>>().join("\n"),
            body: body.to_owned(),
        }
    }

    async fn ask_with(&self, method: &str, path: &str, headers: &str) -> Response {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n"
        );
        self.send(request.as_bytes()).await
    }

    async fn ask(&self, method: &str, path: &str) -> Response {
        self.ask_with(method, path, "").await
    }

    /// Asks with every method, which makes no difference.
    async fn check_all(&self, path: &str, status: u16) {
        for method in ["GET", "POST", "DELETE", "OPTIONS", "HEAD"] {
            let response = self.ask(method, path).await;
            assert_eq!(response.status(), status, "{method} {path}");
        }
    }
}

impl Response {
    fn status(&self) -> u16 {
        let status = self.head.split(' ').nth(1).unwrap();
        status.parse().unwrap()
    }
}

#[tokio::test]
async fn anybody_may_ask_for_the_health() {
    let port = served("admin", "secret").await;
    port.check_all("/healthz", 200).await;
    let response = port.ask("GET", "/healthz?x=1").await;
    assert_eq!(
        response.head,
        "HTTP/1.1 200 OK\nconnection: close\ncontent-length: 0"
    );
    assert_eq!(response.body, "");
}

#[tokio::test]
async fn an_answer_is_json() {
    let port = served("", "").await;
    let response = port.ask("GET", "/api/names").await;
    assert_eq!(
        response.head,
        "HTTP/1.1 200 OK\ncontent-type: application/json\ncontent-length: 14\nconnection: close"
    );
    assert_eq!(response.body, "[\"ada\",\"bob\"]\n");
}

#[tokio::test]
async fn a_refusal_is_json_too() {
    let port = served("", "").await;
    let response = port.ask("DELETE", "/api/names").await;
    assert_eq!(response.status(), 409);
    assert!(response.head.contains("content-type: application/json"));
    assert_eq!(
        response.body,
        "{\"Code\":409,\"Msg\":\"\\\"ada\\\" is here\"}\n"
    );
}

#[tokio::test]
async fn who_has_no_credentials_is_asked_for_them() {
    let port = served("admin", "secret").await;
    for path in ["/", "/api/names"] {
        let response = port.ask("GET", path).await;
        assert_eq!(
            response.head,
            "HTTP/1.1 401 Unauthorized\ncontent-type: text/plain; charset=utf-8\n\
             www-authenticate: Basic realm=\"Restricted\"\ncontent-length: 13\nconnection: close",
            "{path}"
        );
        assert_eq!(response.body, "Unauthorized\n");
    }
}

#[tokio::test]
async fn credentials_must_be_right() {
    // In base64: `:`, `admin:`, `:secret`, `admin:Secret`, `admin:secret `; then no Basic ones.
    for wrong in [
        "Basic Og==",
        "Basic YWRtaW46",
        "Basic OnNlY3JldA==",
        "Basic YWRtaW46U2VjcmV0",
        "Basic YWRtaW46c2VjcmV0IA==",
        "Bearer YWRtaW46c2VjcmV0",
        "Basic admin:secret",
    ] {
        let port = served("admin", "secret").await;
        let asked_at = Instant::now();
        let header = format!("Authorization: {wrong}\r\n");
        let response = port.ask_with("GET", "/api/names", &header).await;
        assert_eq!(response.status(), 401, "{wrong}");
        let took = asked_at.elapsed();
        assert!(took >= Duration::from_millis(200), "only {took:?}");
    }
    let port = served("admin", "secret").await;
    let response = port.ask_with("GET", "/api/names", CREDENTIALS).await;
    assert_eq!(response.status(), 200);
}

#[tokio::test]
async fn one_of_user_and_password_asks_for_both() {
    // In base64: `admin:`, `:secret`.
    for (user, password, right) in [
        ("admin", "", "Basic YWRtaW46"),
        ("", "secret", "Basic OnNlY3JldA=="),
    ] {
        let port = served(user, password).await;
        assert_eq!(port.ask("GET", "/api/names").await.status(), 401);
        let response = port.ask_with("GET", "/api/names", CREDENTIALS).await;
        assert_eq!(response.status(), 401);
        let header = format!("Authorization: {right}\r\n");
        let response = port.ask_with("GET", "/api/names", &header).await;
        assert_eq!(response.status(), 200);
    }
}

#[tokio::test]
async fn the_beginning_leads_to_the_dashboard() {
    let port = served("", "").await;
    port.check_all("/", 301).await;
    let response = port.ask("GET", "/").await;
    assert!(response.head.contains("location: static/\n"));
}

#[tokio::test]
async fn every_answer_says_what_browsers_may_do_with_it() {
    let port = served("admin", "secret").await;
    for (path, headers) in [
        ("/api/names", CREDENTIALS),
        ("/nosuch", ""),
        ("/healthz", ""),
        ("/", ""),
    ] {
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n");
        let mut conn = TcpStream::connect(port.addr).await.unwrap();
        conn.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        conn.read_to_string(&mut text).await.unwrap();
        // Only what was guarded may hold secrets.
        let expect = &EVERYWHERE[usize::from(headers.is_empty())..];
        for header in expect {
            assert!(text.contains(&format!("{header}\r\n")), "{header}: {text}");
        }
    }
}

#[tokio::test]
async fn without_a_password_the_port_is_for_this_machine() {
    let port = served("", "").await;
    let request = "GET /api/names HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n";
    let response = port.send(request.as_bytes()).await;
    assert_eq!(response.status(), 403);
    assert!(
        response
            .body
            .contains("set webServer.user and webServer.password")
    );
    let request = request.replace("/api/names", "/healthz");
    assert_eq!(port.send(request.as_bytes()).await.status(), 200);
}

#[tokio::test]
async fn pages_of_other_sites_may_not_act() {
    let port = served("admin", "secret").await;
    for header in ["Sec-Fetch-Site: cross-site", "Origin: http://evil.example"] {
        let headers = format!("{CREDENTIALS}{header}\r\n");
        let response = port.ask_with("DELETE", "/api/names", &headers).await;
        assert_eq!(response.status(), 403, "{header}");
    }
}

#[tokio::test]
async fn who_guesses_has_to_wait() {
    let port = served("admin", "secret").await;
    let wrong = "Authorization: Basic YWRtaW46\r\n";
    let guesses = (0..10).map(|_| port.ask_with("GET", "/api/names", wrong));
    for response in futures_util::future::join_all(guesses).await {
        assert_eq!(response.status(), 401);
    }
    for headers in [wrong, CREDENTIALS] {
        let response = port.ask_with("GET", "/api/names", headers).await;
        assert_eq!(response.status(), 429);
        assert!(response.head.contains("retry-after: "), "{}", response.head);
    }
    assert_eq!(port.ask("GET", "/healthz").await.status(), 200);
}

#[tokio::test]
async fn refusals_of_v2_have_its_form() {
    let port = served("", "").await;
    let response = port.ask("GET", "/api/v2/names/a%2Fb").await;
    assert_eq!(response.status(), 404);
    assert_eq!(
        response.body,
        "{\"code\":404,\"msg\":\"a/b is not here\",\"data\":null}\n"
    );
    let response = port.ask("GET", "/api/v2/names/a").await;
    assert_eq!(
        response.body,
        "{\"code\":200,\"msg\":\"success\",\"data\":\"a\"}\n"
    );
}

#[tokio::test]
async fn events_stream_until_the_port_is_closed() {
    let port = served("", "").await;
    let mut conn = TcpStream::connect(port.addr).await.unwrap();
    let request = "GET /api/v2/events HTTP/1.1\r\nHost: localhost\r\n\r\n";
    conn.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    let mut buf = [0; 1024];
    while !text.contains("data: 2") {
        let len = conn.read(&mut buf).await.unwrap();
        assert!(len > 0, "{text}");
        text.push_str(std::str::from_utf8(&buf[..len]).unwrap());
    }
    assert!(text.contains("content-type: text/event-stream"), "{text}");
    assert!(text.contains("event: number\ndata: 1\n\n"), "{text}");
    drop(port.stop);
    port.ended.await.unwrap();
    let mut rest = String::new();
    conn.read_to_string(&mut rest).await.unwrap();
    assert!(rest.ends_with("0\r\n\r\n"), "the stream is whole: {rest}");
}

#[tokio::test]
async fn event_streams_beyond_the_limit_are_refused() {
    let port = served("", "").await;
    let mut open = Vec::new();
    for _ in 0..32 {
        let mut conn = TcpStream::connect(port.addr).await.unwrap();
        let request = "GET /api/v2/events HTTP/1.1\r\nHost: localhost\r\n\r\n";
        conn.write_all(request.as_bytes()).await.unwrap();
        let mut first = [0; 12];
        conn.read_exact(&mut first).await.unwrap();
        assert_eq!(&first, b"HTTP/1.1 200");
        open.push(conn);
    }
    assert_eq!(port.ask("GET", "/api/v2/events").await.status(), 503);
}

#[tokio::test]
async fn what_is_not_there_is_not_there_for_anybody() {
    let port = served("admin", "secret").await;
    for path in ["/nosuch", "/static", "/api/names/", "/api", "/healthz/x"] {
        port.check_all(path, 404).await;
    }
    let response = port.ask("GET", "/nosuch").await;
    assert_eq!(
        response.head,
        "HTTP/1.1 404 Not Found\ncontent-type: text/plain; charset=utf-8\n\
         content-length: 19\nconnection: close"
    );
    assert_eq!(response.body, "404 page not found\n");
    for strange in ["OPTIONS * HTTP/1.1", "CONNECT x:1 HTTP/1.1"] {
        let request = format!("{strange}\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        assert_eq!(port.send(request.as_bytes()).await.status(), 404);
    }
}

#[tokio::test]
async fn a_wrong_method_is_wrong_for_anybody() {
    let port = served("admin", "secret").await;
    for method in ["POST", "PUT", "HEAD", "OPTIONS", "FANCY"] {
        let response = port.ask(method, "/api/names").await;
        assert_eq!(response.status(), 405, "{method}");
        assert!(response.head.contains("allow: GET, DELETE\n"), "{method}");
        assert_eq!(response.body, "");
    }
}

#[tokio::test]
async fn a_path_is_written_in_one_way() {
    let port = served("admin", "secret").await;
    for (path, expect) in [
        ("/api//names?x=1&y=/../", "/api/names?x=1&y=/../"),
        ("/static/../healthz", "/healthz"),
        ("//evil.example.com/", "/evil.example.com/"),
    ] {
        let response = port.ask("GET", path).await;
        assert_eq!(response.status(), 301, "{path}");
        let location = format!("location: {expect}\n");
        assert!(response.head.contains(&location), "{}", response.head);
    }
}

#[tokio::test]
async fn a_head_has_a_limit() {
    let port = served("", "").await;
    let cookie = |len| format!("Cookie: {}\r\n", "x".repeat(len));
    let short = port.ask_with("GET", "/healthz", &cookie(16_000)).await;
    assert_eq!(short.status(), 200);
    // No more than the limit: what is not read would reset the connection.
    let long = format!("GET /healthz HTTP/1.1\r\nCookie: {}", "x".repeat(16 * 1024));
    let long = port.send(&long.as_bytes()[..16 * 1024]).await;
    assert_eq!(long.status(), 431);
    let many = cookie(1).repeat(101);
    let many = port.ask_with("GET", "/healthz", &many).await;
    assert_eq!(many.status(), 431);
}

#[tokio::test]
async fn what_is_no_http_is_refused() {
    let port = served("", "").await;
    assert_eq!(port.send(b"\x16\x03\x01\r\n\r\n").await.status(), 400);
}

#[tokio::test]
async fn connections_beyond_the_limit_wait() {
    let port = served("", "").await;
    let mut idle = Vec::new();
    for _ in 0..256 {
        idle.push(TcpStream::connect(port.addr).await.unwrap());
    }
    let ask = port.ask("GET", "/healthz");
    tokio::pin!(ask);
    // Nothing tells that it waits but that nothing comes.
    let waiting = tokio::time::timeout(Duration::from_millis(300), &mut ask).await;
    assert!(waiting.is_err());
    drop(idle.pop());
    assert_eq!(ask.await.status(), 200);
}

#[tokio::test]
async fn a_stop_closes_the_port_and_idle_connections() {
    let port = served("", "").await;
    let mut idle = TcpStream::connect(port.addr).await.unwrap();
    assert_eq!(port.ask("GET", "/healthz").await.status(), 200);
    drop(port.stop);
    port.ended.await.unwrap();
    assert_eq!(idle.read(&mut [0; 1]).await.unwrap(), 0);
    assert!(TcpStream::connect(port.addr).await.is_err());
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let port = served("", "").await;
    let config = WebServer {
        port: port.addr.port(),
        ..WebServer::default()
    };
    let error = AdminPort::bind(&config).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains(&port.addr.to_string()), "{text}");
    assert!(text.contains("webServer.port"), "{text}");
}

#[tokio::test]
async fn everybody_may_ask_whether_users_can_be_served() {
    let config = WebServer {
        user: "admin".to_owned(),
        ..WebServer::default()
    };
    for (ready, status, body) in [
        (Ok(()), "200 OK", "{\"ready\":true}\n"),
        (
            Err("not \"yet\"".to_owned()),
            "503 Service Unavailable",
            "{\"ready\":false,\"reason\":\"not \\\"yet\\\"\"}\n",
        ),
    ] {
        let port = AdminPort::bind(&config).await.unwrap();
        let addr = port.local_addr().unwrap();
        let stop = CancellationToken::new();
        let routes = Routes::default().ready_when(move || ready.clone());
        let ended = tokio::spawn(port.run(routes, stop.clone()));
        let served = Served {
            addr,
            ended,
            stop: stop.drop_guard(),
        };
        let response = served.ask("GET", "/readyz").await;
        assert!(
            response.head.starts_with(&format!("HTTP/1.1 {status}")),
            "{}",
            response.head
        );
        assert_eq!(response.body, body);
    }
}

/// A certificate for `localhost`, as files in `dir`, of which `copy` stays when another is written.
fn write_certificate(dir: &Path, copy: &str) -> PathBuf {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let copy = dir.join(copy);
    std::fs::write(&copy, made.cert.pem()).unwrap();
    std::fs::write(dir.join("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(dir.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    copy
}

/// What a caller gets who trusts only the certificate in `trusted`.
async fn ask_over_tls(addr: SocketAddr, trusted: &Path) -> std::io::Result<String> {
    let tls = ClientTls::new(ClientTlsOptions {
        trusted_ca: Some(trusted.to_owned()),
        server_name: "localhost".to_owned(),
        ..ClientTlsOptions::default()
    });
    let stream = TcpStream::connect(addr).await?;
    let mut conn = tls.unwrap().connect(stream.into()).await?;
    let request = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    conn.write_all(request.as_bytes()).await?;
    let mut text = String::new();
    conn.read_to_string(&mut text).await?;
    Ok(text)
}

#[tokio::test]
async fn it_speaks_tls_and_reads_its_files_again() {
    let dir = tempfile::tempdir().unwrap();
    let first = write_certificate(dir.path(), "first.pem");
    let tls = WebServerTls {
        cert_file: dir.path().join("cert.pem"),
        key_file: dir.path().join("key.pem"),
    };
    let config = WebServer {
        tls: Some(tls),
        ..WebServer::default()
    };
    let port = AdminPort::bind(&config).await.unwrap();
    let addr = port.local_addr().unwrap();
    let stop = CancellationToken::new();
    tokio::spawn(port.run(Routes::default(), stop.clone()));
    let _stop = stop.drop_guard();
    let text = ask_over_tls(addr, &first).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 200 OK"), "{text}");
    let second = write_certificate(dir.path(), "second.pem");
    let changed = async { while ask_over_tls(addr, &second).await.is_err() {} };
    tokio::time::timeout(Duration::from_secs(60), changed)
        .await
        .unwrap();
    assert!(ask_over_tls(addr, &first).await.is_err());
}

#[tokio::test]
async fn files_that_cannot_be_used_are_named() {
    let tls = WebServerTls {
        cert_file: "none.pem".into(),
        key_file: "none.pem".into(),
    };
    let config = WebServer {
        tls: Some(tls),
        ..WebServer::default()
    };
    let error = AdminPort::bind(&config).await.unwrap_err();
    assert!(error.to_string().contains("webServer.tls"), "{error}");
}

#[tokio::test]
async fn the_dashboard_is_for_those_who_may_ask_and_may_load_nothing_from_elsewhere() {
    let config = WebServer {
        user: "admin".to_owned(),
        password: Secret::new("secret"),
        ..WebServer::default()
    };
    let port = AdminPort::bind(&config).await.unwrap();
    let addr = port.local_addr().unwrap();
    let routes = Routes::default().dashboard(Dashboard::Server);
    let _served = tokio::spawn(port.run(routes, CancellationToken::new()));
    let ask = async |method: &str, path: &str, headers: &str| {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        let request =
            format!("{method} {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    for path in ["/static/", "/static/server/main.js", "/favicon.ico"] {
        assert!(
            ask("GET", path, "").await.starts_with("HTTP/1.1 401 "),
            "{path}"
        );
        let answer = ask("GET", path, CREDENTIALS).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{path}: {answer}");
        for header in [
            "x-content-type-options: nosniff\r\n",
            "content-security-policy: default-src 'none'; script-src 'self'; ",
            "cache-control: no-cache\r\n",
        ] {
            assert!(answer.contains(header), "{path}: {answer}");
        }
        let etag = answer.split_once("etag: ").unwrap().1;
        let etag = etag.split_once("\r\n").unwrap().0;
        let known = format!("{CREDENTIALS}If-None-Match: {etag}\r\n");
        assert!(
            ask("GET", path, &known).await.starts_with("HTTP/1.1 304 "),
            "{path}"
        );
        assert!(
            ask("HEAD", path, "").await.starts_with("HTTP/1.1 405 "),
            "{path}"
        );
    }
    for path in [
        "/static/client/main.js",
        "/static/x",
        "/static/%2e%2e/Cargo.toml",
        "/static/..%2fCargo.toml",
    ] {
        let answer = ask("GET", path, CREDENTIALS).await;
        assert!(answer.starts_with("HTTP/1.1 404 "), "{path}: {answer}");
    }
}
