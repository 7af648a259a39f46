//! The client: one session after the other, until it is stopped.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use mgrok_admin::{AdminPort, BindError};
use mgrok_config::{ClientConfig, Protocol, ProxyConfig, VisitorConfig};
use mgrok_proto::cipher::CipherKey;
use mgrok_proto::{RunId, WireVersion};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span, error, error_span, info, warn};

use crate::admin;
use crate::backoff::Backoff;
use crate::clock::now;
use crate::connect::{Connector, Road, SetUpError};
use crate::handle::SessionHandle;
use crate::health::Checks;
use crate::heartbeat::Heartbeat;
use crate::hole::Puncher;
use crate::login::{LoggedIn, LoginError, Request, log_in};
use crate::printable::Chain;
use crate::proxies::Proxies;
use crate::session::{Session, SessionEnd};
use crate::status::StatusWatch;
use crate::tasks::{TaskOwner, Tasks};
use crate::visitor::{self, DoorWatch, Visitors};
use crate::wire::WireChoice;
use crate::work::{Terms, WorkConns};

/// How messages are written.
const WIRE: WireVersion = WireVersion::V1;

/// Why a client cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The admin port cannot be opened.
    #[error(transparent)]
    Admin(#[from] BindError),
    /// What the way to the server needs is of no use.
    #[error(transparent)]
    SetUp(#[from] SetUpError),
}

/// Why a client that ran has ended although nobody stopped it.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The first login failed, and `loginFailExit` says that there shall be no other.
    // frp: these words, which the program prints (client/service.go#Run)
    #[error(
        "login to the server failed: {}. With loginFailExit enabled, no additional retries will \
         be attempted",
        Chain(.0)
    )]
    Login(LoginError),
    /// It could not even start.
    #[error(transparent)]
    Start(#[from] StartError),
}

/// How a client ended that was stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StopReport {
    /// User connections that had not finished when the grace period was over.
    pub cut: usize,
}

/// Changes which proxies a [`Client`] has, also while it runs. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ProxySet {
    wanted: watch::Sender<Vec<ProxyConfig>>,
}

impl ProxySet {
    /// Makes `proxies` the proxies of the client: those that are not among them are closed, new
    /// ones started, changed ones started anew, and the others left alone. Of several with one
    /// name the last counts.
    ///
    /// Takes effect soon after, or with the next login if there is no session.
    pub fn apply(&self, proxies: Vec<ProxyConfig>) {
        self.wanted.send_replace(proxies);
    }
}

/// Changes which visitors a [`Client`] has, also while it runs. Cheap to clone.
#[derive(Clone, Debug)]
pub struct VisitorSet {
    wanted: watch::Sender<Vec<VisitorConfig>>,
}

impl VisitorSet {
    /// Makes `visitors` the visitors of the client: the doors of those that are not among them are closed, new ones
    /// opened, and those that did not change left alone. Users who are in may stay. Of several with one name the last
    /// counts.
    ///
    /// Takes effect soon after, once the client runs.
    pub fn apply(&self, visitors: Vec<VisitorConfig>) {
        self.wanted.send_replace(visitors);
    }
}

/// A client of one server, not yet running.
#[derive(Debug)]
pub struct Client {
    /// `None` if there is to be none, or if it is not open yet.
    admin: Option<AdminPort>,
    config: ClientConfig,
    connector: Arc<Connector>,
    wire: WireChoice,
    key: CipherKey,
    puncher: Puncher,
    proxies: Proxies,
    /// The proxies that are to be, here being applied in a session at a time.
    wanted: watch::Sender<Vec<ProxyConfig>>,
    /// The visitors that are to be, likewise.
    wanted_visitors: watch::Sender<Vec<VisitorConfig>>,
    /// The visitors there are.
    visitors: watch::Sender<visitor::Table>,
    /// The session there is, for the visitors.
    sessions: watch::Sender<Option<SessionHandle>>,
    /// The last session's; asks the server to let the next one take its place.
    run_id: Option<RunId>,
    backoff: Backoff,
}

impl Client {
    /// Makes a client of `config`. Connects nowhere yet, but reads the files that TLS needs.
    ///
    /// # Errors
    /// If those files cannot be used.
    pub fn new(mut config: ClientConfig) -> Result<Self, StartError> {
        let key = CipherKey::derive(&config.auth.token);
        let user = config.user.clone();
        let server_addr = config.servers[0].host.clone();
        Ok(Self {
            admin: None,
            connector: Connector::new(&config, &config.servers[0])?,
            wire: WireChoice::new(config.transport.wire_protocol),
            proxies: Proxies::new(user, server_addr, key.clone()),
            wanted: watch::Sender::new(std::mem::take(&mut config.proxies)),
            wanted_visitors: watch::Sender::new(std::mem::take(&mut config.visitors)),
            visitors: watch::Sender::default(),
            puncher: Puncher::new(&config),
            sessions: watch::Sender::default(),
            key,
            run_id: None,
            backoff: Backoff::default(),
            config,
        })
    }

    /// Opens the admin port, if one is configured and not open yet. [`run`](Self::run) does so too;
    /// this is for whoever wants to know beforehand.
    ///
    /// # Errors
    /// If the port cannot be opened.
    pub async fn open_admin_port(&mut self) -> Result<(), StartError> {
        if let (None, Some(web_server)) = (&self.admin, &self.config.web_server) {
            self.admin = Some(AdminPort::bind(web_server).await?);
        }
        Ok(())
    }

    /// Follows the client's proxies. They appear in it with the first login.
    pub fn status(&self) -> StatusWatch {
        StatusWatch::new(self.proxies.watch())
    }

    /// The way to change the client's proxies; at first they are those of its configuration.
    pub fn proxy_set(&self) -> ProxySet {
        ProxySet {
            wanted: self.wanted.clone(),
        }
    }

    /// Follows the doors of the client's visitors. They open when the client runs, and stay open from one session to
    /// the next.
    pub fn doors(&self) -> DoorWatch {
        DoorWatch::new(self.visitors.subscribe())
    }

    /// The way to change the client's visitors; at first they are those of its configuration.
    pub fn visitor_set(&self) -> VisitorSet {
        VisitorSet {
            wanted: self.wanted_visitors.clone(),
        }
    }

    /// Logs in and serves, again after every loss of the server, until `stop` is ready.
    ///
    /// Then the proxies are closed, and user connections may finish for
    /// [`grace_period`](ClientConfig::grace_period). Dropping the future cuts them at once.
    ///
    /// # Errors
    /// If the first login fails and [`login_fail_exit`](ClientConfig::login_fail_exit) is set, or
    /// the admin port cannot be opened.
    pub async fn run(mut self, stop: impl Future<Output = ()>) -> Result<StopReport, ClientError> {
        self.open_admin_port().await?;
        let stopping = CancellationToken::new();
        let work = self.work(stopping.clone());
        tokio::pin!(work, stop);
        tokio::select! {
            ended = &mut work => return ended,
            () = &mut stop => stopping.cancel(),
        }
        work.await
    }

    async fn work(mut self, stopping: CancellationToken) -> Result<StopReport, ClientError> {
        let owner = TaskOwner::new();
        self.serve_admin_port(owner.tasks());
        let visitors = Visitors::new(
            visitor::Terms {
                puncher: self.puncher.clone(),
                sessions: self.sessions.subscribe(),
                stopping: stopping.clone(),
                tasks: owner.tasks().clone(),
                udp_packet_size: self.config.udp_packet_size,
                user: self.config.user.clone(),
                wire: WIRE,
            },
            self.visitors.clone(),
        );
        let wanted = self.wanted_visitors.subscribe();
        owner.tasks().spawn(visitors.run(wanted));
        let cut = self.serve_sessions(owner.tasks(), &stopping).await;
        owner.finish().await;
        Ok(StopReport { cut: cut? })
    }

    /// Tells whoever asks how the client is, to its very end.
    fn serve_admin_port(&mut self, tasks: &Tasks) {
        let Some(port) = self.admin.take() else {
            return;
        };
        if let Ok(addr) = port.local_addr() {
            // frp: these words, which scripts look for (client/service.go)
            info!("admin server listen on {addr}");
        }
        let routes = admin::routes(self.proxies.watch());
        tasks.spawn(port.run(routes, tasks.part()));
    }

    /// Serves until the client is stopped and the grace period is over; says how many user
    /// connections are left.
    async fn serve_sessions(
        &mut self,
        tasks: &Tasks,
        stopping: &CancellationToken,
    ) -> Result<usize, ClientError> {
        let checks = Checks::new(tasks.clone(), stopping.clone());
        let mut ever_logged_in = false;
        while !stopping.is_cancelled() {
            let span = self.span();
            let attempt = self.connect(tasks).instrument(span.clone());
            let attempt = tokio::select! {
                attempt = attempt => attempt,
                () = stopping.cancelled() => break,
            };
            let wait = match attempt {
                Ok(session) => {
                    ever_logged_in = true;
                    let span = self.span();
                    let serve = self.serve(session, tasks, &checks, stopping);
                    match serve.instrument(span).await {
                        ControlFlow::Break(left) => return Ok(left),
                        ControlFlow::Continue(wait) => wait,
                    }
                }
                Err(error) => {
                    span.in_scope(|| warn!("connect to server error: {}", Chain(&error)));
                    if !ever_logged_in && self.config.login_fail_exit {
                        return Err(ClientError::Login(error));
                    }
                    self.backoff.login_failed(dice())
                }
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = stopping.cancelled() => {}
            }
        }
        self.proxies.close();
        Ok(tasks.users_gone(now() + self.config.grace_period).await)
    }

    /// One attempt to log in.
    async fn connect(&mut self, tasks: &Tasks) -> Result<Session, LoginError> {
        info!("try to connect to server...");
        let road = match self.config.transport.protocol {
            Protocol::Auto | Protocol::Tcp => Road::Tcp,
            Protocol::Kcp => Road::Kcp,
            Protocol::Quic => Road::Quic,
            Protocol::WebSocket => Road::WebSocket,
            Protocol::Wss => Road::Wss,
        };
        let link = self.connector.link(road).await?;
        let request = Request {
            config: &self.config,
            key: &self.key,
            run_id: self.run_id.as_ref(),
        };
        let LoggedIn {
            control,
            dialect,
            link,
            run_id,
        } = log_in(&self.connector, link, &mut self.wire, &request).await?;
        self.run_id = Some(run_id.clone());

        let transport = &self.config.transport;
        let ended = tasks.part();
        let (handle, requests) =
            SessionHandle::new(run_id, link.streams().clone(), dialect, self.span());
        let terms = Terms {
            auth: self.config.auth.clone(),
            ended: ended.clone(),
            puncher: self.puncher.clone(),
            session: handle.clone(),
            table: self.proxies.watch(),
            tasks: tasks.clone(),
            udp_packet_size: self.config.udp_packet_size,
            user: self.config.user.clone(),
        };
        Ok(Session {
            auth: self.config.auth.clone(),
            control,
            ended,
            handle,
            heartbeat: Heartbeat::new(
                transport.heartbeat_interval,
                transport.heartbeat_timeout,
                now(),
            ),
            link,
            requests,
            work: WorkConns::new(terms),
        })
    }

    /// Serves one session to its end; gives how long to wait before the next, or, if the client
    /// was stopped, how many user connections are left after the grace period.
    async fn serve(
        &mut self,
        mut session: Session,
        tasks: &Tasks,
        checks: &Checks,
        stopping: &CancellationToken,
    ) -> ControlFlow<usize, Duration> {
        if let Some(run_id) = &self.run_id {
            info!("login to server success, get run id [{run_id}]");
        }
        self.backoff.logged_in(now());
        let mut wanted = self.wanted.subscribe();
        self.sessions.send_replace(Some(session.handle.clone()));
        let ended = session
            .run(&mut self.proxies, &mut wanted, checks, stopping)
            .await;
        self.sessions.send_replace(None);
        match ended {
            Ok(()) => {
                let deadline = now() + self.config.grace_period;
                let left = session.drain(&mut self.proxies, tasks, deadline).await;
                session.finish().await;
                return ControlFlow::Break(left);
            }
            Err(end @ SessionEnd::Pong(_)) => error!("{end}"),
            Err(end) => warn!("{}", Chain(&end)),
        }
        session.close().await;
        self.proxies.end_session();
        ControlFlow::Continue(self.backoff.session_ended(now(), dice()))
    }

    /// What the log says of the session, once there has been one.
    fn span(&self) -> Span {
        match &self.run_id {
            Some(run_id) => error_span!("session", %run_id),
            None => Span::none(),
        }
    }
}

/// A number in `0.0..1.0` that differs from client to client. Not for secrets.
fn dice() -> f64 {
    // The standard library seeds every hasher at random.
    let random = RandomState::new().build_hasher().finish();
    random as f64 / u64::MAX as f64
}

#[cfg(test)]
mod tests;
