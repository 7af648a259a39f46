//! Tests what clients can do without a login, and what that costs others.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use mgrok_config::ServerConfig;
use mgrok_mux::{Opener, SessionError};
use mgrok_net::conn::Conn;
use mgrok_net::message::MessageConn;
use mgrok_net::quic::{Endpoint, QuicClient, QuicOptions};
use mgrok_net::tls::ClientTlsOptions;
use mgrok_proto::WireVersion;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpSocket, TcpStream, UdpSocket as AsyncUdpSocket};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, timeout};

use crate::line::{self, Line};
use crate::script::{Client, LIMIT, RunningServer, plain_config};

/// More than one source may have.
const SILENT: usize = 1_100;

/// About three times the handshakes that one source may have.
const DEAF: usize = 1_500;

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
async fn a_client_without_login_that_floods_streams_is_disconnected() {
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
    // Clients of the same source wait until some of the silent connections time out, and then get in.
    login_from("127.0.0.2", &server).await;
    let waited = started.elapsed();
    assert!(waited < LIMIT, "{waited:?}");
    // One of the silent connections has made room for them.
    let mut reading = JoinSet::new();
    for mut conn in silent {
        reading.spawn(async move { conn.read(&mut [0]).await });
    }
    let closed = timeout(Duration::from_secs(5), reading.join_next()).await;
    assert!(matches!(closed, Ok(Some(Ok(Ok(0) | Err(_))))));
}

/// Dials the server from 127.0.0.2 with an address that can be validated, then ignores all packets until it is dropped.
async fn dial_and_go_deaf(endpoint: &Endpoint, client: &QuicClient, server: SocketAddr) {
    let near = AsyncUdpSocket::bind("127.0.0.1:0").await.unwrap();
    let far = AsyncUdpSocket::bind("127.0.0.2:0").await.unwrap();
    far.connect(server).await.unwrap();
    let carry = async {
        let (mut there, mut back) = ([0; 2_000], [0; 2_000]);
        let mut dialler = None;
        loop {
            tokio::select! {
                received = near.recv_from(&mut there) => {
                    let (length, from) = received.unwrap();
                    dialler = Some(from);
                    let _ = far.send(&there[..length]).await;
                }
                // Only a request to validate the address is this short.
                Ok(length) = far.recv(&mut back) => if let Some(dialler) = dialler && length < 500 {
                    near.send_to(&back[..length], dialler).await.unwrap();
                }
            }
        }
    };
    tokio::select! {
        _ = endpoint.connect(near.local_addr().unwrap(), client) => {}
        () = carry => {}
    }
}

#[cfg(target_os = "linux")] // where all of 127.0.0.0/8 is local
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handshakes_of_one_address_that_never_end_leave_places_for_others() {
    let config = ServerConfig {
        bind_addr: "127.0.0.1".into(),
        quic_bind_port: Some(0),
        ..ServerConfig::default()
    };
    let server = RunningServer::start(config).await;
    let quic_addr = server.quic_addr.unwrap();
    let tls = ClientTlsOptions {
        server_name: "127.0.0.1".into(),
        ..ClientTlsOptions::default()
    };
    let client = QuicClient::new(tls, QuicOptions::default()).unwrap();
    let endpoint = Endpoint::client(UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap();
    let mut attack = JoinSet::new();
    for count in 0..DEAF {
        let (endpoint, client) = (endpoint.clone(), client.clone());
        attack.spawn(async move { dial_and_go_deaf(&endpoint, &client, quic_addr).await });
        if count % 25 == 0 {
            // No more at once than the sockets' queues hold.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    let log_in = async || {
        let started = Instant::now();
        let quic = line::quic(&server, ClientTlsOptions::default()).await;
        Line::Quic(quic.unwrap()).login("").await;
        started.elapsed()
    };
    // Whoever comes now waits until the first packets of all those were worked off, which takes a busy machine seconds.
    log_in().await;
    // Long before their handshakes time out.
    let waited = log_in().await;
    assert!(waited < Duration::from_secs(5), "{waited:?}");
}
