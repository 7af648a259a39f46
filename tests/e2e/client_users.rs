//! What a client says of the users of its services: at its admin port, in its access log, and as events.

use std::net::SocketAddr;

use mgrok_lab::{
    Client, PATIENCE, Peer, Proxy, Server, eventually, ports, service, traffic, web::Web, within,
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use crate::named;

/// An admin port that is asked.
pub(crate) struct Admin(pub(crate) SocketAddr);

impl Admin {
    /// One on a free port, and the settings for it.
    pub(crate) fn new() -> (Self, String) {
        let port = ports::free();
        let settings = format!("webServer.port = {port}\n");
        (Self(([127, 0, 0, 1], port).into()), settings)
    }

    /// The status and the answer to a request.
    pub(crate) async fn ask(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let mut conn = TcpStream::connect(self.0).await.unwrap();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        conn.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        let read = conn.read_to_string(&mut text);
        within(PATIENCE, "an answer of the admin port", read)
            .await
            .unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap_or_default())
    }

    /// The data of a v2 route.
    pub(crate) async fn data(&self, path: &str) -> Value {
        let (status, mut answer) = self.ask("GET", path, "").await;
        assert_eq!(status, 200, "{path}: {answer}");
        answer["data"].take()
    }

    /// The items of a page, as soon as there are so many.
    pub(crate) async fn items(&self, path: &str, count: usize) -> Vec<Value> {
        eventually(&format!("{path} has {count} items"), async || {
            let page = self.data(path).await;
            let items = page["items"].as_array().unwrap();
            (items.len() == count).then(|| items.clone())
        })
        .await
    }
}

/// The events of a stream, one after the other.
struct Events(BufReader<TcpStream>);

impl Events {
    async fn of(admin: &Admin) -> Self {
        let mut conn = TcpStream::connect(admin.0).await.unwrap();
        let request = "GET /api/v2/events HTTP/1.1\r\nHost: localhost\r\n\r\n";
        conn.write_all(request.as_bytes()).await.unwrap();
        Self(BufReader::new(conn))
    }

    /// The data of the next event called `name` that `is` the one.
    async fn next(&mut self, name: &str, is: impl Fn(&Value) -> bool) -> Value {
        let wanted = format!("event: {name}");
        let read = async {
            loop {
                while self.line().await != wanted {}
                let data = self.line().await;
                let data = data.strip_prefix("data: ").unwrap();
                let data = serde_json::from_str(data).unwrap();
                if is(&data) {
                    return data;
                }
            }
        };
        within(PATIENCE, &format!("the event {name}"), read).await
    }

    async fn line(&mut self) -> String {
        let mut line = String::new();
        assert_ne!(self.0.read_line(&mut line).await.unwrap(), 0, "the end");
        line.trim_end().to_owned()
    }
}

#[tokio::test]
async fn live_connections_are_listed_with_what_they_move_and_can_be_closed() {
    let echo = service::tcp_echo().await;
    let server = Server::start(Peer::Mgrok, "").await;
    let proxy = Proxy::tcp("ssh", echo.addr());
    let public = proxy.public();
    let (admin, settings) = Admin::new();
    let client = Client::start(Peer::Mgrok, server.addr(), &settings, &[proxy]).await;
    let mut events = Events::of(&admin).await;
    events.next("reset", |it| it["missed"] == 0).await;

    let mut user = TcpStream::connect(public).await.unwrap();
    let from = user.local_addr().unwrap().to_string();
    user.write_all(b"hello").await.unwrap();
    user.read_exact(&mut [0; 3]).await.unwrap();
    let opened = events
        .next("connection", |it| it["state"] == "opened")
        .await;
    let row = eventually("the row has the bytes", async || {
        let page = admin.data("/api/v2/connections?proxy=ssh").await;
        let row = page["items"][0].clone();
        (row["received"] == 5 && row["sent"] == 5).then_some(row)
    })
    .await;
    assert_eq!(row["remoteAddr"], from.as_str());
    assert_eq!(row["proxy"], "ssh");
    assert_eq!(row["type"], "tcp");
    assert_eq!(row["id"], opened["id"]);
    assert_eq!(admin.data("/api/v2/connections?q=nosuch").await["total"], 0);
    let proxies = admin.items("/api/v2/proxies", 1).await;
    assert_eq!(proxies[0]["connections"], 1);
    events
        .next("traffic", |it| {
            it["received"] == 5 && it["connections"] == 1
        })
        .await;

    let path = format!("/api/v2/connections/{}", row["id"]);
    assert_eq!(admin.ask("DELETE", &path, "").await.0, 200);
    let rest = within(PATIENCE, "the user is cut", traffic_end(&mut user)).await;
    assert!(rest <= 2, "{rest}");
    client
        .log()
        .wait_for("has closed the user connection")
        .await;
    events
        .next("connection", |it| it["state"] == "closed")
        .await;
    admin.items("/api/v2/connections", 0).await;
    assert_eq!(admin.ask("DELETE", &path, "").await.0, 404);
    let proxies = admin.items("/api/v2/proxies", 1).await;
    assert_eq!(proxies[0]["received"], 5);
}

/// How many bytes come until the end, whichever it is.
async fn traffic_end(user: &mut TcpStream) -> usize {
    let mut rest = Vec::new();
    let _ = user.read_to_end(&mut rest).await;
    rest.len()
}

#[tokio::test]
async fn the_state_and_its_events_follow_the_session() {
    let echo = service::tcp_echo().await;
    let server = Server::start(Peer::Mgrok, "").await;
    let addr = server.addr();
    let (admin, settings) = Admin::new();
    let settings = settings + "user = \"ada\"";
    let proxies = [Proxy::tcp("ssh", echo.addr())];
    let _client = Client::start(Peer::Mgrok, addr, &settings, &proxies).await;
    let state = admin.data("/api/v2/state").await;
    assert_eq!(state["user"], "ada");
    assert_eq!(state["program"], "mgrokc");
    let of_server = &state["servers"][0];
    assert_eq!(of_server["address"], addr.to_string());
    assert_eq!(of_server["connected"], true);
    assert!(of_server["since"].as_u64().unwrap() > 1_700_000_000);
    assert!(of_server["runID"].as_str().unwrap().len() >= 8);
    assert_ne!(of_server["transport"], Value::Null);

    let mut events = Events::of(&admin).await;
    events.next("reset", |_| true).await;
    server.stop().await;
    let lost = events.next("session", |it| it["connected"] == false).await;
    assert_eq!(lost["address"], addr.to_string());
    assert_ne!(lost["error"], Value::Null);
    let state = admin.data("/api/v2/state").await;
    assert_eq!(state["servers"][0]["connected"], false);
    let _server = Server::start_at(Peer::Mgrok, addr, "").await;
    events.next("session", |it| it["connected"] == true).await;
    events
        .next("proxy", |it| {
            it["name"] == "ssh" && it["status"] == "running"
        })
        .await;
}

/// A client program that keeps an access log, and the lines of it.
struct Logged {
    _client: Client,
    file: std::path::PathBuf,
    _directory: TempDir,
}

impl Logged {
    async fn new(server: &Server, more: &str, proxies: &[Proxy]) -> Self {
        let directory = TempDir::new().unwrap();
        let file = directory.path().join("access.log");
        let settings = format!("accessLog.to = {file:?}\naccessLog.format = \"json\"\n{more}");
        Self {
            _client: Client::start(Peer::MgrokProgram, server.addr(), &settings, proxies).await,
            file,
            _directory: directory,
        }
    }

    async fn lines(&self, count: usize) -> Vec<Value> {
        eventually("the lines are there", async || {
            let text = std::fs::read_to_string(&self.file).unwrap_or_default();
            let lines = text.lines().map(|it| serde_json::from_str(it).unwrap());
            let lines: Vec<Value> = lines.collect();
            (lines.len() >= count).then_some(lines)
        })
        .await
    }
}

#[tokio::test]
async fn a_user_is_a_line_of_the_access_log_when_it_is_over() {
    let echo = service::tcp_echo().await;
    let server = Server::start(Peer::Mgrok, "").await;
    let nobody = ([127, 0, 0, 1], ports::free()).into();
    let proxies = [Proxy::tcp("ssh", echo.addr()), Proxy::tcp("off", nobody)];
    let publics = [proxies[0].public(), proxies[1].public()];
    let logged = Logged::new(&server, "", &proxies).await;
    let mut user = TcpStream::connect(publics[0]).await.unwrap();
    let from = user.local_addr().unwrap().to_string();
    traffic::echo(&mut user, 1_000).await.unwrap();
    drop(user);
    let lines = logged.lines(1).await;
    assert_eq!(lines[0]["from"], from.as_str());
    assert_eq!(lines[0]["proxy"], "ssh");
    assert_eq!(lines[0]["kind"], "tcp");
    assert_eq!(
        (&lines[0]["sent"], &lines[0]["received"]),
        (&1_000.into(), &1_000.into())
    );
    assert_eq!(lines[0]["ended"], "closed");
    assert_eq!(lines[0]["run_id"], Value::Null);

    let mut user = TcpStream::connect(publics[1]).await.unwrap();
    within(PATIENCE, "the user is refused", traffic_end(&mut user)).await;
    let lines = logged.lines(2).await;
    assert_eq!(lines[1]["proxy"], "off");
    assert_eq!(lines[1]["ended"], "refused");
}

#[tokio::test]
async fn inspected_requests_are_lines_of_the_access_log_one_by_one() {
    let web = Web::start("a").await;
    let port = ports::free();
    let server = Server::start(Peer::Mgrok, &format!("vhostHTTPPort = {port}")).await;
    let proxy = named("http", "web", web.addr(), "a.test").with("inspect.requests = 5");
    let logged = Logged::new(&server, "", &[proxy]).await;
    let at = ([127, 0, 0, 1], port).into();
    for path in ["/one", "/two?secret=1"] {
        mgrok_lab::web::get(at, "a.test", path).await;
    }
    let lines = logged.lines(2).await;
    assert_eq!(lines.len(), 2, "{lines:#?}");
    assert_eq!(lines[0]["method"], "GET");
    assert_eq!(lines[0]["host"], "a.test");
    assert_eq!(lines[1]["path"], "/two");
    assert_eq!(lines[1]["status"], 200);
    assert_eq!(lines[1]["ended"], "closed");
}
