//! Stopping either side.

use std::time::{Duration, Instant};

use mgrok_lab::{Client, Ended, Peer, Proxy, Server, service, traffic};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// A service that answers a byte after a while with `LATE` bytes.
async fn late() -> service::Service {
    service::tcp(async |mut stream: TcpStream| {
        if stream.read_u8().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(1_500)).await;
            let _ = traffic::send(&mut stream, 1, LATE).await;
        }
    })
    .await
}

const LATE: u64 = 1_000_000;

struct Pair {
    server: Server,
    client: Client,
    user: TcpStream,
    _service: service::Service,
}

/// Both sides as programs, and a user who waits for the answer.
async fn in_use() -> Pair {
    let service = late().await;
    let proxies = [Proxy::tcp("tcp", service.addr())];
    let server = Server::start(Peer::MgrokProgram, "").await;
    let client = Client::start(Peer::MgrokProgram, server.addr(), "", &proxies).await;
    let mut user = TcpStream::connect(proxies[0].public()).await.unwrap();
    user.write_all(b"?").await.unwrap();
    // The question is known to have arrived when nothing is left to send: the service needs no
    // longer than its own pause.
    tokio::time::sleep(Duration::from_millis(300)).await;
    Pair {
        server,
        client,
        user,
        _service: service,
    }
}

#[tokio::test]
async fn a_server_that_is_stopped_lets_users_finish() {
    let mut pair = in_use().await;
    let answer = traffic::receive(&mut pair.user, 1, LATE);
    let (ended, answer) = tokio::join!(pair.server.stop(), answer);
    answer.unwrap();
    assert_eq!(ended, Ended::Well);
    drop(pair.client);
}

#[tokio::test]
async fn a_client_that_is_stopped_lets_users_finish() {
    let mut pair = in_use().await;
    let answer = traffic::receive(&mut pair.user, 1, LATE);
    let (ended, answer) = tokio::join!(pair.client.stop(), answer);
    answer.unwrap();
    assert_eq!(ended, Ended::Well);
}

#[tokio::test]
async fn nobody_waits_for_what_is_idle() {
    let echo = service::tcp_echo().await;
    for peer in [Peer::Mgrok, Peer::MgrokProgram] {
        let proxies = [Proxy::tcp("tcp", echo.addr())];
        let server = Server::start(peer, "").await;
        let client = Client::start(peer, server.addr(), "", &proxies).await;
        traffic::tcp_echo(proxies[0].public(), 1_000).await;
        let start = Instant::now();
        assert_eq!(client.stop().await, Ended::Well);
        assert_eq!(server.stop().await, Ended::Well);
        let elapsed = start.elapsed();
        assert!(elapsed < Duration::from_secs(3), "{peer:?}: {elapsed:?}");
    }
}

#[tokio::test]
async fn a_user_who_never_finishes_is_cut_when_the_grace_period_is_over() {
    let silent = service::silent().await;
    let proxies = [Proxy::tcp("tcp", silent.addr())];
    let server = Server::start(Peer::MgrokProgram, "gracePeriod = 1").await;
    let _client = Client::start(Peer::Mgrok, server.addr(), "", &proxies).await;
    let mut user = TcpStream::connect(proxies[0].public()).await.unwrap();
    user.write_all(b"?").await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let start = Instant::now();
    server.stop().await;
    let elapsed = start.elapsed();
    assert!(elapsed < Duration::from_secs(4), "{elapsed:?}");
    let end = tokio::time::timeout(Duration::from_secs(3), user.read(&mut [0])).await;
    assert!(matches!(end, Ok(Ok(0) | Err(_))), "{end:?}");
}

#[tokio::test]
async fn a_stopped_server_is_waited_for() {
    let echo = service::tcp_echo().await;
    let proxies = [Proxy::tcp("tcp", echo.addr())];
    let server = Server::start(Peer::Mgrok, "").await;
    let addr = server.addr();
    let client = Client::start(Peer::Mgrok, addr, "", &proxies).await;
    let mark = client.log().mark();
    server.stop().await;
    client
        .log()
        .wait_after(mark, "try to connect to server...")
        .await;
    let _server = Server::start_at(Peer::Mgrok, addr, "").await;
    client.ready(mark).await;
    traffic::tcp_echo(proxies[0].public(), 1_000).await;
}
