//! Stopping either side.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use mgrok_lab::{Client, Ended, Log, PATIENCE, Peer, Proxy, Server, service, traffic, within};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Notify,
};

/// A service that answers a byte with `LATE` bytes, when it is told to.
struct Late {
    service: service::Service,
    /// Somebody has asked.
    asked: Arc<Notify>,
    /// The answer may go.
    answer: Arc<Notify>,
}

impl Late {
    async fn start() -> Self {
        let (asked, answer) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (tell, told) = (asked.clone(), answer.clone());
        let service = service::tcp(move |mut stream: TcpStream| {
            let (tell, told) = (tell.clone(), told.clone());
            async move {
                if stream.read_u8().await.is_ok() {
                    tell.notify_one();
                    told.notified().await;
                    let _ = traffic::send(&mut stream, 1, LATE).await;
                }
            }
        })
        .await;
        Self {
            service,
            asked,
            answer,
        }
    }

    /// A user who has asked, and waits for the answer.
    async fn user(&self, proxy: &Proxy) -> TcpStream {
        let mut user = TcpStream::connect(proxy.public()).await.unwrap();
        user.write_all(b"?").await.unwrap();
        within(PATIENCE, "the question arrives", self.asked.notified()).await;
        user
    }

    /// Answers the user as soon as a program that is stopped says that it stops; returns when the whole answer has arrived.
    async fn answers(&self, user: &mut TcpStream, stopping: Log) {
        stopping.wait_for("stopping, once more ends at once").await;
        self.answer.notify_one();
        let answer = traffic::receive(user, 1, LATE);
        within(PATIENCE, "the answer", answer).await.unwrap();
    }
}

const LATE: u64 = 1_000_000;

#[tokio::test]
async fn a_server_that_is_stopped_lets_users_finish() {
    let late = Late::start().await;
    let proxies = [Proxy::tcp("tcp", late.service.addr())];
    let server = Server::start(Peer::MgrokProgram, "").await;
    let _client = Client::start(Peer::MgrokProgram, server.addr(), "", &proxies).await;
    let mut user = late.user(&proxies[0]).await;
    let log = server.log().clone();
    let (ended, ()) = tokio::join!(server.stop(), late.answers(&mut user, log));
    assert_eq!(ended, Ended::Well);
}

#[tokio::test]
async fn a_client_that_is_stopped_lets_users_finish() {
    let late = Late::start().await;
    let proxies = [Proxy::tcp("tcp", late.service.addr())];
    let server = Server::start(Peer::MgrokProgram, "").await;
    let client = Client::start(Peer::MgrokProgram, server.addr(), "", &proxies).await;
    let mut user = late.user(&proxies[0]).await;
    let log = client.log().clone();
    let (ended, ()) = tokio::join!(client.stop(), late.answers(&mut user, log));
    assert_eq!(ended, Ended::Well);
}

#[tokio::test]
async fn nobody_waits_for_what_is_idle() {
    // Who waited would do so for longer than a test does.
    let settings = "gracePeriod = 600";
    let echo = service::tcp_echo().await;
    for peer in [Peer::Mgrok, Peer::MgrokProgram] {
        let proxies = [Proxy::tcp("tcp", echo.addr())];
        let server = Server::start(peer, settings).await;
        let client = Client::start(peer, server.addr(), settings, &proxies).await;
        traffic::tcp_echo(proxies[0].public(), 1_000).await;
        assert_eq!(client.stop().await, Ended::Well);
        assert_eq!(server.stop().await, Ended::Well);
    }
}

#[tokio::test]
async fn a_user_who_never_finishes_is_cut_when_the_grace_period_is_over() {
    let late = Late::start().await;
    let proxies = [Proxy::tcp("tcp", late.service.addr())];
    let server = Server::start(Peer::MgrokProgram, "gracePeriod = 6").await;
    let _client = Client::start(Peer::Mgrok, server.addr(), "", &proxies).await;
    let mut user = late.user(&proxies[0]).await;
    let start = Instant::now();
    server.stop().await;
    // By default it is less.
    assert!(start.elapsed() >= Duration::from_secs(6));
    let end = within(PATIENCE, "the user is cut", user.read(&mut [0])).await;
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
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
