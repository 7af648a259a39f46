//! One logged-in client: a task that owns everything the client has here.
//!
//! The task reads the control connection, starts and stops the client's proxies
//! and hands out its work connections. Nothing of it is shared, so nothing of it
//! needs a lock; others reach it through two bounded channels.

mod pool;

use std::{
    collections::HashMap,
    future::pending,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use mgrok_net::{
    conn::{ByteStream, Conn},
    message::{MessageConn, RecvError, SendError},
};
use mgrok_proto::{
    WireVersion, auth,
    message::{Message, NewProxy, NewProxyResp, Ping, Pong, ReqWorkConn, StartWorkConn},
};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::{sleep_until, timeout},
};
use tracing::{debug, info, warn};

use self::pool::{Pool, Waiter};
use crate::{
    backend::{REQUEST_QUEUE, WorkRequest},
    heartbeat::Heartbeat,
    proxy::{self, Proxy},
    registry::Claim,
    shared::Shared,
};

/// How long a client may take to accept what we write to its control connection.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a surplus work connection gets to hear that it is not needed.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(5);

/// How many answers that are made elsewhere may wait to be queued. Beyond it their makers wait.
const ANSWER_QUEUE: usize = 64;

/// What a client said of itself when it logged in.
#[derive(Debug)]
pub(crate) struct ClientSpec {
    /// Its user, which may be empty.
    pub(crate) user: String,
    /// How its streams are framed.
    pub(crate) wire: WireVersion,
    /// How many idle work connections it wants kept, already capped.
    pub(crate) pool_count: usize,
}

/// A session that is ready to run.
pub(crate) struct Session {
    shared: Arc<Shared>,
    client: ClientSpec,
    control: MessageConn,
    claim: Claim,
    offers: mpsc::Receiver<Conn>,
    requests: mpsc::Receiver<WorkRequest>,
    request_sender: mpsc::Sender<WorkRequest>,
    /// What others have to say to the client.
    answers: mpsc::Receiver<Message>,
    answer_sender: mpsc::Sender<Message>,
    pool: Pool<Conn, oneshot::Sender<Conn>>,
    proxies: HashMap<String, Proxy>,
    heartbeat: Heartbeat,
}

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
enum EndReason {
    #[error("client closed the control connection")]
    Closed,
    #[error("heartbeat timeout")]
    HeartbeatTimeout,
    #[error("control connection failed")]
    Recv(#[from] RecvError),
    #[error("client does not take what is sent to it")]
    Send(#[from] SendError),
    #[error("stopped")]
    Stopped,
}

impl Session {
    /// A session over `control`, which is already switched to its cipher.
    pub(crate) fn new(
        shared: Arc<Shared>,
        client: ClientSpec,
        control: MessageConn,
        claim: Claim,
        offers: mpsc::Receiver<Conn>,
    ) -> Self {
        let (request_sender, requests) = mpsc::channel(REQUEST_QUEUE);
        let (answer_sender, answers) = mpsc::channel(ANSWER_QUEUE);
        let heartbeat = Heartbeat::new(Instant::now(), shared.config.transport.heartbeat_timeout);
        Self {
            pool: Pool::new(client.pool_count),
            shared,
            client,
            control,
            claim,
            offers,
            requests,
            request_sender,
            answers,
            answer_sender,
            proxies: HashMap::new(),
            heartbeat,
        }
    }

    /// Serves the client until it leaves, is replaced, or the server stops.
    /// When this returns, everything the session held is free.
    pub(crate) async fn run(mut self) {
        match self.serve().await {
            EndReason::Closed | EndReason::Stopped => {}
            EndReason::HeartbeatTimeout => warn!("heartbeat timeout"),
            // A client that is killed or loses its network is a state, not a fault.
            reason @ EndReason::Recv(RecvError::Io(_)) => {
                info!("{}", crate::error::chain(&reason));
            }
            reason @ (EndReason::Recv(_) | EndReason::Send(_)) => {
                warn!("{}", crate::error::chain(&reason));
            }
        }
        let mut stopping: JoinSet<()> = self
            .proxies
            .drain()
            .map(|(_, proxy)| proxy.stop())
            .collect();
        while stopping.join_next().await.is_some() {}
        info!("client exit success");
    }

    async fn serve(&mut self) -> EndReason {
        loop {
            if let Err(error) = self.ask_for_work_conns() {
                return error.into();
            }
            let gone_at = self.heartbeat.gone_at();
            tokio::select! {
                () = self.claim.stop.cancelled() => return EndReason::Stopped,
                () = self.shared.tasks.stop_sessions.cancelled() => return EndReason::Stopped,
                received = self.control.recv() => match received {
                    Ok(Some(message)) => {
                        if let Err(reason) = self.handle(message).await {
                            return reason;
                        }
                    }
                    Ok(None) => return EndReason::Closed,
                    Err(error) => return error.into(),
                },
                Some(conn) = self.offers.recv() => self.take(conn),
                Some(request) = self.requests.recv() => {
                    self.pool.request(request.reply, Instant::now(), is_live);
                }
                Some(answer) = self.answers.recv() => {
                    if let Err(error) = self.control.queue(&answer) {
                        return error.into();
                    }
                }
                () = until(gone_at) => return EndReason::HeartbeatTimeout,
                // The loop asks as it starts over.
                () = until(self.pool.ask_again_at()) => {}
            }
        }
    }

    fn ask_for_work_conns(&mut self) -> Result<(), SendError> {
        for _ in 0..self.pool.ask(Instant::now()) {
            self.control.queue(&Message::ReqWorkConn(ReqWorkConn {}))?;
        }
        Ok(())
    }

    fn take(&mut self, conn: Conn) {
        let Err(conn) = self.pool.offer(conn) else {
            return;
        };
        debug!("work connection pool is full, discarding");
        let text = "work connection pool is full, discarding";
        let error = self.shared.error_text(text, "invalid NewWorkConn");
        let wire = self.client.wire;
        self.shared.tasks.spawn(refuse_work_conn(conn, wire, error));
    }

    async fn handle(&mut self, message: Message) -> Result<(), EndReason> {
        match message {
            Message::NewProxy(new) => self.new_proxy(*new).await,
            Message::CloseProxy(close) => {
                if let Some(proxy) = self.proxies.remove(&close.proxy_name) {
                    proxy.stop().await;
                    info!("close proxy [{}] success", close.proxy_name);
                }
                Ok(())
            }
            Message::Ping(ping) => Ok(self.ping(&ping)?),
            Message::NatHoleVisitor(visitor) => {
                let (user, answers) = (&self.client.user, &self.answer_sender);
                self.shared
                    .holes
                    .visit(visitor, user, answers, &self.shared.tasks);
                Ok(())
            }
            Message::NatHoleClient(client) => {
                self.shared.holes.offer(client, &self.answer_sender);
                Ok(())
            }
            Message::NatHoleReport(report) => {
                self.shared.holes.report(&report);
                Ok(())
            }
            // frp: a known message that this role does not expect is ignored.
            other => {
                debug!("ignored an unexpected {}", other.name());
                Ok(())
            }
        }
    }

    async fn new_proxy(&mut self, new: NewProxy) -> Result<(), EndReason> {
        let name = new.proxy_name.clone();
        let kind = if new.proxy_type.is_empty() {
            "tcp".to_owned()
        } else {
            new.proxy_type.clone()
        };
        let owner = proxy::Owner {
            shared: &self.shared,
            requests: &self.request_sender,
            wire: self.client.wire,
            attempts: self.client.pool_count + 1,
            user: &self.client.user,
            ports_in_use: self.proxies.values().filter(|it| it.has_port()).count(),
        };
        let started = proxy::prepare(new, &owner).await;
        let reply = match &started {
            Ok(prepared) => NewProxyResp {
                proxy_name: name.clone(),
                remote_addr: prepared.remote_addr(),
                ..NewProxyResp::default()
            },
            Err(error) => {
                warn!(
                    "new proxy [{name}] type [{kind}] error: {}",
                    crate::error::chain(error)
                );
                let summary = format!("new proxy [{name}] error");
                NewProxyResp {
                    proxy_name: name.clone(),
                    error: self.shared.error_text(&error.to_string(), &summary),
                    ..NewProxyResp::default()
                }
            }
        };
        self.control.queue(&reply.into())?;
        // The client closes a work connection for a proxy that it does not know
        // to be running, so the reply is on its way before users are let in.
        match timeout(WRITE_TIMEOUT, self.control.flush()).await {
            Ok(flushed) => flushed?,
            Err(_) => return Err(SendError::Full.into()),
        }
        if let Ok(prepared) = started {
            info!("new proxy [{name}] type [{kind}] success");
            self.proxies.insert(name, prepared.run());
        }
        Ok(())
    }

    fn ping(&mut self, ping: &Ping) -> Result<(), SendError> {
        let auth = &self.shared.config.auth;
        let valid = !auth.heartbeats
            || auth::verify(&auth.token, ping.timestamp, ping.privilege_key.expose());
        let pong = if valid {
            self.heartbeat.heard(Instant::now());
            debug!("receive heartbeat");
            Pong::default()
        } else {
            let text = "token in heartbeat doesn't match token from configuration";
            warn!("received invalid ping: {text}");
            Pong {
                error: self.shared.error_text(text, "invalid ping"),
            }
        };
        self.control.queue(&pong.into())
    }
}

impl Waiter<Conn> for oneshot::Sender<Conn> {
    fn hand_over(self, conn: Conn) -> Result<(), Conn> {
        self.send(conn)
    }

    fn waits(&self) -> bool {
        !self.is_closed()
    }
}

/// Tells the client why its work connection is not taken, then closes it.
pub(crate) async fn refuse_work_conn(conn: Conn, wire: WireVersion, error: String) {
    let refusal = StartWorkConn {
        error,
        ..StartWorkConn::default()
    };
    let mut conn = MessageConn::new(conn, wire);
    let sent = timeout(DISCARD_TIMEOUT, conn.send(&refusal.into())).await;
    if !matches!(sent, Ok(Ok(()))) {
        debug!("the client did not hear why its work connection was refused");
    }
}

/// Whether an idle work connection still has somebody at its other end.
fn is_live(conn: &mut Conn) -> bool {
    // Nobody waits for it, so there is nobody to wake.
    match conn.poll_recv(&mut Context::from_waker(Waker::noop())) {
        Poll::Pending => true,
        Poll::Ready(Ok(bytes)) if !bytes.is_empty() => {
            conn.unread(bytes);
            true
        }
        Poll::Ready(_) => false,
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline.into()).await,
        None => pending().await,
    }
}
