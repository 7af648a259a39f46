//! What those may do who are not logged in, and what it costs others.

use std::net::SocketAddr;
use std::time::Duration;

use mgrok_config::ServerConfig;
use mgrok_mux::{Opener, SessionError};
use mgrok_net::{conn::Conn, message::MessageConn};
use mgrok_proto::WireVersion;
use tokio::{
    io::AsyncReadExt,
    net::{TcpSocket, TcpStream},
    task::JoinHandle,
    time::{Instant, timeout},
};

use crate::script::{Client, LIMIT, RunningServer, plain_config};

/// As many as one source may have, and some.
const SILENT: usize = 1_100;

/// A multiplexed connection, and how it ends.
async fn mux(server: &RunningServer) -> (Opener, JoinHandle<Result<(), SessionError>>) {
    let conn = Conn::from(TcpStream::connect(server.addr).await.unwrap());
    let (opener, _, driver) = mgrok_mux::session(conn, mgrok_mux::Config::client());
    (opener, tokio::spawn(driver))
}

async fn connect_from(source: &str, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket
        .bind(SocketAddr::new(source.parse().unwrap(), 0))
        .unwrap();
    timeout(LIMIT, socket.connect(to)).await.unwrap().unwrap()
}

async fn login_from(source: &str, server: &RunningServer) -> Client {
    let conn = connect_from(source, server.addr).await.into();
    let control = MessageConn::new(conn, WireVersion::V1);
    Client::try_login_on(control, "").await.unwrap()
}

#[tokio::test]
async fn a_stranger_who_opens_and_resets_streams_without_end_is_sent_away() {
    let server = RunningServer::start(ServerConfig::default()).await;
    let (opener, ended) = mux(&server).await;
    let opened = async {
        for count in 0.. {
            match opener.open().await {
                Ok(stream) => drop(stream),
                Err(_) => return count,
            }
            tokio::task::yield_now().await;
        }
        unreachable!("streams without end")
    };
    timeout(LIMIT, opened).await.expect("nobody minds");
    timeout(LIMIT, ended).await.unwrap().unwrap().unwrap_err();
}

#[tokio::test]
async fn a_client_that_is_logged_in_may_open_thousands_of_streams_at_once() {
    let server = RunningServer::start(ServerConfig::default()).await;
    let (opener, _ended) = mux(&server).await;
    let control: Conn = opener.open().await.unwrap().into();
    let control = MessageConn::new(control, WireVersion::V1);
    let _client = Client::try_login_on(control, "").await.unwrap();
    let mut streams = Vec::new();
    for _ in 0..2_000 {
        streams.push(timeout(LIMIT, opener.open()).await.unwrap().unwrap());
    }
    assert!(!opener.is_closed());
}

#[cfg(target_os = "linux")] // where all of 127.0.0.0/8 is local
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_connections_of_one_source_keep_no_other_source_waiting() {
    let server = RunningServer::start(plain_config()).await;
    let started = Instant::now();
    let mut silent = Vec::new();
    for _ in 0..SILENT {
        silent.push(connect_from("127.0.0.2", server.addr).await);
    }
    login_from("127.0.0.3", &server).await;
    // Its own clients wait until some of the silent ones have had their time, and then get in.
    login_from("127.0.0.2", &server).await;
    let waited = started.elapsed();
    assert!(waited < LIMIT, "{waited:?}");
    // The first of them was closed before its time would have been up, had nobody waited.
    let mut answer = [0];
    let closed = timeout(Duration::from_secs(5), silent[0].read(&mut answer));
    assert!(matches!(closed.await, Ok(Ok(0) | Err(_))));
}
