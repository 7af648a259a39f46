//! A user of an `xtcp` visitor: from its listener through a tunnel past the server to the service.
//!
//! All users of a visitor share one tunnel. One task makes it when it is wanted, never two at a time and not
//! too often; users wait for it a while, and are then handed over to another visitor or turned away.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use mgrok_config::{VisitorConfig, XtcpVisitor};
use mgrok_net::conn::Conn;
use mgrok_net::error_chain::Chain;
use mgrok_net::layers::Layers;
use mgrok_net::relay::{HalfClose, Traffic, relay};
use mgrok_proto::cipher::CipherKey;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};
use tracing::{debug, info, warn};

use super::context::VisitorContext;
use super::table::Table;
use super::user::{User, UserCount};
use crate::handle::Sessions;
use crate::hole::{HoleError, Puncher, Visit};
use crate::tunnel::Tunnel;
use mgrok_config::wire_name;

/// How long a user waits for the tunnel, unless another visitor takes over earlier.
// frp: the same (client/visitor/xtcp.go#handleConn)
const TUNNEL_TIMEOUT: Duration = Duration::from_secs(20);
/// The least time from one attempt to make the tunnel to the next.
// frp: the same (client/visitor/xtcp.go#processTunnelStartEvents)
const ATTEMPT_INTERVAL: Duration = Duration::from_secs(10);
/// What attempts to keep the tunnel open are counted over.
const HOUR: Duration = Duration::from_secs(60 * 60);

/// A TCP service, as its visitor reaches it past the server.
#[derive(Debug)]
pub(super) struct Xtcp {
    config: XtcpVisitor,
    visit: Visit,
    layers: Layers,
    puncher: Puncher,
    sessions: watch::Receiver<Sessions>,
    /// Where other visitors are found.
    table: watch::Receiver<Table>,
    tunnel: watch::Sender<Option<Arc<Tunnel>>>,
    /// A user wants a tunnel.
    wanted: Notify,
    /// What all its users have moved so far.
    traffic: Traffic,
}

impl Xtcp {
    pub(super) fn new(
        config: &VisitorConfig,
        xtcp: &XtcpVisitor,
        context: &VisitorContext,
        table: watch::Receiver<Table>,
    ) -> Self {
        let key = CipherKey::derive(&config.secret_key);
        let user = config.server_user.as_ref().unwrap_or(&context.user);
        Self {
            layers: Layers {
                encryption: config.use_encryption.then(|| key.clone()),
                compression: config.use_compression,
                limit: None,
            },
            visit: Visit {
                proxy_name: wire_name(user, &config.server_name),
                protocol: xtcp.protocol,
                secret: config.secret_key.clone(),
                key,
                disable_assisted_addrs: xtcp.disable_assisted_addrs,
            },
            config: xtcp.clone(),
            puncher: context.puncher.clone(),
            sessions: context.sessions.clone(),
            table,
            tunnel: watch::Sender::new(None),
            wanted: Notify::new(),
            traffic: Traffic::default(),
        }
    }

    /// Carries one user to the service, who is one of `users` then; ends when either of them does.
    pub(super) async fn serve(&self, user: User, users: &UserCount) {
        let limit = match &self.config.fallback_to {
            Some(_) => self.config.fallback_timeout,
            None => TUNNEL_TIMEOUT,
        };
        let Ok((tunnel, stream)) = Box::pin(tokio::time::timeout(limit, self.stream())).await
        else {
            return self.hand_over(user, limit);
        };
        let User {
            conn,
            from,
            counted: _counted,
            permit,
        } = user;
        drop(permit);
        let _served = users.enter();
        let stream = self.layers.wrap(stream);
        // frp's clients end both directions with the first, and nobody says what the other side is.
        let end = relay(conn, stream, HalfClose::EndsBoth, &self.traffic).await;
        debug!(source = %from, "user connection [{from}] ended: {end:?}");
        // The tunnel had to be there for as long as the stream was.
        drop(tunnel);
    }

    /// Makes the tunnel whenever it is wanted, for ever.
    pub(super) async fn keep_tunnel(&self) {
        let mut attempts = Attempts::new(&self.config);
        loop {
            self.tunnel_wanted(&mut attempts).await;
            sleep_until(attempts.next_at()).await;
            if self.live_tunnel().is_some() {
                continue;
            }
            attempts.begin(Instant::now());
            match self.make_tunnel().await {
                Ok(tunnel) => {
                    attempts.succeeded();
                    self.tunnel.send_replace(Some(Arc::new(tunnel)));
                }
                Err(error) => {
                    warn!("no tunnel to the service: {}", Chain(&error));
                    // Wakes the waiting users, so that those who have not given up ask for the next attempt.
                    self.tunnel.send_replace(None);
                }
            }
        }
    }

    /// Waits until a user wants the tunnel, or it is to be kept open and is not.
    async fn tunnel_wanted(&self, attempts: &mut Attempts) {
        loop {
            tokio::select! {
                () = self.wanted.notified() => return,
                () = attempts.look_again() => {
                    if self.live_tunnel().is_none() && attempts.may_retry(Instant::now()) {
                        return;
                    }
                }
            }
        }
    }

    async fn make_tunnel(&self) -> Result<Tunnel, HoleError> {
        let mut sessions = self.sessions.clone();
        match Sessions::wait_for_first(&mut sessions).await {
            Some(session) => self.puncher.visit(&session, &self.visit).await,
            // The client has ended, and this task soon does.
            None => std::future::pending().await,
        }
    }

    /// A stream through the tunnel there is, or will be.
    async fn stream(&self) -> (Arc<Tunnel>, Conn) {
        let mut tunnels = self.tunnel.subscribe();
        loop {
            let tunnel = tunnels.borrow_and_update().clone();
            if let Some(tunnel) = tunnel.filter(|it| !it.is_ended()) {
                match tunnel.open().await {
                    Ok(stream) => return (tunnel, stream),
                    Err(error) => debug!("the tunnel is lost: {}", Chain(&error)),
                }
                self.forget(&tunnel);
            }
            self.wanted.notify_one();
            // Cannot fail: the sender is ours.
            let _ = tunnels.changed().await;
        }
    }

    fn live_tunnel(&self) -> Option<Arc<Tunnel>> {
        let tunnel = self.tunnel.borrow().clone();
        tunnel.filter(|it| !it.is_ended())
    }

    /// Clears the tunnel if it is still `lost`.
    fn forget(&self, lost: &Arc<Tunnel>) {
        self.tunnel.send_if_modified(|tunnel| {
            let same = tunnel.as_ref().is_some_and(|it| Arc::ptr_eq(it, lost));
            if same {
                *tunnel = None;
            }
            same
        });
    }

    fn hand_over(&self, user: User, waited: Duration) {
        let from = user.from;
        let Some(name) = &self.config.fallback_to else {
            return warn!(source = %from,
                "user connection [{from}] refused: no tunnel within {} s",
                waited.as_secs()
            );
        };
        let other = self.table.borrow().visitor(name).cloned();
        match other {
            Some(other) => {
                info!(source = %from,
                    "no tunnel within {} ms, user connection [{from}] goes to the visitor [{name}]",
                    waited.as_millis()
                );
                other.enter(user);
            }
            None => {
                warn!(source = %from, "user connection [{from}] refused: there is no visitor [{name}]")
            }
        }
    }
}

/// When the tunnel may be made. Asks nobody for the time but to wait.
#[derive(Debug)]
struct Attempts {
    keep_open: Option<Duration>,
    max_an_hour: usize,
    /// When the failed attempts of the last hour began. Their number limits the attempts to keep the tunnel open.
    failed: VecDeque<Instant>,
    last: Option<Instant>,
    look_at: Instant,
}

impl Attempts {
    fn new(config: &XtcpVisitor) -> Self {
        Self {
            keep_open: config.keep_tunnel_open.then_some(config.min_retry_interval),
            max_an_hour: config.max_retries_an_hour as usize,
            failed: VecDeque::new(),
            last: None,
            look_at: Instant::now(),
        }
    }

    /// The earliest time of the next.
    fn next_at(&self) -> Instant {
        self.last
            .map_or_else(Instant::now, |last| last + ATTEMPT_INTERVAL)
    }

    fn begin(&mut self, now: Instant) {
        self.last = Some(now);
        self.failed.push_back(now);
        while self.failed.len() > self.max_an_hour.max(1) {
            self.failed.pop_front();
        }
    }

    /// The last one did not fail.
    fn succeeded(&mut self) {
        self.failed.pop_back();
    }

    /// Waits until it is time to see whether the tunnel is open; for ever if it need not be kept so.
    async fn look_again(&mut self) {
        let Some(interval) = self.keep_open else {
            return std::future::pending().await;
        };
        sleep_until(self.look_at).await;
        self.look_at = Instant::now() + interval;
    }

    /// Whether there may be one more to keep the tunnel open.
    fn may_retry(&mut self, now: Instant) -> bool {
        while let Some(&oldest) = self.failed.front()
            && now - oldest >= HOUR
        {
            self.failed.pop_front();
        }
        self.failed.len() < self.max_an_hour
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempts(keep_tunnel_open: bool) -> Attempts {
        Attempts::new(&XtcpVisitor {
            keep_tunnel_open,
            max_retries_an_hour: 2,
            min_retry_interval: Duration::from_secs(90),
            ..XtcpVisitor::default()
        })
    }

    #[tokio::test(start_paused = true)]
    async fn a_tunnel_that_is_kept_open_is_looked_after_at_once_and_then_by_interval() {
        let mut attempts = attempts(true);
        let start = Instant::now();
        for expected in [0, 90, 180] {
            attempts.look_again().await;
            assert_eq!(start.elapsed().as_secs(), expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn failures_use_up_what_an_hour_allows() {
        let mut attempts = attempts(true);
        let start = Instant::now();
        for minute in [0, 10] {
            let now = start + Duration::from_secs(60 * minute);
            assert!(attempts.may_retry(now));
            attempts.begin(now);
        }
        assert!(!attempts.may_retry(start + HOUR - Duration::from_secs(1)));
        assert!(attempts.may_retry(start + HOUR), "the first is forgotten");
        attempts.begin(start + HOUR);
        attempts.succeeded();
        assert!(attempts.may_retry(start + HOUR), "successes do not count");
    }

    #[tokio::test(start_paused = true)]
    async fn attempts_keep_a_distance() {
        let mut attempts = attempts(false);
        let start = Instant::now();
        assert_eq!(attempts.next_at(), start);
        attempts.begin(start);
        assert_eq!(attempts.next_at(), start + ATTEMPT_INTERVAL);
    }
}
