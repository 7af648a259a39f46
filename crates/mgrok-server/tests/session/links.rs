//! Tests sessions with more connections than one: what they carry, who may add one, and how they end.

use bytes::Bytes;
use mgrok_net::conn::Conn;
use mgrok_proto::hello::{Bootstrap, Extension, Offer};
use mgrok_proto::message::Login;
use mgrok_proto::record::Algorithm;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::line::{Line, Transport};
use crate::script::{Client, LIMIT, RunningServer};
use crate::transports::config;
use crate::{tcp_proxy, v2};

const SESSION: &[Extension] = &[Extension::LINKS, Extension::CAN_MIGRATE];
const FURTHER: &[Extension] = &[Extension::LINK, Extension::PROOF];
const MIGRATES: &[Extension] = &[Extension::MIGRATE, Extension::CAN_MIGRATE, Extension::PROOF];

fn offer(extensions: &[Extension]) -> Offer {
    Offer::new(Bootstrap::default(), &Algorithm::by_speed(), extensions)
}

fn login(run_id: &str) -> Login {
    Login {
        run_id: run_id.into(),
        ..v2::login("0.70.1")
    }
}

async fn log_in(line: &Line, run_id: &str, extensions: &[Extension]) -> Client {
    let (client, agreed) =
        v2::log_in_on(line.open().await, &offer(extensions), login(run_id)).await;
    assert!(
        extensions.iter().all(|it| agreed.contains(it)),
        "{agreed:?}"
    );
    client
}

/// Says that it wants to add a connection, and then bytes that are no record; what the server answers.
async fn guess(line: &Line, run_id: &str, extensions: &[Extension]) -> String {
    let mut conn = v2::begin(line.open().await);
    v2::hello(&mut conn, &offer(extensions), login(run_id)).await;
    if extensions.contains(&Extension::PROOF) {
        let mut conn = conn.into_conn();
        conn.send(Bytes::from_static(&[7; 64])).await.unwrap();
        let closed = timeout(LIMIT, async {
            while !conn.recv().await.unwrap_or_default().is_empty() {}
        });
        closed.await.unwrap();
        return "closed".to_owned();
    }
    v2::login_resp(&mut conn).await.error
}

/// A user of `port`, and the work connection that `client` offers for it on `line`.
async fn user(client: &mut Client, line: &Line, port: u16) -> (TcpStream, Conn) {
    let user = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let (_, work) = client.work_conn_on(line.open_v2().await).await;
    (user, work)
}

async fn check_exchange((user, work): &mut (TcpStream, Conn)) {
    user.write_all(b"ping").await.unwrap();
    assert_eq!(timeout(LIMIT, work.recv()).await.unwrap().unwrap(), "ping");
    work.send(Bytes::from_static(b"pong")).await.unwrap();
    let mut bytes = [0; 4];
    let read = timeout(LIMIT, user.read_exact(&mut bytes)).await;
    read.unwrap().unwrap();
    assert_eq!(&bytes, b"pong");
}

#[tokio::test]
async fn a_further_connection_carries_streams_of_its_session_and_ends_with_it() {
    let server = RunningServer::start(config(true)).await;
    for transport in [Transport::Tls, Transport::KcpTls, Transport::WebSocket] {
        let first = Line::new(&server, transport, true).await;
        let mut client = log_in(&first, "", SESSION).await;
        let port = client.start_proxy(tcp_proxy("p", 0)).await.unwrap();
        let second = Line::new(&server, transport, true).await;
        let link = log_in(&second, &client.run_id, FURTHER).await;
        assert_eq!(link.run_id, client.run_id);
        let mut one = user(&mut client, &first, port).await;
        let mut two = user(&mut client, &second, port).await;
        check_exchange(&mut one).await;
        check_exchange(&mut two).await;
        drop(client);
        second.closed().await;
        first.closed().await;
    }
}

#[tokio::test]
async fn the_end_of_a_further_connection_leaves_its_session() {
    let server = RunningServer::start(config(true)).await;
    let first = Line::new(&server, Transport::Tls, true).await;
    let mut client = log_in(&first, "", SESSION).await;
    let port = client.start_proxy(tcp_proxy("p", 0)).await.unwrap();
    for _ in 0..2 {
        let second = Line::new(&server, Transport::Tls, true).await;
        let link = log_in(&second, &client.run_id, FURTHER).await;
        let mut one = user(&mut client, &first, port).await;
        let mut two = user(&mut client, &second, port).await;
        // As a client that closes it says it.
        drop(link);
        second.closed().await;
        assert_eq!(
            timeout(LIMIT, two.0.read(&mut [0]))
                .await
                .unwrap()
                .unwrap_or(0),
            0
        );
        check_exchange(&mut one).await;
    }
}

#[tokio::test]
async fn nobody_adds_a_connection_to_the_session_of_somebody_else() {
    let server = RunningServer::start(config(true)).await;
    let first = Line::new(&server, Transport::Tls, true).await;
    let mut client = log_in(&first, "", SESSION).await;
    let line = || Line::new(&server, Transport::Tls, true);
    // Whoever has seen a login can send it again, but no record.
    let closed = guess(&line().await, &client.run_id, FURTHER).await;
    assert_eq!(closed, "closed");
    let refused = guess(&line().await, &client.run_id, &[Extension::LINK]).await;
    assert!(refused.contains("no proof"), "{refused}");
    let other = line().await;
    let other = log_in(&other, "", &[]).await;
    for run_id in ["nosuch", &other.run_id] {
        let stranger = line().await.open().await;
        let refused = v2::try_log_in_on(stranger, &offer(FURTHER), login(run_id)).await;
        let refused = refused.unwrap_err();
        assert!(refused.contains("no session"), "{refused}");
    }
    // The session has noticed nothing.
    let port = client.start_proxy(tcp_proxy("p", 0)).await.unwrap();
    let mut user = user(&mut client, &first, port).await;
    check_exchange(&mut user).await;
}

#[tokio::test]
async fn users_stay_on_a_further_connection_when_the_session_moves() {
    let server = RunningServer::start(config(true)).await;
    let first = Line::new(&server, Transport::Tls, true).await;
    let mut client = log_in(&first, "", SESSION).await;
    let port = client.start_proxy(tcp_proxy("p", 0)).await.unwrap();
    let second = Line::new(&server, Transport::Tls, true).await;
    let _link = log_in(&second, &client.run_id, FURTHER).await;
    let mut old_user = user(&mut client, &second, port).await;
    let third = Line::new(&server, Transport::Quic, true).await;
    let mut new = log_in(&third, &client.run_id, MIGRATES).await;
    assert_eq!(new.start_proxy(tcp_proxy("p", port)).await, Ok(port));
    check_exchange(&mut old_user).await;
    let mut new_user = user(&mut new, &third, port).await;
    check_exchange(&mut new_user).await;
}
