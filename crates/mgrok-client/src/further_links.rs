//! The links of a session beyond its first. They are made beside it as soon as it has logged in, so that they are there when users come, and
//! made again, with growing pauses, when one is lost.
//!
//! With a server of mgrok each begins with a login that says whose it is. frp's server takes any connection's streams for those of the session
//! whose run id they name, so there is nothing to say.

use std::net::IpAddr;
use std::sync::Arc;

use mgrok_config::ClientConfig;
use mgrok_net::error_chain::Chain;
use mgrok_net::message::MessageConn;
use mgrok_net::mux_links::MuxLinks;
use mgrok_net::muxes::Muxes;
use mgrok_proto::cipher::CipherKey;
use mgrok_proto::{Negotiated, RunId, WireVersion};
use tokio::time::sleep;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tracing::{Instrument, Span, debug, info, warn};

use crate::backoff::Backoff;
use crate::clock::now;
use crate::connect::{Connector, Link, Transport};
use crate::credentials::Credentials;
use crate::login::{LoginError, Request, join};
use crate::tasks::Tasks;
use crate::work::WorkAcceptor;

/// What it takes to make links for a session.
#[derive(Debug)]
pub(crate) struct LinkMaker {
    pub(crate) config: Arc<ClientConfig>,
    pub(crate) connector: Arc<Connector>,
    pub(crate) credentials: Credentials,
    pub(crate) key: CipherKey,
    pub(crate) muxes: Muxes,
    pub(crate) negotiated: Negotiated,
    pub(crate) run_id: RunId,
    pub(crate) tasks: Tasks,
    /// Takes what the server opens on them.
    pub(crate) work: WorkAcceptor,
}

/// The further links of a session. They end when it is dropped.
#[derive(Debug)]
pub(crate) struct FurtherLinks {
    stop: DropGuard,
    left: CancellationToken,
    keepers: TaskTracker,
}

/// One task that keeps one link.
#[derive(Debug)]
struct Keeper {
    maker: Arc<LinkMaker>,
    /// Those of the session.
    links: MuxLinks,
    /// By what, and where to, the first one goes.
    like: Like,
    stop: CancellationToken,
    left: CancellationToken,
    /// Its number among the links of the session, of which the first is 1.
    number: usize,
}

/// How the first link of the session was made.
type Like = (Transport, Option<IpAddr>);

impl FurtherLinks {
    /// Keeps as many beside `first` as are configured; `None` if that is none, or the server takes none, which is logged then.
    pub(crate) fn start(first: &Link, maker: LinkMaker, span: &Span) -> Option<Self> {
        let wanted = maker.connector.further_links(first.transport());
        let links = first.mux_links().filter(|_| wanted > 0)?;
        if let Err(why) = takes_further(maker.negotiated) {
            span.in_scope(|| {
                warn!(
                    per_session = true,
                    "transport.tcpMuxConnections has no effect: {why}"
                )
            });
            return None;
        }
        let stop = CancellationToken::new();
        let further = Self {
            left: CancellationToken::new(),
            keepers: TaskTracker::new(),
            stop: stop.clone().drop_guard(),
        };
        let maker = Arc::new(maker);
        for number in 2..wanted + 2 {
            let keeper = Keeper {
                maker: maker.clone(),
                links: links.clone(),
                like: (first.transport(), first.reached()),
                stop: stop.clone(),
                left: further.left.clone(),
                number,
            };
            let kept = further.keepers.track_future(keeper.run());
            maker.tasks.spawn(kept.instrument(span.clone()));
        }
        Some(further)
    }

    /// Closes them, after what is queued has been written.
    pub(crate) async fn close(self) {
        drop(self.stop);
        self.keepers.close();
        self.keepers.wait().await;
    }

    /// Leaves each to the streams that it has: it ends with the last of them.
    pub(crate) fn leave_to_streams(self) {
        self.stop.disarm();
        self.left.cancel();
    }
}

/// Whether a session that has negotiated this can have further links.
fn takes_further(negotiated: Negotiated) -> Result<(), &'static str> {
    match negotiated.streams {
        WireVersion::V1 => Err("it needs wire protocol v2 (transport.wireProtocol)"),
        WireVersion::V2 if negotiated.links => Ok(()),
        // Every other server of mgrok says that it can do this.
        WireVersion::V2 if negotiated.can_migrate => {
            Err("the server is a version of mgrok that takes one connection for each session")
        }
        WireVersion::V2 => Ok(()),
    }
}

impl Keeper {
    async fn run(self) {
        let mut backoff = Backoff::default();
        backoff.logged_in(now());
        let mut is_first_failure = true;
        loop {
            let made = tokio::select! {
                made = Box::pin(self.maker.make(self.like)) => made,
                () = self.stop.cancelled() => return,
                () = self.left.cancelled() => return,
                () = self.maker.tasks.is_cut() => return,
            };
            let number = self.number;
            let wait = match made {
                Ok(made) => {
                    info!(
                        per_session = true,
                        "connection {number} of the session is there"
                    );
                    backoff.logged_in(now());
                    is_first_failure = true;
                    let Some(why) = self.keep(made).await else {
                        return;
                    };
                    let wait = backoff.session_ended(now(), fastrand::f64());
                    info!(
                        per_session = true,
                        "connection {number} of the session is lost: {why}; next attempt in {wait:.1?}"
                    );
                    wait
                }
                Err(error) => {
                    let failure = error.failure();
                    let wait = backoff.login_failed(failure, now(), fastrand::f64());
                    let error = Chain(&error);
                    match std::mem::replace(&mut is_first_failure, false) {
                        true => warn!(
                            per_session = true,
                            "cannot make connection {number} of the session: {error}; the others go on, next attempt in {wait:.1?}"
                        ),
                        false => debug!("cannot make connection {number} of the session: {error}"),
                    }
                    wait
                }
            };
            tokio::select! {
                () = sleep(wait) => {}
                () = self.stop.cancelled() => return,
                () = self.left.cancelled() => return,
                () = self.maker.tasks.is_cut() => return,
            }
        }
    }

    /// Keeps a link until it is lost, and says why; `None` if the session has ended.
    async fn keep(&self, (mut link, mut control): (Link, Option<MessageConn>)) -> Option<String> {
        let added = self.links.add(link.mux_links()?);
        let why = tokio::select! {
            biased;
            () = self.left.cancelled() => {
                drop((added, control));
                link.leave_to_streams(&self.maker.tasks);
                return None;
            }
            () = self.stop.cancelled() => {
                drop((added, control));
                link.close().await;
                return None;
            }
            () = self.maker.tasks.is_cut() => return None,
            ended = link.ended() => match ended {
                Ok(()) => "the server closed it".to_owned(),
                Err(end) => Chain(&end).to_string(),
            },
            () = said_goodbye(&mut control) => "the server closed it".to_owned(),
        };
        drop((added, control));
        // Beside the next one: a dead link takes its time to close.
        let tasks = self.maker.tasks.clone();
        self.maker.tasks.spawn(async move {
            tokio::select! {
                () = link.close() => {}
                () = tasks.is_cut() => {}
            }
        });
        Some(why)
    }
}

impl LinkMaker {
    /// One more link, and the stream that says whose it is, where that is said.
    async fn make(&self, like: Like) -> Result<(Link, Option<MessageConn>), LoginError> {
        let (transport, reached) = like;
        let mut link = self.connector.further_link(transport, reached).await?;
        link.show_in(&self.muxes);
        let mut control = None;
        if self.negotiated.links {
            let proof = self.credentials.login().await.map_err(LoginError::Oidc)?;
            let request = Request {
                config: &self.config,
                key: &self.key,
                proof: &proof,
                migrating: false,
                joins: true,
                run_id: Some(&self.run_id),
            };
            control = Some(join(&self.connector, &mut link, &request).await?);
        }
        if self.negotiated.liveness {
            link.watch_closely();
        }
        self.work.accept_from(&mut link);
        Ok((link, control))
    }
}

/// Waits until the server ends the stream that says whose the link is.
async fn said_goodbye(control: &mut Option<MessageConn>) {
    match control {
        // Whatever it says: there is nothing to say but the end.
        Some(control) => drop(control.recv().await),
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use mgrok_proto::hello::Extension;

    use super::*;

    #[test]
    fn older_versions_of_mgrok_are_asked_for_no_further_links() {
        let v2 = |extensions| Negotiated::new(WireVersion::V2, "0.70.1", extensions);
        assert!(takes_further(v2(&[Extension::LINKS, Extension::CAN_MIGRATE])).is_ok());
        assert!(takes_further(v2(&[Extension::CAN_MIGRATE])).is_err());
        // frp's server.
        assert!(takes_further(v2(&[])).is_ok());
        assert!(takes_further(Negotiated::new(WireVersion::V1, "0.70.1", &[])).is_err());
    }
}
