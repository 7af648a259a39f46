//! Tests the commands of an operator.

use mgrok_proto::auth::Secret;
use mgrok_proto::message::NewProxy;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use crate::client::{Lab, eventually, in_time};

/// Whether the service answers.
async fn is_served(user: &mut TcpStream) -> bool {
    let mut echo = [0; 5];
    user.write_all(b"hello").await.is_ok() && in_time(user.read_exact(&mut echo)).await.is_ok()
}

#[tokio::test]
async fn a_session_is_ended() {
    let lab = Lab::start().await;
    let mut client = lab.login("laptop").await;
    client.publish("tcp", "ssh").await;
    let gone = mgrok_server::RunId::from("nobody");
    assert!(!lab.directory.end_session(&gone, "test", "test"));
    assert!(lab.directory.end_session(&client.run_id, "test", "test"));
    in_time(client.session).await.unwrap();
    eventually(|| lab.directory.proxies().is_empty().then_some(())).await;
    let sessions = eventually(|| {
        let sessions = lab.directory.sessions();
        sessions
            .iter()
            .all(|it| !it.is_online())
            .then_some(sessions)
    })
    .await;
    assert_eq!(sessions.len(), 1, "it is remembered");
    let mut client = lab.login("laptop").await;
    client.publish("tcp", "ssh").await;
}

#[tokio::test]
async fn one_connection_is_closed_and_its_neighbour_goes_on() {
    let lab = Lab::start().await;
    let mut client = lab.login("").await;
    let public = client.publish("tcp", "ssh").await;
    let mut users = Vec::new();
    for _ in 0..3 {
        let mut user = TcpStream::connect(public).await.unwrap();
        assert!(is_served(&mut user).await);
        users.push(user);
    }
    let from = users[1].local_addr().unwrap();
    let rows = lab.directory.connections();
    let row = rows.iter().find(|it| it.from == from).unwrap();
    assert!(lab.directory.close_connection(row.id, "test", "test"));
    assert_eq!(in_time(users[1].read(&mut [0])).await.unwrap_or(0), 0);
    assert!(is_served(&mut users[0]).await && is_served(&mut users[2]).await);
    assert!(!lab.directory.close_connection(row.id, "test", "test"));
    assert_eq!(lab.proxy("ssh").connections, 2);
    assert_eq!(lab.directory.close_connections_of("ssh", "test", "test"), 2);
    for user in [0, 2] {
        assert_eq!(in_time(users[user].read(&mut [0])).await.unwrap_or(0), 0);
    }
    let proxy = lab.deserted("ssh").await;
    assert_eq!((proxy.connections_opened, proxy.received), (3, 25));
}

#[tokio::test]
async fn a_visitor_is_closed_and_the_next_is_turned_away() {
    let lab = Lab::start().await;
    let mut client = lab.login("").await;
    let new = NewProxy {
        proxy_name: "private".to_owned(),
        proxy_type: "stcp".to_owned(),
        sk: Secret::new("sk"),
        ..NewProxy::default()
    };
    client.publish_as(new).await;
    let mut user = lab.visit(&client, "private").await;
    let row = lab.moved(0, 0).await;
    assert!(lab.directory.close_connection(row.id, "test", "test"));
    assert_eq!(in_time(user.read(&mut [0])).await.unwrap_or(0), 0);
    let name = "private";
    assert_eq!(lab.directory.disable_proxy(name, "test", "test"), Ok(true));
    let refused = lab.try_visit(&client, name).await.unwrap_err();
    assert!(refused.contains("doesn't exist"), "{refused}");
    assert!(lab.directory.enable_proxy(name, "test", "test"));
    lab.visit(&client, name).await;
}

#[tokio::test]
async fn a_disabled_tcp_proxy_refuses_new_users_and_keeps_existing_ones() {
    let lab = Lab::start().await;
    let mut client = lab.login("").await;
    let public = client.publish("tcp", "ssh").await;
    let mut before = TcpStream::connect(public).await.unwrap();
    assert!(is_served(&mut before).await);
    assert_eq!(lab.directory.disable_proxy("ssh", "test", "test"), Ok(true));
    let mut refused = TcpStream::connect(public).await.unwrap();
    assert!(!is_served(&mut refused).await);
    assert!(is_served(&mut before).await);
    drop(before);
    // The command applies to the name, whichever client has it.
    assert!(lab.directory.end_session(&client.run_id, "test", "test"));
    in_time(client.session).await.unwrap();
    let mut client = lab.login("").await;
    eventually(|| lab.directory.proxies().is_empty().then_some(())).await;
    let public = client.publish("tcp", "ssh").await;
    let mut refused = TcpStream::connect(public).await.unwrap();
    assert!(!is_served(&mut refused).await);
    assert!(lab.directory.enable_proxy("ssh", "test", "test"));
    let mut user = TcpStream::connect(public).await.unwrap();
    assert!(is_served(&mut user).await);
}

#[tokio::test]
async fn the_users_of_a_disabled_member_go_to_the_others_of_its_group() {
    let lab = Lab::start().await;
    let mut client = lab.login("").await;
    let mut public = None;
    for name in ["first", "second"] {
        let new = NewProxy {
            proxy_name: name.to_owned(),
            proxy_type: "tcp".to_owned(),
            group: "group".to_owned(),
            ..NewProxy::default()
        };
        public = Some(client.publish_as(new).await);
    }
    assert_eq!(
        lab.directory.disable_proxy("first", "test", "test"),
        Ok(true)
    );
    let mut users = Vec::new();
    for _ in 0..4 {
        let mut user = TcpStream::connect(public.unwrap()).await.unwrap();
        assert!(is_served(&mut user).await);
        users.push(user);
    }
    assert_eq!(lab.proxy("second").connections, 4);
    assert_eq!(lab.proxy("first").connections_opened, 0);
}

#[tokio::test]
async fn a_disabled_udp_proxy_passes_no_datagrams() {
    let lab = Lab::start().await;
    let mut client = lab.login("").await;
    let public = client.publish("udp", "datagrams").await;
    let user = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    user.connect(public).await.unwrap();
    let mut echo = [0; 10];
    user.send(b"one").await.unwrap();
    assert_eq!(in_time(user.recv(&mut echo)).await.unwrap(), 3);
    let name = "datagrams";
    assert_eq!(lab.directory.disable_proxy(name, "test", "test"), Ok(true));
    user.send(b"three").await.unwrap();
    // The datagram has arrived, and is dropped.
    eventually(|| (lab.proxy(name).received == 8).then_some(())).await;
    assert!(lab.directory.enable_proxy(name, "test", "test"));
    user.send(b"seven..").await.unwrap();
    assert_eq!(in_time(user.recv(&mut echo)).await.unwrap(), 7);
    assert_eq!(lab.proxy(name).sent, 10);
}
