//! Tests pings, and the reaction to missing answers.

use std::time::Duration;

use mgrok_config::{LivenessKeys, Protocol, WireProtocol};
use mgrok_proto::auth::{Secret, verify};
use mgrok_proto::hello::Extension;
use mgrok_proto::liveness;
use mgrok_proto::message::{Message, Ping, Pong};
use tokio::time::timeout;

use crate::server::{RUN_ID, Running, Server, recv};
use crate::transport_server::{Setup, TransportServer};

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

/// Transports on which only pings show whether the server is alive.
const WITHOUT_MUX: [Setup; 2] = [
    Setup {
        protocol: Protocol::Tcp,
        tls: false,
        mux: false,
    },
    Setup {
        protocol: Protocol::Quic,
        tls: true,
        mux: true,
    },
];

#[tokio::test]
async fn a_server_that_agreed_on_liveness_is_pinged_often_and_soon_given_up() {
    let given_up = WITHOUT_MUX.map(|setup| async move {
        let mut server = TransportServer::bind(setup).await;
        let _client = Running::start(server.config(WireProtocol::V2));
        let mut session = server.session(&[Extension::LIVENESS]).await;
        // The first ping comes at once, the second after the interval; then the server is silent.
        for _ in 0..2 {
            let next = timeout(liveness::INTERVAL * 3, ping(&mut session.control));
            assert_eq!(next.await.unwrap(), Ping::default());
            session.control.send(&Pong::default().into()).await.unwrap();
        }
        // frp's defaults would be 90 s, and never.
        let patience = liveness::TIMEOUT * 3;
        let end = async { while let Ok(Some(_)) = session.control.recv().await {} };
        timeout(patience, end).await.unwrap();
    });
    let [tcp, quic] = given_up;
    tokio::join!(tcp, quic);
}

#[tokio::test]
async fn keys_that_the_operator_has_set_count_instead_of_liveness() {
    for setup in WITHOUT_MUX {
        let mut server = TransportServer::bind(setup).await;
        let mut config = server.config(WireProtocol::V2);
        config.transport.heartbeat_interval = None;
        config.transport.liveness_keys = LivenessKeys {
            heartbeats: true,
            mux: false,
        };
        let _client = Running::start(config);
        let mut session = server.session(&[Extension::LIVENESS]).await;
        // A ping would be the first message.
        let said = timeout(Duration::from_millis(300), session.control.recv()).await;
        assert!(said.is_err(), "{said:?}");
    }
}
