//! A server in this process, and a client that a test scripts.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use mgrok_config::ServerConfig;
use mgrok_net::conn::Conn;
use mgrok_net::layers;
use mgrok_net::message::MessageConn;
use mgrok_proto::WireVersion;
use mgrok_proto::auth::{self, Secret};
use mgrok_proto::cipher::CipherKey;
use mgrok_proto::message::{
    Login, Message, NewProxy, NewProxyResp, NewWorkConn, Pong, StartWorkConn,
};
use mgrok_server::{Reloader, Server, StopReport};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// A wait that exceeds this means failure, even on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

/// Neither TLS nor multiplexing, and an empty token.
pub(crate) fn plain_config() -> ServerConfig {
    let mut config = ServerConfig {
        proxy_bind_addr: "127.0.0.1".into(),
        ..ServerConfig::default()
    };
    config.transport.tcp_mux = false;
    config
}

/// A server that runs until it is dropped or stopped.
pub(crate) struct RunningServer {
    pub(crate) addr: SocketAddr,
    pub(crate) kcp_addr: Option<SocketAddr>,
    pub(crate) quic_addr: Option<SocketAddr>,
    pub(crate) ssh_addr: Option<SocketAddr>,
    pub(crate) reloader: Reloader,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<StopReport>,
}

impl RunningServer {
    pub(crate) async fn start(config: ServerConfig) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::start_on(listener, config).await
    }

    pub(crate) async fn start_on(listener: TcpListener, config: ServerConfig) -> Self {
        let addr = listener.local_addr().unwrap();
        let server = Server::from_listener(config, listener).await.unwrap();
        let (kcp_addr, quic_addr) = (server.kcp_addr(), server.quic_addr());
        let ssh_addr = server.ssh_addr();
        let reloader = server.reloader();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(server.run(async {
            let _ = stopped.await;
        }));
        Self {
            addr,
            kcp_addr,
            quic_addr,
            ssh_addr,
            reloader,
            stop: Some(stop),
            task,
        }
    }

    /// Asks the server to stop; the future resolves when it has stopped.
    pub(crate) fn stop(
        mut self,
    ) -> impl Future<Output = Result<StopReport, tokio::task::JoinError>> {
        self.stop.take().unwrap().send(()).unwrap();
        self.task
    }
}

/// A connection on which nothing was sent yet.
pub(crate) async fn connect(server: &RunningServer) -> MessageConn {
    let stream = TcpStream::connect(server.addr).await.unwrap();
    MessageConn::new(Conn::from(stream), WireVersion::V1)
}

/// Waits until nothing listens on `port`.
pub(crate) async fn until_refused(port: u16) {
    timeout(LIMIT, async {
        while TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
}

/// A login with the empty token. A reconnect is signed later than all logins before.
pub(crate) fn login(run_id: &str) -> Login {
    static LATEST: AtomicI64 = AtomicI64::new(1);
    let timestamp = match run_id {
        "" => 1,
        _ => LATEST.fetch_add(1, Ordering::Relaxed) + 1,
    };
    Login {
        run_id: run_id.into(),
        privilege_key: auth::sign(&Secret::default(), timestamp).into(),
        timestamp,
        ..Login::default()
    }
}

/// A logged-in client.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) run_id: String,
    pub(crate) control: MessageConn,
}

impl Client {
    pub(crate) async fn login(server: &RunningServer, run_id: &str) -> Self {
        Self::try_login(server, run_id).await.unwrap()
    }

    /// Logs in with the empty token, or returns the server's error text.
    pub(crate) async fn try_login(server: &RunningServer, run_id: &str) -> Result<Self, String> {
        Self::try_login_on(connect(server).await, run_id).await
    }

    /// As [`Self::try_login`], on an unused connection or stream.
    pub(crate) async fn try_login_on(control: MessageConn, run_id: &str) -> Result<Self, String> {
        let login = login(run_id);
        Self::try_login_with(control, login).await
    }

    /// As [`Self::try_login_on`], with this login.
    pub(crate) async fn try_login_with(
        mut control: MessageConn,
        login: Login,
    ) -> Result<Self, String> {
        control.send(&login.into()).await.unwrap();
        let answer = timeout(LIMIT, control.recv()).await.unwrap().unwrap();
        let Some(Message::LoginResp(answer)) = answer else {
            panic!("expected the answer to a login, not {answer:?}");
        };
        if !answer.error.is_empty() {
            return Err(answer.error);
        }
        let key = CipherKey::derive(&Secret::default());
        let control = layers::encrypt(control.into_conn(), &key);
        Ok(Self {
            run_id: answer.run_id,
            control: MessageConn::new(control, WireVersion::V1),
        })
    }

    /// The public port of the started proxy, or the server's error text.
    pub(crate) async fn start_proxy(&mut self, new: NewProxy) -> Result<u16, String> {
        self.control.send(&new.into()).await.unwrap();
        let answer = self.started().await;
        if !answer.error.is_empty() {
            return Err(answer.error);
        }
        let port = answer.remote_addr.strip_prefix(':').unwrap();
        Ok(port.parse().unwrap())
    }

    /// Waits for the answer to a new proxy.
    pub(crate) async fn started(&mut self) -> NewProxyResp {
        loop {
            if let Message::NewProxyResp(answer) = self.recv().await {
                return answer;
            }
        }
    }

    /// Offers a work connection and waits until a user gets it.
    pub(crate) async fn work_conn(&mut self, server: &RunningServer) -> (StartWorkConn, Conn) {
        self.work_conn_on(connect(server).await).await
    }

    /// As [`Self::work_conn`], on an unused connection or stream.
    pub(crate) async fn work_conn_on(&mut self, mut work: MessageConn) -> (StartWorkConn, Conn) {
        while !matches!(self.recv().await, Message::ReqWorkConn(_)) {}
        let new = NewWorkConn {
            run_id: self.run_id.clone(),
            ..NewWorkConn::default()
        };
        work.send(&new.into()).await.unwrap();
        let start = timeout(LIMIT, work.recv()).await.unwrap().unwrap();
        let Some(Message::StartWorkConn(start)) = start else {
            panic!("expected the start of a work connection, not {start:?}");
        };
        (start, work.into_conn())
    }

    /// Offers a work connection, and reads from it the attempt id of a visitor that punches a hole.
    pub(crate) async fn hole_sid(&mut self, mut work: MessageConn) -> String {
        while !matches!(self.recv().await, Message::ReqWorkConn(_)) {}
        let new = NewWorkConn {
            run_id: self.run_id.clone(),
            ..NewWorkConn::default()
        };
        work.send(&new.into()).await.unwrap();
        loop {
            match work.recv().await.unwrap() {
                Some(Message::NatHoleSid(news)) => return news.sid,
                Some(Message::StartWorkConn(_)) => {}
                other => panic!("expected news of a visitor, not {other:?}"),
            }
        }
    }

    pub(crate) async fn pong(&mut self) -> Pong {
        loop {
            if let Message::Pong(pong) = self.recv().await {
                return pong;
            }
        }
    }

    /// Reads until the server closes the control connection.
    pub(crate) async fn until_closed(&mut self) {
        while let Ok(Some(_)) = self.control.recv().await {}
    }

    pub(crate) async fn recv(&mut self) -> Message {
        timeout(LIMIT, self.control.recv())
            .await
            .expect("the server says nothing")
            .unwrap()
            .expect("the server closed the control connection")
    }
}
