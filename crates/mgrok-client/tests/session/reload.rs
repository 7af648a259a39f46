//! Tests reloads: another configuration for a running client.

use std::time::Duration;

use mgrok_client::{ProxyPhase, ReloadError};
use mgrok_config::{ClientConfig, ServerAddr, VisitorConfig, VisitorKind};
use mgrok_net::conn::Conn;
use mgrok_net::layers;
use mgrok_net::message::MessageConn;
use mgrok_proto::auth::{self, Secret};
use mgrok_proto::cipher::CipherKey;
use mgrok_proto::message::Message;
use tokio::net::{TcpListener, TcpStream};

use crate::server::{
    Running, Server, accept_login, accept_login_with, accept_proxy, echo, echo_service, new_proxy,
    recv, serve_echo, stcp_visitor, tcp_proxy, visitor, within,
};

async fn closed(control: &mut MessageConn) -> String {
    match recv(control).await {
        Message::CloseProxy(closed) => closed.proxy_name,
        other => panic!("{} instead of CloseProxy", other.name()),
    }
}

#[tokio::test]
async fn unchanged_parts_keep_their_connections() {
    let server = Server::bind().await;
    let local = echo_service().await;
    let mut config = server.config();
    let same = tcp_proxy("same", local);
    config.proxies = vec![
        same.clone(),
        tcp_proxy("removed", local),
        tcp_proxy("x", local),
    ];
    config.visitors = vec![stcp_visitor("to-db"), stcp_visitor("removed")];
    let mut client = Running::start(config.clone());
    let (mut control, _) = server.control().await;
    for name in ["removed", "same", "x"] {
        assert_eq!(new_proxy(&mut control).await.proxy_name, name);
        accept_proxy(&mut control, name).await;
        client.wait_for(name, ProxyPhase::Running).await;
    }
    let mut user = server.user(&mut control, "same").await;
    echo(&mut user, "before").await;
    let mut guest = client.enter("to-db").await;
    serve_echo(server.accept_visit().await);
    echo(&mut guest, "before").await;
    let listener = client.listener("to-db").await;
    let removed = client.listener("removed").await;

    let mut changed = tcp_proxy("x", local);
    changed.use_compression = true;
    config.proxies = vec![same, changed, tcp_proxy("added", local)];
    config.visitors = vec![stcp_visitor("to-db"), stcp_visitor("added")];
    let report = within(client.reloader.reload(config)).await.unwrap();
    assert_eq!(
        report.to_string(),
        "1 proxies added, 1 changed, 1 removed; 1 visitors added, 0 changed, 1 removed"
    );
    for name in ["removed", "x"] {
        assert_eq!(closed(&mut control).await, name);
    }
    for name in ["added", "x"] {
        assert_eq!(new_proxy(&mut control).await.proxy_name, name);
    }
    echo(&mut user, "after").await;
    echo(&mut guest, "after").await;
    assert_eq!(client.listener("to-db").await, listener);
    TcpStream::connect(removed).await.unwrap_err();
    TcpStream::connect(client.listener("added").await)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_key_that_cannot_change_refuses_the_whole_reload() {
    let server = Server::bind().await;
    let mut config = server.config();
    config.proxies = vec![tcp_proxy("old", "127.0.0.1:22".parse().unwrap())];
    let mut client = Running::start(config.clone());
    let (mut control, _) = server.control().await;
    assert_eq!(new_proxy(&mut control).await.proxy_name, "old");
    accept_proxy(&mut control, "old").await;
    client.wait_for("old", ProxyPhase::Running).await;

    let next = ClientConfig {
        user: "ada".to_owned(),
        proxies: Vec::new(),
        visitors: vec![stcp_visitor("to-db")],
        ..config.clone()
    };
    let error = within(client.reloader.reload(next)).await.unwrap_err();
    assert!(matches!(error, ReloadError::FixedKeys(keys) if keys == ["user"]));
    assert_eq!(client.listeners.listener("to-db"), None);

    // The next message of the client comes from the next reload: the refused one has sent nothing.
    config.proxies = vec![tcp_proxy("new", "127.0.0.1:22".parse().unwrap())];
    within(client.reloader.reload(config)).await.unwrap();
    assert_eq!(closed(&mut control).await, "old");
    assert_eq!(new_proxy(&mut control).await.proxy_name, "new");
}

#[tokio::test]
async fn a_taken_port_refuses_the_whole_reload() {
    let server = Server::bind().await;
    let mut config = server.config();
    config.visitors = vec![stcp_visitor("same")];
    let mut client = Running::start(config.clone());
    let (_control, _) = server.control().await;
    let listener = client.listener("same").await;

    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = taken.local_addr().unwrap().port();
    let at_taken_port = VisitorConfig {
        bind_port: Some(port),
        ..stcp_visitor("taken")
    };
    let mut next = config.clone();
    next.proxies = vec![tcp_proxy("new", "127.0.0.1:22".parse().unwrap())];
    next.visitors = vec![stcp_visitor("free"), at_taken_port];
    let error = within(client.reloader.reload(next.clone()))
        .await
        .unwrap_err();
    let text = format!("the visitor [taken] cannot listen on 127.0.0.1, port {port}");
    assert_eq!(error.to_string(), text);
    assert_eq!(client.listener("same").await, listener);
    assert_eq!(client.listeners.listener("free"), None);
    assert_eq!(client.status.proxy("new"), None);

    drop(taken);
    within(client.reloader.reload(next)).await.unwrap();
    assert_eq!(client.listener("taken").await.port(), port);
    assert_eq!(client.listeners.listener("same"), None);
}

#[tokio::test]
async fn a_second_visitor_of_a_port_waits_and_the_rest_is_reloaded() {
    let server = Server::bind().await;
    // Nothing else of this host listens at this address, or connects from it.
    let free = TcpListener::bind("127.0.0.7:0").await.unwrap();
    let taken = free.local_addr().unwrap();
    drop(free);
    let at_port = |name| VisitorConfig {
        bind_addr: taken.ip().to_string(),
        bind_port: Some(taken.port()),
        ..stcp_visitor(name)
    };
    let mut config = server.config();
    config.visitors = vec![at_port("first")];
    let mut client = Running::start(config.clone());
    assert_eq!(client.listener("first").await, taken);

    config
        .visitors
        .extend([at_port("second"), stcp_visitor("other")]);
    let report = within(client.reloader.reload(config)).await.unwrap();
    assert_eq!(report.visitors.added, ["other", "second"]);
    client.listener("other").await;
    assert_eq!(client.listener("first").await, taken);
    assert_eq!(client.listeners.listener("second"), None);
}

#[tokio::test]
async fn a_changed_visitor_keeps_its_port() {
    let server = Server::bind().await;
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let bind_port = Some(free.local_addr().unwrap().port());
    drop(free);
    for kind in [VisitorKind::Stcp, VisitorKind::Sudp] {
        let mut config = server.config();
        config.visitors = vec![VisitorConfig {
            bind_port,
            ..visitor("to-db", kind)
        }];
        let mut client = Running::start(config.clone());
        let listener = client.listener("to-db").await;
        config.visitors[0].server_name = "another".to_owned();
        let report = within(client.reloader.reload(config)).await.unwrap();
        assert_eq!(report.visitors.changed, ["to-db"]);
        assert_eq!(client.listener("to-db").await, listener);
        within(client.stop()).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_reload_without_a_session_takes_effect_with_the_next() {
    let server = Server::bind().await;
    let local = "127.0.0.1:22".parse().unwrap();
    let mut config = server.config();
    config.proxies = vec![tcp_proxy("old", local)];
    let client = Running::start(config.clone());
    let (mut control, _) = server.control().await;
    assert_eq!(new_proxy(&mut control).await.proxy_name, "old");
    drop(control);

    let (login, _) = server.login().await;
    config.proxies = vec![tcp_proxy("new", local)];
    within(client.reloader.reload(config)).await.unwrap();
    let mut control = accept_login(login).await;
    assert_eq!(new_proxy(&mut control).await.proxy_name, "new");
}

#[tokio::test]
async fn reloads_at_the_same_time_happen_one_after_the_other() {
    let server = Server::bind().await;
    let local = "127.0.0.1:22".parse().unwrap();
    let config = server.config();
    let client = Running::start(config.clone());
    let (_control, _) = server.control().await;

    let with = |name: &str| ClientConfig {
        proxies: vec![tcp_proxy(name, local)],
        visitors: vec![stcp_visitor(name)],
        ..config.clone()
    };
    let (first, second) = tokio::join!(
        client.reloader.reload(with("first")),
        client.reloader.reload(with("second"))
    );
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_eq!(first.proxies.added, ["first"]);
    assert_eq!(
        (second.proxies.added, second.proxies.removed),
        (vec!["second".into()], vec!["first".into()])
    );
    assert_eq!(second.visitors.removed, ["first"]);
}

#[tokio::test]
async fn a_client_that_stops_refuses_reloads() {
    let server = Server::bind().await;
    let local = echo_service().await;
    let mut config = server.config();
    config.proxies = vec![tcp_proxy("echo", local)];
    let mut client = Running::start(config.clone());
    let (mut control, _) = server.control().await;
    assert_eq!(new_proxy(&mut control).await.proxy_name, "echo");
    accept_proxy(&mut control, "echo").await;
    client.wait_for("echo", ProxyPhase::Running).await;
    // The client waits for this user before it ends.
    let mut user = server.user(&mut control, "echo").await;
    echo(&mut user, "before").await;

    let reloader = client.reloader.clone();
    let ended = client.stop();
    assert_eq!(closed(&mut control).await, "echo");
    let error = within(reloader.reload(config.clone())).await.unwrap_err();
    assert!(matches!(error, ReloadError::Stopping));
    assert!(!ended.is_finished());
    drop((user, control));
    within(ended).await.unwrap().unwrap();
    let error = within(reloader.reload(config)).await.unwrap_err();
    assert!(matches!(error, ReloadError::Stopping));
}

/// A user of the proxy `sealed`, whose bytes are encrypted with the token.
async fn sealed_user(server: &Server, control: &mut MessageConn, token: &str) -> Conn {
    let user = server.user(control, "sealed").await;
    layers::encrypt(user, &CipherKey::derive(&Secret::new(token)))
}

#[tokio::test]
async fn the_next_login_goes_by_what_was_reloaded() {
    let server = Server::bind().await;
    let mut config = server.config();
    let mut sealed = tcp_proxy("sealed", echo_service().await);
    sealed.use_encryption = true;
    config.proxies = vec![sealed];
    let client = Running::start(config.clone());
    let mut control = server.control_with_proxy().await;

    config.auth.token = Secret::new("another");
    config.metadatas.insert("a".to_owned(), "b".to_owned());
    config.grace_period += Duration::from_secs(1);
    let report = within(client.reloader.reload(config.clone()))
        .await
        .unwrap();
    assert_eq!(report.at_login, ["metadatas", "auth"]);
    assert_eq!(report.at_once, ["gracePeriod"]);
    // The session goes on.
    let mut user = sealed_user(&server, &mut control, "secret").await;
    echo(&mut user, "before").await;

    drop(control);
    let (conn, login) = server.login().await;
    let (signature, at) = (login.privilege_key.expose(), login.timestamp);
    assert!(auth::verify(&config.auth.token, at, signature));
    assert_eq!(login.metas, config.metadatas);
    let mut control = accept_login_with(conn, "another").await;
    assert_eq!(new_proxy(&mut control).await.proxy_name, "sealed");
    accept_proxy(&mut control, "sealed").await;
    let mut user = sealed_user(&server, &mut control, "another").await;
    echo(&mut user, "after").await;
}

#[tokio::test]
async fn a_client_that_reaches_nobody_may_be_given_another_server() {
    // Nobody listens there.
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody_addr = nobody.local_addr().unwrap();
    drop(nobody);
    let server = Server::bind().await;
    let config = server.config();
    let mut wrong = ClientConfig {
        login_fail_exit: false,
        ..config.clone()
    };
    wrong.servers = vec![ServerAddr::new("127.0.0.1", nobody_addr.port())];
    let client = Running::start(wrong);
    within(client.reloader.reload(config)).await.unwrap();
    server.login().await;
}
