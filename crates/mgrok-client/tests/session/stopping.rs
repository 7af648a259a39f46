//! Tests how a client stops.

use std::time::Duration;

use mgrok_client::{ProxyPhase, StopReport};
use mgrok_net::message::MessageConn;
use mgrok_proto::message::{Message, Pong, ReqWorkConn};

use crate::server::{
    Running, Server, accept_proxy, echo, echo_service, ended, recv, tcp_proxy, within,
};

async fn close_proxy(control: &mut MessageConn) -> String {
    match recv(control).await {
        Message::CloseProxy(closed) => closed.proxy_name,
        other => panic!("{} instead of CloseProxy", other.name()),
    }
}

/// Receives the last messages of a client with one proxy.
async fn farewell(control: &mut MessageConn, proxy: &str) {
    assert_eq!(close_proxy(control).await, proxy);
    assert!(matches!(recv(control).await, Message::Ping(_)));
    control.send(&Pong::default().into()).await.unwrap();
}

#[tokio::test]
async fn users_that_arrive_before_the_server_processes_the_stop_are_served() {
    let server = Server::bind().await;
    let mut config = server.config();
    config.grace_period = Duration::from_secs(3600);
    config.proxies = vec![tcp_proxy("echo", echo_service().await)];
    let mut client = Running::start(config);
    let mut control = server.control_with_proxy().await;
    client.wait_for("echo", ProxyPhase::Running).await;
    let stopped = client.stop();
    assert_eq!(close_proxy(&mut control).await, "echo");
    let mut early = server.user(&mut control, "echo").await;
    echo(&mut early, "before").await;
    assert!(matches!(recv(&mut control).await, Message::Ping(_)));
    control.send(&Pong::default().into()).await.unwrap();
    drop(early);
    let report = within(stopped).await.unwrap().unwrap();
    assert_eq!(report, StopReport { cut: 0 });
}

#[tokio::test]
async fn an_idle_client_says_farewell_and_ends() {
    let server = Server::bind().await;
    let mut config = server.config();
    config.grace_period = Duration::from_secs(3600);
    config.proxies = vec![tcp_proxy("echo", echo_service().await)];
    let mut client = Running::start(config);
    let mut control = server.control_with_proxy().await;
    client.wait_for("echo", ProxyPhase::Running).await;
    let (waiting, _) = server.work_conn(&mut control).await;

    let status = client.status.clone();
    let stopped = client.stop();
    farewell(&mut control, "echo").await;
    let report = within(stopped).await.unwrap().unwrap();
    assert_eq!(report, StopReport { cut: 0 });
    assert!(within(control.recv()).await.unwrap().is_none());
    ended(&mut waiting.into_conn()).await;
    assert_eq!(status.proxy("echo").unwrap().phase, ProxyPhase::Closed);
}

#[tokio::test]
async fn users_may_finish_and_no_new_ones_come() {
    let server = Server::bind().await;
    let mut config = server.config();
    config.grace_period = Duration::from_secs(3600);
    config.proxies = vec![tcp_proxy("echo", echo_service().await)];
    let client = Running::start(config);
    let mut control = server.control_with_proxy().await;
    let mut user = server.user(&mut control, "echo").await;
    echo(&mut user, "before").await;

    let stopped = client.stop();
    farewell(&mut control, "echo").await;
    control.send(&ReqWorkConn::default().into()).await.unwrap();
    echo(&mut user, "after").await;
    assert!(!stopped.is_finished());
    drop(user);
    let report = within(stopped).await.unwrap().unwrap();
    assert_eq!(report, StopReport { cut: 0 });
}

#[tokio::test]
async fn users_that_do_not_finish_are_cut_and_counted() {
    let server = Server::bind().await;
    let mut config = server.config();
    config.grace_period = Duration::from_millis(50);
    config.proxies = vec![tcp_proxy("echo", echo_service().await)];
    let client = Running::start(config);
    let mut control = server.control_with_proxy().await;
    let mut first = server.user(&mut control, "echo").await;
    let mut second = server.user(&mut control, "echo").await;
    echo(&mut first, "one").await;
    echo(&mut second, "two").await;

    let report = within(client.stop()).await.unwrap().unwrap();
    assert_eq!(report, StopReport { cut: 2 });
    ended(&mut first).await;
    ended(&mut second).await;
}

#[tokio::test]
async fn a_client_that_waits_for_users_still_gives_signs_of_life() {
    let server = Server::bind().await;
    let mut config = server.config();
    config.grace_period = Duration::from_secs(3600);
    config.transport.heartbeat_interval = Some(Duration::from_millis(20));
    config.proxies = vec![tcp_proxy("echo", echo_service().await)];
    let client = Running::start(config);
    let (mut control, _) = server.control().await;
    while !matches!(recv(&mut control).await, Message::NewProxy(_)) {}
    accept_proxy(&mut control, "echo").await;
    let mut user = server.user(&mut control, "echo").await;
    echo(&mut user, "before").await;

    let stopped = client.stop();
    while !matches!(recv(&mut control).await, Message::CloseProxy(_)) {}
    for _ in 0..3 {
        assert!(matches!(recv(&mut control).await, Message::Ping(_)));
    }
    drop(user);
    within(stopped).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_client_without_a_server_stops_at_once() {
    let server = Server::bind().await;
    let mut config = server.config();
    config.login_fail_exit = false;
    let client = Running::start(config);
    let attempt = server.login().await;
    let report = within(client.stop()).await.unwrap().unwrap();
    assert_eq!(report, StopReport { cut: 0 });
    drop(attempt);
}

#[tokio::test]
async fn a_dropped_client_leaves_nothing_behind() {
    let server = Server::bind().await;
    let mut config = server.config();
    config.proxies = vec![tcp_proxy("echo", echo_service().await)];
    let client = Running::start(config);
    let mut control = server.control_with_proxy().await;
    let mut user = server.user(&mut control, "echo").await;
    echo(&mut user, "before").await;
    let task = client.stop();
    close_proxy(&mut control).await;
    task.abort();
    ended(&mut user).await;
}
