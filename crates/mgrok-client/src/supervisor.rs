//! Publishing on one server at a time: session after session, until the client stops.
//!
//! Each login is a round over the [`DialCandidates`]: a race for a connection, and a login on the one that won. While a session goes a
//! worse transport than there are, the better ones are looked at from time to time, and the session migrates when one works.

use std::fmt::{self, Display, Formatter};
use std::ops::ControlFlow;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use mgrok_config::{ClientConfig, ProxyConfig};
use mgrok_proto::cipher::CipherKey;
use mgrok_proto::{RunId, liveness};
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span, debug, error, error_span, info, warn};

use crate::backoff::{Backoff, Failure};
use crate::clock::now;
use crate::connect::{Connector, Link, Transport};
use crate::describe::Head;
use crate::dial_candidates::{DialCandidate, DialCandidates};
use crate::handle::{SessionHandle, Sessions};
use crate::health::Checks;
use crate::heartbeat::Heartbeat;
use crate::hole::Puncher;
use crate::login::{LoggedIn, LoginError, Request, log_in};
use crate::printable::Chain;
use crate::progress::{Progress, Stage};
use crate::proxies::{Proxies, Table};
use crate::race::race;
use crate::session::{Session, SessionEnd};
use crate::tasks::Tasks;
use crate::wire::WireChoice;
use crate::work::{WorkConns, WorkContext};

/// When a better transport is looked at first, and how long at most until it is looked at again; the time between doubles.
const FIRST_LOOK: Duration = Duration::from_secs(5);
const LONGEST_LOOK: Duration = Duration::from_secs(300);

/// While attempts follow each other faster than this, the log has the first of them alone.
const TOLD_WAIT: Duration = Duration::from_secs(1);

/// Why a round of logins failed: what each candidate said.
#[derive(Debug)]
pub struct LoginFailure {
    /// Where to and by which transport, for whoever has to tell candidates apart, and what came of it.
    tries: Vec<(String, LoginError)>,
}

/// In one line, with all causes.
impl Display for LoginFailure {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if let [(_, error)] = self.tries.as_slice() {
            return Chain(error).fmt(f);
        }
        for (place, (candidate, error)) in self.tries.iter().enumerate() {
            let separator = if place == 0 { "" } else { "; " };
            write!(f, "{separator}{candidate}: {}", Chain(error))?;
        }
        Ok(())
    }
}

impl std::error::Error for LoginFailure {}

impl LoginFailure {
    /// What it means for the next attempt: one server that says no is not to be asked often because of another that is not there.
    fn failure(&self) -> Failure {
        let refused = self
            .tries
            .iter()
            .any(|(_, error)| error.failure() == Failure::Refused);
        match refused {
            true => Failure::Refused,
            false => Failure::Unreachable,
        }
    }
}

/// Whether a client whose first logins fail is to give up, which it does when all its supervisors have failed.
#[derive(Debug)]
pub(crate) struct FirstLogins {
    give_up: bool,
    untried: AtomicUsize,
    worked: AtomicBool,
}

impl FirstLogins {
    /// For so many `supervisors`. They never give up unless that is wanted.
    pub(crate) fn new(supervisors: usize, give_up: bool) -> Self {
        Self {
            give_up,
            untried: AtomicUsize::new(supervisors),
            worked: AtomicBool::new(false),
        }
    }

    fn worked(&self) {
        self.worked.store(true, Ordering::Relaxed);
    }

    /// Takes note of a supervisor's first failure; tells whether to give up.
    fn failed(&self) -> bool {
        let is_last = self.untried.fetch_sub(1, Ordering::Relaxed) == 1;
        self.give_up && is_last && !self.worked.load(Ordering::Relaxed)
    }
}

/// What all supervisors of a client have in common.
#[derive(Clone, Debug)]
pub(crate) struct Common {
    pub(crate) config: Arc<ClientConfig>,
    pub(crate) first_logins: Arc<FirstLogins>,
    pub(crate) key: CipherKey,
    pub(crate) progress: Progress,
    pub(crate) puncher: Puncher,
    pub(crate) sessions: watch::Sender<Sessions>,
    pub(crate) stopping: CancellationToken,
    pub(crate) tasks: Tasks,
}

/// Keeps a session with one of its servers.
#[derive(Debug)]
pub(crate) struct SessionSupervisor {
    /// Its number among the client's.
    number: usize,
    common: Common,
    servers: Vec<Server>,
    candidates: DialCandidates,
    proxies: Proxies,
    wanted: watch::Receiver<Vec<ProxyConfig>>,
    backoff: Backoff,
    ever_tried: bool,
    /// Whether the attempts follow each other so fast that the log has the first of them alone.
    quiet: bool,
}

/// One server, and what is remembered of it.
#[derive(Debug)]
struct Server {
    connector: Arc<Connector>,
    /// The last session's; asks the server to let the next one take its place.
    run_id: Option<RunId>,
    wire: WireChoice,
}

/// A session, and the candidate it goes.
#[derive(Debug)]
struct Active {
    session: Session,
    candidate: DialCandidate,
    since: Instant,
}

/// How the serving of a session ended.
enum ServeEnd {
    /// It goes on over a better transport. Boxed: a session is large.
    Migrated(Box<Active>),
    Over(Result<(), SessionEnd>),
}

impl SessionSupervisor {
    /// Publishes `wanted` at the servers of `connectors`.
    pub(crate) fn new(
        number: usize,
        common: Common,
        connectors: Vec<Arc<Connector>>,
        proxies: Proxies,
        wanted: watch::Receiver<Vec<ProxyConfig>>,
    ) -> Self {
        let protocol = common.config.transport.protocol;
        Self {
            number,
            candidates: DialCandidates::new(connectors.len(), protocol),
            servers: connectors
                .into_iter()
                .map(|connector| Server {
                    connector,
                    run_id: None,
                    wire: WireChoice::new(common.config.transport.wire_protocol),
                })
                .collect(),
            common,
            proxies,
            wanted,
            backoff: Backoff::default(),
            ever_tried: false,
            quiet: false,
        }
    }

    /// Serves until the client is stopped and the grace period is over; says how many user
    /// connections are left.
    pub(crate) async fn run(mut self) -> Result<usize, LoginFailure> {
        let Common {
            stopping, tasks, ..
        } = self.common.clone();
        let checks = Checks::new(tasks.clone(), stopping.clone());
        while !stopping.is_cancelled() {
            let span = self.span();
            self.common.progress.set(self.number, Stage::Connecting);
            let attempt = tokio::select! {
                attempt = Box::pin(self.log_in().instrument(span.clone())) => attempt,
                () = stopping.cancelled() => break,
            };
            let wait = match attempt {
                Ok(active) => {
                    self.common.first_logins.worked();
                    let server = self.servers[active.candidate.server].connector.server();
                    let connected = Stage::Connected(server.clone());
                    self.common.progress.set(self.number, connected);
                    match self.serve(active, &checks).await {
                        ControlFlow::Break(left) => return Ok(left),
                        ControlFlow::Continue(wait) => wait,
                    }
                }
                Err(error) => {
                    let is_first = !std::mem::replace(&mut self.ever_tried, true);
                    if is_first && self.common.first_logins.failed() {
                        span.in_scope(|| warn!("connect to server error: {error}"));
                        return Err(error);
                    }
                    let wait = self
                        .backoff
                        .login_failed(error.failure(), now(), fastrand::f64());
                    span.in_scope(|| match self.quiet {
                        false => {
                            warn!("connect to server error: {error}; next attempt in {wait:.1?}");
                        }
                        true => debug!("connect to server error: {error}"),
                    });
                    self.quiet = wait < TOLD_WAIT;
                    wait
                }
            };
            self.ever_tried = true;
            self.common.progress.set(self.number, Stage::Waiting(wait));
            tokio::select! {
                () = sleep(wait) => {}
                () = stopping.cancelled() => {}
            }
        }
        self.proxies.close();
        Ok(tasks
            .users_gone(now() + self.common.config.grace_period)
            .await)
    }

    /// One round: tries all candidates until one leads to a session.
    async fn log_in(&mut self) -> Result<Active, LoginFailure> {
        match self.quiet {
            false => info!("try to connect to server..."),
            true => debug!("try to connect to server..."),
        }
        let longest_dial = self.backoff.longest_dial(now());
        let mut order = self.candidates.order(now());
        let mut tries = Vec::new();
        while !order.is_empty() {
            let connectors: Vec<_> = self.servers.iter().map(|it| it.connector.clone()).collect();
            let outcome = race(order.iter().copied(), |candidate: DialCandidate| {
                let connector = connectors[candidate.server].clone();
                async move { connector.link(candidate.transport, longest_dial).await }
                    .in_current_span()
            });
            let outcome = outcome.await;
            for (candidate, error) in outcome.failed {
                order.retain(|(it, _)| *it != candidate);
                self.note_failure(&mut tries, candidate, error.into());
            }
            let Some((candidate, link)) = outcome.first else {
                break;
            };
            match self.log_in_on(link, candidate).await {
                Ok(active) => return Ok(active),
                Err(error) => {
                    // What the server does not want it will not want by another transport.
                    let is_refusal = matches!(error, LoginError::Refused(_));
                    order.retain(|(it, _)| match is_refusal {
                        true => it.server != candidate.server,
                        false => *it != candidate,
                    });
                    self.note_failure(&mut tries, candidate, error);
                }
            }
        }
        Err(LoginFailure { tries })
    }

    fn note_failure(
        &self,
        tries: &mut Vec<(String, LoginError)>,
        candidate: DialCandidate,
        error: LoginError,
    ) {
        let label = self.label(candidate);
        if !self.candidates.is_single() {
            debug!("{label}: {}", Chain(&error));
        }
        tries.push((label, error));
    }

    /// What the log calls a candidate.
    fn label(&self, candidate: DialCandidate) -> String {
        let server = self.servers[candidate.server].connector.server();
        format!("{server} by {}", candidate.transport)
    }

    async fn log_in_on(
        &mut self,
        link: Link,
        candidate: DialCandidate,
    ) -> Result<Active, LoginError> {
        let table = self.proxies.watch();
        let server = &mut self.servers[candidate.server];
        let session = server.log_in(&self.common, link, false, table).await?;
        Ok(self.active(session, candidate))
    }

    fn active(&mut self, session: Session, candidate: DialCandidate) -> Active {
        self.candidates.logged_in(candidate);
        Active {
            session,
            candidate,
            since: now(),
        }
    }

    /// Serves one session, and those that it migrates to, to the end; gives how long to wait before the next, or, if the client
    /// was stopped, how many user connections are left after the grace period.
    async fn serve(&mut self, mut active: Active, checks: &Checks) -> ControlFlow<usize, Duration> {
        self.backoff.logged_in(now());
        self.quiet = false;
        loop {
            let span = active.session.handle.span().clone();
            let ended = self.serve_one(&mut active, checks).instrument(span.clone());
            match ended.await {
                ServeEnd::Migrated(next) => {
                    let left = std::mem::replace(&mut active, *next);
                    left.session.leave_to_users(&self.common.tasks);
                    self.proxies.end_session();
                }
                ServeEnd::Over(end) => {
                    let over = self.end(active, end).instrument(span);
                    return over.await;
                }
            }
        }
    }

    async fn serve_one(&mut self, active: &mut Active, checks: &Checks) -> ServeEnd {
        let server = &mut self.servers[active.candidate.server];
        let run_id = active.session.handle.run_id();
        let connector = server.connector.clone();
        let (server_addr, transport) = (connector.server(), active.candidate.transport);
        let who = who(&self.common.config);
        info!(
            "login to server success, get run id [{}]{who}, with {server_addr} by {transport}",
            Head(run_id)
        );
        self.proxies.set_server_addr(&connector.server().host);
        let handle = active.session.handle.clone();
        self.common
            .sessions
            .send_modify(|sessions| sessions.begin(self.number, handle.clone()));
        let (common, candidates, candidate) = (&self.common, &self.candidates, active.candidate);
        let table = self.proxies.watch();
        let migrated = {
            let mut serving = pin!(active.session.run(
                &mut self.proxies,
                &mut self.wanted,
                checks,
                &common.stopping
            ));
            let mut upgrade_probe = UpgradeProbe::default();
            loop {
                let (transport, link) = tokio::select! {
                    ended = &mut serving => break Err(ended),
                    found = upgrade_probe.better_transport(candidates, candidate, &connector) => found,
                };
                if !handle.negotiated().can_migrate && common.tasks.has_users() {
                    debug!("{transport} works again; the server would cut the users who are there");
                    continue;
                }
                let mut logging_in = Box::pin(server.log_in(common, link, true, table.clone()));
                // The server ends the session when the other one begins.
                let mut ended = None;
                let migrated = loop {
                    tokio::select! {
                        biased;
                        migrated = &mut logging_in => break migrated,
                        end = &mut serving, if ended.is_none() => ended = Some(end),
                    }
                };
                match (migrated, ended) {
                    (Ok(session), _) => break Ok((session, transport)),
                    (Err(error), ended) => {
                        debug!("cannot migrate to {transport}: {}", Chain(&error));
                        if let Some(ended) = ended {
                            break Err(ended);
                        }
                    }
                }
            }
        };
        match migrated {
            Err(ended) => ServeEnd::Over(ended),
            Ok((session, transport)) => {
                info!("the session migrates to a better transport: {transport}");
                let next = self.active(
                    session,
                    DialCandidate {
                        transport,
                        ..candidate
                    },
                );
                ServeEnd::Migrated(Box::new(next))
            }
        }
    }

    /// Says how a session ended, and cleans up after it.
    async fn end(
        &mut self,
        active: Active,
        end: Result<(), SessionEnd>,
    ) -> ControlFlow<usize, Duration> {
        let Active {
            mut session,
            candidate,
            since,
        } = active;
        self.common
            .sessions
            .send_modify(|sessions| sessions.end(self.number));
        let end = match end {
            Ok(()) => {
                let deadline = now() + self.common.config.grace_period;
                let left = session
                    .drain(&mut self.proxies, &self.common.tasks, deadline)
                    .await;
                session.finish().await;
                return ControlFlow::Break(left);
            }
            Err(end) => end,
        };
        let wait = self.backoff.session_ended(now(), fastrand::f64());
        let server = self.servers[candidate.server].connector.server();
        let (who, lived) = (who(&self.common.config), now() - since);
        let reason = format!(
            "{}; this ends the session{who} with {server} by {} after {lived:.1?}, next attempt in {wait:.1?}",
            Chain(&end),
            candidate.transport
        );
        match &end {
            SessionEnd::Pong(_) => error!("{reason}"),
            _ => warn!("{reason}"),
        }
        // Beside the next login: a dead link takes its time to close.
        let tasks = self.common.tasks.clone();
        self.common.tasks.spawn(async move {
            tokio::select! {
                () = session.close() => {}
                () = tasks.is_cut() => {}
            }
        });
        self.proxies.end_session();
        self.candidates.lost(candidate, lived, now());
        ControlFlow::Continue(wait)
    }

    /// What the log says of the session, once there has been one.
    fn span(&self) -> Span {
        let mut run_ids = self.servers.iter().filter_map(|it| it.run_id.as_ref());
        match run_ids.next() {
            Some(run_id) if self.servers.len() == 1 => {
                error_span!("session", run_id = %Head(run_id))
            }
            Some(_) | None => Span::none(),
        }
    }
}

impl Server {
    /// Logs in over `link`, in place of the last session with this server. With `migrating` that lives, and its users are to stay.
    ///
    /// Not cancel-safe: a login that was given up may have worked.
    async fn log_in(
        &mut self,
        common: &Common,
        link: Link,
        migrating: bool,
        table: watch::Receiver<Table>,
    ) -> Result<Session, LoginError> {
        let Common {
            config, key, tasks, ..
        } = common;
        let request = Request {
            config,
            key,
            migrating,
            run_id: self.run_id.as_ref(),
        };
        let LoggedIn {
            control,
            negotiated,
            link,
            run_id,
        } = log_in(&self.connector, link, &mut self.wire, &request).await?;
        self.run_id = Some(run_id.clone());
        let ended = tasks.part();
        let span = error_span!("session", run_id = %Head(&run_id));
        let (handle, requests) =
            SessionHandle::new(run_id, link.streams().clone(), negotiated, span);
        let context = WorkContext {
            auth: config.auth.clone(),
            ended: ended.clone(),
            puncher: common.puncher.clone(),
            session: handle.clone(),
            table,
            tasks: tasks.clone(),
            udp_packet_size: config.udp_packet_size,
            user: config.user.clone(),
        };
        let transport = &config.transport;
        let (interval, timeout) = match negotiated.liveness && !link.watch_closely() {
            true => (Some(liveness::INTERVAL), Some(liveness::TIMEOUT)),
            false => (transport.heartbeat_interval, transport.heartbeat_timeout),
        };
        Ok(Session {
            auth: config.auth.clone(),
            control,
            ended,
            handle,
            heartbeat: Heartbeat::new(interval, timeout, now()),
            link,
            requests,
            user: config.user.clone(),
            work: WorkConns::new(context),
        })
    }
}

/// When to look for better transports.
#[derive(Debug)]
struct UpgradeProbe {
    pause: Duration,
}

impl Default for UpgradeProbe {
    fn default() -> Self {
        Self { pause: FIRST_LOOK }
    }
}

impl UpgradeProbe {
    /// A connection to the server by a better transport than `candidate`; upgrade_probe for one until it works, for ever if there is no better.
    ///
    /// Dropping the future gives up.
    async fn better_transport(
        &mut self,
        candidates: &DialCandidates,
        candidate: DialCandidate,
        connector: &Arc<Connector>,
    ) -> (Transport, Link) {
        loop {
            sleep(self.pause).await;
            self.pause = (self.pause * 2).min(LONGEST_LOOK);
            for transport in candidates.better_than(candidate, now()) {
                match connector.link(transport, None).await {
                    Ok(link) => return (transport, link),
                    Err(error) => debug!("{transport} does not work yet: {}", Chain(&error)),
                }
            }
        }
    }
}

/// Who the client is, for a line of the log; nothing if it did not say.
fn who(config: &ClientConfig) -> String {
    let mut who = String::new();
    for (what, name) in [("user", &config.user), ("client id", &config.client_id)] {
        if !name.is_empty() {
            who.push_str(&format!(", {what} [{name}]"));
        }
    }
    who
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::future_size::future_size;

    /// There is one for each client, for as long as it lives; programs may run many clients. What only a login needs is not a part of it.
    #[test]
    fn the_task_of_a_session_is_small() {
        let size = future_size(SessionSupervisor::run);
        assert!(size <= 11_264, "{size} bytes");
    }
}
