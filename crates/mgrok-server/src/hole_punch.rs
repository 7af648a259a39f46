//! Hole punching: services that visitors reach past the server, which only brings the two sides together.
//!
//! A visitor asks; the proxy's client is told of it on a work connection, and says how it is seen from outside; both
//! get advice how to try, and the client reports whether it worked (PROTOCOL 9.4).

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mgrok_nat::advice::{Advice, Analysis, Answer, Attempt};
use mgrok_net::error_chain::Chain;
use mgrok_net::message::{MessageConn, SendError};
use mgrok_proto::message::{
    Message, NatHoleClient, NatHoleReport, NatHoleResp, NatHoleSid, NatHoleVisitor,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use crate::admission::Denied;
use crate::backend::{Backend, OpenError};
use crate::bans::Guess;
use crate::excerpt::Excerpt;
use crate::metrics::{Limit, Metrics};
use crate::private::{PrivateService, PrivateServices, Reach};
use crate::tasks::Tasks;

/// How long the proxy's client may take to say how it is seen from outside.
// frp: the same (pkg/nathole/controller.go#NatHoleTimeout)
const CLIENT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long it may take to accept the news of a visitor.
const ANNOUNCE_TIMEOUT: Duration = Duration::from_secs(5);

/// What can run through a hole. Who leaves it out means the first.
const PROTOCOLS: [&str; 3] = ["quic", "kcp", ""];

/// How many attempts may be under way at once. Each lasts some seconds and, for its report, half a minute more.
const MAX_ATTEMPTS: usize = 4_096;

/// How many attempts the visitors of one client may have under way at once, so that one client does not use up
/// [`MAX_ATTEMPTS`]. It makes a tunnel when it is wanted and keeps it, so that many visitors make few attempts.
pub(crate) const MAX_ATTEMPTS_PER_CLIENT: usize = 64;

/// Brings visitors and the clients of proxies together, on one server. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct HolePunchBroker {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    services: PrivateServices,
    /// By `sid`.
    attempts: Mutex<HashMap<String, Stage>>,
    analysis: Mutex<Analysis>,
    permits: Arc<Semaphore>,
}

/// The visitor that asks.
pub(crate) struct VisitorRequest<'a> {
    pub(crate) user: &'a str,
    /// Where its client comes from.
    pub(crate) from: IpAddr,
    /// Of its client's attempts.
    pub(crate) permits: &'a Arc<Semaphore>,
    /// Where what there is to say goes.
    pub(crate) answers: &'a mpsc::Sender<Message>,
    /// Where refusals are counted.
    pub(crate) metrics: &'a Metrics,
}

/// Permits for one attempt of the server, of the visitor's client and of the proxy.
type Permits = [OwnedSemaphorePermit; 3];

/// How far an attempt is.
#[derive(Debug)]
enum Stage {
    /// The proxy's client has yet to say how it is seen.
    Waiting(oneshot::Sender<OwnerReply>),
    /// Both have advice, and the client has yet to report.
    Advised(Attempt),
}

/// What the proxy's client says, and where its answer goes.
#[derive(Debug)]
struct OwnerReply {
    client: NatHoleClient,
    answers: mpsc::Sender<Message>,
}

/// An attempt in the table, which is taken out when this is dropped.
struct AttemptGuard {
    holes: HolePunchBroker,
    sid: String,
    _permits: Permits,
}

/// Why a visitor gets no advice. The texts are frp's where frp has one.
#[derive(Debug, thiserror::Error)]
enum HolePunchError {
    #[error(
        "xtcp connection of [{0}] auth failed: secretKey of the visitor is not that of the proxy"
    )]
    Auth(String),
    #[error("xtcp connection of [{name}] not allowed: {denied}")]
    Denied { name: String, denied: Denied },
    #[error(
        "too many attempts to reach [{0}] past the server are under way; try again in a minute"
    )]
    Busy(String),
    #[error("unknown protocol [{}]; a visitor can ask for quic or kcp", Excerpt(.0))]
    Protocol(String),
    #[error(
        "xtcp server for [{0}] doesn't exist: no xtcp proxy of this name is online; check serverName and serverUser of the \
         visitor"
    )]
    Unknown(String),
    #[error(
        "xtcp visitor user [{user}] not allowed for [{name}]: allowUsers of the proxy does not list it"
    )]
    User { name: String, user: String },
}

/// Why an attempt came to nothing. The visitor hears of it by its own timeout, as from frp.
#[derive(Debug, thiserror::Error)]
enum AttemptError {
    #[error("no work connection to tell the proxy's client")]
    Open(#[from] OpenError),
    #[error("the proxy's client does not take the news")]
    News(#[source] Option<SendError>),
    #[error("the proxy's client said nothing for {} s", CLIENT_TIMEOUT.as_secs())]
    Silent,
}

impl HolePunchBroker {
    /// For those of `services` that are reached past the server. What is learnt of a pair of networks is kept for `retention`.
    pub(crate) fn new(services: PrivateServices, retention: Duration) -> Self {
        Self {
            inner: Arc::new(Inner {
                services,
                attempts: Mutex::default(),
                analysis: Mutex::new(Analysis::new(retention)),
                permits: Arc::new(Semaphore::new(MAX_ATTEMPTS)),
            }),
        }
    }

    /// A visitor asks.
    pub(crate) fn visit(
        &self,
        visitor: NatHoleVisitor,
        visitor_request: &VisitorRequest<'_>,
        tasks: &Tasks,
    ) {
        let answers = visitor_request.answers;
        let name = Excerpt(&visitor.proxy_name).to_string();
        let admitted = self.admit(&visitor, visitor_request);
        match admitted {
            Ok(_) if visitor.pre_check => answer(
                answers,
                NatHoleResp {
                    transaction_id: visitor.transaction_id,
                    ..NatHoleResp::default()
                },
            ),
            Ok((service, permits)) => {
                let (holes, answers) = (self.clone(), answers.clone());
                let stop = tasks.stop_sessions.clone();
                tasks.spawn(async move {
                    let made = tokio::select! {
                        made = holes.attempt(&service, visitor, answers, permits) => made,
                        () = stop.cancelled() => return,
                    };
                    if let Err(error) = made {
                        warn!(
                            source = name,
                            "[{name}] no hole for a visitor: {}",
                            Chain(&error)
                        );
                    }
                });
            }
            Err(error) => {
                if matches!(error, HolePunchError::Busy(_)) {
                    let metrics = visitor_request.metrics;
                    metrics.refusals_of(Limit::HolePunches).inc();
                }
                warn!(per_session = true, "visitor of [{name}] refused: {error}");
                answer(
                    answers,
                    NatHoleResp {
                        transaction_id: visitor.transaction_id,
                        // frp: always the details (PROTOCOL 6).
                        error: error.to_string(),
                        ..NatHoleResp::default()
                    },
                );
            }
        }
    }

    /// The client of the proxy says how it is seen from outside.
    pub(crate) fn owner_replied(&self, client: NatHoleClient, answers: &mpsc::Sender<Message>) {
        let waiting = match lock(&self.inner.attempts).entry(client.sid.clone()) {
            // It is taken out, since one answer is all there can be; advice is put in its place.
            Entry::Occupied(it) if matches!(it.get(), Stage::Waiting(_)) => Some(it.remove()),
            Entry::Occupied(_) | Entry::Vacant(_) => None,
        };
        let Some(Stage::Waiting(replies)) = waiting else {
            return debug!(
                per_session = true,
                "no attempt [{}] that waits",
                Excerpt(&client.sid)
            );
        };
        let reply = OwnerReply {
            client,
            answers: answers.clone(),
        };
        if replies.send(reply).is_err() {
            debug!("the attempt was given up just now");
        }
    }

    /// Remembers from now on for `retention` what worked between two networks.
    pub(crate) fn set_retention(&self, retention: Duration) {
        lock(&self.inner.analysis).set_retention(retention);
    }

    /// The client of the proxy says whether it worked.
    pub(crate) fn report(&self, report: &NatHoleReport) {
        let advised = match lock(&self.inner.attempts).get(&report.sid) {
            Some(Stage::Advised(attempt)) => *attempt,
            Some(Stage::Waiting(_)) | None => {
                return debug!(per_session = true, "no attempt [{}]", Excerpt(&report.sid));
            }
        };
        // frp: these words
        info!(
            per_session = true,
            "sid [{}] report make hole success: {}, mode {}, index {}",
            report.sid,
            report.success,
            advised.way.mode,
            advised.way.index
        );
        if report.success {
            lock(&self.inner.analysis).report_success(&advised, Instant::now());
        }
    }

    fn admit(
        &self,
        visitor: &NatHoleVisitor,
        visitor_request: &VisitorRequest<'_>,
    ) -> Result<(Arc<PrivateService>, Permits), HolePunchError> {
        let user = visitor_request.user;
        let name = || Excerpt(&visitor.proxy_name).to_string();
        // It is passed on to the proxy's client, so it must be something that can be. frp's visitors leave it out when they only ask.
        if !PROTOCOLS.contains(&visitor.protocol.as_str()) {
            return Err(HolePunchError::Protocol(visitor.protocol.clone()));
        }
        let Some(service) = self.inner.services.find(&visitor.proxy_name) else {
            return Err(HolePunchError::Unknown(name()));
        };
        let Reach::HolePunch { attempts } = &service.reach else {
            return Err(HolePunchError::Unknown(name()));
        };
        let admitted = service.backend.admission().check(visitor_request.from);
        admitted.map_err(|denied| HolePunchError::Denied {
            name: name(),
            denied,
        })?;
        let access = &service.access;
        // frp: a question in advance is not signed.
        if !visitor.pre_check {
            let key = visitor.sign_key.expose();
            let is_right = access.knows_secret(visitor.timestamp, key);
            let admission = service.backend.admission();
            admission.note_guess(visitor_request.from, Guess::VisitorKey, is_right);
            if !is_right {
                return Err(HolePunchError::Auth(name()));
            }
        }
        if !access.allows(user) {
            let user = user.to_owned();
            return Err(HolePunchError::User { name: name(), user });
        }
        let take = |permits: &Arc<Semaphore>| {
            let place = permits.clone().try_acquire_owned();
            place.map_err(|_| HolePunchError::Busy(name()))
        };
        let permits = [
            take(visitor_request.permits)?,
            take(attempts)?,
            take(&self.inner.permits)?,
        ];
        Ok((service, permits))
    }

    /// Brings the two sides together, and stays until the report should have come.
    async fn attempt(
        &self,
        service: &PrivateService,
        visitor: NatHoleVisitor,
        answers: mpsc::Sender<Message>,
        permits: Permits,
    ) -> Result<(), AttemptError> {
        let sid = mgrok_nat::new_id();
        let (replies, reply) = oneshot::channel();
        lock(&self.inner.attempts).insert(sid.clone(), Stage::Waiting(replies));
        let guard = AttemptGuard {
            holes: self.clone(),
            sid: sid.clone(),
            _permits: permits,
        };
        tell(&service.backend, &sid).await?;
        let Ok(Ok(reply)) = timeout(CLIENT_TIMEOUT, reply).await else {
            return Err(AttemptError::Silent);
        };
        let client = &reply.client;
        let now = Instant::now();
        let advice = lock(&self.inner.analysis).advise(client, &visitor, &sid, now);
        let Advice {
            client,
            visitor,
            attempt,
        } = match advice {
            Ok(advice) => advice,
            Err(error) => {
                warn!(per_session = true, "sid [{sid}]: {error}");
                for (transaction_id, answers) in [
                    (client.transaction_id.clone(), &reply.answers),
                    (visitor.transaction_id, &answers),
                ] {
                    let resp = NatHoleResp {
                        transaction_id,
                        sid: sid.clone(),
                        error: error.to_string(),
                        ..NatHoleResp::default()
                    };
                    answer(answers, resp);
                }
                return Ok(());
            }
        };
        lock(&self.inner.attempts).insert(sid, Stage::Advised(attempt));
        tokio::join!(
            send_delayed(&reply.answers, client),
            send_delayed(&answers, visitor)
        );
        sleep(attempt.report_within).await;
        drop(guard);
        Ok(())
    }
}

/// Tells the proxy's client that a visitor has come.
async fn tell(backend: &Backend, sid: &str) -> Result<(), AttemptError> {
    let conn = backend.open_bare().await?;
    let mut conn = MessageConn::new(conn, backend.negotiated().payload);
    let news = NatHoleSid {
        sid: sid.to_owned(),
        ..NatHoleSid::default()
    };
    match timeout(ANNOUNCE_TIMEOUT, conn.send(&news.into())).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => return Err(AttemptError::News(Some(error))),
        Err(_) => return Err(AttemptError::News(None)),
    }
    // An end in order, so that the news is not overtaken by it.
    let _ = timeout(ANNOUNCE_TIMEOUT, conn.into_conn().close()).await;
    Ok(())
}

async fn send_delayed(answers: &mpsc::Sender<Message>, Answer { resp, delay }: Answer) {
    sleep(delay).await;
    if answers.send(resp.into()).await.is_err() {
        debug!("one side left before it heard how to try");
    }
}

/// Says something at once, or never if the session has too much to say already.
fn answer(answers: &mpsc::Sender<Message>, resp: NatHoleResp) {
    if answers.try_send(resp.into()).is_err() {
        debug!("an answer about a hole was dropped");
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for AttemptGuard {
    fn drop(&mut self) {
        let stage = lock(&self.holes.inner.attempts).remove(&self.sid);
        drop(stage);
    }
}
