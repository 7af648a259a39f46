//! Pings, and what a client does without their answers.

use std::time::Duration;

use mgrok_proto::auth::{Secret, verify};
use mgrok_proto::message::{Message, Ping, Pong};

use crate::server::{RUN_ID, Running, Server, recv};

/// The next message, which must be a ping.
async fn ping(control: &mut mgrok_net::message::MessageConn) -> Ping {
    match recv(control).await {
        Message::Ping(ping) => ping,
        other => panic!("{} instead of Ping", other.name()),
    }
}

#[tokio::test]
async fn pings_begin_at_once_and_go_on() {
    let server = Server::bind().await;
    let mut config = server.config();
    config.transport.heartbeat_interval = Some(Duration::from_millis(20));
    let _client = Running::start(config);
    let (mut control, _) = server.control().await;
    for _ in 0..5 {
        assert_eq!(ping(&mut control).await, Ping::default());
        control.send(&Pong::default().into()).await.unwrap();
    }
}

#[tokio::test]
async fn pings_are_signed_if_the_configuration_says_so() {
    let server = Server::bind().await;
    let mut config = server.config();
    config.auth.heartbeats = true;
    config.transport.heartbeat_interval = Some(Duration::from_secs(60));
    let _client = Running::start(config);
    let (mut control, _) = server.control().await;
    let ping = ping(&mut control).await;
    let key = ping.privilege_key.expose();
    assert!(verify(&Secret::new("secret"), ping.timestamp, key));
}

#[tokio::test]
async fn a_silent_server_is_given_up() {
    let server = Server::bind().await;
    let mut config = server.config();
    config.transport.heartbeat_interval = Some(Duration::from_millis(20));
    config.transport.heartbeat_timeout = Some(Duration::from_millis(100));
    let _client = Running::start(config);
    let _silent = server.control().await;
    let (_, login) = server.login().await;
    assert_eq!(login.run_id, RUN_ID);
}

#[tokio::test]
async fn a_refused_ping_ends_the_session() {
    let server = Server::bind().await;
    let mut config = server.config();
    config.transport.heartbeat_interval = Some(Duration::from_secs(60));
    let _client = Running::start(config);
    let (mut control, _) = server.control().await;
    ping(&mut control).await;
    let refused = Pong {
        error: "invalid ping".to_owned(),
    };
    control.send(&refused.into()).await.unwrap();
    let (_, login) = server.login().await;
    assert_eq!(login.run_id, RUN_ID);
}
