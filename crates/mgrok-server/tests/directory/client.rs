//! A server, and a scripted client of it: frp's version 1 without a multiplexer.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::time::Duration;

use mgrok_config::{ServerConfig, WebServer};
use mgrok_net::conn::Conn;
use mgrok_net::layers;
use mgrok_net::message::MessageConn;
use mgrok_proto::WireVersion;
use mgrok_proto::auth::{self, Secret};
use mgrok_proto::cipher::CipherKey;
use mgrok_proto::message::{
    Login, Message, NewProxy, NewProxyResp, NewVisitorConn, NewWorkConn, UdpPacket,
};
use mgrok_server::{ConnectionInfo, Directory, ProxyInfo, RunId, Server, StopReport};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// Longer than any step of these tests takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// The time in the client's signature, which the server does not compare with its clock.
const NOW: i64 = 1_700_000_000;

/// A server that runs until it is dropped. HTTP users connect to its control port.
pub(crate) struct Lab {
    pub(crate) addr: SocketAddr,
    /// The admin port.
    pub(crate) admin: SocketAddr,
    pub(crate) directory: Directory,
    _stop: oneshot::Sender<()>,
    _running: JoinHandle<StopReport>,
}

/// A logged-in client.
pub(crate) struct Client {
    pub(crate) run_id: RunId,
    proxies: mpsc::Sender<NewProxy>,
    answers: mpsc::Receiver<NewProxyResp>,
    /// Ends when the session does.
    pub(crate) session: JoinHandle<()>,
}

pub(crate) async fn in_time<T>(what: impl Future<Output = T>) -> T {
    timeout(PATIENCE, what).await.expect("in time")
}

/// Waits until `look` returns `Some`.
pub(crate) async fn eventually<T>(mut look: impl FnMut() -> Option<T>) -> T {
    in_time(async {
        loop {
            if let Some(seen) = look() {
                return seen;
            }
            sleep(Duration::from_millis(1)).await;
        }
    })
    .await
}

impl Lab {
    pub(crate) async fn start() -> Self {
        let bind = || TcpListener::bind("127.0.0.1:0").unwrap();
        let (control, admin_port) = (bind(), bind());
        let addr = control.local_addr().unwrap();
        let admin = admin_port.local_addr().unwrap();
        let mut config = ServerConfig {
            bind_addr: "127.0.0.1".to_owned(),
            proxy_bind_addr: "127.0.0.1".to_owned(),
            bind_port: addr.port(),
            ..ServerConfig::default()
        };
        config.transport.tcp_mux = false;
        config.vhost.http_port = Some(addr.port());
        config.web_server = Some(WebServer {
            port: admin.port(),
            ..WebServer::default()
        });
        let sockets = [
            ("bindPort".to_owned(), OwnedFd::from(control)),
            ("webServer.port".to_owned(), admin_port.into()),
        ];
        let server = Server::from_sockets(config, sockets).await.unwrap();
        let directory = server.directory();
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(server.run(async move {
            let _ = stopped.await;
        }));
        Self {
            addr,
            admin,
            directory,
            _stop: stop,
            _running: running,
        }
    }

    pub(crate) async fn login(&self, client_id: &str) -> Client {
        self.try_login(client_id).await.unwrap()
    }

    /// As [`login`](Self::login), or the server's error text.
    pub(crate) async fn try_login(&self, client_id: &str) -> Result<Client, String> {
        let token = Secret::default();
        let login = Login {
            version: "0.70.1".to_owned(),
            client_id: client_id.to_owned(),
            privilege_key: Secret::new(auth::sign(&token, NOW)),
            timestamp: NOW,
            ..Login::default()
        };
        let mut control = self.connect().await;
        control.send(&login.into()).await.unwrap();
        let Some(Message::LoginResp(resp)) = control.recv().await.unwrap() else {
            panic!("no answer to the login");
        };
        if !resp.error.is_empty() {
            return Err(resp.error);
        }
        let conn = layers::encrypt(control.into_conn(), &CipherKey::derive(&token));
        let (proxies, wanted) = mpsc::channel(16);
        let (answer, answers) = mpsc::channel(16);
        let control = MessageConn::new(conn, WireVersion::V1);
        let session = session(self.addr, resp.run_id.clone(), control, wanted, answer);
        Ok(Client {
            run_id: RunId::from(resp.run_id.as_str()),
            proxies,
            answers,
            session: tokio::spawn(session),
        })
    }

    /// A user of the private proxy `name`, whose secret is `sk`.
    pub(crate) async fn visit(&self, client: &Client, name: &str) -> Conn {
        self.try_visit(client, name).await.unwrap()
    }

    /// As [`visit`](Self::visit), or the server's error text.
    pub(crate) async fn try_visit(&self, client: &Client, name: &str) -> Result<Conn, String> {
        let secret = Secret::new("sk");
        let new = NewVisitorConn {
            run_id: client.run_id.as_str().to_owned(),
            proxy_name: name.to_owned(),
            sign_key: Secret::new(auth::sign(&secret, NOW)),
            timestamp: NOW,
            ..NewVisitorConn::default()
        };
        let mut conn = self.connect().await;
        conn.send(&new.into()).await.unwrap();
        let Some(Message::NewVisitorConnResp(resp)) = conn.recv().await.unwrap() else {
            panic!("no answer to the visitor");
        };
        match resp.error.as_str() {
            "" => Ok(conn.into_conn()),
            error => Err(error.to_owned()),
        }
    }

    pub(crate) fn proxy(&self, name: &str) -> ProxyInfo {
        self.directory.proxy(name).unwrap()
    }

    /// The only live connection, once it has sent and received this many bytes.
    pub(crate) async fn moved(&self, sent: u64, received: u64) -> ConnectionInfo {
        eventually(|| {
            let all = self.directory.connections();
            assert!(all.len() <= 1, "{all:?}");
            let only = all.into_iter().next()?;
            (only.sent == sent && only.received == received).then_some(only)
        })
        .await
    }

    /// The proxy, once its last user has left.
    pub(crate) async fn deserted(&self, name: &str) -> ProxyInfo {
        eventually(|| Some(self.proxy(name)).filter(|it| it.connections == 0)).await
    }

    async fn connect(&self) -> MessageConn {
        connect(self.addr).await
    }
}

impl Client {
    /// Publishes a proxy; returns the address for its users.
    pub(crate) async fn publish(&mut self, kind: &str, name: &str) -> SocketAddr {
        let new = NewProxy {
            proxy_name: name.to_owned(),
            proxy_type: kind.to_owned(),
            ..NewProxy::default()
        };
        self.publish_as(new).await
    }

    pub(crate) async fn publish_as(&mut self, new: NewProxy) -> SocketAddr {
        self.proxies.send(new).await.unwrap();
        let answer = in_time(self.answers.recv()).await.unwrap();
        assert_eq!(answer.error, "");
        let port = answer.remote_addr.strip_prefix(':');
        let port = port.and_then(|it| it.parse().ok());
        ([127, 0, 0, 1], port.unwrap_or_default()).into()
    }
}

async fn connect(addr: SocketAddr) -> MessageConn {
    let stream = TcpStream::connect(addr).await.unwrap();
    MessageConn::new(stream.into(), WireVersion::V1)
}

/// Publishes the requested proxies, and offers as many work connections as the server requests.
async fn session(
    addr: SocketAddr,
    run_id: String,
    mut control: MessageConn,
    mut wanted: mpsc::Receiver<NewProxy>,
    answers: mpsc::Sender<NewProxyResp>,
) {
    loop {
        tokio::select! {
            Some(new) = wanted.recv() => control.send(&new.into()).await.unwrap(),
            received = control.recv() => match received {
                Ok(Some(Message::ReqWorkConn(_))) => {
                    tokio::spawn(work_conn(addr, run_id.clone()));
                }
                Ok(Some(Message::NewProxyResp(answer))) => answers.send(answer).await.unwrap(),
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => return,
            }
        }
    }
}

async fn work_conn(addr: SocketAddr, run_id: String) {
    let mut conn = connect(addr).await;
    let new = NewWorkConn {
        run_id,
        ..NewWorkConn::default()
    };
    conn.send(&new.into()).await.unwrap();
    let Ok(Some(Message::StartWorkConn(start))) = conn.recv().await else {
        return;
    };
    match start.proxy_name.as_str() {
        "datagrams" => echo_datagrams(conn).await,
        "web" | "other" => web(conn.into_conn(), &start.proxy_name).await,
        _ => echo(conn.into_conn()).await,
    }
}

async fn echo(mut conn: Conn) {
    while let Ok(bytes) = conn.recv().await {
        if bytes.is_empty() || conn.send(bytes).await.is_err() {
            return;
        }
    }
}

async fn echo_datagrams(mut conn: MessageConn) {
    while let Ok(Some(message)) = conn.recv().await {
        if let Message::UdpPacket(packet @ UdpPacket { .. }) = message {
            conn.send(&packet.into()).await.unwrap();
        }
    }
}

/// A service that echoes bodies and, after an upgrade or CONNECT, bytes. The heads of its answers contain its name.
async fn web(mut conn: Conn, name: &str) {
    let mut seen = Vec::new();
    loop {
        while !seen.ends_with(b"\r\n\r\n") {
            match conn.read_u8().await {
                Ok(byte) => seen.push(byte),
                Err(_) => return,
            }
        }
        let head = String::from_utf8(std::mem::take(&mut seen)).unwrap();
        let lower = head.to_ascii_lowercase();
        if head.starts_with("CONNECT") {
            conn.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
            return echo(conn).await;
        }
        if lower.contains("upgrade: echo") {
            let answer =
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
            conn.write_all(answer).await.unwrap();
            return echo(conn).await;
        }
        let len = lower
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let len: usize = len.map_or(0, |it| it.parse().unwrap());
        let answer = format!("HTTP/1.1 200 OK\r\nX-Name: {name}\r\nContent-Length: {len}\r\n\r\n");
        conn.write_all(answer.as_bytes()).await.unwrap();
        let mut left = len;
        let mut piece = [0; 4096];
        while left > 0 {
            let Ok(read @ 1..) = conn.read(&mut piece).await else {
                return;
            };
            conn.write_all(&piece[..read]).await.unwrap();
            left -= read;
        }
    }
}
