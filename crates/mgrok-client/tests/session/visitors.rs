//! Tests visitors: from a listener of the client to a service that the server knows.

use std::time::Duration;

use mgrok_client::StopReport;
use mgrok_config::{VisitorConfig, VisitorKind};
use mgrok_net::layers::Layers;
use mgrok_net::message::MessageConn;
use mgrok_proto::WireVersion;
use mgrok_proto::auth::{Secret, verify};
use mgrok_proto::cipher::CipherKey;
use mgrok_proto::message::{Message, NewVisitorConn, UdpPacket};
use tokio::net::{TcpListener, UdpSocket};

use crate::server::{
    RUN_ID, Running, Server, accept_login, answer_visit, echo, ended, recv, serve_echo,
    stcp_visitor, visitor, within,
};

#[tokio::test]
async fn a_user_is_carried_to_the_service() {
    let server = Server::bind().await;
    let mut config = server.config();
    config.user = "ada".to_owned();
    config.visitors = vec![stcp_visitor("to-db")];
    let mut client = Running::start(config);
    let (_control, _) = server.control().await;

    let mut user = client.enter("to-db").await;
    let (conn, visit) = server.visit().await;
    let expect = NewVisitorConn {
        run_id: RUN_ID.to_owned(),
        proxy_name: "ada.db".to_owned(),
        sign_key: visit.sign_key.clone(),
        timestamp: visit.timestamp,
        use_encryption: false,
        use_compression: false,
    };
    assert_eq!(visit, expect);
    let key = visit.sign_key.expose();
    assert!(verify(&Secret::new("key"), visit.timestamp, key));
    serve_echo(answer_visit(conn, visit, "").await);
    echo(&mut user, "hello").await;
    echo(&mut user, &"long ".repeat(100_000)).await;
}

#[tokio::test]
async fn layers_lie_on_visitor_connections_with_a_key_from_the_secret() {
    let server = Server::bind().await;
    let mut config = server.config();
    config.visitors = vec![VisitorConfig {
        use_encryption: true,
        use_compression: true,
        ..stcp_visitor("to-db")
    }];
    let mut client = Running::start(config);
    let (_control, _) = server.control().await;

    let mut user = client.enter("to-db").await;
    let (conn, visit) = server.visit().await;
    assert!(visit.use_encryption && visit.use_compression);
    let layers = Layers {
        encryption: Some(CipherKey::derive(&Secret::new("key"))),
        compression: true,
        limit: None,
    };
    serve_echo(layers.wrap(answer_visit(conn, visit, "").await));
    echo(&mut user, &"hello ".repeat(1000)).await;
}

#[tokio::test]
async fn a_refused_user_does_not_affect_the_next() {
    let server = Server::bind().await;
    let mut config = server.config();
    config.visitors = vec![stcp_visitor("to-db")];
    let mut client = Running::start(config);
    let (_control, _) = server.control().await;

    let mut first = client.enter("to-db").await;
    let (conn, visit) = server.visit().await;
    let error = "visitor connection of [db] auth failed";
    let _visit = answer_visit(conn, visit, error).await;
    ended(&mut first).await;

    let mut second = client.enter("to-db").await;
    serve_echo(server.accept_visit().await);
    echo(&mut second, "second").await;
}

#[tokio::test]
async fn a_user_without_a_session_waits_for_it() {
    let server = Server::bind().await;
    let mut config = server.config();
    config.visitors = vec![stcp_visitor("to-db")];
    let mut client = Running::start(config);

    let mut early = client.enter("to-db").await;
    let (login, _) = server.login().await;
    let control = accept_login(login).await;
    serve_echo(server.accept_visit().await);
    echo(&mut early, "early").await;

    // The listener and its current users survive a lost session.
    drop(control);
    let (login, _) = server.login().await;
    let mut between = client.enter("to-db").await;
    echo(&mut early, "still there").await;
    let _control = accept_login(login).await;
    serve_echo(server.accept_visit().await);
    echo(&mut between, "between").await;
}

#[tokio::test]
async fn only_visitors_that_changed_are_started_anew() {
    let server = Server::bind().await;
    let mut config = server.config();
    config.visitors = vec![
        stcp_visitor("stays"),
        stcp_visitor("changes"),
        stcp_visitor("goes"),
    ];
    let mut client = Running::start(config);
    let (_control, _) = server.control().await;
    let stays = client.listener("stays").await;
    let changes = client.listener("changes").await;
    let goes = client.listener("goes").await;
    let mut in_before = client.enter("goes").await;
    serve_echo(server.accept_visit().await);
    echo(&mut in_before, "before").await;

    let changed = VisitorConfig {
        server_user: Some("bob".to_owned()),
        bind_port: Some(changes.port()),
        ..stcp_visitor("changes")
    };
    client
        .visitors
        .apply(vec![stcp_visitor("stays"), changed, stcp_visitor("comes")]);
    // The new visitor starts last, when the ports of removed ones are free.
    client.listener("comes").await;
    TcpListener::bind(goes).await.unwrap();
    assert_eq!(client.listeners.listener("goes"), None);
    assert_eq!(client.listener("stays").await, stays);
    assert_eq!(client.listener("changes").await, changes);
    echo(&mut in_before, "still there").await;

    let _user = client.enter("changes").await;
    let (_visit, visit) = server.visit().await;
    assert_eq!(visit.proxy_name, "bob.db");
}

#[tokio::test]
async fn a_stop_closes_listeners_and_lets_users_finish() {
    let server = Server::bind().await;
    let mut config = server.config();
    config.grace_period = Duration::from_secs(3600);
    config.visitors = vec![stcp_visitor("to-db"), visitor("to-dns", VisitorKind::Sudp)];
    let mut client = Running::start(config);
    let (_control, _) = server.control().await;
    let listener = client.listener("to-db").await;
    let udp_listener = client.listener("to-dns").await;
    let mut first = client.enter("to-db").await;
    serve_echo(server.accept_visit().await);
    echo(&mut first, "before").await;

    let mut listeners = client.listeners.clone();
    let stopped = client.stop();
    let closed = async {
        while listeners
            .listener("to-db")
            .or(listeners.listener("to-dns"))
            .is_some()
        {
            tokio::task::yield_now().await;
        }
    };
    within(closed).await;
    TcpListener::bind(listener).await.unwrap();
    UdpSocket::bind(udp_listener).await.unwrap();
    echo(&mut first, "after").await;
    assert!(!stopped.is_finished());
    drop(first);
    let report = within(stopped).await.unwrap().unwrap();
    assert_eq!(report, StopReport { cut: 0 });
    assert_eq!(listeners.wait_for("to-db").await, None);
}

#[tokio::test]
async fn users_that_do_not_finish_are_cut_and_counted() {
    let server = Server::bind().await;
    let mut config = server.config();
    config.grace_period = Duration::from_millis(50);
    config.visitors = vec![stcp_visitor("to-db")];
    let mut client = Running::start(config);
    let (_control, _) = server.control().await;
    let mut user = client.enter("to-db").await;
    serve_echo(server.accept_visit().await);
    echo(&mut user, "before").await;

    let report = within(client.stop()).await.unwrap().unwrap();
    assert_eq!(report, StopReport { cut: 1 });
    ended(&mut user).await;
}

#[tokio::test]
async fn a_client_that_cannot_log_in_leaves_no_listener_open() {
    let server = Server::bind().await;
    let mut config = server.config();
    config.visitors = vec![stcp_visitor("to-db")];
    let mut client = Running::start(config);
    let listener = client.listener("to-db").await;
    drop(server.login().await);
    client.ended().await.unwrap_err();
    TcpListener::bind(listener).await.unwrap();
}

#[tokio::test]
async fn datagrams_of_all_users_go_on_one_visitor_connection() {
    let server = Server::bind().await;
    let mut config = server.config();
    config.visitors = vec![VisitorConfig {
        use_encryption: true,
        ..visitor("to-dns", VisitorKind::Sudp)
    }];
    let mut client = Running::start(config);
    let listener = client.listener("to-dns").await;
    let mut users = Vec::new();
    for number in 0..3_u8 {
        let user = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        user.connect(listener).await.unwrap();
        // Sent before there is a session.
        user.send(&[number]).await.unwrap();
        users.push(user);
    }

    let (_control, _) = server.control().await;
    let (conn, visit) = server.visit().await;
    assert_eq!(visit.proxy_name, "db");
    assert!(visit.use_encryption && !visit.use_compression);
    let layers = Layers {
        encryption: Some(CipherKey::derive(&Secret::new("key"))),
        ..Layers::default()
    };
    let conn = layers.wrap(answer_visit(conn, visit, "").await);
    let mut visit = MessageConn::new(conn, WireVersion::V1);
    for _ in &users {
        let Message::UdpPacket(packet) = recv(&mut visit).await else {
            panic!("something else than a datagram");
        };
        let answer = UdpPacket {
            content: [&packet.content[..], b"!"].concat().into(),
            ..packet
        };
        visit.send(&answer.into()).await.unwrap();
    }
    for (number, user) in (0..).zip(&users) {
        let mut buffer = [0; 16];
        let len = within(user.recv(&mut buffer)).await.unwrap();
        assert_eq!(buffer[..len], [number, b'!']);
    }
}
