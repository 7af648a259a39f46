//! The server that a test plays, the client under test, and a local service.

use std::net::SocketAddr;
use std::time::Duration;

use mgrok_client::{
    Client, ClientError, ListenerWatch, ProxyPhase, ProxySet, Reloader, StatusWatch, StopReport,
    VisitorSet,
};
use mgrok_config::{
    Auth, ClientConfig, ClientTransport, ProxyConfig, ProxyKind, ServerAddr, VisitorConfig,
    VisitorKind, WireProtocol,
};
use mgrok_net::conn::Conn;
use mgrok_net::layers;
use mgrok_net::message::MessageConn;
use mgrok_proto::WireVersion;
use mgrok_proto::auth::Secret;
use mgrok_proto::cipher::CipherKey;
use mgrok_proto::message::{
    Login, LoginResp, Message, NewProxy, NewProxyResp, NewVisitorConn, NewVisitorConnResp,
    NewWorkConn, ReqWorkConn, StartWorkConn,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub(crate) const RUN_ID: &str = "0123456789abcdef";

/// Waits for an event that must happen, with a limit.
pub(crate) async fn within<T>(what: impl Future<Output = T>) -> T {
    let limit = Duration::from_secs(20);
    tokio::time::timeout(limit, what)
        .await
        .expect("it happens in time")
}

/// A client's configuration for the server at this address, with its token.
pub(crate) fn server_addr(addr: SocketAddr) -> ClientConfig {
    ClientConfig {
        servers: vec![ServerAddr::new(addr.ip().to_string(), addr.port())],
        auth: Auth {
            token: Secret::new("secret"),
            ..Auth::default()
        },
        ..ClientConfig::default()
    }
}

pub(crate) struct Server {
    listener: TcpListener,
}

impl Server {
    pub(crate) async fn bind() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { listener }
    }

    /// A client's configuration for this server: v1, no multiplexing, no TLS.
    pub(crate) fn config(&self) -> ClientConfig {
        ClientConfig {
            transport: ClientTransport {
                tcp_mux: false,
                tls: None,
                wire_protocol: WireProtocol::V1,
                ..ClientTransport::default()
            },
            ..server_addr(self.listener.local_addr().unwrap())
        }
    }

    pub(crate) async fn accept(&self) -> TcpStream {
        within(self.listener.accept()).await.unwrap().0
    }

    /// Accepts the next connection, on which the client logs in. The login is not answered yet.
    pub(crate) async fn login(&self) -> (MessageConn, Login) {
        let mut conn = MessageConn::new(self.accept().await.into(), WireVersion::V1);
        match recv(&mut conn).await {
            Message::Login(login) => (conn, login),
            other => panic!("{} instead of Login", other.name()),
        }
    }

    /// Accepts the client's login.
    pub(crate) async fn control(&self) -> (MessageConn, Login) {
        let (conn, login) = self.login().await;
        (accept_login(conn).await, login)
    }

    /// Accepts the client's login and its one proxy.
    pub(crate) async fn control_with_proxy(&self) -> MessageConn {
        let (mut control, _) = self.control().await;
        let announced = new_proxy(&mut control).await;
        accept_proxy(&mut control, &announced.proxy_name).await;
        control
    }

    /// Makes the client offer a work connection.
    pub(crate) async fn work_conn(&self, control: &mut MessageConn) -> (MessageConn, NewWorkConn) {
        control.send(&ReqWorkConn::default().into()).await.unwrap();
        work_conn(self.accept().await.into()).await
    }

    /// Accepts the next connection, on which a visitor asks for a service. The request is not answered yet.
    pub(crate) async fn visit(&self) -> (MessageConn, NewVisitorConn) {
        let mut conn = MessageConn::new(self.accept().await.into(), WireVersion::V1);
        match recv(&mut conn).await {
            Message::NewVisitorConn(visit) => (conn, visit),
            other => panic!("{} instead of NewVisitorConn", other.name()),
        }
    }

    /// Accepts a visitor.
    pub(crate) async fn accept_visit(&self) -> Conn {
        let (conn, visit) = self.visit().await;
        answer_visit(conn, visit, "").await
    }

    /// Makes the client serve a user of `proxy`.
    pub(crate) async fn user(&self, control: &mut MessageConn, proxy: &str) -> Conn {
        let (mut work, _) = self.work_conn(control).await;
        start(&mut work, proxy).await;
        work.into_conn()
    }
}

/// Answers a login, and switches to the cipher.
pub(crate) async fn accept_login(conn: MessageConn) -> MessageConn {
    accept_login_with(conn, "secret").await
}

/// As [`accept_login`], of a client that knows another token.
pub(crate) async fn accept_login_with(mut conn: MessageConn, token: &str) -> MessageConn {
    let answer = LoginResp {
        run_id: RUN_ID.to_owned(),
        ..LoginResp::default()
    };
    conn.send(&answer.into()).await.unwrap();
    let key = CipherKey::derive(&Secret::new(token));
    let conn = layers::encrypt(conn.into_conn(), &key);
    MessageConn::new(conn, WireVersion::V1)
}

/// Answers a visitor; the bytes that follow are its users'.
pub(crate) async fn answer_visit(
    mut conn: MessageConn,
    visit: NewVisitorConn,
    error: &str,
) -> Conn {
    let answer = NewVisitorConnResp {
        proxy_name: visit.proxy_name,
        error: error.to_owned(),
    };
    conn.send(&answer.into()).await.unwrap();
    conn.into_conn()
}

/// A stream on which the client offers a work connection.
pub(crate) async fn work_conn(stream: Conn) -> (MessageConn, NewWorkConn) {
    let mut conn = MessageConn::new(stream, WireVersion::V1);
    match recv(&mut conn).await {
        Message::NewWorkConn(offer) => (conn, offer),
        other => panic!("{} instead of NewWorkConn", other.name()),
    }
}

/// The next message, which must come.
pub(crate) async fn recv(conn: &mut MessageConn) -> Message {
    within(conn.recv()).await.unwrap().expect("a message")
}

pub(crate) async fn new_proxy(control: &mut MessageConn) -> NewProxy {
    match recv(control).await {
        Message::NewProxy(announced) => *announced,
        other => panic!("{} instead of NewProxy", other.name()),
    }
}

pub(crate) async fn accept_proxy(control: &mut MessageConn, name: &str) {
    answer_proxy(control, name, ":6000", "").await;
}

pub(crate) async fn answer_proxy(control: &mut MessageConn, name: &str, addr: &str, error: &str) {
    let answer = NewProxyResp {
        proxy_name: name.to_owned(),
        remote_addr: addr.to_owned(),
        error: error.to_owned(),
    };
    control.send(&answer.into()).await.unwrap();
}

pub(crate) async fn start(work: &mut MessageConn, proxy: &str) {
    let start = StartWorkConn {
        proxy_name: proxy.to_owned(),
        ..StartWorkConn::default()
    };
    work.send(&start.into()).await.unwrap();
}

/// Sends `text` and expects it back.
pub(crate) async fn echo(user: &mut Conn, text: &str) {
    let (mut read, mut write) = tokio::io::split(user);
    let mut got = vec![0; text.len()];
    let send = async {
        write.write_all(text.as_bytes()).await?;
        write.flush().await
    };
    // Both at once, because the echo must be read for more bytes to fit.
    within(async { tokio::try_join!(send, read.read_exact(&mut got)) })
        .await
        .unwrap();
    assert_eq!(got, text.as_bytes());
}

/// Expects that no more bytes arrive, whether by a FIN or by an error.
pub(crate) async fn ended(conn: &mut Conn) {
    let mut rest = Vec::new();
    let _ = within(conn.read_to_end(&mut rest)).await;
    assert_eq!(rest, b"");
}

/// A local service that echoes everything.
pub(crate) async fn echo_service() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
    addr
}

pub(crate) fn tcp_proxy(name: &str, local: SocketAddr) -> ProxyConfig {
    ProxyConfig::new(name, ProxyKind::Tcp { remote_port: 6000 }, local.port())
}

pub(crate) fn visitor(name: &str, kind: VisitorKind) -> VisitorConfig {
    VisitorConfig {
        name: name.to_owned(),
        kind,
        server_user: None,
        server_name: "db".to_owned(),
        secret_key: Secret::new("key"),
        bind_addr: "127.0.0.1".to_owned(),
        bind_port: Some(0),
        plugin: None,
        use_encryption: false,
        use_compression: false,
    }
}

pub(crate) fn stcp_visitor(name: &str) -> VisitorConfig {
    visitor(name, VisitorKind::Stcp)
}

/// Plays a service behind the server that echoes everything.
pub(crate) fn serve_echo(mut visit: Conn) {
    tokio::spawn(async move {
        while let Ok(chunk) = visit.recv().await
            && !chunk.is_empty()
        {
            visit.send(chunk).await.unwrap();
        }
    });
}

/// A client that runs until it is stopped or dropped.
pub(crate) struct Running {
    pub(crate) status: StatusWatch,
    pub(crate) proxies: ProxySet,
    pub(crate) listeners: ListenerWatch,
    pub(crate) visitors: VisitorSet,
    pub(crate) reloader: Reloader,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<Result<StopReport, ClientError>>,
}

impl Running {
    pub(crate) fn start(config: ClientConfig) -> Self {
        let client = Client::new(config).unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        Self {
            status: client.status(),
            proxies: client.proxy_set(),
            listeners: client.listeners(),
            visitors: client.visitor_set(),
            reloader: client.reloader(),
            stop,
            ended: tokio::spawn(client.run(async move {
                if stopped.await.is_err() {
                    std::future::pending().await
                }
            })),
        }
    }

    pub(crate) async fn wait_for(&mut self, name: &str, phase: ProxyPhase) {
        let reached = self.status.wait_for(name, |it| it.phase == phase);
        within(reached).await.expect("the client goes on");
    }

    /// The address of a visitor's listener, once it is open.
    pub(crate) async fn listener(&mut self, name: &str) -> SocketAddr {
        within(self.listeners.wait_for(name))
            .await
            .expect("the client goes on")
    }

    /// A new user at the listener of a visitor.
    pub(crate) async fn enter(&mut self, name: &str) -> Conn {
        let listener = self.listener(name).await;
        TcpStream::connect(listener).await.unwrap().into()
    }

    /// Asks the client to stop, and returns its task.
    pub(crate) fn stop(self) -> JoinHandle<Result<StopReport, ClientError>> {
        self.stop.send(()).unwrap();
        self.ended
    }

    /// Waits for a client that ends on its own.
    pub(crate) async fn ended(self) -> Result<StopReport, ClientError> {
        let ended = within(self.ended).await.unwrap();
        drop(self.stop);
        ended
    }
}
