//! Tests reloads of a running server: unchanged parts stay, and a mistake changes nothing.

use std::net::SocketAddr;

use mgrok_config::{PortSet, ServerConfig, WebServer};
use mgrok_net::conn::Conn;
use mgrok_proto::auth::{self, Secret};
use mgrok_proto::message::{Message, NewWorkConn, Ping};
use mgrok_server::{ReloadError, StartError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::certificates::shown;
use crate::script::{Client, LIMIT, RunningServer, connect, plain_config, until_refused};
use crate::tcp_proxy;

/// A user of a tcp proxy, and the client's end of its connection.
struct User {
    user: TcpStream,
    work: Conn,
}

impl User {
    async fn new(server: &RunningServer, client: &mut Client, port: u16) -> Self {
        let user = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let (_, work) = client.work_conn(server).await;
        let mut user = Self { user, work };
        user.check().await;
        user
    }

    /// Checks that bytes pass both ways.
    async fn check(&mut self) {
        let mut bytes = [0; 4];
        self.user.write_all(b"ping").await.unwrap();
        self.work.read_exact(&mut bytes).await.unwrap();
        self.work.write_all(b"pong").await.unwrap();
        self.user.read_exact(&mut bytes).await.unwrap();
        assert_eq!(&bytes, b"pong");
    }
}

async fn answer(at: SocketAddr, request: &str) -> String {
    let mut user = TcpStream::connect(at).await.unwrap();
    user.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    user.read_to_string(&mut answer).await.unwrap();
    answer
}

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: nobody.test\r\nConnection: close\r\n\r\n";

#[tokio::test]
async fn ports_come_and_go_and_users_stay() {
    let server = RunningServer::start(plain_config()).await;
    let mut client = Client::login(&server, "").await;
    let port = client.start_proxy(tcp_proxy("a", 0)).await.unwrap();
    let mut user = User::new(&server, &mut client, port).await;

    let mut config = plain_config();
    config.vhost.http_port = Some(0);
    let report = server.reloader.reload(config.clone()).await.unwrap();
    assert_eq!(report.closed, [""; 0]);
    let [(key, http)] = report.opened.as_slice() else {
        panic!("{report:?}");
    };
    assert_eq!(key, "vhostHTTPPort");
    assert!(answer(*http, REQUEST).await.starts_with("HTTP/1.1 404"));
    user.check().await;

    let same = server.reloader.reload(config).await.unwrap();
    assert_eq!((same.opened, same.closed), (Vec::new(), Vec::new()));
    assert!(answer(*http, REQUEST).await.starts_with("HTTP/1.1 404"));

    let report = server.reloader.reload(plain_config()).await.unwrap();
    assert_eq!(report.closed, ["vhostHTTPPort"]);
    until_refused(http.port()).await;
    user.check().await;
    User::new(&server, &mut client, port).await;
}

#[tokio::test]
async fn clients_stay_when_the_control_port_moves() {
    let server = RunningServer::start(plain_config()).await;
    let mut client = Client::login(&server, "").await;
    let port = client.start_proxy(tcp_proxy("a", 0)).await.unwrap();
    let mut user = User::new(&server, &mut client, port).await;
    let config = ServerConfig {
        bind_addr: "127.0.0.1".to_owned(),
        bind_port: 0,
        ..plain_config()
    };
    let report = server.reloader.reload(config).await.unwrap();
    assert_eq!(report.closed, ["bindPort"]);
    until_refused(server.addr.port()).await;
    user.check().await;
    let moved = TcpStream::connect(report.opened[0].1).await.unwrap();
    let moved = mgrok_net::message::MessageConn::new(moved.into(), mgrok_proto::WireVersion::V1);
    let mut newcomer = Client::try_login_on(moved, "").await.unwrap();
    newcomer.start_proxy(tcp_proxy("b", 0)).await.unwrap();
}

#[tokio::test]
async fn a_port_that_somebody_else_has_changes_nothing() {
    let holder = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let taken = holder.local_addr().unwrap().port();
    let server = RunningServer::start(plain_config()).await;
    let mut config = plain_config();
    config.auth.token = Secret::new("new");
    config.vhost.https_port = Some(0);
    config.vhost.tcpmux_port = Some(taken);
    let refused = server.reloader.reload(config).await.unwrap_err();
    let ReloadError::Start(StartError::Bind { port, port_key, .. }) = &refused else {
        panic!("{refused}");
    };
    assert_eq!((*port, *port_key), (taken, "tcpmuxHTTPConnectPort"));
    // The token and the ports are the old ones.
    let mut client = Client::login(&server, "").await;
    let https = mgrok_proto::message::NewProxy {
        proxy_type: "https".to_owned(),
        custom_domains: vec!["a.test".to_owned()],
        ..tcp_proxy("b", 0)
    };
    let refused = client.start_proxy(https).await.unwrap_err();
    assert_eq!(
        refused,
        "type [https] not supported when vhost https port is not set"
    );
}

#[tokio::test]
async fn a_port_that_this_server_has_for_something_else_changes_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let config = ServerConfig {
        bind_port: port,
        ..plain_config()
    };
    let server = RunningServer::start_on(listener, config.clone()).await;
    let config = ServerConfig {
        web_server: Some(WebServer {
            port,
            ..WebServer::default()
        }),
        ..config
    };
    let refused = server.reloader.reload(config).await.unwrap_err();
    let refused = refused.to_string();
    let expect = format!("webServer.port cannot have port {port} while this server listens there");
    assert!(refused.starts_with(&expect), "{refused}");
    assert!(refused.contains("for bindPort"), "{refused}");
    Client::login(&server, "").await;
}

#[tokio::test]
async fn a_file_that_is_missing_changes_nothing() {
    let server = RunningServer::start(plain_config()).await;
    let before = shown(&server).await;
    let directory = tempfile::tempdir().unwrap();
    let mut config = plain_config();
    config.transport.tls.certificate = Some((
        directory.path().join("no.crt"),
        directory.path().join("no.key"),
    ));
    let refused = server.reloader.reload(config).await.unwrap_err();
    assert!(matches!(refused, ReloadError::Start(StartError::Tls(_))));
    assert_eq!(shown(&server).await, before);
    // Nor does a reload generate another certificate, since clients may have pinned this one.
    server.reloader.reload(plain_config()).await.unwrap();
    assert_eq!(shown(&server).await, before);
}

#[tokio::test]
async fn a_new_token_is_asked_for_from_the_next_login_on() {
    let mut config = plain_config();
    config.auth.new_work_conns = true;
    config.auth.heartbeats = true;
    let server = RunningServer::start(config.clone()).await;
    let mut client = Client::login(&server, "").await;
    let port = client.start_proxy(tcp_proxy("a", 0)).await.unwrap();
    config.auth.token = Secret::new("new");
    server.reloader.reload(config).await.unwrap();
    let refused = Client::try_login(&server, "").await.unwrap_err();
    assert!(refused.starts_with("token in login"), "{refused}");

    // A client that is logged in goes on signing with the old token.
    let signed = auth::sign(&Secret::default(), 7);
    let ping = Ping {
        timestamp: 7,
        privilege_key: Secret::new(&signed),
    };
    client.control.send(&ping.into()).await.unwrap();
    assert_eq!(client.pong().await.error, "");
    let _user = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    while !matches!(client.recv().await, Message::ReqWorkConn(_)) {}
    let new = NewWorkConn {
        run_id: client.run_id.clone(),
        timestamp: 7,
        privilege_key: Secret::new(&signed),
        ..NewWorkConn::default()
    };
    let mut work = connect(&server).await;
    work.send(&new.into()).await.unwrap();
    let start = tokio::time::timeout(LIMIT, work.recv()).await.unwrap();
    let Ok(Some(Message::StartWorkConn(start))) = start else {
        panic!("{start:?}");
    };
    assert_eq!((start.proxy_name.as_str(), start.error.as_str()), ("a", ""));
}

#[tokio::test]
async fn ports_no_longer_allowed_stay_with_proxies_that_have_them() {
    let server = RunningServer::start(plain_config()).await;
    let mut client = Client::login(&server, "").await;
    let port = client.start_proxy(tcp_proxy("a", 0)).await.unwrap();
    let config = ServerConfig {
        allow_ports: PortSet::from_ranges([1..=1]),
        ..plain_config()
    };
    server.reloader.reload(config).await.unwrap();
    User::new(&server, &mut client, port).await;
    let refused = client.start_proxy(tcp_proxy("b", port)).await.unwrap_err();
    assert!(refused.contains("your proxy [a]"), "{refused}");
    let refused = client.start_proxy(tcp_proxy("b", 9)).await.unwrap_err();
    assert!(refused.starts_with("port not allowed"), "{refused}");
}

#[tokio::test]
async fn reloads_at_the_same_time_are_made_one_after_the_other() {
    let server = RunningServer::start(plain_config()).await;
    let mut with_http = plain_config();
    with_http.vhost.http_port = Some(0);
    let reloads = (0..8).map(|turn| {
        let config = if turn % 2 == 0 {
            with_http.clone()
        } else {
            plain_config()
        };
        let reloader = server.reloader.clone();
        tokio::spawn(async move { reloader.reload(config).await })
    });
    let (mut opened, mut closed) = (0, 0);
    for reload in reloads.collect::<Vec<_>>() {
        let report = reload.await.unwrap().unwrap();
        opened += report.opened.len();
        closed += report.closed.len();
    }
    assert!((closed..=closed + 1).contains(&opened), "{opened} {closed}");
    let last = server.reloader.reload(with_http).await.unwrap();
    assert_eq!(last.opened.len(), 1 - (opened - closed));
}

#[tokio::test]
async fn a_server_that_stops_is_not_reloaded() {
    let server = RunningServer::start(plain_config()).await;
    Client::login(&server, "")
        .await
        .control
        .flush()
        .await
        .unwrap();
    let reloader = server.reloader.clone();
    server.stop().await.unwrap();
    let refused = reloader.reload(plain_config()).await.unwrap_err();
    assert!(matches!(refused, ReloadError::Stopping), "{refused}");
}

#[tokio::test]
async fn admin_credentials_change_without_closing_the_port() {
    let web_server = |password: &str| {
        Some(WebServer {
            port: 0,
            user: "admin".to_owned(),
            password: Secret::new(password),
            ..WebServer::default()
        })
    };
    let server = RunningServer::start(plain_config()).await;
    let config = |password| ServerConfig {
        web_server: web_server(password),
        ..plain_config()
    };
    let report = server.reloader.reload(config("old")).await.unwrap();
    let admin = report.opened[0].1;
    let ask = |credentials: &'static str| async move {
        let request = format!(
            "GET /api/clients HTTP/1.1\r\nHost: a\r\nAuthorization: Basic {credentials}\r\nConnection: close\r\n\r\n"
        );
        answer(admin, &request).await[9..12].to_owned()
    };
    let (old, new) = ("YWRtaW46b2xk", "YWRtaW46bmV3");
    assert_eq!(
        (ask(old).await, ask(new).await),
        ("200".into(), "401".into())
    );
    let report = server.reloader.reload(config("new")).await.unwrap();
    assert!(report.opened.is_empty(), "{report:?}");
    assert_eq!(
        (ask(old).await, ask(new).await),
        ("401".into(), "200".into())
    );
}
