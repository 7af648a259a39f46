//! The server's access log.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, time::Duration};

use mgrok_lab::{
    Client, PATIENCE, Peer, Proxy, Server,
    certs::Authority,
    eventually, ports, service, tls, traffic,
    web::{self, User, Web},
    within,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::named;

/// A server that keeps an access log, and a client of it.
struct Lab {
    server: Server,
    _client: Client,
    file: PathBuf,
    _directory: TempDir,
}

/// The values of a line.
type Line = BTreeMap<String, String>;

impl Lab {
    async fn new(format: &str, more: &str, proxies: &[Proxy]) -> Self {
        let directory = TempDir::new().unwrap();
        let file = directory.path().join("access.log");
        let settings = format!("accessLog.to = {file:?}\naccessLog.format = \"{format}\"\n{more}");
        let server = Server::start(Peer::MgrokProgram, &settings).await;
        let client = Client::start(Peer::Mgrok, server.addr(), "", proxies).await;
        Self {
            server,
            _client: client,
            file,
            _directory: directory,
        }
    }

    fn text(&self) -> String {
        std::fs::read_to_string(&self.file).unwrap_or_default()
    }

    fn lines(&self) -> Vec<Line> {
        let object = |line: &str| {
            let values: BTreeMap<String, serde_json::Value> = serde_json::from_str(line).unwrap();
            let text = |value: serde_json::Value| match value {
                serde_json::Value::String(text) => text,
                other => other.to_string(),
            };
            values
                .into_iter()
                .map(|(name, value)| (name, text(value)))
                .collect()
        };
        self.text().lines().map(object).collect()
    }

    /// So many lines, as soon as they are there, and no more.
    async fn all(&self, count: usize) -> Vec<Line> {
        eventually("the lines are there", async || {
            let lines = self.lines();
            (lines.len() >= count).then_some(lines)
        })
        .await
    }
}

/// A line has these values.
#[track_caller]
fn check(line: &Line, expect: &[(&str, &str)]) {
    for (name, value) in expect {
        assert_eq!(
            line.get(*name).map(String::as_str),
            Some(*value),
            "{line:#?}"
        );
    }
}

#[tokio::test]
async fn a_connection_is_one_line_when_it_is_over() {
    let echo = service::tcp_echo().await;
    let proxy = Proxy::tcp("ssh", echo.addr());
    let public = proxy.public();
    let lab = Lab::new("json", "", &[proxy]).await;
    let mut user = TcpStream::connect(public).await.unwrap();
    let from = user.local_addr().unwrap().to_string();
    traffic::echo(&mut user, 1_000).await.unwrap();
    assert_eq!(lab.text(), "", "it is not over yet");
    drop(user);
    let lines = lab.all(1).await;
    check(
        &lines[0],
        &[
            ("from", &from),
            ("proxy", "ssh"),
            ("kind", "tcp"),
            ("sent", "1000"),
            ("received", "1000"),
            ("ended", "closed"),
        ],
    );
    assert!(lines[0]["time"].contains('T') && lines[0]["run_id"].len() > 8);
}

#[tokio::test]
async fn who_is_cut_by_a_stop_has_a_line_too() {
    let echo = service::tcp_echo().await;
    let proxies = [Proxy::tcp("ssh", echo.addr())];
    let public = proxies[0].public();
    let more = "gracePeriod = -1";
    let lab = Lab::new("json", more, &proxies).await;
    let mut user = TcpStream::connect(public).await.unwrap();
    traffic::echo(&mut user, 10).await.unwrap();
    let Lab {
        server,
        file,
        _client: client,
        _directory: directory,
    } = lab;
    server.stop().await;
    drop(client);
    let text = std::fs::read_to_string(file).unwrap();
    assert!(text.contains("\"ended\":\"cut\""), "{text}");
    drop(directory);
}

#[tokio::test]
async fn each_request_is_one_line_without_its_secrets() {
    let web = Web::start("web").await;
    let port = ports::free();
    let at = SocketAddr::from(([127, 0, 0, 1], port));
    let protected = named("http", "protected", web.addr(), "p.test")
        .with("httpUser = \"ann\"\nhttpPassword = \"key\"");
    let proxies = [named("http", "web", web.addr(), "a.test"), protected];
    let lab = Lab::new("json", &format!("vhostHTTPPort = {port}"), &proxies).await;

    let mut user = User::of(at).await;
    let secret = "Authorization: Bearer hush\r\nCookie: hush\r\n";
    let first = format!("GET /x%20y?token=hush HTTP/1.1\r\nHost: A.test:80\r\n{secret}\r\n");
    let body = user.ask(&first).await.body.len().to_string();
    let posted = "POST /form HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhello";
    assert_eq!(user.ask(posted).await.status, 200);
    let lines = lab.all(2).await;
    check(
        &lines[0],
        &[
            ("proxy", "web"),
            ("kind", "http"),
            ("host", "a.test"),
            ("method", "GET"),
            ("path", "/x y"),
            ("status", "200"),
            ("sent", &body),
            ("received", "0"),
            ("ended", "closed"),
        ],
    );
    check(
        &lines[1],
        &[("method", "POST"), ("path", "/form"), ("received", "5")],
    );
    // Nobody has this name, and who is to be asked for a password is not served.
    assert_eq!(web::get(at, "b.test", "/\u{1b}[2J").await.status, 400);
    // The line may come after the answer: what cannot be read ends its connection, and then there is one.
    lab.all(3).await;
    assert_eq!(web::get(at, "b.test", "/%1b[2J").await.status, 404);
    assert_eq!(web::get(at, "p.test", "/").await.status, 401);
    let lines = lab.all(5).await;
    check(&lines[2], &[("status", "400"), ("ended", "refused")]);
    check(&lines[3], &[("host", "b.test"), ("ended", "refused")]);
    check(
        &lines[3],
        &[("status", "404"), ("reason", "no proxy has this name")],
    );
    assert!(!lines[3].contains_key("proxy"), "{:#?}", lines[3]);
    check(&lines[4], &[("host", "p.test"), ("status", "401")]);
    // The connection that carried the first two is no line of its own.
    drop(user);
    assert_eq!(web::get_by_http2(at, &["http://a.test/1"]).await.len(), 1);
    let lines = lab.all(6).await;
    check(&lines[5], &[("path", "/1"), ("status", "200")]);
    let text = lab.text();
    assert!(!text.contains("hush") && !text.contains('\x1b'), "{text}");
}

#[tokio::test]
async fn a_user_who_leaves_in_the_middle_of_an_answer_is_told_from_one_who_stays() {
    let web = Web::start("web").await;
    let port = ports::free();
    let at = SocketAddr::from(([127, 0, 0, 1], port));
    let proxies = [named("http", "web", web.addr(), "a.test")];
    let lab = Lab::new("json", &format!("vhostHTTPPort = {port}"), &proxies).await;
    let mut user = User::of(at).await;
    user.send("GET /events HTTP/1.1\r\nHost: a.test\r\n\r\n")
        .await;
    eventually("the service has a user", async || {
        (web.send_event("event") > 0).then_some(())
    })
    .await;
    within(PATIENCE, "the head", user.head()).await;
    drop(user);
    // It is found when more is to be written.
    let lines = eventually("a line", async || {
        web.send_event("event");
        let lines = lab.lines();
        (!lines.is_empty()).then_some(lines)
    })
    .await;
    check(
        &lines[0],
        &[("path", "/events"), ("status", "200"), ("ended", "cut")],
    );
}

#[tokio::test]
async fn raw_bytes_behind_a_change_of_protocol_are_counted() {
    let service = service::tcp(async |mut stream: TcpStream| {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let Ok(byte) = stream.read_u8().await else {
                return;
            };
            head.push(byte);
        }
        let answer =
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: raw\r\n\r\n";
        let _ = stream.write_all(answer.as_bytes()).await;
        let (mut from, mut to) = stream.split();
        let _ = tokio::io::copy(&mut from, &mut to).await;
    })
    .await;
    let port = ports::free();
    let at = SocketAddr::from(([127, 0, 0, 1], port));
    let proxies = [named("http", "web", service.addr(), "a.test")];
    let lab = Lab::new("json", &format!("vhostHTTPPort = {port}"), &proxies).await;
    let mut user = User::of(at).await;
    let ask = "GET /chat HTTP/1.1\r\nHost: a.test\r\nConnection: upgrade\r\nUpgrade: raw\r\n\r\n";
    user.send(ask).await;
    assert_eq!(user.head().await.status, 101);
    user.send("hello").await;
    let mut back = [0; 5];
    let echoed = user.stream().read_exact(&mut back);
    within(PATIENCE, "an echo", echoed).await.unwrap();
    assert_eq!(lab.text(), "");
    drop(user);
    let lines = lab.all(1).await;
    check(
        &lines[0],
        &[
            ("status", "101"),
            ("path", "/chat"),
            ("sent", "5"),
            ("received", "5"),
            ("ended", "closed"),
        ],
    );
}

#[tokio::test]
async fn a_udp_user_is_one_line_when_gone_and_lines_may_be_text() {
    let echo = service::udp_echo().await;
    let proxies = [Proxy::udp("dns", echo.addr())];
    let lab = Lab::new("text", "", &proxies).await;
    traffic::udp_echo(proxies[0].public(), &[10, 100, 1_000]).await;
    tokio::time::sleep(Duration::ZERO).await;
    assert_eq!(lab.text(), "", "the user is still there");
    let Lab { server, file, .. } = lab;
    server.stop().await;
    let text = std::fs::read_to_string(file).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 1, "{text}");
    for part in [
        " from=127.0.0.1:",
        " proxy=dns kind=udp run_id=",
        " sent=1110 received=1110 seconds=",
        " ended=gone",
    ] {
        assert!(lines[0].contains(part), "{part} in {text}");
    }
}

#[tokio::test]
async fn the_name_that_a_tcpmux_user_asks_for_is_told() {
    let echo = service::tcp_echo().await;
    let port = ports::free();
    let at = SocketAddr::from(([127, 0, 0, 1], port));
    let proxy = named("tcpmux", "mux", echo.addr(), "a.test").with("multiplexer = \"httpconnect\"");
    let settings = format!("tcpmuxHTTPConnectPort = {port}");
    let lab = Lab::new("json", &settings, &[proxy]).await;
    let mut user = User::of(at).await;
    user.send("CONNECT a.test:22 HTTP/1.1\r\nHost: a.test\r\n\r\n")
        .await;
    assert_eq!(user.head().await.status, 200);
    drop(user);
    let lines = lab.all(1).await;
    check(
        &lines[0],
        &[("proxy", "mux"), ("kind", "tcpmux"), ("host", "a.test")],
    );
}

#[tokio::test]
async fn requests_that_are_none_are_told_with_the_reason() {
    let port = ports::free();
    let at = SocketAddr::from(([127, 0, 0, 1], port));
    let lab = Lab::new("json", &format!("vhostHTTPPort = {port}"), &[]).await;
    let mut count = 0;
    let mut refused = async |request: &str, status: &str, reason: &str| {
        let mut user = User::of(at).await;
        let from = user.stream().get_ref().local_addr().unwrap().to_string();
        user.send(request).await;
        assert_eq!(user.head().await.status.to_string(), status, "{request:?}");
        count += 1;
        let line = lab.all(count).await.pop().unwrap();
        check(
            &line,
            &[("from", &from), ("status", status), ("ended", "refused")],
        );
        assert!(line["reason"].contains(reason), "{line:#?}");
        assert!(!line.contains_key("path"), "{line:#?}");
    };
    let twice = "GET / HTTP/1.1\r\nHost: a.test\r\nHost: b.test\r\n\r\n";
    refused(twice, "400", "several Host headers").await;
    let differ = "GET http://a.test/ HTTP/1.1\r\nHost: b.test\r\n\r\n";
    refused(differ, "400", "different hosts").await;
    refused("\u{1b}[2J\u{7}\r\n\r\n", "400", "invalid").await;
    let long = "x".repeat(100_000);
    let long = format!("GET / HTTP/1.1\r\nHost: a.test\r\nX: {long}\r\n\r\n");
    refused(&long, "431", "too large").await;
    assert!(!lab.text().contains('\u{1b}'), "{}", lab.text());
}

#[tokio::test]
async fn who_may_not_come_is_told_with_the_reason() {
    let web = Web::start("web").await;
    let [http, mux] = [ports::free(), ports::free()];
    let more = format!(
        "vhostHTTPPort = {http}\ntcpmuxHTTPConnectPort = {mux}\nbans.failures = 1\n\
         trustForwardedHeadersFrom = [\"127.0.0.1\"]"
    );
    let nobody = "access.allow = [\"198.51.100.0/24\"]";
    let site = |name: &str, host: &str| named("http", name, web.addr(), host);
    let mux_proxy = named("tcpmux", "mux", web.addr(), "m.test");
    let proxies = [
        Proxy::tcp("port", web.addr()).with(nobody),
        site("closed", "a.test").with(nobody),
        site("slow", "b.test").with("access.maxRatePerSource = 1"),
        site("guarded", "c.test").with("httpUser = \"ann\"\nhttpPassword = \"secret\""),
        mux_proxy.with(&format!("multiplexer = \"httpconnect\"\n{nobody}")),
    ];
    let port = proxies[0].public();
    let lab = Lab::new("json", &more, &proxies).await;
    let [http, mux] = [http, mux].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    let ask = async |host: &str, more: &str| {
        let head = format!("GET / HTTP/1.1\r\nHost: {host}\r\nX-Forwarded-For: 192.0.2.7");
        let request = format!("{head}\r\n{more}\r\n");
        User::of(http).await.ask(&request).await.status.to_string()
    };
    let kept_out = "192.0.2.7 is kept out by access of the proxy";
    let mut count = 0;
    let mut refused = async |expect: &[(&str, &str)], reason: &str| {
        let line = eventually("a line of who is refused", async || {
            let lines = lab.lines();
            let refused = lines.into_iter().filter(|it| it["ended"] == "refused");
            refused.skip(count).last()
        })
        .await;
        count += 1;
        check(&line, expect);
        assert!(line["reason"].starts_with(reason), "{line:#?}");
    };

    let mut user = TcpStream::connect(port).await.unwrap();
    // An end or a reset.
    let _ = within(PATIENCE, "the end", user.read(&mut [0; 1])).await;
    let here = "127.0.0.1 is kept out by access of the proxy";
    refused(&[("proxy", "port"), ("kind", "tcp")], here).await;

    assert_eq!(ask("a.test", "").await, "403");
    let expect = [("proxy", "closed"), ("host", "a.test"), ("status", "403")];
    refused(&expect, kept_out).await;

    // However slow this is, so many come in less time than they may.
    let mut asked = 0;
    while ask("b.test", "").await != "429" && asked < 1_000 {
        asked += 1;
    }
    let reason = "192.0.2.7 makes more connections in a second than it may";
    refused(&[("proxy", "slow"), ("status", "429")], reason).await;

    // ann:wrong
    let wrong = "Authorization: Basic YW5uOndyb25n\r\n";
    assert_eq!(ask("c.test", wrong).await, "401");
    assert_eq!(ask("c.test", wrong).await, "429");
    let reason = "192.0.2.7 is banned for another ";
    refused(&[("proxy", "guarded"), ("status", "429")], reason).await;

    let mut user = User::of(mux).await;
    user.send("CONNECT m.test:22 HTTP/1.1\r\n\r\n").await;
    assert_eq!(user.head().await.status, 403);
    let expect = [("proxy", "mux"), ("method", "CONNECT"), ("status", "403")];
    refused(&expect, here).await;
}

#[tokio::test]
async fn users_for_whom_there_is_no_name_are_told() {
    let [mux, https] = [ports::free(), ports::free()];
    let settings = format!("tcpmuxHTTPConnectPort = {mux}\nvhostHTTPSPort = {https}");
    let lab = Lab::new("json", &settings, &[]).await;
    let mut user = User::of(SocketAddr::from(([127, 0, 0, 1], mux))).await;
    user.send("CONNECT a.test:22 HTTP/1.1\r\n\r\n").await;
    assert_eq!(user.head().await.status, 404);
    let lines = lab.all(1).await;
    check(
        &lines[0],
        &[
            ("host", "a.test"),
            ("method", "CONNECT"),
            ("status", "404"),
            ("ended", "refused"),
        ],
    );
    let mut user = User::of(SocketAddr::from(([127, 0, 0, 1], https))).await;
    user.send("GET / HTTP/1.1\r\n\r\n").await;
    let lines = lab.all(2).await;
    check(
        &lines[1],
        &[
            ("ended", "refused"),
            ("reason", "not TLS: the first byte is 0x47"),
        ],
    );
    let authority = Authority::new();
    let at = SocketAddr::from(([127, 0, 0, 1], https));
    let attempt = tls::connect(at, &authority, "b.test");
    assert!(within(PATIENCE, "a refusal", attempt).await.is_err());
    let lines = lab.all(3).await;
    check(&lines[2], &[("host", "b.test"), ("ended", "refused")]);
}
