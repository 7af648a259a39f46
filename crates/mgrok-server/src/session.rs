//! One logged-in client: a task that owns everything the client has here.
//!
//! The task reads the control connection, starts and stops the client's proxies
//! and hands out its work connections. Nothing of it is shared, so nothing of it
//! needs a lock; others reach it through two bounded channels.

mod hooks;
mod pool;
pub(crate) mod start;

use std::collections::HashMap;
use std::future::pending;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use mgrok_metrics::{Gauge, GaugeShare};
use mgrok_net::conn::{ByteStream, Conn};
use mgrok_net::error_chain::Chain;
use mgrok_net::message::{MessageConn, RecvError, SendError};
use mgrok_proto::hook::Op;
use mgrok_proto::message::{Message, NewProxy, NewProxyResp, Pong, ReqWorkConn, StartWorkConn};
use mgrok_proto::{Negotiated, WireVersion, liveness};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout};
use tracing::{debug, info, warn};

use self::hooks::{HookOutcome, PendingHook, PingError, ProxyRequest};
use self::pool::{Pool, Waiter};
use crate::backend::{REQUEST_QUEUE, ServerStreams, WorkRequest};
use crate::directory::{Directory, SessionRow, StopCause};
use crate::excerpt::Excerpt;
use crate::heartbeat::Heartbeat;
use crate::hole_punch::{self, HolePunchBroker};
use crate::hooks::HookError;
use crate::metrics::{Limit, ProxyStart, SessionOver};
use crate::policy::CurrentPolicy;
use crate::proxy::{self, Cost, Proxy, ProxyError, PublishContext};
use crate::tasks::Tasks;

/// How long a client may take to accept what we write to its control connection.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a surplus work connection gets to hear that it is not needed.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(5);

/// How many fresh work connections may wait for their session to look at them.
pub(crate) const WORK_CONN_QUEUE: usize = 256;

/// How many answers that are made elsewhere may wait to be queued. Beyond it their makers wait.
const ANSWER_QUEUE: usize = 64;

/// What a client said of itself when it logged in.
#[derive(Debug)]
pub(crate) struct ClientSpec {
    /// How it frames messages.
    pub(crate) negotiated: Negotiated,
    /// After how long without a ping it is gone; `None` is never.
    pub(crate) heartbeat_timeout: Option<Duration>,
    /// Opens work connections, where it takes what the server opens.
    pub(crate) streams: Option<ServerStreams>,
    /// How many idle work connections it wants kept, already capped.
    pub(crate) pool_count: usize,
    /// Who it is, for the log.
    pub(crate) who: String,
    /// A message that it has sent already.
    pub(crate) first: Option<Message>,
}

/// What a session takes of the server.
#[derive(Debug)]
pub(crate) struct SessionContext {
    pub(crate) policy: CurrentPolicy,
    pub(crate) directory: Directory,
    pub(crate) tasks: Tasks,
    pub(crate) publish: PublishContext,
    pub(crate) holes: HolePunchBroker,
}

/// A session that is ready to run.
pub(crate) struct Session {
    context: Arc<SessionContext>,
    client: ClientSpec,
    control: MessageConn,
    work_conns: mpsc::Receiver<Conn>,
    requests: mpsc::Receiver<WorkRequest>,
    request_sender: mpsc::Sender<WorkRequest>,
    /// What others have to say to the client.
    answers: mpsc::Receiver<Message>,
    answer_sender: mpsc::Sender<Message>,
    pool: Pool<Conn, oneshot::Sender<Conn>>,
    /// Of the pool, as the whole server's is shown.
    shown: [GaugeShare; 2],
    proxies: HashMap<String, Proxy>,
    /// What its proxies cost together.
    used: Cost,
    /// How many more attempts its visitors may have under way to reach others past the server.
    hole_permits: Arc<Semaphore>,
    /// What came ahead of the session, if anything did.
    first: Option<Message>,
    heartbeat: Heartbeat,
    /// While plugins are asked about a message the next one has to wait, and nothing else.
    hook: PendingHook,
    /// Last, because a newcomer is let in when it is dropped, and must find everything else free.
    row: SessionRow,
}

/// What a session that has ended leaves behind.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Ended {
    /// Nothing.
    Gone,
    /// Users on its connection, which is the client's to close: it has taken the session to another.
    Moved,
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
    #[error("the server stops")]
    Stopped,
}

impl EndReason {
    /// As what it is counted, of a session that was told to end for this `cause`, if it was.
    fn outcome(&self, cause: Option<StopCause>) -> SessionOver {
        match (self, cause) {
            (Self::Closed, _) => SessionOver::Closed,
            (Self::HeartbeatTimeout, _) => SessionOver::Timeout,
            (Self::Recv(RecvError::Io(_)), _) => SessionOver::Lost,
            (Self::Recv(_) | Self::Send(_), _) => SessionOver::Failed,
            (Self::Stopped, None) => SessionOver::Stopped,
            (Self::Stopped, Some(StopCause::Moved)) => SessionOver::Moved,
            (Self::Stopped, Some(StopCause::Operator)) => SessionOver::Command,
            (Self::Stopped, Some(StopCause::Replaced)) => SessionOver::Replaced,
        }
    }
}

impl Session {
    /// A session over `control`, which is already switched to its cipher.
    pub(crate) fn new(
        context: Arc<SessionContext>,
        mut client: ClientSpec,
        control: MessageConn,
        row: SessionRow,
        work_conns: mpsc::Receiver<Conn>,
    ) -> Self {
        let (request_sender, requests) = mpsc::channel(REQUEST_QUEUE);
        let (answer_sender, answers) = mpsc::channel(ANSWER_QUEUE);
        let first = client.first.take();
        let heartbeat = Heartbeat::new(Instant::now(), client.heartbeat_timeout);
        let metrics = context.directory.metrics();
        let shown = [&metrics.idle_work_conns, &metrics.waiting_users].map(Gauge::share);
        Self {
            pool: Pool::new(client.pool_count),
            shown,
            context,
            client,
            control,
            row,
            work_conns,
            requests,
            request_sender,
            answers,
            answer_sender,
            proxies: HashMap::new(),
            used: Cost::default(),
            hole_permits: Arc::new(Semaphore::new(hole_punch::MAX_ATTEMPTS_PER_CLIENT)),
            first,
            heartbeat,
            hook: PendingHook::default(),
        }
    }

    /// Serves the client until it leaves, is replaced, or the server stops.
    /// When this returns, everything the session held is free.
    pub(crate) async fn run(mut self) -> Ended {
        let reason = self.serve().await;
        match &reason {
            // A client that is killed or loses its network is a state, not a fault.
            EndReason::Closed | EndReason::Stopped | EndReason::Recv(RecvError::Io(_)) => {}
            // frp: these words
            EndReason::HeartbeatTimeout => warn!(per_session = true, "heartbeat timeout"),
            EndReason::Recv(_) | EndReason::Send(_) => {
                warn!(per_session = true, "{}", Excerpt(Chain(&reason)));
            }
        }
        let mut stopping: JoinSet<String> = self
            .proxies
            .drain()
            .map(|(name, proxy)| async {
                proxy.stop().await;
                name
            })
            .collect();
        while let Some(stopped) = stopping.join_next().await {
            if let Ok(name) = stopped {
                self.proxy_closed(name);
            }
        }
        let (who, cause) = (&self.client.who, self.row.stop_cause());
        let over = reason.outcome(cause);
        let metrics = self.context.directory.metrics();
        metrics.sessions_over.of(over).inc();
        let moved = cause == Some(StopCause::Moved);
        match &reason {
            EndReason::Stopped if moved => {
                info!(
                    per_session = true,
                    "client exit success: {who} goes on over another connection"
                );
            }
            EndReason::Stopped if cause == Some(StopCause::Replaced) => {
                info!(
                    per_session = true,
                    "client exit success: {who} was replaced by its next login"
                );
            }
            EndReason::Stopped if cause == Some(StopCause::Operator) => {
                info!(
                    per_session = true,
                    "client exit success: {who} was ended by command"
                );
            }
            // frp: the first words, however a client ends (server/control.go#worker)
            EndReason::Closed | EndReason::Stopped => {
                info!(per_session = true, "client exit success: {who}, {reason}");
            }
            // frp: its clients drop the connection when they are stopped, so one that is killed looks the same.
            EndReason::Recv(RecvError::Io(_)) if !self.client.negotiated.can_migrate => {
                let reason = Chain(&reason);
                info!(
                    per_session = true,
                    "client exit success: {who}, gone without a word: {}",
                    Excerpt(reason)
                );
            }
            EndReason::HeartbeatTimeout | EndReason::Recv(_) | EndReason::Send(_) => {
                info!(
                    per_session = true,
                    "client lost: {who}, {}",
                    Excerpt(Chain(&reason))
                );
            }
        }
        if moved { Ended::Moved } else { Ended::Gone }
    }

    async fn serve(&mut self) -> EndReason {
        if let Some(message) = self.first.take()
            && let Err(reason) = self.handle(message).await
        {
            return reason;
        }
        loop {
            if let Err(error) = self.ask_for_work_conns() {
                return error.into();
            }
            let [idle, waiting] = &mut self.shown;
            idle.set(self.pool.idle());
            waiting.set(self.pool.waiting());
            // A client cannot be heard while it has to wait for plugins.
            let is_asking = self.hook.is_asked();
            let gone_at = self.heartbeat.gone_at().filter(|_| !is_asking);
            tokio::select! {
                () = self.row.stop().cancelled() => return EndReason::Stopped,
                () = self.context.tasks.stop_sessions.cancelled() => return EndReason::Stopped,
                answered = self.hook.answered() => {
                    if let Err(reason) = self.on_hook_done(answered).await {
                        return reason;
                    }
                }
                received = receive(&mut self.control, is_asking) => match received {
                    Ok(Some(message)) => {
                        if let Err(reason) = self.handle(message).await {
                            return reason;
                        }
                    }
                    Ok(None) => return EndReason::Closed,
                    Err(reason) => return reason,
                },
                Some(conn) = self.work_conns.recv() => {
                    self.row.heard(false);
                    self.take(conn);
                }
                () = self.row.asked_for_life() => {
                    // Every client answers with a work connection, whatever else it does.
                    self.pool.asked(Instant::now());
                    if let Err(error) = self.queue(&Message::ReqWorkConn(ReqWorkConn {})) {
                        return error.into();
                    }
                }
                Some(request) = self.requests.recv() => {
                    if !self.pool.request(request.reply, Instant::now(), is_live) {
                        let metrics = self.context.directory.metrics();
                        metrics.refusals_of(Limit::UsersOfSession).inc();
                    }
                }
                Some(answer) = self.answers.recv() => {
                    if let Err(error) = self.queue(&answer) {
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
            self.queue(&Message::ReqWorkConn(ReqWorkConn {}))?;
        }
        Ok(())
    }

    /// Queues a message to the client. One that cannot be written on the wire is logged and left out: whatever is wrong
    /// with it, it may be somebody else's doing, and the connection is as good as before.
    fn queue(&mut self, message: &Message) -> Result<(), SendError> {
        match self.control.queue(message) {
            Err(error @ SendError::Encode { .. }) => {
                let error = Excerpt(Chain(&error));
                warn!(per_session = true, "a message is left out: {error}");
                Ok(())
            }
            queued => queued,
        }
    }

    fn take(&mut self, conn: Conn) {
        if self.client.negotiated.liveness {
            conn.watch_closely(liveness::INTERVAL, liveness::TIMEOUT);
        }
        if self.client.streams.is_some() && self.pool.waiting() == 0 {
            // It was a sign of life, or who waited has left.
            return;
        }
        let Err(conn) = self.pool.offer(conn) else {
            return;
        };
        let metrics = self.context.directory.metrics();
        metrics.refusals_of(Limit::IdleWorkConns).inc();
        debug!(
            per_session = true,
            "work connection pool is full, discarding"
        );
        let text = "work connection pool is full, discarding";
        let policy = self.context.policy.now();
        let error = policy.error_text(text, "invalid NewWorkConn");
        let wire = self.client.negotiated.streams;
        self.context
            .tasks
            .spawn(refuse_work_conn(conn, wire, error));
    }

    async fn handle(&mut self, message: Message) -> Result<(), EndReason> {
        // Records of v2 are authenticated, and their keys are fresh.
        self.row
            .heard(self.client.negotiated.streams == WireVersion::V2);
        match message {
            Message::NewProxy(new) => {
                let request = ProxyRequest::of(&new);
                let hooks = self.context.policy.now().hooks.clone();
                if !hooks.is_subscribed(Op::NewProxy) {
                    return self.new_proxy(request, Ok(new)).await;
                }
                let client = self.row.client.clone();
                self.hook.new_proxy(hooks, client, request, new);
                Ok(())
            }
            Message::CloseProxy(close) => {
                if let Some(proxy) = self.proxies.remove(&close.proxy_name) {
                    self.used = self.used.minus(proxy.cost());
                    proxy.stop().await;
                    info!(
                        per_session = true,
                        "close proxy [{}] success", close.proxy_name
                    );
                    self.proxy_closed(close.proxy_name);
                }
                Ok(())
            }
            Message::Ping(ping) => {
                let hooks = self.context.policy.now().hooks.clone();
                let (keys, subject) = (&self.row.keys, &self.row.subject);
                if !hooks.is_subscribed(Op::Ping) && keys.verifier().is_none() {
                    let verified = keys.verify_ping(subject, &ping).await;
                    return Ok(self.ping(verified.map_err(PingError::from))?);
                }
                let client = self.row.client.clone();
                self.hook
                    .ping(hooks, client, keys.clone(), subject.clone(), ping);
                Ok(())
            }
            Message::NatHoleVisitor(visitor) => {
                let request = hole_punch::VisitorRequest {
                    user: &self.row.client.user,
                    from: self.row.about.addr.ip(),
                    permits: &self.hole_permits,
                    answers: &self.answer_sender,
                    metrics: self.context.directory.metrics(),
                };
                let SessionContext { holes, tasks, .. } = &*self.context;
                holes.visit(visitor, &request, tasks);
                Ok(())
            }
            Message::NatHoleClient(client) => {
                self.context
                    .holes
                    .owner_replied(client, &self.answer_sender);
                Ok(())
            }
            Message::NatHoleReport(report) => {
                self.context.holes.report(&report);
                Ok(())
            }
            // frp: a known message that this role does not expect is ignored.
            other => {
                debug!(per_session = true, "ignored an unexpected {}", other.name());
                Ok(())
            }
        }
    }

    /// Goes on with a message that plugins were asked about.
    async fn on_hook_done(
        &mut self,
        (outcome, took): (HookOutcome, Duration),
    ) -> Result<(), EndReason> {
        self.heartbeat.excuse(took);
        match outcome {
            HookOutcome::NewProxy(request, new) => self.new_proxy(request, new).await,
            HookOutcome::Ping(ping) => Ok(self.ping(ping)?),
        }
    }

    fn proxy_closed(&self, name: String) {
        let SessionContext { policy, tasks, .. } = &*self.context;
        policy
            .now()
            .hooks
            .proxy_closed(&self.row.client, name, tasks);
    }

    async fn new_proxy(
        &mut self,
        request: ProxyRequest,
        new: Result<Box<NewProxy>, HookError>,
    ) -> Result<(), EndReason> {
        let ProxyRequest { name, kind } = request;
        let owner = proxy::Owner {
            requests: &self.request_sender,
            streams: self.client.streams.as_ref(),
            negotiated: self.client.negotiated,
            attempts: self.client.pool_count + 1,
            session: &self.row,
            used: &self.used,
        };
        let prepared = match new {
            // Boxed: it is over in a moment, and the session stays.
            Ok(new) => Box::pin(proxy::prepare(*new, &owner, &self.context.publish)).await,
            Err(error) => Err(error.into()),
        };
        let metrics = self.context.directory.metrics();
        let outcome = prepared.as_ref().err().map(ProxyError::outcome);
        let outcome = outcome.unwrap_or(ProxyStart::Ok);
        metrics.proxy_starts.of(outcome).inc();
        if outcome == ProxyStart::Limit {
            metrics.refusals_of(Limit::ProxiesOfClient).inc();
        }
        let reply = match prepared {
            Ok(prepared) => {
                let remote_addr = prepared.remote_addr();
                // Whoever hears from the client that the proxy has started must find it, so users are let in first.
                // Their work connections are given out by this task, and so not before the reply: a client closes
                // those for a proxy that it does not know to be running.
                let proxy = prepared.run(&self.context.publish);
                self.used = self.used.plus(proxy.cost());
                self.proxies.insert(name.clone(), proxy);
                info!(
                    per_session = true,
                    "new proxy [{name}] type [{kind}] success"
                );
                NewProxyResp {
                    proxy_name: name,
                    remote_addr,
                    ..NewProxyResp::default()
                }
            }
            Err(error) => {
                warn!(
                    per_session = true,
                    "new proxy [{}] type [{}] error: {}",
                    Excerpt(&name),
                    Excerpt(&kind),
                    Excerpt(Chain(&error))
                );
                let summary = format!("new proxy [{name}] error");
                NewProxyResp {
                    proxy_name: name,
                    error: self
                        .context
                        .policy
                        .now()
                        .error_text(&error.to_string(), &summary),
                    ..NewProxyResp::default()
                }
            }
        };
        self.queue(&reply.into())?;
        // The reply must not wait for this task to come round again: users are waiting.
        match timeout(WRITE_TIMEOUT, self.control.flush()).await {
            Ok(flushed) => Ok(flushed?),
            Err(_) => Err(SendError::Full.into()),
        }
    }

    fn ping(&mut self, verified: Result<(), PingError>) -> Result<(), SendError> {
        let pong = match verified {
            Ok(()) => {
                self.heartbeat.heard(Instant::now());
                debug!("receive heartbeat");
                Pong::default()
            }
            Err(error) => {
                warn!(per_session = true, "received invalid ping: {error}");
                Pong {
                    error: self
                        .context
                        .policy
                        .now()
                        .error_text(&error.to_string(), "invalid ping"),
                }
            }
        };
        self.queue(&pong.into())
    }
}

/// The next message, or none as long as the one before is `unsettled`. Cancel-safe.
async fn receive(control: &mut MessageConn, unsettled: bool) -> Result<Option<Message>, EndReason> {
    if unsettled {
        control.flush().await?;
        return pending().await;
    }
    Ok(control.recv().await?)
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
