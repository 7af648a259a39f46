//! Tests sessions that move from one connection to another while users keep theirs.

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

const CAN_BE_MIGRATED: &[Extension] = &[Extension::CAN_MIGRATE];
const MIGRATES: &[Extension] = &[Extension::MIGRATE, Extension::CAN_MIGRATE, Extension::PROOF];
const COMES_BACK: &[Extension] = &[Extension::CAN_MIGRATE, Extension::PROOF];

async fn log_in(line: &Line, run_id: &str, extensions: &[Extension]) -> Client {
    let offer = Offer::new(Bootstrap::default(), &Algorithm::by_speed(), extensions);
    let login = Login {
        run_id: run_id.into(),
        ..v2::login("0.70.1")
    };
    let (client, agreed) = v2::log_in_on(line.open().await, &offer, login).await;
    assert_eq!(agreed, extensions);
    client
}

/// A user of `port` and the work connection that `client` offers for it.
async fn user(client: &mut Client, line: &Line, port: u16) -> (TcpStream, Conn) {
    let user = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let (_, work) = client.work_conn_on(line.open_v2().await).await;
    (user, work)
}

async fn check_exchange(user: &mut TcpStream, work: &mut Conn) {
    user.write_all(b"ping").await.unwrap();
    assert_eq!(timeout(LIMIT, work.recv()).await.unwrap().unwrap(), "ping");
    work.send(Bytes::from_static(b"pong")).await.unwrap();
    let mut bytes = [0; 4];
    let read = timeout(LIMIT, user.read_exact(&mut bytes)).await;
    read.unwrap().unwrap();
    assert_eq!(&bytes, b"pong");
}

#[tokio::test]
async fn users_stay_on_the_connection_that_a_session_has_left() {
    let server = RunningServer::start(config(true)).await;
    for (from, to) in [
        (Transport::Tls, Transport::Quic),
        (Transport::Quic, Transport::Wss),
        (Transport::Kcp, Transport::Tcp),
    ] {
        let old_line = Line::new(&server, from, true).await;
        let mut old = log_in(&old_line, "", CAN_BE_MIGRATED).await;
        let port = old.start_proxy(tcp_proxy("p", 0)).await.unwrap();
        let (mut old_user, mut old_work) = user(&mut old, &old_line, port).await;
        check_exchange(&mut old_user, &mut old_work).await;

        let line = Line::new(&server, to, true).await;
        let mut new = log_in(&line, &old.run_id, MIGRATES).await;
        assert_eq!(new.run_id, old.run_id);
        assert_eq!(new.start_proxy(tcp_proxy("p", port)).await, Ok(port));
        timeout(LIMIT, old.until_closed()).await.unwrap();
        let (mut new_user, mut new_work) = user(&mut new, &line, port).await;
        check_exchange(&mut new_user, &mut new_work).await;
        check_exchange(&mut old_user, &mut old_work).await;

        drop(old_user);
        assert_eq!(timeout(LIMIT, old_work.recv()).await.unwrap().unwrap(), "");
        match &old_line {
            Line::Mux(opener) => opener.close(),
            Line::Quic(quic) => quic.close(),
            Line::Single(_) => unreachable!("all have one connection"),
        }
        check_exchange(&mut new_user, &mut new_work).await;
        drop(new);
        line.closed().await;
    }
}

#[tokio::test]
async fn unless_both_logins_say_so_users_end_with_the_session() {
    let server = RunningServer::start(config(true)).await;
    for (before, after) in [(CAN_BE_MIGRATED, COMES_BACK), (&[][..], MIGRATES)] {
        let old_line = Line::new(&server, Transport::Tls, true).await;
        let mut old = log_in(&old_line, "", before).await;
        let port = old.start_proxy(tcp_proxy("p", 0)).await.unwrap();
        let (mut user, mut work) = user(&mut old, &old_line, port).await;
        check_exchange(&mut user, &mut work).await;
        let line = Line::new(&server, Transport::Quic, true).await;
        let new = log_in(&line, &old.run_id, after).await;
        old_line.closed().await;
        let end = timeout(LIMIT, user.read(&mut [0])).await.unwrap();
        assert_eq!(end.unwrap_or(0), 0);
        drop(new);
        line.closed().await;
    }
}

#[tokio::test]
async fn a_stop_ends_connections_that_sessions_have_left() {
    let server = RunningServer::start(config(true)).await;
    let mut lines = Vec::new();
    for (from, to) in [
        (Transport::Tls, Transport::Quic),
        (Transport::Quic, Transport::Tls),
    ] {
        let old_line = Line::new(&server, from, true).await;
        let old = log_in(&old_line, "", CAN_BE_MIGRATED).await;
        let line = Line::new(&server, to, true).await;
        let new = log_in(&line, &old.run_id, MIGRATES).await;
        lines.push((old_line, old, line, new));
    }
    timeout(LIMIT, server.stop()).await.unwrap().unwrap();
    for (old_line, _old, line, _new) in &lines {
        old_line.closed().await;
        line.closed().await;
    }
}
