//! Tests that counters move while users are connected, for every kind of proxy, and keep their values when users have
//! left.

use mgrok_proto::auth::Secret;
use mgrok_proto::message::NewProxy;
use mgrok_server::{Change, ConnectionInfo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use crate::client::{Lab, eventually, in_time};

#[tokio::test]
async fn a_tcp_user_has_a_row_that_counts_while_it_is_there() {
    let lab = Lab::start().await;
    let mut feed = lab.directory.subscribe();
    let mut client = lab.login("laptop").await;
    let public = client.publish("tcp", "ssh").await;
    let mut user = TcpStream::connect(public).await.unwrap();
    for turn in 1..=3 {
        user.write_all(b"hello").await.unwrap();
        let mut echo = [0; 5];
        in_time(user.read_exact(&mut echo)).await.unwrap();
        let row = lab.moved(5 * turn, 5 * turn).await;
        assert_eq!(row.from, user.local_addr().unwrap());
        assert_eq!(&*row.proxy, "ssh");
        let proxy = lab.proxy("ssh");
        assert_eq!((proxy.sent, proxy.received), (5 * turn, 5 * turn));
        assert_eq!((proxy.connections, proxy.connections_opened), (1, 1));
    }
    drop(user);
    let proxy = lab.deserted("ssh").await;
    assert_eq!((proxy.sent, proxy.received), (15, 15));
    assert_eq!(
        (proxy.kind, &*proxy.remote_addr),
        ("tcp", &*format!(":{}", public.port()))
    );
    assert_eq!(proxy.run_id, client.run_id);
    let sessions = lab.directory.sessions();
    assert_eq!(sessions.len(), 1);
    assert_eq!(sessions[0].client.client_id, "laptop");
    let mut told = Vec::new();
    while told.len() < 4 {
        told.push(in_time(feed.next()).await.unwrap().unwrap());
    }
    assert!(
        matches!(
            told.as_slice(),
            [
                Change::SessionStarted { .. },
                Change::ProxyStarted { .. },
                Change::ConnectionOpened { id: opened, .. },
                Change::ConnectionClosed { connection: ConnectionInfo { id: closed, .. } },
            ] if opened == closed
        ),
        "{told:?}"
    );
}

#[tokio::test]
async fn the_users_of_a_udp_port_are_counted_together() {
    let lab = Lab::start().await;
    let mut client = lab.login("").await;
    let public = client.publish("udp", "datagrams").await;
    for number in 1..=2 {
        let user = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        user.connect(public).await.unwrap();
        user.send(b"hello").await.unwrap();
        let mut echo = [0; 10];
        assert_eq!(in_time(user.recv(&mut echo)).await.unwrap(), 5);
        let moved = 5 * number as u64;
        let proxy = eventually(|| Some(lab.proxy("datagrams")).filter(|it| it.sent == moved)).await;
        assert_eq!((proxy.received, proxy.udp_users), (moved, number));
        assert_eq!(proxy.connections_opened, 0);
    }
}

#[tokio::test]
async fn a_visitor_has_a_row_that_counts_while_it_is_there() {
    let lab = Lab::start().await;
    let mut client = lab.login("").await;
    for kind in ["stcp", "sudp"] {
        client
            .publish_as(NewProxy {
                proxy_name: kind.to_owned(),
                proxy_type: kind.to_owned(),
                sk: Secret::new("sk"),
                ..NewProxy::default()
            })
            .await;
    }
    let mut user = lab.visit(&client, "stcp").await;
    user.write_all(b"hello").await.unwrap();
    let mut echo = [0; 5];
    in_time(user.read_exact(&mut echo)).await.unwrap();
    lab.moved(5, 5).await;
    drop(user);
    let proxy = lab.deserted("stcp").await;
    assert_eq!((proxy.sent, proxy.received), (5, 5));
    let _user = lab.visit(&client, "sudp").await;
    assert_eq!(&*lab.moved(0, 0).await.proxy, "sudp");
    assert_eq!(lab.proxy("sudp").kind, "sudp");
}
