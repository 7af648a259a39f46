//! Keeps a session with one server at a time: login, session, wait, and again, until the client stops.
//!
//! A login is a round over all servers and transports (`login_round`). A session may migrate to a better transport (`migration`).

mod context;

mod login_round;

mod migration;

use std::ops::ControlFlow;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use mgrok_config::{ClientConfig, ProxyConfig};
use mgrok_net::error_chain::Chain;
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{Instrument, Span, debug, error, error_span, info, warn};

pub(crate) use self::context::{FirstLogins, SupervisorContext};
use self::login_round::ActiveSession;
pub use self::login_round::LoginFailure;
use self::login_round::Servers;
use self::migration::{ServeEnd, serve_or_migrate};
use crate::backoff::Backoff;
use crate::clock::now;
use crate::connect::Connector;
use crate::describe::Head;
use crate::health::Checks;
use crate::metrics::SessionOver;
use crate::progress::Stage;
use crate::proxies::Proxies;
use crate::session::SessionEnd;
use crate::settings::LoginSettings;

/// While attempts follow each other faster than this, only the first of them is logged above DEBUG.
const LOGGED_WAIT: Duration = Duration::from_secs(1);

/// Keeps a session with one of its servers.
#[derive(Debug)]
pub(crate) struct SessionSupervisor {
    /// Its number among the client's.
    number: usize,
    context: SupervisorContext,
    servers: Servers,
    proxies: Proxies,
    wanted: watch::Receiver<Vec<ProxyConfig>>,
    /// What the next login goes by.
    settings: watch::Receiver<Arc<LoginSettings>>,
    backoff: Backoff,
    ever_tried: bool,
    /// Whether the attempts follow each other so fast that only the first was logged above DEBUG.
    quiet: bool,
}

impl SessionSupervisor {
    /// Publishes `wanted` at the servers that `settings` have for the supervisor of this number.
    pub(crate) fn new(
        number: usize,
        context: SupervisorContext,
        proxies: Proxies,
        wanted: watch::Receiver<Vec<ProxyConfig>>,
        settings: watch::Receiver<Arc<LoginSettings>>,
    ) -> Self {
        let connectors = connectors(&settings.borrow(), number);
        Self {
            number,
            servers: Servers::new(connectors, &context.config, context.metrics.clone()),
            settings,
            context,
            proxies,
            wanted,
            backoff: Backoff::default(),
            ever_tried: false,
            quiet: false,
        }
    }

    /// Serves until the client is stopped and the grace period is over; returns how many user
    /// connections are left.
    pub(crate) async fn run(mut self) -> Result<usize, LoginFailure> {
        let SupervisorContext {
            stopping, tasks, ..
        } = self.context.clone();
        let checks = Checks::new(tasks.clone(), stopping.clone());
        while !stopping.is_cancelled() {
            self.take_settings();
            let span = self.span();
            self.context.progress.set(self.number, Stage::Connecting);
            let attempt = tokio::select! {
                attempt = Box::pin(self.log_in().instrument(span.clone())) => attempt,
                () = stopping.cancelled() => break,
            };
            let wait = match attempt {
                Ok(active) => {
                    self.context.first_logins.worked();
                    let server = self.servers.server(active.candidate);
                    let connected = Stage::Connected(server.clone());
                    self.context.progress.set(self.number, connected);
                    match self.serve(active, &checks).await {
                        ControlFlow::Break(left) => return Ok(left),
                        ControlFlow::Continue(wait) => wait,
                    }
                }
                Err(error) => {
                    let statuses = &self.context.session_statuses;
                    statuses.failed(self.number, error.to_string());
                    let is_first = !std::mem::replace(&mut self.ever_tried, true);
                    if is_first && self.context.first_logins.failed() {
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
                    self.quiet = wait < LOGGED_WAIT;
                    wait
                }
            };
            self.ever_tried = true;
            self.context.progress.set(self.number, Stage::Waiting(wait));
            tokio::select! {
                () = sleep(wait) => {}
                () = stopping.cancelled() => {}
                // What failed may work now.
                Ok(()) = self.settings.changed() => {}
            }
        }
        self.proxies.close();
        Ok(tasks.users_gone(now() + self.grace_period()).await)
    }

    /// Has the next login go by what the latest reload has said.
    fn take_settings(&mut self) {
        let settings = self.settings.borrow_and_update().clone();
        let before = &self.context.config;
        if Arc::ptr_eq(before, &settings.config) {
            return;
        }
        let connectors = connectors(&settings, self.number);
        self.servers.replace(connectors, before, &settings.config);
        if before.auth.token != settings.config.auth.token {
            self.proxies.set_key(settings.key.clone(), now());
        }
        self.context.config = settings.config.clone();
        self.context.key = settings.key.clone();
        self.context.credentials = settings.credentials.clone();
    }

    fn grace_period(&self) -> Duration {
        self.settings.borrow().config.grace_period
    }

    async fn log_in(&mut self) -> Result<ActiveSession, LoginFailure> {
        match self.quiet {
            false => info!("try to connect to server..."),
            true => debug!("try to connect to server..."),
        }
        let longest_dial = self.backoff.longest_dial(now());
        let table = self.proxies.watch();
        self.servers
            .log_in(&self.context, &table, longest_dial)
            .await
    }

    /// Serves one session, and those that it migrates to, to the end. Returns how long to wait before the next, or, if the client
    /// was stopped, how many user connections are left after the grace period.
    async fn serve(
        &mut self,
        mut active: ActiveSession,
        checks: &Checks,
    ) -> ControlFlow<usize, Duration> {
        self.backoff.logged_in(now());
        self.quiet = false;
        loop {
            let span = active.session.handle.span().clone();
            let ended = self.serve_one(&mut active, checks).instrument(span.clone());
            match ended.await {
                ServeEnd::Migrated(next) => {
                    let over = &self.context.metrics.sessions_over;
                    over.of(SessionOver::Migrated).inc();
                    let left = std::mem::replace(&mut active, *next);
                    left.session.leave_to_users(&self.context.tasks);
                    self.proxies.end_session();
                }
                ServeEnd::Over(end) => {
                    let over = self.end(active, end).instrument(span);
                    return over.await;
                }
            }
        }
    }

    async fn serve_one(&mut self, active: &mut ActiveSession, checks: &Checks) -> ServeEnd {
        let candidate = active.candidate;
        let server = self.servers.server(candidate);
        let handle = active.session.handle.clone();
        let multipath = active.session.link.is_multipath();
        info!(
            "login to server success, get run id [{}]{}, with {server} by {}{}",
            Head(handle.run_id()),
            who(&self.context.config),
            candidate.transport,
            if multipath { " over multipath TCP" } else { "" }
        );
        self.proxies.set_server_addr(&server.host);
        self.context.session_statuses.logged_in(
            self.number,
            server.clone(),
            handle.run_id().as_str().to_owned(),
            candidate.transport.to_string(),
            active.session.link.count(),
            multipath,
        );
        self.context
            .sessions
            .send_modify(|sessions| sessions.begin(self.number, handle.clone()));
        let table = self.proxies.watch();
        let serving = pin!(active.session.run(
            &mut self.proxies,
            &mut self.wanted,
            checks,
            &self.context.stopping,
        ));
        let (servers, context) = (&mut self.servers, &self.context);
        serve_or_migrate(serving, &handle, candidate, servers, context, &table).await
    }

    /// Says how a session ended, and cleans up after it.
    async fn end(
        &mut self,
        active: ActiveSession,
        end: Result<(), SessionEnd>,
    ) -> ControlFlow<usize, Duration> {
        let ActiveSession {
            mut session,
            candidate,
            since,
        } = active;
        self.context
            .sessions
            .send_modify(|sessions| sessions.end(self.number));
        let outcome = end.as_ref().err().map(SessionEnd::outcome);
        let over = &self.context.metrics.sessions_over;
        over.of(outcome.unwrap_or(SessionOver::Stopped)).inc();
        let end = match end {
            Ok(()) => {
                let deadline = now() + self.grace_period();
                let left = session
                    .drain(&mut self.proxies, &self.context.tasks, deadline)
                    .await;
                // Boxed: it is over soon, and the session is long.
                Box::pin(session.finish()).await;
                return ControlFlow::Break(left);
            }
            Err(end) => end,
        };
        let statuses = &self.context.session_statuses;
        statuses.failed(self.number, Chain(&end).to_string());
        if let SessionEnd::Pong(_) = end {
            self.context.credentials.refused();
        }
        let wait = self.backoff.session_ended(now(), fastrand::f64());
        let server = self.servers.server(candidate);
        let (who, lived) = (who(&self.context.config), now() - since);
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
        let tasks = self.context.tasks.clone();
        self.context.tasks.spawn(async move {
            tokio::select! {
                () = session.close() => {}
                () = tasks.is_cut() => {}
            }
        });
        self.proxies.end_session();
        self.servers.lost(candidate, lived);
        ControlFlow::Continue(wait)
    }

    /// The span of what is logged between two sessions: the last session's, if it is clear which that was.
    fn span(&self) -> Span {
        match self.servers.last_run_id() {
            Some(run_id) => error_span!("session", run_id = %Head(run_id)),
            None => Span::none(),
        }
    }
}

/// The servers of the supervisor of this number.
fn connectors(settings: &LoginSettings, number: usize) -> Vec<Arc<Connector>> {
    // There are as many lists as supervisors.
    settings.connectors.get(number).cloned().unwrap_or_default()
}

/// The client's user and client id, for the log; empty if neither is configured.
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

    /// There is one for each client, for as long as it lives; programs may run many clients. What only a login needs is not a part of it, but
    /// for what it shows, which is there ahead of the dials.
    #[test]
    fn the_task_of_a_session_is_small() {
        let size = future_size(SessionSupervisor::run);
        assert!(size <= 11_776, "{size} bytes");
    }
}
