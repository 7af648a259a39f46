//! A proxy in this process, users and backends that speak raw bytes.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hyper::{Request, Response, StatusCode};
use mgrok_http::{
    Body, Connect, Connecting, ForwardError, Forwarded, Handler, Rules, Upstream, UpstreamOptions,
    User, serve,
};
use mgrok_net::conn::Conn;
use mgrok_net::layers::Layers;
use mgrok_net::relay::{HalfClose, Traffic, relay};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// No test waits longer for one thing; longer than what the proxy itself waits for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// A proxy in front of one backend.
pub(crate) struct Proxy {
    pub(crate) addr: SocketAddr,
    pub(crate) stop: CancellationToken,
    dials: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

struct Dial {
    backend: SocketAddr,
    dials: Arc<AtomicUsize>,
    /// What lies on the connection to the backend.
    layers: Layers,
}

struct Forward(Upstream);

impl Connect for Dial {
    fn connect<'a>(&'a self, _user: &'a User) -> Connecting<'a> {
        Box::pin(async {
            self.dials.fetch_add(1, Ordering::Relaxed);
            let socket = TcpStream::connect(self.backend).await?;
            socket.set_nodelay(true)?;
            Ok(self.layers.wrap(Conn::from(socket)))
        })
    }
}

impl Handler for Forward {
    async fn handle(&self, request: Request<Body>, user: &User) -> Response<Body> {
        let error = match self.0.forward(request, user).await {
            Ok(response) => return response,
            Err(error) => error,
        };
        let mut response = Response::new(Body::full(error.to_string()));
        *response.status_mut() = match error {
            ForwardError::Backend(_) | ForwardError::Closed(_) | ForwardError::Response(_) => {
                StatusCode::BAD_GATEWAY
            }
            ForwardError::Connect(_) => StatusCode::NOT_FOUND,
            ForwardError::RequestBody(_) => StatusCode::BAD_REQUEST,
            ForwardError::Timeout(_) => StatusCode::GATEWAY_TIMEOUT,
        };
        response
    }
}

impl Proxy {
    /// A proxy as the server's port for HTTP is one.
    pub(crate) async fn start(backend: SocketAddr) -> Self {
        Self::with_rules(
            backend,
            Rules {
                forwarded: Forwarded::Append { proto: "http" },
                ..Rules::default()
            },
        )
        .await
    }

    pub(crate) async fn with_rules(backend: SocketAddr, rules: Rules) -> Self {
        let options = UpstreamOptions {
            rules,
            ..UpstreamOptions::default()
        };
        Self::with_options(backend, options).await
    }

    pub(crate) async fn with_options(backend: SocketAddr, options: UpstreamOptions) -> Self {
        Self::with_layers(backend, options, Layers::default()).await
    }

    pub(crate) async fn with_layers(
        backend: SocketAddr,
        options: UpstreamOptions,
        layers: Layers,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let dials = Arc::new(AtomicUsize::new(0));
        let dial = Dial {
            backend,
            dials: Arc::clone(&dials),
            layers,
        };
        let handler = Arc::new(Forward(Upstream::new(Arc::new(dial), options)));
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let stopped = stop.clone();
        tasks.spawn(async move {
            let mut users = JoinSet::new();
            loop {
                let (socket, peer) = listener.accept().await.unwrap();
                socket.set_nodelay(true).unwrap();
                let (handler, stop) = (Arc::clone(&handler), stopped.clone());
                users.spawn(async move {
                    serve(Conn::from(socket), User::new(peer), handler, &stop).await;
                });
            }
        });
        Self {
            addr,
            stop,
            dials,
            _tasks: tasks,
        }
    }

    /// Connections that the backend was asked for.
    pub(crate) fn dials(&self) -> usize {
        self.dials.load(Ordering::Relaxed)
    }

    pub(crate) async fn user(&self) -> Peer {
        let socket = TcpStream::connect(self.addr).await.unwrap();
        socket.set_nodelay(true).unwrap();
        Peer::new(socket)
    }

    /// Sends bytes and returns everything that comes until the connection is closed.
    pub(crate) async fn exchange(&self, bytes: impl AsRef<[u8]>) -> String {
        let mut user = self.user().await;
        user.send(bytes).await;
        user.read_to_end().await
    }
}

/// A backend that treats every connection alike. Returns where it listens; it lives until the test
/// ends.
pub(crate) async fn backend<F>(serve: impl Fn(Peer) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            socket.set_nodelay(true).unwrap();
            tokio::spawn(serve(Peer::new(socket)));
        }
    });
    addr
}

/// A backend that answers every request with the request itself, as it came.
pub(crate) async fn mirror() -> SocketAddr {
    backend(|mut peer| async move {
        while let Some(request) = peer.try_read_message().await {
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
                request.len()
            );
            peer.send(head + &request).await;
        }
    })
    .await
}

/// What takes `layers` off connections and joins them with `backend`: the client of a tunnel.
pub(crate) async fn unwrapping(layers: Layers, backend: SocketAddr) -> SocketAddr {
    self::backend(move |peer| {
        let layers = layers.clone();
        async move {
            let near = layers.wrap(Conn::from(peer.socket));
            let far = Conn::from(TcpStream::connect(backend).await.unwrap());
            relay(near, far, HalfClose::EndsBoth, &Traffic::default()).await;
        }
    })
    .await
}

/// A backend that answers every request with these bytes, and closes after them if they do not say
/// where they end.
pub(crate) async fn answering(bytes: &'static str) -> SocketAddr {
    backend(move |mut peer| async move {
        while peer.try_read_message().await.is_some() {
            peer.send(bytes).await;
            if bytes.contains("Until-End") {
                break;
            }
        }
    })
    .await
}

/// One end of a connection on which bytes are written and read as they are.
pub(crate) struct Peer {
    socket: TcpStream,
    ahead: Vec<u8>,
}

impl Peer {
    fn new(socket: TcpStream) -> Self {
        Self {
            socket,
            ahead: Vec::new(),
        }
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        // The other end may refuse and close before it has all.
        let _ = self.socket.write_all(bytes.as_ref()).await;
    }

    /// Reads more; `false` at the end of the stream.
    async fn fill(&mut self) -> bool {
        let read = timeout(PATIENCE, self.socket.read_buf(&mut self.ahead));
        matches!(read.await.expect("something arrives in time"), Ok(1..))
    }

    /// Everything up to and including `end`; what there is if the stream ends before.
    pub(crate) async fn read_until(&mut self, end: &str) -> String {
        loop {
            let found = self
                .ahead
                .windows(end.len())
                .position(|it| it == end.as_bytes());
            if let Some(at) = found {
                return self.take(at + end.len());
            }
            if !self.fill().await {
                return self.take(self.ahead.len());
            }
        }
    }

    pub(crate) async fn read_exact(&mut self, len: usize) -> String {
        while self.ahead.len() < len {
            assert!(
                self.fill().await,
                "ended after {} of {len}",
                self.ahead.len()
            );
        }
        self.take(len)
    }

    pub(crate) async fn read_head(&mut self) -> String {
        self.read_until("\r\n\r\n").await
    }

    pub(crate) async fn read_to_end(&mut self) -> String {
        while self.fill().await {}
        self.take(self.ahead.len())
    }

    /// A message with its body as it is on the wire.
    pub(crate) async fn read_message(&mut self) -> String {
        self.try_read_message().await.expect("a message")
    }

    /// The same; `None` if the stream ends instead.
    pub(crate) async fn try_read_message(&mut self) -> Option<String> {
        let head = self.read_head().await;
        if head.is_empty() {
            return None;
        }
        let lower = head.to_ascii_lowercase();
        let body = if lower.contains("transfer-encoding: chunked") {
            self.read_chunks().await
        } else {
            let len = lower.split("content-length: ").nth(1);
            let len = len.map_or(0, |it| it.lines().next().unwrap().parse().unwrap());
            self.read_exact(len).await
        };
        Some(head + &body)
    }

    async fn read_chunks(&mut self) -> String {
        let mut all = String::new();
        loop {
            let line = self.read_until("\r\n").await;
            let len = usize::from_str_radix(line.trim_end(), 16).unwrap();
            all += &line;
            if len == 0 {
                loop {
                    let line = self.read_until("\r\n").await;
                    all += &line;
                    if line == "\r\n" {
                        return all;
                    }
                }
            }
            all += &self.read_exact(len + 2).await;
        }
    }

    pub(crate) fn socket(&mut self) -> &mut TcpStream {
        &mut self.socket
    }

    fn take(&mut self, len: usize) -> String {
        let rest = self.ahead.split_off(len);
        String::from_utf8(std::mem::replace(&mut self.ahead, rest)).unwrap()
    }
}
