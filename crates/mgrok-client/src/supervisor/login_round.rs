//! One round of logins: a race of the dial candidates, and a login over the link that won.

use std::fmt::{self, Display, Formatter};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mgrok_config::{ClientConfig, ServerAddr};
use mgrok_net::error_chain::Chain;
use mgrok_proto::{RunId, liveness};
use tokio::sync::watch;
use tracing::{Instrument, debug, error_span};

use super::context::SupervisorContext;
use crate::backoff::Failure;
use crate::clock::now;
use crate::connect::{Connector, Link};
use crate::credentials::LoginProof;
use crate::describe::Head;
use crate::dial_candidates::{DialCandidate, DialCandidates};
use crate::further_links::{FurtherLinks, LinkMaker};
use crate::handle::SessionHandle;
use crate::heartbeat::Heartbeat;
use crate::login::{LoggedIn, LoginError, Request, log_in};
use crate::metrics::{LoginEnd, Metrics};
use crate::proxies::Table;
use crate::race::race;
use crate::session::Session;
use crate::wire::WireChoice;
use crate::work::{WorkConns, WorkContext};

/// Why a round of logins failed: what each candidate said.
#[derive(Debug)]
pub struct LoginFailure {
    /// Each candidate, as the log calls it, and its error.
    tries: Vec<(String, LoginError)>,
}

/// In one line, with all causes.
impl Display for LoginFailure {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if let [(_, error)] = self.tries.as_slice() {
            return Chain(error).fmt(f);
        }
        for (position, (candidate, error)) in self.tries.iter().enumerate() {
            let separator = if position == 0 { "" } else { "; " };
            write!(f, "{separator}{candidate}: {}", Chain(error))?;
        }
        Ok(())
    }
}

impl std::error::Error for LoginFailure {}

impl LoginFailure {
    /// What it means for the next attempt. One server that refuses counts more than others that cannot be reached, so that it is not asked often.
    pub(super) fn failure(&self) -> Failure {
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

/// As what a login that failed is counted.
fn outcome(error: &LoginError) -> LoginEnd {
    match error {
        LoginError::Closed(_) | LoginError::NoHello(_) | LoginError::Send(_) => LoginEnd::Closed,
        LoginError::Connect(_) => LoginEnd::Connect,
        LoginError::Agreement(_)
        | LoginError::Garbage(_)
        | LoginError::NoRunId
        | LoginError::Unexpected(_) => LoginEnd::Malformed,
        LoginError::Oidc(_) => LoginEnd::Oidc,
        LoginError::Refused(_) => LoginEnd::Refused,
        LoginError::Timeout => LoginEnd::Timeout,
    }
}

/// A session, and the server and transport that it uses.
#[derive(Debug)]
pub(super) struct ActiveSession {
    pub(super) session: Session,
    pub(super) candidate: DialCandidate,
    pub(super) since: Instant,
}

/// One server, and what is remembered of its last session.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) connector: Arc<Connector>,
    /// The run id of the last session. With it the next login replaces that session.
    run_id: Option<RunId>,
    wire: WireChoice,
}

/// The servers of a supervisor, and the order in which they are tried.
#[derive(Debug)]
pub(super) struct Servers {
    servers: Vec<Server>,
    candidates: DialCandidates,
    metrics: Arc<Metrics>,
}

impl Servers {
    pub(super) fn new(
        connectors: Vec<Arc<Connector>>,
        config: &ClientConfig,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            metrics,
            candidates: DialCandidates::new(connectors.len(), config.transport.protocol),
            servers: connectors
                .into_iter()
                .map(|connector| Server {
                    connector,
                    run_id: None,
                    wire: WireChoice::new(config.transport.wire_protocol),
                })
                .collect(),
        }
    }

    /// Logs in by `connectors` from now on, as `next` says and no longer `before`. What is known of a server stays.
    pub(super) fn replace(
        &mut self,
        connectors: Vec<Arc<Connector>>,
        before: &ClientConfig,
        next: &ClientConfig,
    ) {
        let mut replaced = Self::new(connectors, next, self.metrics.clone());
        for server in &mut replaced.servers {
            let mut known = self.servers.iter();
            let known = known.find(|it| it.connector.server() == server.connector.server());
            if let Some(known) = known {
                server.run_id = known.run_id.clone();
                if before.transport.wire_protocol == next.transport.wire_protocol {
                    server.wire = known.wire.clone();
                }
            }
        }
        let are_tried_alike =
            before.servers == next.servers && before.transport.protocol == next.transport.protocol;
        if are_tried_alike {
            std::mem::swap(&mut replaced.candidates, &mut self.candidates);
        }
        *self = replaced;
    }

    /// The address of a candidate's server.
    pub(super) fn server(&self, candidate: DialCandidate) -> &ServerAddr {
        self.servers[candidate.server].connector.server()
    }

    /// A candidate's server to log in to, and the candidates to choose a better transport from.
    pub(super) fn migration(&mut self, candidate: DialCandidate) -> (&mut Server, &DialCandidates) {
        (&mut self.servers[candidate.server], &self.candidates)
    }

    /// Takes note that the session of `candidate` was lost after `lived`.
    pub(super) fn lost(&mut self, candidate: DialCandidate, lived: Duration) {
        self.candidates.lost(candidate, lived, now());
    }

    /// The run id of the last session, if there is one server and has been a session.
    pub(super) fn last_run_id(&self) -> Option<&RunId> {
        match self.servers.as_slice() {
            [server] => server.run_id.as_ref(),
            _ => None,
        }
    }

    /// One round: tries all candidates until one leads to a session. Each dial takes at most `longest_dial`.
    pub(super) async fn log_in(
        &mut self,
        context: &SupervisorContext,
        table: &watch::Receiver<Table>,
        longest_dial: Option<Duration>,
    ) -> Result<ActiveSession, LoginFailure> {
        let mut tries = Vec::new();
        // Ahead of the dials: servers wait for a login that is overdue, but not for long.
        let proof = match context.credentials.login().await {
            Ok(proof) => proof,
            Err(error) => {
                self.metrics.logins.of(LoginEnd::Oidc).inc();
                tries.push(("the login".to_owned(), LoginError::Oidc(error)));
                return Err(LoginFailure { tries });
            }
        };
        let mut order = self.candidates.order(now());
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
            match self
                .log_in_over(context, &proof, link, candidate, table)
                .await
            {
                Ok(active) => return Ok(active),
                Err(error) => {
                    // A server that refuses by one transport refuses by every other.
                    let is_refusal = matches!(error, LoginError::Refused(_));
                    if is_refusal {
                        context.credentials.refused();
                    }
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
        self.metrics.logins.of(outcome(&error)).inc();
        let label = self.label(candidate);
        if !self.candidates.is_single() {
            debug!("{label}: {}", Chain(&error));
        }
        tries.push((label, error));
    }

    /// What the log calls a candidate.
    fn label(&self, candidate: DialCandidate) -> String {
        let server = self.server(candidate);
        format!("{server} by {}", candidate.transport)
    }

    async fn log_in_over(
        &mut self,
        context: &SupervisorContext,
        proof: &LoginProof,
        link: Link,
        candidate: DialCandidate,
        table: &watch::Receiver<Table>,
    ) -> Result<ActiveSession, LoginError> {
        let server = &mut self.servers[candidate.server];
        let session = server.log_in(context, proof, link, false, table.clone());
        let session = session.await?;
        Ok(self.logged_in(session, candidate))
    }

    /// Remembers that `candidate` works.
    pub(super) fn logged_in(
        &mut self,
        session: Session,
        candidate: DialCandidate,
    ) -> ActiveSession {
        self.metrics.logins.of(LoginEnd::Ok).inc();
        self.candidates.logged_in(candidate);
        ActiveSession {
            session,
            candidate,
            since: now(),
        }
    }
}

impl Server {
    /// Logs in over `link`, in place of the last session with this server. With `migrating` that session is alive and keeps its users.
    ///
    /// Not cancel-safe: a login that was given up may have worked.
    pub(super) async fn log_in(
        &mut self,
        context: &SupervisorContext,
        proof: &LoginProof,
        link: Link,
        migrating: bool,
        table: watch::Receiver<Table>,
    ) -> Result<Session, LoginError> {
        let SupervisorContext {
            config, key, tasks, ..
        } = context;
        let request = Request {
            config,
            key,
            proof,
            migrating,
            joins: false,
            run_id: self.run_id.as_ref(),
        };
        let LoggedIn {
            control,
            negotiated,
            mut link,
            run_id,
            version: _,
        } = log_in(&self.connector, link, &mut self.wire, &request).await?;
        link.show_in(&context.metrics.muxes);
        self.run_id = Some(run_id.clone());
        let ended = tasks.part();
        let span = error_span!("session", run_id = %Head(&run_id));
        let (handle, requests) = SessionHandle::new(
            run_id.clone(),
            link.streams().clone(),
            negotiated,
            span.clone(),
        );
        let work = WorkConns::new(WorkContext {
            credentials: context.credentials.clone(),
            ended: ended.clone(),
            metrics: context.metrics.clone(),
            puncher: context.puncher.clone(),
            session: handle.clone(),
            table,
            tasks: tasks.clone(),
            udp_packet_size: config.udp_packet_size,
            user: config.user.clone(),
        });
        let accepting = work.acceptor();
        span.in_scope(|| accepting.accept_from(&mut link));
        let maker = LinkMaker {
            config: config.clone(),
            connector: self.connector.clone(),
            credentials: context.credentials.clone(),
            key: key.clone(),
            muxes: context.metrics.muxes.clone(),
            negotiated,
            run_id,
            tasks: tasks.clone(),
            work: accepting,
        };
        let further_links = FurtherLinks::start(&link, maker, &span);
        let transport = &config.transport;
        let (interval, timeout) = match negotiated.liveness && !link.watch_closely() {
            true => (Some(liveness::INTERVAL), Some(liveness::TIMEOUT)),
            false => (transport.heartbeat_interval, transport.heartbeat_timeout),
        };
        Ok(Session {
            credentials: context.credentials.clone(),
            pending_ping: None,
            control,
            ended,
            handle,
            heartbeat: Heartbeat::new(interval, timeout, now()),
            link,
            further_links,
            metrics: context.metrics.clone(),
            requests,
            user: config.user.clone(),
            work,
        })
    }
}
