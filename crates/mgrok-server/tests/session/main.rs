//! Tests the server against a scripted client over real sockets, without multiplexing and TLS where these do not
//! matter.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a panic is how a test fails"
)]

mod certificates;
mod golden;
mod half_close;
mod hooks;
mod line;
mod links;
mod log;
mod migration;
mod packets;
mod reload;
mod script;
mod ssh;
mod strangers;
mod takeover;
mod transports;
mod trouble;
mod v2;

use std::time::Duration;

use mgrok_config::ServerConfig;
use mgrok_proto::auth::{self, Secret};
use mgrok_proto::message::{CloseProxy, Message, NewProxy, NewVisitorConn, NewWorkConn, Ping};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::script::{Client, LIMIT, RunningServer, connect, plain_config};

fn tcp_proxy(name: &str, remote_port: u16) -> NewProxy {
    NewProxy {
        proxy_name: name.into(),
        proxy_type: "tcp".into(),
        remote_port: i64::from(remote_port),
        ..NewProxy::default()
    }
}

#[tokio::test]
async fn a_user_reaches_the_client_and_back() {
    let server = RunningServer::start(plain_config()).await;
    let mut client = Client::login(&server, "").await;
    let port = client.start_proxy(tcp_proxy("echo", 0)).await.unwrap();
    let mut user = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let (start, mut work) = client.work_conn(&server).await;
    assert_eq!(start.proxy_name, "echo");
    assert_eq!(start.src_addr, "127.0.0.1");
    assert_eq!(start.src_port, user.local_addr().unwrap().port());
    assert_eq!(start.dst_port, port);
    user.write_all(b"ping").await.unwrap();
    let mut bytes = [0; 4];
    work.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"ping");
    work.write_all(b"pong").await.unwrap();
    user.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"pong");
}

#[tokio::test]
async fn a_wrong_token_is_refused_with_the_text_that_clients_know() {
    let mut config = plain_config();
    config.auth.token = Secret::new("right");
    let server = RunningServer::start(config.clone()).await;
    assert_eq!(
        Client::try_login(&server, "").await.unwrap_err(),
        "token in login doesn't match token from configuration"
    );
    config.detailed_errors_to_client = false;
    let server = RunningServer::start(config).await;
    assert_eq!(
        Client::try_login(&server, "").await.unwrap_err(),
        "register control error"
    );
}

#[tokio::test]
async fn refused_proxies_get_the_reason() {
    let holder = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let taken = holder.local_addr().unwrap().port();
    let server = RunningServer::start(plain_config()).await;
    let mut client = Client::login(&server, "").await;
    let port = client.start_proxy(tcp_proxy("first", 0)).await.unwrap();
    let unknown = NewProxy {
        proxy_type: "gopher".into(),
        ..tcp_proxy("x", 0)
    };
    for (proxy, text) in [
        (tcp_proxy("first", 0), "proxy [first] already exists"),
        (tcp_proxy("second", port), "port already used"),
        (tcp_proxy("third", taken), "port unavailable"),
        (unknown, "unknown proxy type: gopher"),
    ] {
        let refused = client.start_proxy(proxy).await.unwrap_err();
        assert!(refused.starts_with(text), "{refused}");
    }
    drop(holder);
    client.start_proxy(tcp_proxy("third", taken)).await.unwrap();
}

#[tokio::test]
async fn ports_outside_the_list_and_over_the_quota_are_refused() {
    let config = ServerConfig {
        max_ports_per_client: std::num::NonZeroU32::new(1),
        allow_ports: mgrok_config::PortSet::from_ranges([20_000..=30_000]),
        ..plain_config()
    };
    let server = RunningServer::start(config).await;
    let mut client = Client::login(&server, "").await;
    let refused = client.start_proxy(tcp_proxy("a", 1_999)).await;
    assert_eq!(
        refused.unwrap_err(),
        "port not allowed: allowPorts of the server does not list port 1999"
    );
    let port = client.start_proxy(tcp_proxy("b", 0)).await.unwrap();
    assert!((20_000..=30_000).contains(&port));
    let refused = client.start_proxy(tcp_proxy("c", 0)).await;
    assert_eq!(refused.unwrap_err(), "exceed the max_ports_per_client");
}

#[tokio::test]
async fn a_login_with_the_same_run_id_gets_its_ports_at_once() {
    let server = RunningServer::start(plain_config()).await;
    let mut old = Client::login(&server, "").await;
    let port = old.start_proxy(tcp_proxy("p", 0)).await.unwrap();
    let mut new = Client::login(&server, &old.run_id).await;
    assert_eq!(new.run_id, old.run_id);
    assert_eq!(new.start_proxy(tcp_proxy("p", port)).await, Ok(port));
}

#[tokio::test]
async fn a_closed_proxy_gives_its_port_back() {
    let server = RunningServer::start(plain_config()).await;
    let mut client = Client::login(&server, "").await;
    let port = client.start_proxy(tcp_proxy("p", 0)).await.unwrap();
    let close = CloseProxy {
        proxy_name: "p".into(),
    };
    client.control.send(&close.into()).await.unwrap();
    assert_eq!(client.start_proxy(tcp_proxy("q", port)).await, Ok(port));
}

#[tokio::test]
async fn a_work_connection_without_a_session_is_refused() {
    let server = RunningServer::start(plain_config()).await;
    let mut conn = connect(&server).await;
    let new = NewWorkConn {
        run_id: "0123456789abcdef".into(),
        ..NewWorkConn::default()
    };
    conn.send(&new.into()).await.unwrap();
    let Some(Message::StartWorkConn(start)) = conn.recv().await.unwrap() else {
        panic!("expected a refusal");
    };
    assert_eq!(start.error, "no client control found for run id [01234567]");
}

#[tokio::test]
async fn a_client_without_heartbeats_is_given_up() {
    let mut config = plain_config();
    config.transport.heartbeat_timeout = Some(Duration::from_millis(300));
    let server = RunningServer::start(config).await;
    let mut silent = Client::login(&server, "").await;
    let port = silent.start_proxy(tcp_proxy("p", 0)).await.unwrap();
    let ended = timeout(LIMIT, silent.until_closed()).await;
    assert!(ended.is_ok(), "the session goes on");
    let mut other = Client::login(&server, "").await;
    assert_eq!(other.start_proxy(tcp_proxy("q", port)).await, Ok(port));
}

#[tokio::test]
async fn heartbeats_are_answered_and_wrong_ones_get_an_error() {
    let mut config = plain_config();
    config.auth.heartbeats = true;
    let server = RunningServer::start(config).await;
    let mut client = Client::login(&server, "").await;
    client.control.send(&Ping::default().into()).await.unwrap();
    assert_eq!(
        client.pong().await.error,
        "token in heartbeat doesn't match token from configuration"
    );
    let ping = Ping {
        privilege_key: auth::sign(&Secret::default(), 7).into(),
        timestamp: 7,
    };
    client.control.send(&ping.into()).await.unwrap();
    assert_eq!(client.pong().await.error, "");
}

#[tokio::test]
async fn a_stop_lets_users_finish() {
    let server = RunningServer::start(plain_config()).await;
    let mut client = Client::login(&server, "").await;
    let port = client.start_proxy(tcp_proxy("p", 0)).await.unwrap();
    let mut user = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let (_, mut work) = client.work_conn(&server).await;
    user.write_all(b"?").await.unwrap();
    assert_eq!(work.read_u8().await.unwrap(), b'?');
    let stopped = server.stop();
    script::until_refused(port).await;
    work.write_all(b"the whole answer").await.unwrap();
    drop(work);
    let mut answer = String::new();
    user.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "the whole answer");
    drop(user);
    assert_eq!(stopped.await.unwrap().cut, 0);
}

#[tokio::test]
async fn a_stop_cuts_users_when_the_grace_period_is_over() {
    let config = ServerConfig {
        grace_period: Duration::from_millis(100),
        ..plain_config()
    };
    let server = RunningServer::start(config).await;
    let mut client = Client::login(&server, "").await;
    let port = client.start_proxy(tcp_proxy("p", 0)).await.unwrap();
    let mut user = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let (_, work) = client.work_conn(&server).await;
    let report = timeout(LIMIT, server.stop()).await.unwrap().unwrap();
    assert_eq!(report.cut, 1);
    assert_eq!(user.read(&mut [0]).await.unwrap_or(0), 0);
    drop(work);
}

#[tokio::test]
async fn a_user_and_a_service_that_say_nothing_are_parted_after_the_idle_timeout() {
    let mut config = plain_config();
    config.transport.user_idle_timeout = Some(Duration::from_millis(300));
    let server = RunningServer::start(config).await;
    let mut client = Client::login(&server, "").await;
    let port = client.start_proxy(tcp_proxy("p", 0)).await.unwrap();
    let mut user = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let (_, mut work) = client.work_conn(&server).await;
    let ended = async { (user.read(&mut [0]).await.unwrap_or(0), work.recv().await) };
    let (of_user, of_service) = timeout(LIMIT, ended).await.expect("they go on");
    assert_eq!(of_user, 0);
    assert!(of_service.is_ok_and(|bytes| bytes.is_empty()));
}

#[tokio::test]
async fn garbage_closes_its_own_connection_only() {
    let server = RunningServer::start(plain_config()).await;
    let mut client = Client::login(&server, "").await;
    let port = client.start_proxy(tcp_proxy("p", 0)).await.unwrap();
    let hostile: [&[u8]; 5] = [
        b"GET / HTTP/1.1\r\n\r\n",
        b"o\xff\xff\xff\xff\xff\xff\xff\xff{}",
        b"o\0\0\0\0\0\0\x28\x01{}",
        b"o\0\0\0\0\0\0\0\x02[]",
        b"\x16\x03\x01\x00\x05hello",
    ];
    for bytes in hostile {
        let mut attacker = TcpStream::connect(server.addr).await.unwrap();
        attacker.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        let closed = timeout(LIMIT, attacker.read_to_end(&mut answer)).await;
        assert!(closed.is_ok(), "{bytes:?} keeps its connection");
    }
    let _user = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    client.work_conn(&server).await;
}

/// Uses a proxy without a port: the backlog of a port would hide a late start.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_proxy_works_as_soon_as_its_client_is_told() {
    let server = RunningServer::start(plain_config()).await;
    let mut client = Client::login(&server, "").await;
    for number in 0..2_000 {
        let mut visitor = connect(&server).await;
        let proxy_name = number.to_string();
        let new = NewProxy {
            proxy_name: proxy_name.clone(),
            proxy_type: "stcp".into(),
            ..NewProxy::default()
        };
        client.control.send(&new.into()).await.unwrap();
        client.started().await;
        let visit = NewVisitorConn {
            run_id: client.run_id.clone(),
            proxy_name,
            timestamp: 1,
            sign_key: auth::sign(&Secret::default(), 1).into(),
            ..NewVisitorConn::default()
        };
        visitor.send(&visit.into()).await.unwrap();
        let answer = timeout(LIMIT, visitor.recv()).await.unwrap().unwrap();
        let Some(Message::NewVisitorConnResp(answer)) = answer else {
            panic!("expected the answer to a visitor, not {answer:?}");
        };
        assert_eq!(answer.error, "", "proxy {number}");
    }
}
