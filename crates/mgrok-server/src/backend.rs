//! One published service as the public side sees it: something that opens.
//!
//! Whoever serves users (a listener, a router or a visitor) holds a
//! [`Backend`] and never a session. A work connection is a stream that the backend opens itself, where the client takes such; otherwise the
//! client has to offer it: the request travels down a bounded channel, and the session that owns the other end answers it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use mgrok_net::access_log::AccessEnd;
use mgrok_net::bond::{self, Place};
use mgrok_net::conn::Conn;
use mgrok_net::error_chain::Chain;
use mgrok_net::layers::Layers;
use mgrok_net::mux_links::MuxLinks;
use mgrok_net::relay::{self, HalfClose, Leg};
use mgrok_proto::Negotiated;
use mgrok_proto::hook::Op;
use mgrok_proto::message::StartWorkConn;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tracing::{debug, warn};

use crate::admission::{Admission, Denied, Visits};
use crate::backend_set::{BackendSet, Member};
use crate::bans::Guess;
use crate::directory::{ConnectionRow, ProxyEntry};
use crate::hooks::{HookError, UserHook};
use crate::links::SessionLinks;
use crate::metrics::{UserRefusal, WorkConnEnd};
use crate::policy::CurrentPolicy;

/// How many requests may wait for the session to look at them. Beyond it users
/// wait, and are refused when their time is up.
pub(crate) const REQUEST_QUEUE: usize = 1_024;

/// Why a user is refused whom no proxy would serve that is there.
const NOT_SERVED: &str = "nobody serves it any more";

/// Asks a session for one work connection.
#[derive(Debug)]
pub(crate) struct WorkRequest {
    /// Where the connection goes; closed when nobody waits for it any more.
    pub(crate) reply: oneshot::Sender<Conn>,
}

/// Opens work connections to a client that takes what the server opens. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct ServerStreams {
    links: MuxLinks,
    policy: CurrentPolicy,
}

impl ServerStreams {
    /// Those on the `links` of a session; `None` if it has not agreed on them.
    pub(crate) fn of(
        links: &SessionLinks,
        negotiated: Negotiated,
        policy: &CurrentPolicy,
    ) -> Option<Self> {
        let links = links.streams()?;
        negotiated.server_streams.then(|| Self {
            links: links.clone(),
            policy: policy.clone(),
        })
    }

    /// Whether streams may be opened: a plugin that wants to know of work connections is asked about those that the client offers.
    fn may_open(&self) -> bool {
        !self.policy.now().hooks.is_subscribed(Op::NewWorkConn)
    }

    async fn open(&self) -> Result<Conn, mgrok_mux::OpenError> {
        Ok(Conn::from(self.links.open().await?))
    }
}

/// One proxy of one client, seen from the public side.
#[derive(Clone, Debug)]
pub(crate) struct Backend {
    inner: Arc<Inner>,
}

/// What a [`Backend`] is made of.
#[derive(Debug)]
pub(crate) struct Inner {
    /// Its row, which the connections of its users belong to. `StartWorkConn` repeats its name.
    pub(crate) proxy: Arc<ProxyEntry>,
    /// The session's end of this channel hands out work connections.
    pub(crate) requests: mpsc::Sender<WorkRequest>,
    /// Opens work connections itself, where the client takes such.
    pub(crate) streams: Option<ServerStreams>,
    /// Around every work connection of this proxy.
    pub(crate) layers: Layers,
    /// How the client speaks.
    pub(crate) negotiated: Negotiated,
    /// The connections of its session.
    pub(crate) links: Arc<SessionLinks>,
    /// How long one user waits for a usable work connection.
    pub(crate) timeout: Duration,
    /// How many work connections are tried for one user: pooled ones may be dead.
    pub(crate) attempts: usize,
    /// How long nothing may move between a user and the service; `None` is for ever.
    pub(crate) user_idle_timeout: Option<Duration>,
    /// Asked about each user, if anybody wants to know.
    pub(crate) user_hook: Option<UserHook>,
    /// Says from where users may come.
    pub(crate) admission: Admission,
    /// How many users wait for a work connection, who have no row yet.
    pub(crate) opening: AtomicUsize,
}

/// Who connected, and to which of our addresses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PeerAddrs {
    /// The user's address.
    pub(crate) from: SocketAddr,
    /// Our address that the user connected to, where that is one user's alone.
    pub(crate) to: Option<SocketAddr>,
    /// Whether what connected is a proxy that is believed when it says for whom it forwards requests.
    pub(crate) is_trusted_proxy: bool,
}

impl PeerAddrs {
    /// Who connected, to `to` if that is one user's alone.
    pub(crate) fn new(from: SocketAddr, to: Option<SocketAddr>) -> Self {
        Self {
            from,
            to,
            is_trusted_proxy: false,
        }
    }
}

/// Why a backend could not be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    /// Every work connection that was tried was dead.
    #[error("no usable work connection in {attempts} attempts")]
    Dead {
        /// How many were tried.
        attempts: usize,
        /// What the last one said.
        #[source]
        source: io::Error,
    },
    /// The session has ended, or has more users waiting than it may.
    #[error("the client cannot take more connections")]
    Refused,
    /// The client offered none in time.
    #[error("timeout trying to get work connection")]
    Timeout,
}

/// Whether a user from `addr` may come to any of those who share a place. It may if nobody is there. The error names the last that
/// does not let it.
pub(crate) fn check_source<M: AsRef<Backend>>(
    backends: &BackendSet<M>,
    addr: IpAddr,
) -> Result<(), (Arc<ProxyEntry>, Denied)> {
    backends.any_ok(|it| {
        let backend = it.as_ref();
        let checked = backend.admission().check(addr);
        checked.map_err(|denied| (backend.proxy().clone(), denied))
    })
}

/// Notes for all those who share a place that a user from `addr` has guessed their password, and whether it was right.
pub(crate) fn note_password<M: AsRef<Backend>>(
    backends: &BackendSet<M>,
    addr: IpAddr,
    is_right: bool,
) {
    backends.for_each(|it| {
        let admission = it.as_ref().admission();
        admission.note_guess(addr, Guess::HttpPassword, is_right);
    });
}

impl AsRef<Backend> for Backend {
    fn as_ref(&self) -> &Self {
        self
    }
}

/// A user waits for a work connection, until this is dropped.
struct Opening<'a>(&'a AtomicUsize);

impl<'a> Opening<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Member for Backend {
    fn name(&self) -> &str {
        self.proxy_name()
    }

    fn load(&self) -> Option<usize> {
        if self.turns_away() || self.is_gone() {
            return None;
        }
        let opening = self.inner.opening.load(Ordering::Relaxed);
        Some(self.inner.proxy.live_connections() + opening)
    }
}

impl Backend {
    pub(crate) fn new(inner: Inner) -> Self {
        Self {
            inner: Arc::new(inner),
        }
    }

    /// The proxy's name as registered.
    pub(crate) fn proxy_name(&self) -> &str {
        self.inner.proxy.name()
    }

    /// The proxy's row.
    pub(crate) fn proxy(&self) -> &Arc<ProxyEntry> {
        &self.inner.proxy
    }

    /// Whether an operator has new users turned away.
    pub(crate) fn turns_away(&self) -> bool {
        self.inner.proxy.turns_away()
    }

    /// Says from where users may come.
    pub(crate) fn admission(&self) -> &Admission {
        &self.inner.admission
    }

    /// How its client speaks.
    pub(crate) fn negotiated(&self) -> Negotiated {
        self.inner.negotiated
    }

    /// What the end of one direction means for the other on the way to its client.
    pub(crate) fn half_close(&self) -> HalfClose {
        self.inner.negotiated.into()
    }

    /// Whether its client is gone, so that it will not open again.
    pub(crate) fn is_gone(&self) -> bool {
        self.inner.requests.is_closed()
    }

    /// How long nothing may move between a user and the service; `None` is for ever.
    pub(crate) fn user_idle_timeout(&self) -> Option<Duration> {
        self.inner.user_idle_timeout
    }

    /// Asks whether a user may come who comes from `from`.
    async fn admit(&self, from: SocketAddr) -> Result<(), HookError> {
        match &self.inner.user_hook {
            // Boxed: an HTTP request takes ten times the room of all else, and few users have a hook.
            Some(hook) => Box::pin(hook.admit(from)).await,
            None => Ok(()),
        }
    }

    /// Opens a stream to the client for its eyes only: as it is, without layers.
    pub(crate) async fn open_bare(&self) -> Result<Conn, OpenError> {
        self.within_timeout(self.open_any(None)).await
    }

    /// Opens a stream to the service, ready for the user's bytes.
    ///
    /// `user` is what the service may learn of the user. Not cancel-safe in the
    /// sense that a work connection taken meanwhile is closed; nothing is leaked.
    pub(crate) async fn open(&self, user: Option<PeerAddrs>) -> Result<Conn, OpenError> {
        let _opening = Opening::new(&self.inner.opening);
        let conn = self.within_timeout(self.open_any(user)).await?;
        Ok(self.inner.layers.wrap(conn))
    }

    async fn within_timeout(
        &self,
        open: impl Future<Output = Result<Conn, OpenError>>,
    ) -> Result<Conn, OpenError> {
        let began = Instant::now();
        let opened = timeout(self.inner.timeout, open)
            .await
            .unwrap_or(Err(OpenError::Timeout));
        let metrics = self.inner.proxy.metrics();
        let end = match &opened {
            Ok(_) => {
                metrics.work_conn_wait.observe(began.elapsed());
                WorkConnEnd::Ok
            }
            Err(OpenError::Dead { .. }) => WorkConnEnd::Dead,
            Err(OpenError::Refused) => WorkConnEnd::Refused,
            Err(OpenError::Timeout) => WorkConnEnd::Timeout,
        };
        metrics.work_conns.of(end).inc();
        opened
    }

    async fn open_any(&self, user: Option<PeerAddrs>) -> Result<Conn, OpenError> {
        if let Some(streams) = self.inner.streams.as_ref().filter(|it| it.may_open()) {
            let opened = streams.open().await;
            let conn = opened.map_err(|error| {
                debug!(per_session = true, %error, "cannot open a work connection");
                OpenError::Refused
            })?;
            let start = async {
                let place = self.place(user);
                let mut conn = self.start(conn, user, place.as_deref()).await?;
                // So that the next of a group has its turn if this client hangs.
                conn.answered().await?;
                Ok(joinable(conn, place))
            };
            return start.await.map_err(|source| OpenError::Dead {
                attempts: 1,
                source,
            });
        }
        let attempts = self.inner.attempts;
        let mut tried = 0;
        loop {
            let (reply, answer) = oneshot::channel();
            self.inner
                .requests
                .send(WorkRequest { reply })
                .await
                .map_err(|_| OpenError::Refused)?;
            let conn = answer.await.map_err(|_| OpenError::Refused)?;
            tried += 1;
            let place = self.place(user);
            match self.start(conn, user, place.as_deref()).await {
                Ok(conn) => return Ok(joinable(conn, place)),
                Err(source) if tried == attempts => {
                    return Err(OpenError::Dead { attempts, source });
                }
                Err(error) => {
                    debug!(per_session = true, %error, "work connection was dead, trying another")
                }
            }
        }
    }

    /// Where further streams may join that of a user; `None` if they may not.
    fn place(&self, user: Option<PeerAddrs>) -> Option<Box<Place>> {
        // What belongs to no one user is no bulk.
        let may_bond = user.is_some() && self.inner.negotiated.bond && self.inner.links.count() > 1;
        may_bond.then(|| Box::new(self.inner.links.bonds().open()))
    }

    /// Tells the client which proxy the work connection is for.
    async fn start(
        &self,
        mut conn: Conn,
        user: Option<PeerAddrs>,
        place: Option<&Place>,
    ) -> io::Result<Conn> {
        let mut start = StartWorkConn {
            proxy_name: self.proxy_name().to_owned(),
            ..StartWorkConn::default()
        };
        if let Some(PeerAddrs { from, to, .. }) = user {
            start.src_addr = from.ip().to_canonical().to_string();
            start.src_port = from.port();
            if let Some(to) = to {
                start.dst_addr = to.ip().to_canonical().to_string();
                start.dst_port = to.port();
            }
        }
        let negotiated = self.inner.negotiated;
        if let Some(place) = place {
            start.mgrok_bond = place.id();
        }
        if negotiated.half_close {
            conn.refuse_after_drop();
        }
        let mut frame = BytesMut::new();
        negotiated
            .streams
            .encode(&start.into(), &mut frame)
            .map_err(io::Error::other)?;
        conn.send(frame.freeze()).await?;
        Ok(conn)
    }
}

/// `conn`, which streams may join that come to this place.
fn joinable(conn: Conn, place: Option<Box<Place>>) -> Conn {
    match place {
        Some(place) => bond::accepting(conn, *place),
        None => conn,
    }
}

/// A user and the stream to its service.
pub(crate) struct Opened {
    connection: ConnectionRow,
    user: Conn,
    work: Conn,
    half_close: HalfClose,
    idle_timeout: Option<Duration>,
}

impl Opened {
    /// The box is given back here: in an async block it would live on to the end.
    fn unbox(self: Box<Self>) -> Self {
        *self
    }
}

/// Carries one user, from its first byte to its last, to the first of `backends` that opens. `host` is the name that the user has asked
/// for, where several share a port.
pub(crate) fn serve(
    user: Conn,
    addrs: PeerAddrs,
    host: &str,
    backends: impl Iterator<Item = Arc<Backend>> + Send,
) -> impl Future<Output = ()> + Send {
    carry(open(user, addrs, host, HalfClose::Carried, backends))
}

/// Carries the user that `opening` comes to, if it comes to one.
pub(crate) fn carry(
    opening: impl Future<Output = Option<Box<Opened>>> + Send,
) -> impl Future<Output = ()> + Send {
    // Boxed, and so is what it comes to, so that a user who is served holds no more than the relay needs.
    let opening = Box::pin(opening);
    async move {
        let Some(opened) = opening.await else { return };
        let Opened {
            mut connection,
            user,
            work,
            half_close,
            idle_timeout,
        } = opened.unbox();
        let relay = relay::relay(user, work, half_close, connection.traffic());
        let served = connection.until_closed(relay.with_idle_timeout(idle_timeout));
        let end = served.await;
        let from = connection.from();
        match end {
            Some(end) => {
                connection.note_end(AccessEnd::of(&end, Leg::Outside));
                connection.metrics().count_relay(&end);
                debug!(source = %from, "user connection [{from}] ended: {end:?}");
            }
            None => {
                connection.note_end(AccessEnd::Command);
                debug!(source = %from, "user connection [{from}] was closed by command");
            }
        }
    }
}

/// The first of `backends` that opens for a user who comes by a way on which `user_half_close` is what the end of one direction
/// means for the other; `None` if the user is refused, which the log says.
pub(crate) async fn open(
    user: Conn,
    addrs: PeerAddrs,
    host: &str,
    user_half_close: HalfClose,
    backends: impl Iterator<Item = Arc<Backend>>,
) -> Option<Box<Opened>> {
    let (backend, work, visits) = open_first(addrs, host, backends).await?;
    let half_close = match user_half_close {
        HalfClose::Carried => backend.half_close(),
        HalfClose::EndsBoth => HalfClose::EndsBoth,
    };
    let proxy = backend.proxy();
    let host = if proxy.access_log().is_on() { host } else { "" };
    let connection = proxy.open_connection(addrs.from).await;
    Some(Box::new(Opened {
        connection: connection.with_extras(host, visits),
        user,
        work,
        half_close,
        idle_timeout: backend.user_idle_timeout(),
    }))
}

/// The first of `backends` that opens for a user, and the stream to its service; `None` if the user is refused, which the log says.
async fn open_first(
    addrs: PeerAddrs,
    host: &str,
    backends: impl Iterator<Item = Arc<Backend>>,
) -> Option<(Arc<Backend>, Conn, Option<Visits>)> {
    let from = addrs.from;
    let mut refusal = None;
    let mut denied = None;
    let mut tried: Option<Arc<Backend>> = None;
    for backend in backends {
        // Each member of a group has lists of its own.
        let visits = match backend.admission().enter(from.ip()) {
            Ok(visits) => visits,
            Err(error) => {
                debug!(source = %from, "[{}] is not for the user: {error}", backend.proxy_name());
                denied = Some((backend, error));
                continue;
            }
        };
        let backend = &*tried.insert(backend);
        if backend.turns_away() {
            debug!(source = %from, "[{}] is disabled, or the server drained", backend.proxy_name());
            continue;
        }
        if let Err(error) = backend.admit(from).await {
            // frp: these words (server/proxy/proxy.go#handleUserTCPConnection)
            warn!(source = %from, "the user conn [{from}] was rejected, err:{error}");
            backend
                .proxy()
                .note_refusal(from, host, UserRefusal::Plugin, &error);
            return None;
        }
        match backend.open(Some(addrs)).await {
            Ok(work) => return Some((backend.clone(), work, visits)),
            Err(error) => {
                debug!(source = %from, "[{}] cannot serve the user: {error}", backend.proxy_name());
                refusal = Some(error);
            }
        }
    }
    if let Some(backend) = tried {
        let proxy = backend.proxy();
        match &refusal {
            Some(error) => {
                proxy.note_refusal(from, host, UserRefusal::NoWorkConn, &Chain(error));
            }
            None => proxy.note_refusal(from, host, UserRefusal::Disabled, &NOT_SERVED),
        }
    } else if let Some((backend, error)) = denied {
        let proxy = backend.proxy();
        proxy.note_refusal(from, host, error.refusal(), &error);
        // Whoever looks for open ports is nothing to wake anybody for.
        debug!(source = %from, "user connection [{from}] refused: no user may come from there");
        return None;
    }
    match refusal {
        Some(error) => warn!(source = %from, "user connection [{from}] refused: {}", Chain(&error)),
        None => {
            warn!(source = %from, "user connection [{from}] refused: {NOT_SERVED}")
        }
    }
    None
}
