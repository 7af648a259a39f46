//! Tests half-closes: the end of one direction leaves the other open if both ends support that.

use bytes::Bytes;
use mgrok_net::conn::Conn;
use mgrok_net::layers::Layers;
use mgrok_net::relay::LINGER;
use mgrok_proto::auth::{self, Secret};
use mgrok_proto::cipher::CipherKey;
use mgrok_proto::hello::{Bootstrap, Extension, Offer};
use mgrok_proto::message::{Message, NewProxy, NewVisitorConn};
use mgrok_proto::record::Algorithm;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::line::{Line, Transport};
use crate::script::{Client, LIMIT, RunningServer};
use crate::transports::config;
use crate::{tcp_proxy, v2};

/// Logs in as a v2 client with these extensions.
async fn log_in(line: &Line, extensions: &[Extension]) -> Client {
    let offer = Offer::new(Bootstrap::default(), &Algorithm::by_speed(), extensions);
    let conn = line.open().await;
    let (client, agreed) = v2::log_in_on(conn, &offer, v2::login("0.70.1")).await;
    assert_eq!(agreed, extensions);
    client
}

async fn read_to_end(conn: &mut Conn) -> Vec<u8> {
    let read = async {
        let mut all = Vec::new();
        loop {
            let chunk = conn.recv().await.unwrap();
            if chunk.is_empty() {
                return all;
            }
            all.extend_from_slice(&chunk);
        }
    };
    timeout(LIMIT, read).await.expect("it does not end")
}

/// Sends until sending fails.
async fn until_refused(conn: &mut Conn) {
    let sending = async {
        while conn.send(Bytes::from_static(&[0; 1024])).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    timeout(LIMIT, sending).await.expect("all is taken");
}

/// Checks that each direction can end while the other stays open, for longer than the linger time.
async fn check_layers(server: &RunningServer, transport: Transport, mux: bool, layers: Layers) {
    let line = Line::new(server, transport, mux).await;
    let mut client = log_in(&line, &[Extension::HALF_CLOSE]).await;
    let proxy = NewProxy {
        use_encryption: layers.encryption.is_some(),
        use_compression: layers.compression,
        ..tcp_proxy(&client.run_id, 0)
    };
    let port = client.start_proxy(proxy).await.unwrap();
    for user_first in [true, false] {
        let mut user = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        // So that the first bytes arrive after the message that opens the work connection.
        user.write_all(b"question").await.unwrap();
        let (_, work) = client.work_conn_on(line.open_v2().await).await;
        let mut work = layers.wrap(work);
        let mut answer = String::new();
        if user_first {
            user.shutdown().await.unwrap();
            assert_eq!(read_to_end(&mut work).await, b"question", "{transport:?}");
            sleep(LINGER * 2).await;
            work.send(Bytes::from_static(b"answer")).await.unwrap();
            work.close().await.unwrap();
            user.read_to_string(&mut answer).await.unwrap();
        } else {
            work.send(Bytes::from_static(b"answer")).await.unwrap();
            work.close().await.unwrap();
            user.read_to_string(&mut answer).await.unwrap();
            sleep(LINGER * 2).await;
            user.write_all(b" and more").await.unwrap();
            user.shutdown().await.unwrap();
            assert_eq!(
                read_to_end(&mut work).await,
                b"question and more",
                "{transport:?}"
            );
        }
        assert_eq!(answer, "answer", "{transport:?}");
    }
}

#[tokio::test]
async fn half_closes_pass_every_transport_and_layer() {
    let key = CipherKey::derive(&Secret::default());
    for mux in [true, false] {
        let server = std::sync::Arc::new(RunningServer::start(config(mux)).await);
        let mut checks = JoinSet::new();
        for transport in Transport::ALL {
            if !mux && !transport.has_ends() {
                continue;
            }
            for (encrypted, compression) in
                [(false, false), (true, false), (false, true), (true, true)]
            {
                let layers = Layers {
                    encryption: encrypted.then(|| key.clone()),
                    compression,
                    limit: None,
                };
                let server = server.clone();
                checks.spawn(async move { check_layers(&server, transport, mux, layers).await });
            }
        }
        while let Some(checked) = checks.join_next().await {
            checked.unwrap();
        }
    }
}

#[tokio::test]
async fn without_the_extension_one_end_is_the_end_of_both() {
    let server = RunningServer::start(config(true)).await;
    let line = Line::new(&server, Transport::Tls, true).await;
    let mut client = log_in(&line, &[]).await;
    let port = client.start_proxy(tcp_proxy("p", 0)).await.unwrap();
    let mut user = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    user.write_all(b"question").await.unwrap();
    user.shutdown().await.unwrap();
    let (_, work) = client.work_conn_on(line.open_v2().await).await;
    let mut work = work;
    assert_eq!(read_to_end(&mut work).await, b"question");
    let closed = timeout(LIMIT, user.read(&mut [0])).await.unwrap();
    assert_eq!(closed.unwrap_or(0), 0);
}

#[tokio::test]
async fn sending_to_a_user_that_left_fails() {
    for (transport, mux) in [
        (Transport::Tls, true),
        (Transport::Quic, true),
        (Transport::Kcp, true),
        (Transport::WebSocket, false),
    ] {
        let server = RunningServer::start(config(mux)).await;
        let line = Line::new(&server, transport, mux).await;
        let mut client = log_in(&line, &[Extension::HALF_CLOSE]).await;
        let port = client.start_proxy(tcp_proxy("p", 0)).await.unwrap();
        let mut user = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        user.write_all(b"question").await.unwrap();
        let (_, mut work) = client.work_conn_on(line.open_v2().await).await;
        drop(user);
        assert_eq!(read_to_end(&mut work).await, b"question");
        until_refused(&mut work).await;
    }
}

/// Connects a visitor to the service `p`, and the proxy's client to the visitor.
async fn visit(
    (visitor_line, visitor): (&Line, &Client),
    (owner_line, owner): (&Line, &mut Client),
    v2: (bool, bool),
) -> (Conn, Conn) {
    let begin = async |line: &Line, is_v2| {
        if is_v2 {
            line.open_v2().await
        } else {
            line.open_v1().await
        }
    };
    let mut conn = begin(visitor_line, v2.0).await;
    let new = NewVisitorConn {
        run_id: visitor.run_id.clone(),
        proxy_name: "p".into(),
        sign_key: auth::sign(&Secret::new("key"), 1).into(),
        timestamp: 1,
        ..NewVisitorConn::default()
    };
    conn.send(&new.into()).await.unwrap();
    let answer = timeout(LIMIT, conn.recv()).await.unwrap().unwrap();
    assert!(matches!(answer, Some(Message::NewVisitorConnResp(it)) if it.error.is_empty()));
    let (_, work) = owner.work_conn_on(begin(owner_line, v2.1).await).await;
    (conn.into_conn(), work)
}

async fn publish(owner: &mut Client) {
    let new = NewProxy {
        proxy_name: "p".into(),
        proxy_type: "stcp".into(),
        sk: "key".into(),
        ..NewProxy::default()
    };
    owner.control.send(&new.into()).await.unwrap();
    assert_eq!(owner.started().await.error, "");
}

#[tokio::test]
async fn visitors_carry_half_closes_to_clients_that_do_too() {
    let server = RunningServer::start(config(true)).await;
    for (visitor_transport, owner_transport) in [
        (Transport::Tls, Transport::Quic),
        (Transport::Quic, Transport::Wss),
    ] {
        let visitor_line = Line::new(&server, visitor_transport, true).await;
        let owner_line = Line::new(&server, owner_transport, true).await;
        let visitor = log_in(&visitor_line, &[Extension::HALF_CLOSE]).await;
        let mut owner = log_in(&owner_line, &[Extension::HALF_CLOSE]).await;
        publish(&mut owner).await;
        let (mut visit, mut work) = visit(
            (&visitor_line, &visitor),
            (&owner_line, &mut owner),
            (true, true),
        )
        .await;
        visit.send(Bytes::from_static(b"question")).await.unwrap();
        visit.close().await.unwrap();
        assert_eq!(read_to_end(&mut work).await, b"question");
        sleep(LINGER * 2).await;
        work.send(Bytes::from_static(b"answer")).await.unwrap();
        work.close().await.unwrap();
        assert_eq!(read_to_end(&mut visit).await, b"answer");
    }
}

#[tokio::test]
async fn an_end_that_alone_carries_half_closes_learns_that_the_other_end_is_gone() {
    for transport in [Transport::Tls, Transport::Quic] {
        let server = RunningServer::start(config(true)).await;
        let ours = Line::new(&server, transport, true).await;
        let theirs = Line::new(&server, Transport::Tls, true).await;

        let visitor = log_in(&ours, &[Extension::HALF_CLOSE]).await;
        let mut owner = theirs.login("").await;
        publish(&mut owner).await;
        let (mut visit_conn, mut work) =
            visit((&ours, &visitor), (&theirs, &mut owner), (true, false)).await;
        work.send(Bytes::from_static(b"bye")).await.unwrap();
        drop(work);
        assert_eq!(read_to_end(&mut visit_conn).await, b"bye");
        until_refused(&mut visit_conn).await;
        drop((visitor, owner));
        ours.closed().await;

        let ours = Line::new(&server, transport, true).await;
        let theirs = Line::new(&server, Transport::Tls, true).await;
        let visitor = theirs.login("").await;
        let mut owner = log_in(&ours, &[Extension::HALF_CLOSE]).await;
        publish(&mut owner).await;
        let (mut visit_conn, mut work) =
            visit((&theirs, &visitor), (&ours, &mut owner), (false, true)).await;
        visit_conn.send(Bytes::from_static(b"bye")).await.unwrap();
        drop(visit_conn);
        assert_eq!(read_to_end(&mut work).await, b"bye");
        until_refused(&mut work).await;
    }
}

#[tokio::test]
async fn half_closes_pass_where_http_has_become_another_protocol() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut config = config(true);
    config.bind_port = port;
    config.vhost.http_port = Some(port);
    let server = RunningServer::start_on(listener, config).await;
    let line = Line::new(&server, Transport::Quic, true).await;
    let mut client = log_in(&line, &[Extension::HALF_CLOSE]).await;
    let new = NewProxy {
        proxy_name: "web".into(),
        proxy_type: "http".into(),
        custom_domains: vec!["web.example".into()],
        ..NewProxy::default()
    };
    client.control.send(&new.into()).await.unwrap();
    assert_eq!(client.started().await.error, "");

    let mut user = TcpStream::connect(server.addr).await.unwrap();
    let request =
        b"GET / HTTP/1.1\r\nHost: web.example\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
    user.write_all(request).await.unwrap();
    let (_, mut work) = client.work_conn_on(line.open_v2().await).await;
    assert!(
        timeout(LIMIT, work.recv())
            .await
            .unwrap()
            .unwrap()
            .starts_with(b"GET / ")
    );
    let switch =
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
    work.send(Bytes::from_static(switch)).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(timeout(LIMIT, user.read_u8()).await.unwrap().unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "));
    user.write_all(b"question").await.unwrap();
    user.shutdown().await.unwrap();
    assert_eq!(read_to_end(&mut work).await, b"question");
    sleep(LINGER * 2).await;
    work.send(Bytes::from_static(b"answer")).await.unwrap();
    work.close().await.unwrap();
    let mut answer = String::new();
    user.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "answer");
}
