//! Sources that guess wrong too often are kept out for a while.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use mgrok_lab::{
    Client, PATIENCE, Peer, Proxy, Server, Visitor, ports, service,
    web::{self, User, Web},
    within,
};
use mgrok_net::{conn::Conn, message::MessageConn};
use mgrok_proto::{
    WireVersion,
    auth::{self, Secret},
    message::{Login, Message},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    task::JoinSet,
};

use crate::{named, proxy_protocol::balancer};

/// Where the balancer of these tests connects from: it says who users and clients are.
const BALANCER: &str = "acceptProxyProtocolFrom = [\"127.0.0.2\"]\n";

const TOKEN: &str = "right";

fn header(source: &str) -> String {
    format!("PROXY TCP4 {source} 203.0.113.1 4711 443\r\n")
}

/// A connection as of somebody at `source`.
async fn connect_as(source: &str, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    let from = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
    socket.bind((from, 0).into()).unwrap();
    let mut stream = socket.connect(to).await.unwrap();
    stream.write_all(header(source).as_bytes()).await.unwrap();
    stream
}

/// What a server says to a login from `source`, without a multiplexer.
async fn log_in(source: &str, token: &str, to: SocketAddr) -> String {
    let conn = Conn::from(connect_as(source, to).await);
    let mut control = MessageConn::new(conn, WireVersion::V1);
    let timestamp = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let timestamp = timestamp.as_secs().cast_signed();
    let login = Login {
        version: "0.70.1".to_owned(),
        privilege_key: Secret::new(auth::sign(&Secret::new(token), timestamp)),
        timestamp,
        ..Login::default()
    };
    control.send(&login.into()).await.unwrap();
    let answer = within(PATIENCE, "an answer", control.recv()).await;
    match answer.unwrap() {
        Some(Message::LoginResp(answer)) => answer.error,
        other => panic!("{other:?} in place of an answer to a login"),
    }
}

/// The status of the answer to a request with this password, or none, from `source`.
async fn status(source: &str, password: Option<&str>, host: &str, to: SocketAddr) -> u16 {
    let credentials = match password {
        // ann:secret, and ann:wrong
        Some("secret") => "Authorization: Basic YW5uOnNlY3JldA==\r\n",
        Some(_) => "Authorization: Basic YW5uOndyb25n\r\n",
        None => "",
    };
    let mut user = User::on(connect_as(source, to).await);
    let request =
        format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{credentials}\r\n");
    user.ask(&request).await.status
}

/// The bans that the admin port lists.
async fn bans(admin: SocketAddr) -> Vec<serde_json::Value> {
    let answer = web::get(admin, "localhost", "/api/v2/bans").await;
    let answer: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
    answer["data"]["items"].as_array().unwrap().clone()
}

fn settings(admin: u16, more: &str) -> String {
    format!(
        "{BALANCER}auth.token = \"{TOKEN}\"\ntransport.tcpMux = false\nwebServer.port = {admin}\nbans.failures = 3\n{more}"
    )
}

#[tokio::test]
async fn wrong_tokens_keep_a_source_from_logging_in_until_that_is_lifted() {
    let admin = ports::free();
    let server = Server::start(Peer::Mgrok, &settings(admin, "")).await;
    let admin = SocketAddr::from(([127, 0, 0, 1], admin));
    for _ in 0..3 {
        let refused = log_in("192.0.2.7", "wrong", server.addr()).await;
        assert!(refused.starts_with("token in login"), "{refused}");
    }
    for token in ["wrong", TOKEN] {
        let refused = log_in("192.0.2.7", token, server.addr()).await;
        let why = "no login from there: 192.0.2.7 is banned for another ";
        assert!(refused.starts_with(why), "{refused}");
    }
    assert_eq!(log_in("192.0.2.8", TOKEN, server.addr()).await, "");
    let listed = bans(admin).await;
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0]["source"], "192.0.2.7");
    assert_eq!(listed[0]["scope"], "logins");
    assert_eq!(listed[0]["guess"], "token");
    let lift = async |id: &str| {
        let head = format!("DELETE /api/v2/bans/{id} HTTP/1.1");
        let request = format!("{head}\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        web::ask(admin, &request).await
    };
    let id = listed[0]["id"].to_string();
    assert_eq!(lift(&id).await.status, 200);
    assert_eq!(lift(&id).await.status, 404);
    assert_eq!(log_in("192.0.2.7", TOKEN, server.addr()).await, "");
}

#[tokio::test]
async fn a_source_of_a_client_is_not_kept_from_logging_in() {
    let server = Server::start(Peer::Mgrok, &settings(ports::free(), "")).await;
    let near = balancer(server.addr(), header("192.0.2.7").into_bytes()).await;
    let own = format!("auth.token = \"{TOKEN}\"\ntransport.tcpMux = false");
    let echo = service::tcp_echo().await;
    // When its proxy has started, it is logged in.
    let proxy = [Proxy::tcp("t", echo.addr())];
    let client = Client::start(Peer::Mgrok, near.addr(), &own, &proxy).await;
    for _ in 0..9 {
        let refused = log_in("192.0.2.7", "wrong", server.addr()).await;
        assert!(refused.starts_with("token in login"), "{refused}");
    }
    assert_eq!(log_in("192.0.2.7", TOKEN, server.addr()).await, "");
    drop(client);
}

#[tokio::test]
async fn wrong_passwords_keep_a_source_out_of_that_site_alone() {
    let web = Web::start("web").await;
    let (admin, http) = (ports::free(), ports::free());
    let more = format!("vhostHTTPPort = {http}");
    let server = Server::start(Peer::Mgrok, &settings(admin, &more)).await;
    let protected = "httpUser = \"ann\"\nhttpPassword = \"secret\"";
    let site = |name: &str, host: &str| named("http", name, web.addr(), host).with(protected);
    let sites = [site("a", "a.test"), site("b", "b.test")];
    let own = format!("auth.token = \"{TOKEN}\"\ntransport.tcpMux = false");
    let _client = Client::start(Peer::Mgrok, server.addr(), &own, &sites).await;
    let at = SocketAddr::from(([127, 0, 0, 1], http));
    let (guesser, other) = ("192.0.2.7", "192.0.2.8");
    // To ask without a password is no guess, and to guess right wipes out what went wrong.
    for password in [
        None,
        Some("wrong"),
        None,
        Some("wrong"),
        Some("secret"),
        None,
        None,
    ] {
        let expect = if password == Some("secret") { 200 } else { 401 };
        assert_eq!(status(guesser, password, "a.test", at).await, expect);
    }
    for _ in 0..3 {
        assert_eq!(status(guesser, Some("wrong"), "a.test", at).await, 401);
    }
    assert_eq!(status(guesser, Some("secret"), "a.test", at).await, 429);
    assert_eq!(status(guesser, Some("secret"), "b.test", at).await, 200);
    assert_eq!(status(other, Some("secret"), "a.test", at).await, 200);
    let listed = bans(([127, 0, 0, 1], admin).into()).await;
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0]["proxy"], "a");
    assert_eq!(listed[0]["guess"], "http_password");
}

#[tokio::test]
async fn wrong_keys_keep_the_client_of_a_visitor_out() {
    let echo = service::tcp_echo().await;
    let server = Server::start(Peer::Mgrok, &settings(ports::free(), "")).await;
    let own = format!("auth.token = \"{TOKEN}\"\ntransport.tcpMux = false");
    let proxy = Proxy::new("stcp", "t", echo.addr()).with("secretKey = \"between us\"");
    let _host = Client::start(Peer::Mgrok, server.addr(), &own, &[proxy]).await;
    let near = balancer(server.addr(), header("192.0.2.7").into_bytes()).await;
    let visitors = [
        Visitor::new("stcp", "wrong", "t").with("secretKey = \"guessed\""),
        Visitor::new("stcp", "right", "t").with("secretKey = \"between us\""),
    ];
    let guest = Client::start_with_visitors(Peer::Mgrok, near.addr(), &own, &[], &visitors).await;
    let come = async |visitor: &Visitor| {
        let mut user = TcpStream::connect(visitor.listener()).await.unwrap();
        // An end or a reset.
        let _ = within(PATIENCE, "the end", user.read(&mut [0; 1])).await;
    };
    for _ in 0..3 {
        come(&visitors[0]).await;
    }
    come(&visitors[1]).await;
    let why = "visitor connection of [t] not allowed: 192.0.2.7 is banned for another ";
    guest.log().wait_for(why).await;
}

/// What so many users take, one after the other, until `is_over`.
async fn measure(to: SocketAddr, is_over: impl Fn(usize) -> bool) -> Vec<Duration> {
    let mut took = Vec::new();
    while !is_over(took.len()) {
        let began = Instant::now();
        let answer = web::get(to, "open.test", "/").await;
        assert_eq!(answer.status, 200);
        took.push(began.elapsed());
    }
    took.sort();
    took
}

/// 10,000 logins and 10,000 passwords, guessed from a hundred sources by 32 at a time, while users come to another site. Here who guesses, who
/// comes and who serves share the processors, so that no more than a thousand guesses are made in a second.
///
/// `cargo test --release --test e2e brute_force -- --ignored --nocapture` prints what users took before and meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a minute, and its figures mean little while other tests run"]
async fn brute_force_leaves_users_alone() {
    const GUESSES: usize = 10_000;
    const AT_ONCE: usize = 32;
    const INTERVAL: Duration = Duration::from_millis(1);
    let web = Web::start("web").await;
    let (admin, http) = (ports::free(), ports::free());
    let more = format!("vhostHTTPPort = {http}");
    let server = Server::start(Peer::MgrokProgram, &settings(admin, &more)).await;
    let sites = [
        named("http", "closed", web.addr(), "closed.test")
            .with("httpUser = \"ann\"\nhttpPassword = \"secret\""),
        named("http", "open", web.addr(), "open.test"),
    ];
    let own = format!("auth.token = \"{TOKEN}\"\ntransport.tcpMux = false");
    let _client = Client::start(Peer::MgrokProgram, server.addr(), &own, &sites).await;
    let (control, at) = (server.addr(), SocketAddr::from(([127, 0, 0, 1], http)));
    let show = |when: &str, took: &[Duration]| {
        let at = |percent: usize| took[(took.len() - 1) * percent / 100];
        let count = took.len();
        println!(
            "users {when}: {count} requests, p50 {:?}, p99 {:?}",
            at(50),
            at(99)
        );
    };
    measure(at, |done| done == 200).await;
    show("before", &measure(at, |done| done == 2_000).await);
    for what in ["logins", "passwords"] {
        let (next, banned) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let began = Instant::now();
        let mut guessers = JoinSet::new();
        for _ in 0..AT_ONCE {
            let (next, banned) = (next.clone(), banned.clone());
            guessers.spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= GUESSES {
                        return;
                    }
                    let since = INTERVAL.saturating_mul(number.try_into().unwrap());
                    tokio::time::sleep_until((began + since).into()).await;
                    let source = format!("192.0.2.{}", 1 + number % 100);
                    let is_banned = match what {
                        "logins" => log_in(&source, "wrong", control).await.contains("banned"),
                        _ => status(&source, Some("wrong"), "closed.test", at).await == 429,
                    };
                    banned.fetch_add(usize::from(is_banned), Ordering::Relaxed);
                }
            });
        }
        let took = measure(at, |_| next.load(Ordering::Relaxed) >= GUESSES).await;
        while let Some(done) = guessers.join_next().await {
            done.unwrap();
        }
        let (banned, time) = (banned.load(Ordering::Relaxed), began.elapsed());
        println!("{GUESSES} {what} in {time:?}, of which {banned} were refused as banned");
        show(&format!("during the {what}"), &took);
        // Guesses that were under way when the ban was made are answered as what they are.
        assert!(banned >= GUESSES - 100 * 3 - 2 * AT_ONCE * 3, "{banned}");
    }
    show("afterwards", &measure(at, |done| done == 2_000).await);
    assert_eq!(log_in("198.51.100.1", TOKEN, control).await, "");
}
