//! A session: everything between a login and the loss of the control connection.
//!
//! One task owns the control connection. It reads what the server says, decides with the clock in
//! hand what is due (announcements, pings), and never waits for a work connection or a user.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mgrok_config::ProxyConfig;
use mgrok_net::error_chain::Chain;
use mgrok_net::message::{MessageConn, RecvError, SendError};
use mgrok_oidc::TokenError;
use mgrok_proto::Negotiated;
use mgrok_proto::message::{CloseProxy, Message, NewProxy, Ping};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error_span, info, warn};

use crate::clock::now;
use crate::connect::{Link, LinkEnd};
use crate::credentials::Credentials;
use crate::describe;
use crate::further_links::FurtherLinks;
use crate::handle::{Requests, SessionHandle};
use crate::health::{Checks, Report};
use crate::heartbeat::Heartbeat;
use crate::metrics::{Metrics, SessionOver};
use crate::proxies::{Answer, HealthChange, Outgoing, Proxies};
use crate::server_text::server_text;
use crate::tasks::Tasks;
use crate::work::WorkConns;

/// How long a stopping client tries to tell the server that its proxies close. Best effort: the
/// server closes them anyway when the connection ends.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a stopping client waits, after the server has closed its proxies, for users who were accepted just before and
/// have no work connection yet.
const LAST_USERS: Duration = Duration::from_millis(100);

/// Why a session is over although nobody stopped the client.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionEnd {
    #[error("the server closed the control connection")]
    Closed,
    #[error("heartbeat timeout")]
    HeartbeatTimeout,
    #[error("the connection to the server is lost")]
    LinkLost(#[source] LinkEnd),
    #[error("pong message contains error: {0}")]
    Pong(String),
    #[error("the server's messages cannot be understood")]
    Receive(#[source] RecvError),
    #[error("the control connection failed")]
    Io(#[source] io::Error),
    #[error("cannot send on the control connection")]
    Send(#[from] SendError),
}

impl SessionEnd {
    /// As what it is counted.
    pub(crate) fn outcome(&self) -> SessionOver {
        match self {
            Self::Closed => SessionOver::Closed,
            Self::HeartbeatTimeout => SessionOver::Timeout,
            Self::Io(_) | Self::LinkLost(_) => SessionOver::Lost,
            Self::Pong(_) | Self::Receive(_) | Self::Send(_) => SessionOver::Failed,
        }
    }
}

/// A ping that waits for a token.
pub(crate) struct PendingPing(Pin<Box<dyn Future<Output = Result<Ping, TokenError>> + Send>>);

impl fmt::Debug for PendingPing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingPing").finish_non_exhaustive()
    }
}

/// A session that has logged in.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) credentials: Credentials,
    /// The ping that is due and waits for a token.
    pub(crate) pending_ping: Option<PendingPing>,
    pub(crate) control: MessageConn,
    pub(crate) handle: SessionHandle,
    pub(crate) heartbeat: Heartbeat,
    pub(crate) link: Link,
    /// Those beyond it, if there are to be any.
    pub(crate) further_links: Option<FurtherLinks>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) requests: Requests,
    /// The prefix of the proxies' names on the wire.
    pub(crate) user: String,
    pub(crate) work: WorkConns,
    /// Cancelled to take no more users.
    pub(crate) ended: CancellationToken,
}

impl Session {
    /// Serves the `wanted` proxies, as far as their `checks` let it, until the session ends, or
    /// `stop` is cancelled (`Ok`).
    pub(crate) async fn run(
        &mut self,
        proxies: &mut Proxies,
        wanted: &mut watch::Receiver<Vec<ProxyConfig>>,
        checks: &Checks,
        stop: &CancellationToken,
    ) -> Result<(), SessionEnd> {
        proxies.begin_session(now());
        Self::apply(proxies, checks, &wanted.borrow_and_update());
        self.handle_reports(proxies, checks)?;
        loop {
            self.queue_pings(now())?;
            self.queue_proxies(proxies, now())?;
            let wake_at = [proxies.wake_at(now()), self.heartbeat.wake_at()];
            tokio::select! {
                received = self.control.recv() => match received {
                    Ok(Some(message)) => self.handle(&message, proxies)?,
                    Ok(None) => return Err(self.lost(SessionEnd::Closed).await),
                    Err(error) => return Err(self.lost(error.into()).await),
                },
                ended = self.link.ended() => return Err(SessionEnd::from(ended)),
                ping = ready(&mut self.pending_ping) => self.queue_ping(ping)?,
                () = self.work.catch_up() => {}
                outgoing = self.requests.next() => {
                    self.requests.send(outgoing, &mut self.control);
                }
                () = sleep_until(wake_at.into_iter().flatten().min()) => {}
                () = checks.reported() => self.handle_reports(proxies, checks)?,
                Ok(()) = wanted.changed() => {
                    Self::apply(proxies, checks, &wanted.borrow_and_update());
                }
                () = stop.cancelled() => return Ok(()),
            }
        }
    }

    /// Takes no more users, and keeps the link up for those there are until the `deadline`. Says
    /// how many are left.
    pub(crate) async fn drain(
        &mut self,
        proxies: &mut Proxies,
        tasks: &Tasks,
        deadline: Instant,
    ) -> usize {
        self.requests.close();
        // Whether it worked makes no difference to what follows.
        let _ = tokio::time::timeout(FAREWELL_TIMEOUT, self.leave(proxies)).await;
        proxies.close();
        self.ended.cancel();

        let users_gone = tasks.users_gone(deadline);
        tokio::pin!(users_gone);
        while self.queue_pings(now()).is_ok() {
            tokio::select! {
                left = &mut users_gone => return left,
                _ = self.link.ended() => break,
                ping = ready(&mut self.pending_ping) => {
                    if self.queue_ping(ping).is_err() {
                        break;
                    }
                }
                () = sleep_until(self.heartbeat.wake_at()) => {}
                received = self.control.recv() => match received {
                    Ok(Some(Message::Pong(_))) => self.pong(),
                    Ok(Some(_)) => {}
                    Ok(None) | Err(_) => break,
                },
            }
        }
        // Users may have connections of their own, which do not end with the session.
        users_gone.await
    }

    /// Takes no more users, and leaves the link to those there are: it ends with the last of them.
    pub(crate) fn leave_to_users(self, tasks: &Tasks) {
        self.ended.cancel();
        if let Some(further) = self.further_links {
            further.leave_to_streams();
        }
        self.link.leave_to_streams(tasks);
    }

    /// Closes the link, after what is queued has been written.
    pub(crate) async fn close(self) {
        self.ended.cancel();
        let further = close_further(self.further_links);
        tokio::join!(further, self.link.close());
    }

    /// As [`close`](Self::close), for the end of the program: what is under way may arrive.
    pub(crate) async fn finish(mut self) {
        self.ended.cancel();
        // Without close_notify a TLS connection ends as if the client had been killed.
        let farewell = async {
            if self.control.flush().await.is_ok() {
                let _ = self.control.into_conn().close().await;
            }
        };
        let _ = tokio::time::timeout(FAREWELL_TIMEOUT, farewell).await;
        tokio::join!(close_further(self.further_links), self.link.finish());
    }

    /// Makes `wanted` the proxies there are; what is gone is withdrawn and what is new announced when it is due, which is now.
    fn apply(proxies: &mut Proxies, checks: &Checks, wanted: &[ProxyConfig]) {
        let changes = proxies.apply(wanted, now());
        for (what, names) in [("removed", &changes.removed), ("added", &changes.added)] {
            if !names.is_empty() {
                info!("proxy {what}: [{}]", names.join(" "));
            }
        }
        for proxy in changes.added.iter().filter_map(|name| proxies.get(name)) {
            checks.start(proxy);
        }
    }

    /// Withdraws the proxies whose local service has become unhealthy; those that recovered are
    /// announced when it is due, which is now.
    fn handle_reports(&mut self, proxies: &mut Proxies, checks: &Checks) -> Result<(), SessionEnd> {
        // All of them, before anything that may end the session: each report is made once.
        let changes: Vec<_> = checks
            .take()
            .into_iter()
            .map(|Report { proxy, healthy }| {
                let change = proxies.handle_health(&proxy, healthy, now());
                (proxy, change)
            })
            .collect();
        // Before the log line, so that its readers may rely on it.
        self.queue_proxies(proxies, now())?;
        for (proxy, change) in changes {
            let _proxy = error_span!("proxy", name = %proxy.config().name).entered();
            match change {
                HealthChange::Failed => {
                    warn!("health check status change to failed");
                    info!("health check failed");
                }
                HealthChange::Ignored => {}
                HealthChange::Succeeded => {
                    info!("health check status change to success");
                    info!("health check success");
                }
            }
        }
        Ok(())
    }

    /// Queues a ping if one is due, unless the last ones were in vain.
    fn queue_pings(&mut self, now: Instant) -> Result<(), SessionEnd> {
        if self.heartbeat.is_overdue(now) {
            return Err(SessionEnd::HeartbeatTimeout);
        }
        if self.heartbeat.poll_ping(now) && self.pending_ping.is_none() {
            match self.credentials.ping_at_once() {
                Some(ping) => self.queue_ping(Ok(ping))?,
                None => {
                    let credentials = self.credentials.clone();
                    let ping = Box::pin(async move { credentials.ping().await });
                    self.pending_ping = Some(PendingPing(ping));
                }
            }
        }
        Ok(())
    }

    fn queue_ping(&mut self, ping: Result<Ping, TokenError>) -> Result<(), SessionEnd> {
        match ping {
            Ok(ping) => {
                debug!("send heartbeat to server");
                self.control.queue(&ping.into())?;
            }
            // frp: the first words (client/control.go#heartbeatWorker)
            Err(error) => {
                let error = Chain(&error);
                warn!(
                    per_session = true,
                    "error during ping authentication: {error}, skip sending ping message"
                );
            }
        }
        Ok(())
    }

    fn pong(&mut self) {
        if let Some(took) = self.heartbeat.handle_pong(now()) {
            self.metrics.heartbeat.observe(took);
        }
    }

    /// Queues the withdrawals and announcements that are due.
    fn queue_proxies(&mut self, proxies: &mut Proxies, now: Instant) -> Result<(), SessionEnd> {
        while let Some(outgoing) = proxies.poll_send(now) {
            let message = match &outgoing {
                Outgoing::Announce(name, announcement) => {
                    // Its files are small, and local as a rule: not worth a task.
                    let made = proxies.get(name).map_or(Ok(()), |it| it.make_plugin());
                    if let Err(error) = made {
                        let reason = Chain(&error).to_string();
                        let wait = proxies.handle_unready(name, &reason, now);
                        let _proxy = error_span!("proxy", %name).entered();
                        warn!("start error: {reason}; next attempt in {wait:?}");
                        continue;
                    }
                    let mut announcement = announcement.clone();
                    let negotiated = self.handle.negotiated();
                    let _proxy = error_span!("proxy", %name).entered();
                    if has_access(&announcement) && !negotiated.access {
                        warn!("start error: {UNGUARDED}");
                        proxies.handle_unsendable(name, UNGUARDED);
                        continue;
                    }
                    leave_out_unknown(&mut announcement, negotiated);
                    Message::NewProxy(announcement)
                }
                Outgoing::Withdraw(_, close) => Message::CloseProxy(close.clone()),
            };
            match (self.control.queue(&message), outgoing) {
                (Ok(()), _) => {}
                (Err(SendError::Full), outgoing) => {
                    proxies.handle_full(outgoing, now);
                    break;
                }
                (Err(SendError::Encode { source, .. }), Outgoing::Announce(name, _)) => {
                    let reason = format!("{source}; shorten the proxy's annotations or metadatas");
                    let _proxy = error_span!("proxy", %name).entered();
                    warn!("start error: {reason}");
                    proxies.handle_unsendable(&name, &reason);
                }
                // A name that is too long for this was never announced.
                (Err(SendError::Encode { .. }), Outgoing::Withdraw(..)) => {}
                (Err(error), _) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn handle(&mut self, message: &Message, proxies: &mut Proxies) -> Result<(), SessionEnd> {
        match message {
            Message::ReqWorkConn(_) => self.work.request(),
            Message::NewProxyResp(answer) => match proxies.handle_answer(answer, now()) {
                Answer::Ignored => {
                    let name = server_text(&answer.proxy_name);
                    debug!(
                        per_session = true,
                        "answer for proxy [{name}], which waits for none"
                    );
                }
                Answer::Refused(name, reason, wait) => {
                    let asked = proxies
                        .get(&name)
                        .map(|it| describe::asked_for(it.config()));
                    let asked = asked.unwrap_or_default();
                    let _proxy = error_span!("proxy", %name).entered();
                    warn!("start error: {reason}; this was {asked}, next attempt in {wait:?}");
                }
                Answer::Started(name, remote_addr) => {
                    let proxy = proxies.get(&name);
                    let _proxy = error_span!("proxy", %name).entered();
                    info!("start proxy success");
                    if let Some(proxy) = proxy {
                        info!(
                            "{}",
                            describe::public(proxy.config(), &self.user, &remote_addr)
                        );
                    }
                }
            },
            Message::Pong(pong) => {
                if !pong.error.is_empty() {
                    return Err(SessionEnd::Pong(server_text(&pong.error)));
                }
                self.pong();
                debug!(per_session = true, "receive heartbeat from server");
            }
            Message::NatHoleResp(answer) => self.requests.handle_answer(answer),
            // frp: known messages in the wrong place are passed over (pkg/msg/handler.go#Dispatcher).
            other => debug!(
                per_session = true,
                "unexpected {} passed over",
                other.name()
            ),
        }
        Ok(())
    }

    /// Tells the server that its proxies close, and serves the users whom it accepts until then. Other clients may
    /// serve the same group, and no user should notice that this client leaves.
    async fn leave(&mut self, proxies: &mut Proxies) -> Result<(), SessionEnd> {
        let announced = proxies.withdraw_all();
        if announced.is_empty() {
            return Ok(());
        }
        self.withdraw(announced).await?;
        // A server handles one message after the other, so its answer to this one says that the proxies are closed.
        let ping = self.credentials.ping().await.unwrap_or_default();
        self.control.queue(&ping.into())?;
        self.control.flush().await?;
        let mut quiet_at = None;
        loop {
            tokio::select! {
                received = self.control.recv() => {
                    let message = received?.ok_or(SessionEnd::Closed)?;
                    let is_answer = matches!(message, Message::Pong(_));
                    if is_answer || quiet_at.is_some() {
                        quiet_at = Some(now() + LAST_USERS);
                    }
                    self.handle(&message, proxies)?;
                }
                () = self.work.catch_up() => {}
                () = sleep_until(quiet_at) => return Ok(()),
            }
        }
    }

    /// Tells the server of proxies that are no more, however many there are.
    async fn withdraw(&mut self, proxies: Vec<CloseProxy>) -> Result<(), SendError> {
        for proxy in proxies {
            let message = Message::from(proxy);
            if let Err(SendError::Full) = self.control.queue(&message) {
                self.control.flush().await?;
                self.control.queue(&message)?;
            }
        }
        self.control.flush().await
    }

    /// Why the control stream ended; if the shared connection ended too, its reason is the better one.
    async fn lost(&mut self, seen: SessionEnd) -> SessionEnd {
        match self.link.failure().await {
            Some(ended) => SessionEnd::from(ended),
            None => seen,
        }
    }
}

/// From the end of the shared connection, which is orderly if either side closed it.
impl From<Result<(), LinkEnd>> for SessionEnd {
    fn from(ended: Result<(), LinkEnd>) -> Self {
        match ended {
            Ok(()) => Self::Closed,
            Err(error) => Self::LinkLost(error),
        }
    }
}

impl From<RecvError> for SessionEnd {
    fn from(error: RecvError) -> Self {
        match error {
            RecvError::Io(error) if is_eof(&error) => Self::Closed,
            RecvError::Io(error) => Self::Io(error),
            RecvError::Decode(_) | RecvError::Truncated => Self::Receive(error),
        }
    }
}

/// Why a proxy is not announced whose `access` the server would pass over: everybody could come.
const UNGUARDED: &str = "the server would not keep to `access` of the proxy, as frps does not, nor mgroks with transport.wireProtocol = \"v1\"; \
                         remove `access`, and keep others out at the server's firewall";

/// Whether it says who may come.
fn has_access(new: &NewProxy) -> bool {
    !new.mgrok_allow_from.is_empty()
        || !new.mgrok_deny_from.is_empty()
        || new.mgrok_connections_per_source != 0
        || new.mgrok_rate_per_source != 0
}

/// Takes out of `new` what its server would pass over, and says so.
fn leave_out_unknown(new: &mut NewProxy, negotiated: Negotiated) {
    if !negotiated.balancing && (new.mgrok_weight != 0 || !new.mgrok_strategy.is_empty()) {
        new.mgrok_weight = 0;
        new.mgrok_strategy.clear();
        warn!(
            "loadBalancer.strategy and loadBalancer.weight do nothing here: the server does not know them, as frps does not, or \
             transport.wireProtocol is \"v1\""
        );
    }
}

/// Whether the server closed its connection without close_notify, as a killed server does.
fn is_eof(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::UnexpectedEof
}

/// The ping that waits, once it has its token; waits for ever if none does. Cancel-safe.
async fn ready(pending: &mut Option<PendingPing>) -> Result<Ping, TokenError> {
    let Some(PendingPing(ping)) = pending else {
        return std::future::pending().await;
    };
    let ping = ping.await;
    *pending = None;
    ping
}

async fn close_further(links: Option<FurtherLinks>) {
    if let Some(links) = links {
        links.close().await;
    }
}

/// Waits until then; for ever if there is no such time.
async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
