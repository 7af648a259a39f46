//! What a request costs the proxy, in processor time: `cargo bench -p mgrok-http --bench throughput -- [USERS [SECONDS]]`.
//!
//! The proxy has one thread of its own; users and backend, which are as cheap as can be, have others.
//! Processor time is counted, not requests per second, so that what else runs here matters little.

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a program for developers"
)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper::{Request, Response, StatusCode};
use mgrok_http::{
    Body, Connect, Connecting, Forwarded, Handler, RequestTarget, Rules, Upstream, UpstreamOptions,
    User, serve,
};
use mgrok_net::conn::Conn;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// What a browser asks for a small file.
const REQUEST: &[u8] = b"GET /index.html?v=1 HTTP/1.1\r\nHost: example.test\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
    Accept-Language: en-US,en;q=0.5\r\nAccept-Encoding: gzip, deflate\r\n\
    Connection: keep-alive\r\nCookie: session=0123456789abcdef0123456789abcdef\r\n\r\n";

const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Tue, 24 Nov 2026 06:39:45 GMT\r\n\
    Content-Type: text/html\r\nContent-Length: 12\r\nEtag: \"5f\"\r\n\
    Connection: keep-alive\r\n\r\nhello world\n";

struct Dial {
    backend: SocketAddr,
    dials: AtomicU64,
}

struct Forward(Upstream);

impl Connect for Dial {
    fn connect<'a>(&'a self, _user: &'a User) -> Connecting<'a> {
        Box::pin(async {
            self.dials.fetch_add(1, Ordering::Relaxed);
            let socket = TcpStream::connect(self.backend).await?;
            socket.set_nodelay(true)?;
            Ok(Conn::from(socket))
        })
    }
}

impl Handler for Forward {
    async fn handle(&self, request: Request<Body>, user: &User) -> Response<Body> {
        let status = if RequestTarget::of(&request).host == "example.test" {
            match self.0.forward(request, user).await {
                Ok(response) => return response,
                Err(_error) => StatusCode::BAD_GATEWAY,
            }
        } else {
            StatusCode::NOT_FOUND
        };
        let mut response = Response::new(Body::empty());
        *response.status_mut() = status;
        response
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|it| it != "--bench");
    let mut number = |default| arguments.next().map_or(default, |it| it.parse().unwrap());
    let (users, seconds) = (number(32), number(5));
    let others = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let backend = others.block_on(bind());
    let dial = Arc::new(Dial {
        backend: backend.local_addr().unwrap(),
        dials: AtomicU64::new(0),
    });
    others.spawn(run_backend(backend));
    let listener = others.block_on(bind());
    let addr = listener.local_addr().unwrap();
    let (schedstat, dialled) = start_proxy(listener.into_std().unwrap(), dial);

    let answered = Arc::new(AtomicU64::new(0));
    for _ in 0..users {
        others.spawn(run_user(addr, Arc::clone(&answered)));
    }
    let look = || (answered.load(Ordering::Relaxed), busy(&schedstat));
    std::thread::sleep(Duration::from_secs(1));
    let before = look();
    std::thread::sleep(Duration::from_secs(seconds));
    let after = look();
    let requests = after.0 - before.0;
    println!(
        "{} requests/s, {} ns of the proxy each, {} connections",
        requests / seconds,
        (after.1 - before.1) / requests.max(1),
        dialled.dials.load(Ordering::Relaxed),
    );
}

async fn bind() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

/// Runs the proxy on a thread; returns where Linux says how long that thread was busy.
fn start_proxy(listener: std::net::TcpListener, dial: Arc<Dial>) -> (String, Arc<Dial>) {
    let (tell, told) = std::sync::mpsc::channel();
    let dialled = Arc::clone(&dial);
    std::thread::spawn(move || {
        let link = std::fs::read_link("/proc/thread-self").unwrap();
        tell.send(format!("/proc/{}/schedstat", link.display()))
            .unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(run_proxy(listener, dial));
    });
    (told.recv().unwrap(), dialled)
}

async fn run_proxy(listener: std::net::TcpListener, dial: Arc<Dial>) {
    let listener = TcpListener::from_std(listener).unwrap();
    let options = UpstreamOptions {
        response_timeout: Some(Duration::from_secs(60)),
        rules: Rules {
            forwarded: Forwarded::Append { proto: "http" },
            ..Rules::default()
        },
        ..UpstreamOptions::default()
    };
    let handler = Arc::new(Forward(Upstream::new(dial, options)));
    let stop = CancellationToken::new();
    loop {
        let (socket, peer) = listener.accept().await.unwrap();
        socket.set_nodelay(true).unwrap();
        let (handler, stop) = (Arc::clone(&handler), stop.clone());
        tokio::spawn(async move {
            serve(Conn::from(socket), User::new(peer), handler, &stop).await;
        });
    }
}

async fn run_backend(listener: TcpListener) {
    loop {
        let (mut socket, _) = listener.accept().await.unwrap();
        socket.set_nodelay(true).unwrap();
        tokio::spawn(async move {
            let mut buf = vec![0; 64 * 1024];
            while matches!(socket.read(&mut buf).await, Ok(1..)) {
                socket.write_all(ANSWER).await.unwrap();
            }
        });
    }
}

async fn run_user(proxy: SocketAddr, answered: Arc<AtomicU64>) {
    let mut socket = TcpStream::connect(proxy).await.unwrap();
    socket.set_nodelay(true).unwrap();
    let mut buf = vec![0; 64 * 1024];
    loop {
        socket.write_all(REQUEST).await.unwrap();
        let mut len = 0;
        while !buf[..len].ends_with(b"hello world\n") {
            len += socket.read(&mut buf[len..]).await.unwrap();
        }
        answered.fetch_add(1, Ordering::Relaxed);
    }
}

/// Nanoseconds for which a thread has been busy.
fn busy(schedstat: &str) -> u64 {
    let text = std::fs::read_to_string(schedstat).unwrap();
    text.split(' ').next().unwrap().parse().unwrap()
}
