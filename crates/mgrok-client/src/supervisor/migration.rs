//! Migration: while a session uses a worse transport than there are, the better ones are probed from time to time, and the session
//! migrates to the first that works.

use std::pin::Pin;
use std::time::Duration;

use mgrok_net::error_chain::Chain;
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{debug, info};

use super::context::SupervisorContext;
use super::login_round::{ActiveSession, Servers};
use crate::clock::now;
use crate::connect::{Connector, Link, Transport};
use crate::dial_candidates::{DialCandidate, DialCandidates};
use crate::handle::SessionHandle;
use crate::login::LoginError;
use crate::proxies::Table;
use crate::session::SessionEnd;

/// The time until the first probe of better transports. It doubles from probe to probe.
const FIRST_PROBE: Duration = Duration::from_secs(5);
/// The longest time between two probes.
const LONGEST_PROBE_PAUSE: Duration = Duration::from_secs(300);

/// How the serving of a session ended.
pub(super) enum ServeEnd {
    /// It migrated to this session, over a better transport. Boxed: a session is large.
    Migrated(Box<ActiveSession>),
    Over(Result<(), SessionEnd>),
}

/// Drives `serving`, which serves the session of `handle` by `candidate`, until it ends or the session has migrated.
pub(super) async fn serve_or_migrate(
    mut serving: Pin<&mut impl Future<Output = Result<(), SessionEnd>>>,
    handle: &SessionHandle,
    candidate: DialCandidate,
    servers: &mut Servers,
    context: &SupervisorContext,
    table: &watch::Receiver<Table>,
) -> ServeEnd {
    let migrated = {
        let (server, candidates) = servers.migration(candidate);
        let connector = server.connector.clone();
        let mut probe = UpgradeProbe::default();
        loop {
            let (transport, link) = tokio::select! {
                ended = &mut serving => break Err(ended),
                found = probe.better_transport(candidates, candidate, &connector) => found,
            };
            if !handle.negotiated().can_migrate && context.tasks.has_users() {
                debug!(
                    "{transport} works again, but this server would cut the users if the session migrated"
                );
                continue;
            }
            // Boxed: only a migration needs this room.
            let mut logging_in = Box::pin(async {
                let proof = context.credentials.login().await;
                let proof = proof.map_err(LoginError::Oidc)?;
                let session = server.log_in(context, &proof, link, true, table.clone());
                session.await
            });
            // The server ends this session when the new one begins.
            let mut ended = None;
            let logged_in = loop {
                tokio::select! {
                    biased;
                    logged_in = &mut logging_in => break logged_in,
                    end = &mut serving, if ended.is_none() => ended = Some(end),
                }
            };
            match (logged_in, ended) {
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
            let candidate = DialCandidate {
                transport,
                ..candidate
            };
            ServeEnd::Migrated(Box::new(servers.logged_in(session, candidate)))
        }
    }
}

/// Probes better transports, with growing pauses.
#[derive(Debug)]
struct UpgradeProbe {
    pause: Duration,
}

impl Default for UpgradeProbe {
    fn default() -> Self {
        Self { pause: FIRST_PROBE }
    }
}

impl UpgradeProbe {
    /// Probes until a better transport than `candidate` works, and gives a link over it; for ever if there is no better one.
    ///
    /// Dropping the future gives up.
    async fn better_transport(
        &mut self,
        candidates: &DialCandidates,
        candidate: DialCandidate,
        connector: &Connector,
    ) -> (Transport, Link) {
        loop {
            sleep(self.pause).await;
            self.pause = (self.pause * 2).min(LONGEST_PROBE_PAUSE);
            for transport in candidates.better_than(candidate, now()) {
                match connector.link(transport, None).await {
                    Ok(link) => return (transport, link),
                    Err(error) => debug!("{transport} does not work yet: {}", Chain(&error)),
                }
            }
        }
    }
}
