//! What idle connections hold and what a request costs, counted by the allocator.
//!
//! One test at a time, since every allocation counts. The numbers are those of one runtime thread and say nothing of time.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::{Request, Response};
use mgrok_allocations::Counting;
use mgrok_http::{Body, Connect, Connecting, Handler, Upstream, UpstreamOptions, User, serve};
use mgrok_net::conn::Conn;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

#[global_allocator]
static ALLOCATOR: Counting = Counting::new();

const CONNECTIONS: usize = 100;

/// The most bytes that an idle connection of a user may hold: its task and the socket, on both ends of it.
const USER: isize = 3 * 1024;

/// The same for an idle connection to a backend.
const BACKEND: isize = 4 * 1024;

/// The most allocations for a request without a body and its answer, on connections that are kept. Most are hyper's: its buffers, and
/// the headers of both messages with the case in which their names came.
const REQUEST: usize = 22;

/// Held by the test that counts.
static ALONE: Mutex<()> = Mutex::const_new(());

struct Dial(SocketAddr);

impl Connect for Dial {
    fn connect<'a>(&'a self, _user: &'a User) -> Connecting<'a> {
        Box::pin(async { Ok(TcpStream::connect(self.0).await?.into()) })
    }
}

struct Forward(Upstream);

impl Handler for Forward {
    async fn handle(&self, request: Request<Body>, user: &User) -> Response<Body> {
        self.0.forward(request, user).await.unwrap()
    }
}

/// A backend that answers everything. It reads without a buffer of its own.
async fn backend() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                loop {
                    socket.readable().await.unwrap();
                    let mut buf = [0; 256];
                    match socket.try_read(&mut buf) {
                        Ok(0) => return,
                        Ok(_) => {
                            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
                            socket.write_all(answer).await.unwrap();
                        }
                        Err(_) => {}
                    }
                }
            });
        }
    });
    addr
}

async fn ask(user: &mut TcpStream) {
    let request = b"GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: somebody\r\n\r\n";
    user.write_all(request).await.unwrap();
    // On the stack, since it must not count.
    let mut seen = [0; 512];
    let mut len = 0;
    while !seen[..len].ends_with(b"\r\n\r\nok") {
        let read = user.read(&mut seen[len..]).await.unwrap();
        assert_ne!(read, 0);
        len += read;
    }
}

/// Waits until nothing happens any more, in time that passes at once.
async fn settle(time: Duration) {
    tokio::time::sleep(time).await;
}

#[tokio::test]
async fn a_request_costs_few_allocations() {
    const REQUESTS: usize = 100;

    let _alone = ALONE.lock().await;
    let handler = Arc::new(Forward(Upstream::new(
        Arc::new(Dial(backend().await)),
        UpstreamOptions::default(),
    )));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (user, accepted) = tokio::join!(TcpStream::connect(addr), listener.accept());
    let (socket, peer) = accepted.unwrap();
    tokio::spawn(async move {
        let stop = CancellationToken::new();
        serve(Conn::from(socket), User::new(peer), handler, &stop).await;
    });
    let mut user = user.unwrap();
    for _ in 0..REQUESTS {
        ask(&mut user).await;
    }
    let before = ALLOCATOR.calls();
    for _ in 0..REQUESTS {
        ask(&mut user).await;
    }
    let per_request = (ALLOCATOR.calls() - before) / REQUESTS;
    println!("{per_request} allocations per request");
    assert!(
        per_request <= REQUEST,
        "{per_request} allocations per request"
    );
}

#[tokio::test(start_paused = true)]
async fn idle_connections_hold_no_buffer() {
    let _alone = ALONE.lock().await;
    let handler = Arc::new(Forward(Upstream::new(
        Arc::new(Dial(backend().await)),
        UpstreamOptions::default(),
    )));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let mut served = JoinSet::new();
    let mut users = Vec::with_capacity(CONNECTIONS + 1);
    for _ in 0..=CONNECTIONS {
        let (user, accepted) = tokio::join!(TcpStream::connect(addr), listener.accept());
        users.push(user.unwrap());
        let (socket, peer) = accepted.unwrap();
        let handler = Arc::clone(&handler);
        served.spawn(async move {
            let stop = CancellationToken::new();
            serve(Conn::from(socket), User::new(peer), handler, &stop).await;
        });
        ask(users.last_mut().unwrap()).await;
    }
    // Soon enough that the backend's connection is still the same, and long enough for all to come to rest.
    settle(Duration::from_secs(1)).await;
    let held = ALLOCATOR.bytes();
    // One stays, for what there is but once.
    users.truncate(1);
    while served.len() > 1 {
        served.join_next().await.unwrap().unwrap();
    }
    let per_user = (held - ALLOCATOR.bytes()) / CONNECTIONS.cast_signed();
    println!("{per_user} bytes per idle user connection");
    assert!(per_user < USER, "{per_user} bytes per idle user connection");

    settle(Duration::from_secs(10)).await;
    let held = ALLOCATOR.bytes();
    // The user and the backend's connection are given up.
    settle(Duration::from_secs(70)).await;
    served.join_next().await.unwrap().unwrap();
    let both = held - ALLOCATOR.bytes();
    println!("{both} bytes for the last idle user and an idle backend connection");
    assert!(both > BACKEND / 4, "there was none");
    assert!(
        both < USER + BACKEND,
        "{both} bytes for an idle user and an idle backend connection"
    );
}
