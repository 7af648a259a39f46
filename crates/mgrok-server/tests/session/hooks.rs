//! Tests plugins that the server calls over HTTP.

mod plugin;

use std::time::Duration;

use hyper::StatusCode;
use mgrok_config::{HttpPlugin, PluginScheme, ServerConfig};
use mgrok_net::tls::ClientTls;
use mgrok_proto::auth::{self, Secret};
use mgrok_proto::hook::Op;
use mgrok_proto::message::{CloseProxy, NewProxy, Ping};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use self::plugin::{Plugin, Reply, entry};
use crate::script::{Client, LIMIT, RunningServer, plain_config};
use crate::tcp_proxy;

fn config(http_plugins: Vec<HttpPlugin>) -> ServerConfig {
    ServerConfig {
        http_plugins,
        ..plain_config()
    }
}

async fn server(http_plugins: Vec<HttpPlugin>) -> RunningServer {
    RunningServer::start(config(http_plugins)).await
}

fn fine(_question: &Value) -> Reply {
    Reply::Json(json!({"unchange": true}))
}

fn refused(_question: &Value) -> Reply {
    Reply::Json(json!({"reject": true, "reject_reason": "not today"}))
}

/// The question's content with one member changed.
fn changed(question: &Value, key: &str, value: impl Into<Value>) -> Reply {
    let mut content = question["content"].clone();
    content[key] = value.into();
    Reply::Json(json!({"content": content}))
}

/// A port without a listener, which no other program gets while the socket lives.
fn nobodys_port() -> (tokio::net::TcpSocket, u16) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = socket.local_addr().unwrap().port();
    (socket, port)
}

async fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().port()
}

#[tokio::test]
async fn a_plugin_refuses_a_login_with_its_own_reason() {
    let mut plugin = Plugin::start(refused).await;
    let mut config = config(vec![plugin.entry(&[Op::Login])]);
    let server = RunningServer::start(config.clone()).await;
    let refusal = Client::try_login(&server, "some-run-id").await;
    assert_eq!(refusal.unwrap_err(), "not today");

    let question = plugin.question().await;
    assert_eq!(question.head.method(), "POST");
    assert_eq!(question.head.uri(), "/handler?op=Login&version=0.1.0");
    let header = |name| question.head.headers()[name].to_str().unwrap();
    assert_eq!(header("content-type"), "application/json");
    assert_eq!(header("x-frp-reqid").len(), 16);
    assert!(header("host").starts_with("127.0.0.1:"));
    assert_eq!(question.body["version"], "0.1.0");
    assert_eq!(question.body["op"], "Login");
    let content = &question.body["content"];
    assert_eq!(content["run_id"], "some-run-id");
    assert!(content["timestamp"].is_i64());
    assert_eq!(content["client_spec"], json!({}));
    let from = content["client_address"].as_str().unwrap();
    assert!(from.starts_with("127.0.0.1:"), "{from}");

    config.detailed_errors_to_client = false;
    let server = RunningServer::start(config).await;
    let refusal = Client::try_login(&server, "").await;
    assert_eq!(refusal.unwrap_err(), "register control error");
}

#[tokio::test]
async fn a_refusal_without_a_reason_is_one() {
    let plugin = Plugin::start(|_| Reply::Json(json!({"reject": true}))).await;
    let server = server(vec![plugin.entry(&[Op::Login])]).await;
    let refusal = Client::try_login(&server, "").await;
    assert_eq!(refusal.unwrap_err(), "rejected by a plugin");
}

#[tokio::test]
async fn plugins_come_before_the_token_and_what_they_leave_counts() {
    let token = Secret::new("right");
    let key = auth::sign(&token, 1);
    let mut plugin = Plugin::start(move |question| {
        if question["op"] != "Login" {
            return fine(question);
        }
        let mut content = question["content"].clone();
        content["privilege_key"] = key.clone().into();
        content["user"] = "bob".into();
        content["metas"] = json!({"site": "b"});
        Reply::Json(json!({"content": content}))
    })
    .await;
    let mut config = config(vec![plugin.entry(&[Op::Login, Op::Ping])]);
    config.auth.token = token;
    let server = RunningServer::start(config).await;
    // The answer is no error, but the session's cipher does not use this test's empty token, so the test can see no
    // more.
    let client = Client::login(&server, "").await;
    plugin.question().await;
    assert_eq!(client.run_id.len(), 16);
}

#[tokio::test]
async fn a_plugin_learns_whose_proxy_it_is_and_may_change_it() {
    let port = free_port().await;
    let mut plugin = Plugin::start(move |question| match question["op"].as_str() {
        Some("Login") => {
            let mut content = question["content"].clone();
            content["user"] = "bob".into();
            content["metas"] = json!({"site": "b"});
            Reply::Json(json!({"content": content}))
        }
        _ => changed(question, "remote_port", port),
    })
    .await;
    let server = server(vec![plugin.entry(&[Op::Login, Op::NewProxy])]).await;
    let mut client = Client::login(&server, "").await;
    plugin.question().await;
    assert_eq!(client.start_proxy(tcp_proxy("p", 0)).await, Ok(port));
    let content = &plugin.question().await.body["content"];
    let expect = json!({
        "user": {"user": "bob", "metas": {"site": "b"}, "run_id": client.run_id},
        "proxy_name": "p",
        "proxy_type": "tcp",
    });
    assert_eq!(*content, expect);
}

#[tokio::test]
async fn a_plugin_cannot_rename_a_proxy_or_blank_it() {
    let plugin = Plugin::start(
        |question| match question["content"]["proxy_name"].as_str() {
            Some("blank") => Reply::Json(json!({"content": {}})),
            _ => changed(question, "proxy_name", "other"),
        },
    )
    .await;
    let server = server(vec![plugin.entry(&[Op::NewProxy])]).await;
    let mut client = Client::login(&server, "").await;
    assert_eq!(
        client.start_proxy(tcp_proxy("p", 0)).await.unwrap_err(),
        "a plugin changed the name of proxy [p] to [other], which its client would not know"
    );
    assert_eq!(
        client.start_proxy(tcp_proxy("blank", 0)).await.unwrap_err(),
        "a plugin changed the name of proxy [blank] to [], which its client would not know"
    );
}

#[tokio::test]
async fn each_plugin_is_asked_about_what_the_one_before_left() {
    let first = Plugin::start(|question| changed(question, "group", "g")).await;
    let mut second = Plugin::start(|question| {
        let group = question["content"]["group"].as_str().unwrap_or("none");
        Reply::Json(json!({"reject": true, "reject_reason": group}))
    })
    .await;
    let mut third = Plugin::start(fine).await;
    let plugins = [&first, &second, &third];
    let server = server(plugins.map(|it| it.entry(&[Op::NewProxy])).into()).await;
    let mut client = Client::login(&server, "").await;
    let refusal = client.start_proxy(tcp_proxy("p", 0)).await;
    assert_eq!(refusal.unwrap_err(), "g");
    assert_eq!(second.questions(), 1);
    assert_eq!(third.questions(), 0, "the matter was settled");
}

#[tokio::test]
async fn one_connection_serves_one_question_after_the_other() {
    let mut plugin = Plugin::start(fine).await;
    let server = server(vec![plugin.entry(&[Op::NewProxy])]).await;
    let mut client = Client::login(&server, "").await;
    client.start_proxy(tcp_proxy("p", 0)).await.unwrap();
    client.start_proxy(tcp_proxy("q", 0)).await.unwrap();
    let (first, second) = (plugin.question().await, plugin.question().await);
    assert_eq!(first.port, second.port);
    let id = |question: &plugin::Question| question.head.headers()["x-frp-reqid"].clone();
    assert_ne!(id(&first), id(&second));
}

#[tokio::test]
async fn a_plugin_that_is_down_refuses() {
    let (_socket, port) = nobodys_port();
    let server = server(vec![entry(port, &[Op::Login])]).await;
    let refusal = Client::try_login(&server, "").await;
    assert_eq!(refusal.unwrap_err(), "send Login request to plugin error");
}

#[tokio::test]
async fn a_plugin_that_does_not_answer_as_agreed_refuses() {
    let ok = StatusCode::OK;
    let plugin = Plugin::start(move |question| {
        let odd = |status, text: &str| Reply::Odd(status, text.to_owned());
        match question["content"]["proxy_name"].as_str().unwrap() {
            "status" => odd(StatusCode::CREATED, r#"{"unchange":true}"#),
            "redirect" => odd(StatusCode::FOUND, ""),
            "html" => odd(ok, "<html>"),
            "quoted" => odd(ok, r#"{"unchange":"true"}"#),
            "kind" => odd(ok, r#"{"content":{"remote_port":"7"}}"#),
            "long" => Reply::Odd(ok, format!("{{\"x\":\"{}\"}}", "x".repeat(200_000))),
            "null" => odd(ok, r#"{"content":null}"#),
            "nothing" => odd(ok, "{}"),
            other => panic!("{other}"),
        }
    })
    .await;
    let server = server(vec![plugin.entry(&[Op::NewProxy])]).await;
    let mut client = Client::login(&server, "").await;
    for name in ["status", "redirect", "html", "quoted", "kind", "long"] {
        let refusal = client.start_proxy(tcp_proxy(name, 0)).await;
        let expect = "send NewProxy request to plugin error";
        assert_eq!(refusal.unwrap_err(), expect, "{name}");
    }
    for name in ["null", "nothing"] {
        let started = client.start_proxy(tcp_proxy(name, 0)).await;
        assert!(started.is_ok(), "{name}: {started:?}");
    }
}

#[tokio::test]
async fn a_plugin_that_takes_its_time_delays_one_client_and_not_its_users() {
    let when = CancellationToken::new();
    let answer_now = when.clone();
    let mut plugin =
        Plugin::start(
            move |question| match question["content"]["proxy_name"].as_str() {
                Some("slow") => Reply::Late(when.clone(), json!({"unchange": true})),
                _ => fine(question),
            },
        )
        .await;
    let server = server(vec![plugin.entry(&[Op::NewProxy])]).await;
    let mut patient = Client::login(&server, "").await;
    let port = patient.start_proxy(tcp_proxy("quick", 0)).await.unwrap();
    plugin.question().await;
    let slow = tcp_proxy("slow", 0);
    patient.control.send(&slow.into()).await.unwrap();
    let ping = Ping::default();
    patient.control.send(&ping.into()).await.unwrap();
    plugin.question().await;

    let mut other = Client::login(&server, "").await;
    other.start_proxy(tcp_proxy("other", 0)).await.unwrap();

    let mut user = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let (start, mut work) = patient.work_conn(&server).await;
    assert_eq!(start.proxy_name, "quick");
    user.write_all(b"?").await.unwrap();
    assert_eq!(work.read_u8().await.unwrap(), b'?');

    answer_now.cancel();
    assert_eq!(patient.pong().await.error, "", "it waited its turn");
}

#[tokio::test]
async fn a_heartbeat_that_a_plugin_takes_long_over_is_not_missing() {
    let limit = Duration::from_millis(300);
    let when = CancellationToken::new();
    let answer_now = when.clone();
    let mut plugin =
        Plugin::start(move |_| Reply::Late(when.clone(), json!({"unchange": true}))).await;
    let mut config = config(vec![plugin.entry(&[Op::Ping])]);
    config.transport.heartbeat_timeout = Some(limit);
    let server = RunningServer::start(config).await;
    let mut client = Client::login(&server, "").await;
    client.control.send(&Ping::default().into()).await.unwrap();
    let question = plugin.question().await;
    assert_eq!(question.body["content"]["user"]["run_id"], client.run_id);
    // This much time must pass without any event.
    sleep(limit * 3).await;
    answer_now.cancel();
    assert_eq!(client.pong().await.error, "");
    let ended = timeout(LIMIT, client.until_closed()).await;
    assert!(ended.is_ok(), "silence still ends the session");
}

#[tokio::test]
async fn a_plugin_decides_about_heartbeats_before_the_token_does() {
    let mut plugin = Plugin::start(|question| {
        if question["content"]["timestamp"] == 7 {
            return refused(question);
        }
        let mut content = question["content"].clone();
        content["privilege_key"] = auth::sign(&Secret::default(), 9).into();
        content["timestamp"] = 9.into();
        Reply::Json(json!({"content": content}))
    })
    .await;
    let mut config = config(vec![plugin.entry(&[Op::Ping])]);
    config.auth.heartbeats = true;
    let server = RunningServer::start(config).await;
    let mut client = Client::login(&server, "").await;
    client.control.send(&Ping::default().into()).await.unwrap();
    assert_eq!(client.pong().await.error, "");
    let ping = Ping {
        timestamp: 7,
        ..Ping::default()
    };
    client.control.send(&ping.into()).await.unwrap();
    assert_eq!(client.pong().await.error, "not today");
    assert_eq!(plugin.questions(), 2);
}

#[tokio::test]
async fn a_plugin_refuses_a_work_connection() {
    let mut plugin = Plugin::start(refused).await;
    let server = server(vec![plugin.entry(&[Op::NewWorkConn])]).await;
    let mut client = Client::login(&server, "").await;
    let port = client.start_proxy(tcp_proxy("p", 0)).await.unwrap();
    let _user = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let (start, _work) = client.work_conn(&server).await;
    assert_eq!(start.error, "not today");
    let content = &plugin.question().await.body["content"];
    assert_eq!(content["run_id"], client.run_id);
    assert_eq!(content["user"]["run_id"], client.run_id);
}

#[tokio::test]
async fn a_plugin_turns_a_user_away() {
    let mut plugin = Plugin::start(
        |question| match question["content"]["proxy_name"].as_str() {
            Some("closed") => refused(question),
            _ => fine(question),
        },
    )
    .await;
    let server = server(vec![plugin.entry(&[Op::NewUserConn])]).await;
    let mut client = Client::login(&server, "").await;
    let closed = client.start_proxy(tcp_proxy("closed", 0)).await.unwrap();
    let open = client.start_proxy(tcp_proxy("open", 0)).await.unwrap();

    let mut user = TcpStream::connect(("127.0.0.1", closed)).await.unwrap();
    let from = user.local_addr().unwrap();
    assert_eq!(user.read(&mut [0]).await.unwrap_or(0), 0);
    let expect = json!({
        "user": {"user": "", "metas": null, "run_id": client.run_id},
        "proxy_name": "closed",
        "proxy_type": "tcp",
        "remote_addr": from.to_string(),
    });
    assert_eq!(plugin.question().await.body["content"], expect);

    let _user = TcpStream::connect(("127.0.0.1", open)).await.unwrap();
    let (start, _work) = client.work_conn(&server).await;
    assert_eq!(start.proxy_name, "open");
}

#[tokio::test]
async fn nobody_is_asked_about_datagrams() {
    let mut plugin = Plugin::start(refused).await;
    let server = server(vec![plugin.entry(&[Op::NewUserConn])]).await;
    let mut client = Client::login(&server, "").await;
    let udp = NewProxy {
        proxy_type: "udp".into(),
        ..tcp_proxy("p", 0)
    };
    client.start_proxy(udp).await.unwrap();
    let (start, _work) = client.work_conn(&server).await;
    assert_eq!(start.proxy_name, "p");
    assert_eq!(plugin.questions(), 0);
}

#[tokio::test]
async fn plugins_are_notified_of_every_closed_proxy() {
    let (_socket, port) = nobodys_port();
    let mut plugin = Plugin::start(refused).await;
    let ops = [Op::CloseProxy];
    let server = server(vec![entry(port, &ops), plugin.entry(&ops)]).await;
    let mut client = Client::login(&server, "").await;
    client
        .start_proxy(tcp_proxy("taken-back", 0))
        .await
        .unwrap();
    client
        .start_proxy(tcp_proxy("left-behind", 0))
        .await
        .unwrap();
    let close = CloseProxy {
        proxy_name: "taken-back".into(),
    };
    client.control.send(&close.into()).await.unwrap();
    let run_id = client.run_id.clone();
    let expect = |name| {
        json!({
            "user": {"user": "", "metas": null, "run_id": run_id},
            "proxy_name": name,
        })
    };
    let told = plugin.question().await;
    assert_eq!(told.body["content"], expect("taken-back"));
    drop(client);
    let told = plugin.question().await;
    assert_eq!(told.body["content"], expect("left-behind"));
}

#[tokio::test]
async fn https_takes_any_certificate_unless_it_must_be_trusted() {
    let plugin = Plugin::start_https(refused).await;
    let any = plugin.entry(&[Op::Login]);
    let trusted = HttpPlugin {
        scheme: PluginScheme::Https { verify: true },
        ..any.clone()
    };
    let refusal = Client::try_login(&server(vec![any]).await, "").await;
    assert_eq!(refusal.unwrap_err(), "not today");
    // Only on systems that trust some authority.
    if ClientTls::trusting_system("localhost").is_ok() {
        let refusal = Client::try_login(&server(vec![trusted]).await, "").await;
        assert_eq!(refusal.unwrap_err(), "send Login request to plugin error");
    }
}

/// Many users of one client arrive at once, and the plugin takes long over each.
#[tokio::test]
async fn a_crowd_of_users_at_a_plugin_holds_up_no_heartbeat_and_no_login() {
    const CROWD: usize = 300;
    let late = CancellationToken::new();
    let released = late.clone();
    let mut plugin = Plugin::start(move |question| match question["op"].as_str() {
        Some("NewUserConn") => Reply::Late(late.clone(), json!({"unchange": true})),
        _ => fine(question),
    })
    .await;
    let ops = [Op::NewUserConn, Op::Ping, Op::Login, Op::NewProxy];
    let server = server(vec![plugin.entry(&ops)]).await;
    let mut client = Client::login(&server, "").await;
    let port = client.start_proxy(tcp_proxy("p", 0)).await.unwrap();
    let mut other = Client::login(&server, "").await;
    let other_port = other.start_proxy(tcp_proxy("q", 0)).await.unwrap();
    let before = plugin.questions();
    assert_eq!(before, 4);
    let mut users = Vec::new();
    for _ in 0..CROWD {
        users.push(TcpStream::connect(("127.0.0.1", port)).await.unwrap());
    }
    assert_eq!(plugin.question().await.body["op"], "NewUserConn");

    for client in [&mut client, &mut other] {
        client.control.send(&Ping::default().into()).await.unwrap();
        assert_eq!(client.pong().await.error, "");
    }
    Client::login(&server, "").await;
    // A user of the other client gets its turn among them.
    let _user = TcpStream::connect(("127.0.0.1", other_port)).await.unwrap();
    loop {
        let question = plugin.question().await;
        if question.body["content"]["proxy_name"] == "q" {
            break;
        }
    }
    released.cancel();
}
