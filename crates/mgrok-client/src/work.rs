//! Work connections: the pipes between a session and its server, one for each user. Either end opens them.

use std::sync::Arc;
use std::time::Duration;

use mgrok_config::ProxyKind;
use mgrok_mux::Acceptor;
use mgrok_net::conn::Conn;
use mgrok_net::error_chain::Chain;
use mgrok_net::message::{MessageConn, RecvError, SendError};
use mgrok_oidc::TokenError;
use mgrok_proto::message::{Message, NewWorkConn, StartWorkConn};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span, debug, error, warn};

use crate::bonding::bonded;
use crate::connect::{ConnectError, Link};
use crate::credentials::Credentials;
use crate::handle::SessionHandle;
use crate::hole::Puncher;
use crate::metrics::{Metrics, WorkConnEnd};
use crate::proxies::Table;
use crate::proxy::{Proxy, local_name};
use crate::server_text::server_text;
use crate::tasks::Tasks;
use crate::{tcp, udp, xtcp};

/// The most work connections of a session that wait for a user at a time. A server keeps a few in
/// store and asks for two per arriving user; what it asks for beyond this is opened later.
const MAX_WAITING: usize = 1024;
/// The most work connections that are owed to the server. A server that asks for more has users
/// that will have given up by the time they are served.
const MAX_OWED: usize = 65_536;
/// How long a `StartWorkConn` may arrive before the answer that its proxy has started: they travel on
/// different streams.
const OVERTAKE: Duration = Duration::from_secs(2);

/// Why a work connection served no user.
#[derive(Debug, thiserror::Error)]
enum WorkError {
    #[error("the server closed the work connection")]
    Closed,
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Oidc(#[from] TokenError),
    #[error("waiting for a user")]
    Receive(#[from] RecvError),
    #[error("cannot offer the work connection")]
    Send(#[from] SendError),
    #[error("the server sent {0} on a work connection")]
    Unexpected(&'static str),
}

/// A work connection that has found its user.
struct Started {
    /// Which proxy the user came to, and where it came from.
    start: StartWorkConn,
    conn: MessageConn,
}

impl Started {
    /// The box that it was in is given back here: in an async function it would live on to the end.
    fn into_parts(self: Box<Self>) -> (Box<StartWorkConn>, Box<Conn>) {
        let Self { start, conn } = *self;
        (Box::new(start), Box::new(conn.into_conn()))
    }
}

/// What the work connections of one session share.
#[derive(Debug)]
pub(crate) struct WorkContext {
    pub(crate) credentials: Credentials,
    /// Cancelled when the session takes no more users.
    pub(crate) ended: CancellationToken,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) puncher: Puncher,
    pub(crate) session: SessionHandle,
    pub(crate) table: watch::Receiver<Table>,
    pub(crate) tasks: Tasks,
    pub(crate) udp_packet_size: usize,
    pub(crate) user: String,
}

/// Opens the work connections that the server asks for, as many at a time as may wait.
#[derive(Debug)]
pub(crate) struct WorkConns {
    context: Arc<WorkContext>,
    waiting: Arc<Semaphore>,
    owed: usize,
}

/// Accepts the work connections that the server opens itself.
#[derive(Clone, Debug)]
pub(crate) struct WorkAcceptor {
    context: Arc<WorkContext>,
    /// As many at a time may be without their `StartWorkConn`.
    waiting: Arc<Semaphore>,
}

/// Which end has opened a work connection.
enum Origin {
    /// We are to, and offer it.
    Client,
    /// The server has, and says at once what it is for.
    Server(Conn),
}

impl WorkConns {
    pub(crate) fn new(context: WorkContext) -> Self {
        Self {
            context: Arc::new(context),
            waiting: Arc::new(Semaphore::new(MAX_WAITING)),
            owed: 0,
        }
    }

    /// Accepts those that the server opens itself, for the session of these.
    pub(crate) fn acceptor(&self) -> WorkAcceptor {
        WorkAcceptor {
            context: self.context.clone(),
            waiting: Arc::new(Semaphore::new(MAX_WAITING)),
        }
    }

    /// Counts one more work connection that the server wants.
    pub(crate) fn request(&mut self) {
        self.owed = (self.owed + 1).min(MAX_OWED);
        while self.owed > 0
            && let Ok(place) = self.waiting.clone().try_acquire_owned()
        {
            self.offer(place);
        }
    }

    /// Offers one that is owed when another has found its user; waits for ever if none is owed.
    ///
    /// Cancel-safe.
    pub(crate) async fn catch_up(&mut self) {
        if self.owed == 0 {
            return std::future::pending().await;
        }
        // The semaphore is never closed.
        if let Ok(place) = self.waiting.clone().acquire_owned().await {
            self.offer(place);
        }
    }

    fn offer(&mut self, place: OwnedSemaphorePermit) {
        self.owed -= 1;
        let context = self.context.clone();
        let tasks = context.tasks.clone();
        let serve = context.work_conn(Origin::Client, place);
        tasks.spawn(serve.instrument(Span::current()));
    }
}

impl WorkAcceptor {
    /// Serves those that come on `link`, until the session takes no more users or the link has ended. They are refused if the session has not
    /// agreed that the server opens them.
    pub(crate) fn accept_from(&self, link: &mut Link) {
        let acceptor = link.take_acceptor();
        if let Some(acceptor) =
            acceptor.filter(|_| self.context.session.negotiated().server_streams)
        {
            let accept = self.clone().accept_all(acceptor);
            self.context.tasks.spawn(accept.in_current_span());
        }
    }

    async fn accept_all(self, mut acceptor: Acceptor) {
        let ended = self.context.ended.clone();
        let accept = async {
            while let Some(stream) = acceptor.accept().await {
                // The semaphore is never closed.
                let Ok(place) = self.waiting.clone().acquire_owned().await else {
                    return;
                };
                let context = self.context.clone();
                let serve = context.work_conn(Origin::Server(stream.into()), place);
                self.context.tasks.spawn(serve.in_current_span());
            }
        };
        tokio::select! {
            () = ended.cancelled() => {}
            () = accept => {}
        }
    }
}

impl WorkContext {
    /// One work connection, from its beginning to the end of its user.
    fn work_conn(
        self: Arc<Self>,
        origin: Origin,
        place: OwnedSemaphorePermit,
    ) -> impl Future<Output = ()> + Send {
        // Boxed, as is all that few users need or none needs for long: a held user costs what the largest part of its task does.
        let starting = Box::pin(self.clone().start(origin));
        async move {
            let started = tokio::select! {
                biased;
                () = self.ended.cancelled() => return,
                started = starting => started,
            };
            drop(place);
            let started = match started {
                Ok(started) => started,
                // The session logs its loss once; each waiting connection need not.
                Err(e @ (WorkError::Closed | WorkError::Receive(RecvError::Io(_)))) => {
                    self.metrics.work_conns.of(WorkConnEnd::Unused).inc();
                    return debug!(
                        per_session = true,
                        "waiting work connection lost: {}",
                        Chain(&e)
                    );
                }
                Err(e) => {
                    self.metrics.work_conns.of(WorkConnEnd::Failed).inc();
                    return warn!(per_session = true, "work connection error: {}", Chain(&e));
                }
            };
            if !started.start.error.is_empty() {
                self.metrics.work_conns.of(WorkConnEnd::Failed).inc();
                let reason = server_text(&started.start.error);
                return error!(per_session = true, "StartWorkConn contains error: {reason}");
            }
            let Some(proxy) = self.running(&started.start.proxy_name).await else {
                self.metrics.work_conns.of(WorkConnEnd::Failed).inc();
                let name = server_text(&started.start.proxy_name);
                return warn!(
                    per_session = true,
                    "work connection for proxy [{name}], which is not running: closed"
                );
            };
            self.metrics.work_conns.of(WorkConnEnd::Served).inc();
            let span = proxy.span();
            self.serve(proxy, started).instrument(span).await;
        }
    }

    /// Waits until a user needs the connection.
    async fn start(self: Arc<Self>, origin: Origin) -> Result<Box<Started>, WorkError> {
        let mut conn = match origin {
            Origin::Client => Box::pin(self.offer()).await?,
            Origin::Server(stream) => self.session.opened_by_server(stream),
        };
        match conn.recv().await? {
            None => Err(WorkError::Closed),
            Some(Message::StartWorkConn(start)) => Ok(Box::new(Started { start, conn })),
            Some(other) => Err(WorkError::Unexpected(other.name())),
        }
    }

    /// Opens a connection and offers it.
    async fn offer(&self) -> Result<MessageConn, WorkError> {
        let mut offer = NewWorkConn {
            run_id: self.session.run_id().as_str().to_owned(),
            ..NewWorkConn::default()
        };
        // Ahead of the stream, which the server does not wait for.
        Box::pin(self.credentials.show(&mut offer)).await?;
        let mut conn = self.session.open().await?;
        conn.send(&offer.into()).await?;
        Ok(conn)
    }

    /// The proxy of this name on the wire, if it is running or turns out to be.
    async fn running(&self, wire_name: &str) -> Option<Arc<Proxy>> {
        let name = local_name(&self.user, wire_name)?;
        let mut table = self.table.clone();
        let settled = table.wait_for(|table| !table.is_waiting(name));
        let table = tokio::time::timeout(OVERTAKE, settled).await.ok()?.ok()?;
        table.running(name).cloned()
    }

    async fn serve(&self, proxy: Arc<Proxy>, started: Box<Started>) {
        match proxy.config().kind {
            ProxyKind::Tcp { .. }
            | ProxyKind::Http(_)
            | ProxyKind::Https(_)
            | ProxyKind::TcpMux(_)
            | ProxyKind::Stcp(_) => {
                let _user = self.tasks.user();
                let half_close = self.session.negotiated().into();
                let (start, mut work) = started.into_parts();
                if !start.mgrok_bond.is_empty() {
                    let (session, credentials) = (&self.session, &self.credentials);
                    *work = bonded(*work, &start.mgrok_bond, session, credentials, &self.tasks);
                }
                tokio::select! {
                    () = tcp::serve(&proxy, start, work, half_close, &self.ended) => {}
                    () = self.tasks.is_cut() => {}
                }
            }
            ProxyKind::Udp { .. } | ProxyKind::Sudp(_) => {
                let turn = proxy.next_udp_turn();
                let (work, negotiated) = (started.conn.into_conn(), self.session.negotiated());
                tokio::select! {
                    () = Box::pin(udp::serve(&proxy, work, negotiated, self.udp_packet_size)) => {}
                    () = turn.cancelled() => {}
                    // Its server ends with the session; there is nothing to wait for.
                    () = self.ended.cancelled() => {}
                }
            }
            ProxyKind::Xtcp { .. } => {
                let (session, puncher) = (&self.session, &self.puncher);
                let serve = xtcp::serve(
                    &proxy,
                    &started.start,
                    started.conn,
                    session,
                    puncher,
                    &self.tasks,
                );
                let serve = Box::pin(serve);
                tokio::select! {
                    () = serve => {}
                    () = proxy.is_retired() => {}
                    () = self.tasks.is_cut() => {}
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use mgrok_config::{ClientConfig, ClientTransport};
    use mgrok_net::resolver::Resolver;
    use mgrok_proto::{Negotiated, RunId, WireVersion};

    use super::*;
    use crate::connect::Streams;
    use crate::future_size::future_size;
    use crate::tasks::TaskOwner;

    /// A held user costs its task, which must be little more than its relay.
    #[tokio::test]
    async fn the_task_of_a_work_connection_is_small() {
        let config = ClientConfig {
            transport: ClientTransport {
                tls: None,
                ..ClientTransport::default()
            },
            ..ClientConfig::default()
        };
        let owner = TaskOwner::new();
        let (session, _requests) = SessionHandle::new(
            RunId::from("0123456789abcdef"),
            Streams::over_tcp(&config),
            Negotiated::new(WireVersion::V1, "", &[]),
            Span::none(),
        );
        let context = Arc::new(WorkContext {
            credentials: Credentials::new(&config, &Resolver::default()),
            ended: CancellationToken::new(),
            metrics: Arc::default(),
            puncher: Puncher::new(&config, Default::default()),
            session,
            table: watch::Sender::<Table>::default().subscribe(),
            tasks: owner.tasks().clone(),
            udp_packet_size: config.udp_packet_size,
            user: String::new(),
        });
        let permits = Arc::new(Semaphore::new(1));
        let permit = permits.acquire_owned().await.unwrap();
        let size = size_of_val(&context.work_conn(Origin::Client, permit));
        assert!(size <= 960, "{size} bytes");
    }

    /// A work connection that waits for its user costs its task and this. A server keeps some in store, and after a rush a thousand may
    /// be on their way.
    #[test]
    fn a_work_connection_that_waits_is_small() {
        let size = future_size(|(context, origin)| WorkContext::start(context, origin));
        assert!(size <= 640, "{size} bytes");
    }

    /// The part of it that opens the stream. It was 2 KiB when dialling, which a multiplexed session does not do, was a part of it.
    #[test]
    fn a_stream_that_is_being_opened_is_small() {
        let size = future_size(SessionHandle::open);
        // Sixteen of them are the place of the link, where a session has several.
        assert!(size <= 304, "{size} bytes");
    }
}
