//! Tests that HTTP bodies, upgrades and CONNECT count in the row of their user's connection, which follows its
//! requests.

use mgrok_proto::message::NewProxy;
use mgrok_server::ConnectionInfo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{Client, Lab, eventually, in_time};

async fn publish(client: &mut Client, name: &str) {
    let new = NewProxy {
        proxy_name: name.to_owned(),
        proxy_type: "http".to_owned(),
        custom_domains: vec![format!("{name}.test")],
        ..NewProxy::default()
    };
    client.publish_as(new).await;
}

/// A lab with the proxies `web` and `other`, and a user.
async fn start() -> (Lab, Client, TcpStream) {
    let lab = Lab::start().await;
    let mut client = lab.login("").await;
    for name in ["web", "other"] {
        publish(&mut client, name).await;
    }
    let user = TcpStream::connect(lab.addr).await.unwrap();
    (lab, client, user)
}

/// Reads a head.
async fn head(user: &mut TcpStream) -> String {
    let mut seen = Vec::new();
    while !seen.ends_with(b"\r\n\r\n") {
        seen.push(in_time(user.read_u8()).await.unwrap());
    }
    String::from_utf8(seen).unwrap()
}

/// Requests the echo of `body` from `host`.
async fn ask(user: &mut TcpStream, host: &str, body: &str) -> String {
    let len = body.len();
    let request = format!("POST / HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len}\r\n\r\n{body}");
    user.write_all(request.as_bytes()).await.unwrap();
    let head = head(user).await;
    if head.starts_with("HTTP/1.1 200") {
        let mut echo = vec![0; body.len()];
        in_time(user.read_exact(&mut echo)).await.unwrap();
        assert_eq!(echo, body.as_bytes());
    }
    head
}

#[tokio::test]
async fn bodies_are_counted_while_they_pass() {
    let (lab, _client, mut user) = start().await;
    let request = b"POST / HTTP/1.1\r\nHost: web.test\r\nContent-Length: 30\r\n\r\n";
    user.write_all(request).await.unwrap();
    for turn in 1..=3 {
        user.write_all(&[b'x'; 10]).await.unwrap();
        if turn == 1 {
            assert!(head(&mut user).await.contains("X-Name: web"));
        }
        in_time(user.read_exact(&mut [0; 10])).await.unwrap();
        let row = lab.moved(10 * turn, 10 * turn).await;
        assert_eq!(row.from, user.local_addr().unwrap());
        let proxy = lab.proxy("web");
        assert_eq!((proxy.sent, proxy.received), (10 * turn, 10 * turn));
    }
    drop(user);
    let proxy = lab.deserted("web").await;
    assert_eq!((proxy.sent, proxy.received), (30, 30));
    assert_eq!(proxy.connections_opened, 1);
}

#[tokio::test]
async fn a_connection_has_one_row_which_follows_its_requests() {
    let (lab, _client, mut user) = start().await;
    for _ in 0..3 {
        ask(&mut user, "web.test", "hello").await;
    }
    let first = lab.moved(15, 15).await;
    assert!(ask(&mut user, "nobody.test", "hello").await.contains("404"));
    assert_eq!(
        lab.moved(15, 15).await.id,
        first.id,
        "nobody else served it"
    );
    ask(&mut user, "other.test", "hi").await;
    let second = lab.moved(2, 2).await;
    assert_eq!((&*first.proxy, &*second.proxy), ("web", "other"));
    let proxy = lab.proxy("web");
    assert_eq!((proxy.connections, proxy.connections_opened), (0, 1));
    assert_eq!((proxy.sent, proxy.received), (15, 15));
}

/// Checks that the bytes after the answer to `request` are echoed and counted.
async fn check_raw(request: &str, status: &str) {
    let (lab, _client, mut user) = start().await;
    user.write_all(request.as_bytes()).await.unwrap();
    let answer = head(&mut user).await;
    assert!(answer.contains(status), "{answer}");
    for turn in 1..=3 {
        user.write_all(b"frame").await.unwrap();
        in_time(user.read_exact(&mut [0; 5])).await.unwrap();
        lab.moved(5 * turn, 5 * turn).await;
    }
    drop(user);
    let proxy = lab.deserted("web").await;
    assert_eq!((proxy.sent, proxy.received), (15, 15));
}

#[tokio::test]
async fn an_upgraded_connection_is_counted_while_it_lives() {
    let upgrade =
        "GET / HTTP/1.1\r\nHost: web.test\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
    check_raw(upgrade, "101").await;
}

#[tokio::test]
async fn a_connect_is_counted_while_it_lives() {
    check_raw(
        "CONNECT web.test:80 HTTP/1.1\r\nHost: web.test:80\r\n\r\n",
        "200",
    )
    .await;
}

/// The row of `user`.
async fn row_of(lab: &Lab, user: &TcpStream) -> ConnectionInfo {
    let from = user.local_addr().unwrap();
    eventually(|| {
        let rows = lab.directory.connections();
        rows.into_iter().find(|it| it.from == from)
    })
    .await
}

#[tokio::test]
async fn one_user_is_closed_and_the_neighbour_goes_on() {
    let (lab, _client, mut first) = start().await;
    let mut second = TcpStream::connect(lab.addr).await.unwrap();
    ask(&mut first, "web.test", "hello").await;
    ask(&mut second, "web.test", "hello").await;
    let row = row_of(&lab, &first).await;
    assert!(lab.directory.close_connection(row.id, "test", "test"));
    assert_eq!(in_time(first.read(&mut [0])).await.unwrap_or(0), 0);
    ask(&mut second, "web.test", "hello").await;
    eventually(|| (lab.proxy("web").connections == 1).then_some(())).await;
    let upgrade =
        "GET / HTTP/1.1\r\nHost: web.test\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
    second.write_all(upgrade.as_bytes()).await.unwrap();
    head(&mut second).await;
    let row = row_of(&lab, &second).await;
    assert!(lab.directory.close_connection(row.id, "test", "test"));
    assert_eq!(in_time(second.read(&mut [0])).await.unwrap_or(0), 0);
}

#[tokio::test]
async fn a_disabled_proxy_is_down_until_it_is_enabled() {
    let (lab, _client, mut user) = start().await;
    ask(&mut user, "web.test", "hello").await;
    assert_eq!(lab.directory.disable_proxy("web", "test", "test"), Ok(true));
    let mut newcomer = TcpStream::connect(lab.addr).await.unwrap();
    let refused = ask(&mut newcomer, "web.test", "hello").await;
    assert!(refused.starts_with("HTTP/1.1 502"), "{refused}");
    ask(&mut newcomer, "other.test", "hello")
        .await
        .find("X-Name: other")
        .unwrap();
    assert!(lab.directory.enable_proxy("web", "test", "test"));
    let mut newcomer = TcpStream::connect(lab.addr).await.unwrap();
    assert!(
        ask(&mut newcomer, "web.test", "hello")
            .await
            .contains("X-Name: web")
    );
}
