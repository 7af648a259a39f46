//! Connections to one backend: those in use, and those kept for the next request.
//!
//! A connection has one task from its beginning to its end, so that an idle one that the backend
//! closes is forgotten at once. Whoever sends a request holds a [`Lease`]: to release it keeps the
//! connection, to drop it cuts the connection. One that stays idle comes to rest: HTTP is taken off it, and with that all
//! that is needed to speak it, until it is wanted again.
//!
//! Not by the pool of `hyper-util`'s client: it asks its connector for a connection to an authority and does not say for which
//! request, while here the user's address travels with the work connection. It also keeps idle connections for
//! one time alone where [`MAX_IDLE`] and [`MAX_IDLE_IN_RUSH`] have two, keeps all of HTTP's state with each, and does not
//! know connections that belong to one user, as NTLM makes them.

mod resting;

use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use mgrok_net::conn::Conn;
use mgrok_net::error_chain::Chain;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::debug;

use crate::backend_io::{BackendIo, BackendState};
use crate::body::Body;
use crate::raw_target::RawTarget;
use resting::Resting;

/// Connections that are kept for [`IDLE_TIME`].
// frp: 5 per route (pkg/util/vhost/http.go, MaxIdleConnsPerHost).
const MAX_IDLE: usize = 5;

/// How long the connections used last are kept, unless the backend says that it closes them before.
// frp: 60 s (pkg/util/vhost/http.go, IdleConnTimeout).
const IDLE_TIME: Duration = Duration::from_secs(60);

/// Connections that are kept for [`RUSH_TIME`], so that many users at once do not have every second
/// request wait for a new connection.
const MAX_IDLE_IN_RUSH: usize = 128;

/// How long connections beyond [`MAX_IDLE`] are kept, and how long the others are idle until they come to rest.
const RUSH_TIME: Duration = Duration::from_secs(2);

/// How long a connection whose answer has arrived may take to be ready again. It takes long only if
/// the backend answered before it had the request, and is then not worth keeping.
const SETTLE_TIME: Duration = Duration::from_secs(1);

/// How long a connection may take to say farewell.
const CLOSE_TIME: Duration = Duration::from_secs(5);

/// Connections that one user has logged in with and that nobody else may use.
const MAX_OWN: usize = 8;

/// How long the answers of a backend may be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AnswerLimits {
    /// The longest head, in bytes; at least 8 KiB.
    pub head: usize,
    /// The most headers.
    pub headers: usize,
}

/// The connections to one backend.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    limits: AnswerLimits,
    /// The one that was used last is at the end.
    idle: Mutex<Vec<Idle>>,
    ids: AtomicU64,
}

#[derive(Debug)]
struct Idle {
    id: u64,
    since: Instant,
    /// When the backend may close it, or we do.
    until: Instant,
    conn: IdleConn,
}

#[derive(Debug)]
enum IdleConn {
    Resting(Resting),
    Spoken(Backend),
}

/// A connection to a backend on which HTTP is spoken.
#[derive(Debug)]
struct Backend {
    id: u64,
    sender: SendRequest<Body>,
    state: Arc<BackendState>,
    /// The connection itself, once HTTP has ended on it.
    ended: oneshot::Receiver<Conn>,
    task: Task,
}

/// The task of a connection, which is ended with this value while the connection is in use.
#[derive(Debug)]
struct Task {
    handle: AbortHandle,
    is_in_use: bool,
}

/// A connection that is in use.
#[derive(Debug)]
pub(crate) struct Lease {
    backend: Backend,
    pool: Arc<Pool>,
    /// Whether the connection has been idle before, and so may have ended unnoticed.
    pub(crate) is_reused: bool,
    /// How long the backend leaves it open when it is idle.
    keep: Duration,
    /// Whose it is alone.
    owner: Option<Arc<OwnConns>>,
}

/// The idle connections that are for one user alone.
#[derive(Debug, Default)]
pub(crate) struct OwnConns(Mutex<Vec<Lease>>);

/// What is to become of a connection that has been looked at.
enum Look {
    Again(Instant),
    Close,
    Rest(Idle),
}

impl Default for AnswerLimits {
    /// Far above what services send.
    fn default() -> Self {
        Self {
            head: 1024 * 1024,
            headers: 1000,
        }
    }
}

impl Pool {
    pub(crate) fn new(limits: AnswerLimits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    /// The idle connection that was used last and that the backend has not announced to close.
    pub(crate) async fn take(self: &Arc<Self>) -> Option<Lease> {
        loop {
            let idle = self.idle().pop()?;
            if idle.until <= Instant::now() {
                continue;
            }
            match idle.conn {
                IdleConn::Spoken(backend) if backend.sender.is_ready() => {
                    return Some(self.lease(backend, true));
                }
                IdleConn::Spoken(_) => {}
                IdleConn::Resting(resting) => {
                    if let Some(conn) = resting.take()
                        && let Ok(lease) = self.begin(conn, true).await
                    {
                        return Some(lease);
                    }
                }
            }
        }
    }

    /// Begins to speak HTTP on a new connection.
    pub(crate) async fn add(self: &Arc<Self>, conn: Conn) -> Result<Lease, hyper::Error> {
        self.begin(conn, false).await
    }

    async fn begin(self: &Arc<Self>, conn: Conn, is_reused: bool) -> Result<Lease, hyper::Error> {
        let state = Arc::<BackendState>::default();
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(self.limits.head)
            .max_header_size(self.limits.head)
            .max_headers(self.limits.headers)
            // What user agents take of a service, and frp (RFC 9112, 5.1 and 5.2); what is no header is not passed on.
            .allow_obsolete_multiline_headers_in_responses(true)
            .allow_spaces_after_header_name_in_responses(true)
            .ignore_invalid_headers_in_responses(true)
            .preserve_header_case(true)
            .title_case_headers(true)
            .handshake(TokioIo::new(BackendIo::new(conn, Arc::clone(&state))))
            .await?;
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        let (end, ended) = oneshot::channel();
        let task = run(connection, id, Arc::downgrade(self), end);
        let task = Task {
            handle: tokio::spawn(task).abort_handle(),
            is_in_use: true,
        };
        let backend = Backend {
            id,
            sender,
            state,
            ended,
            task,
        };
        Ok(self.lease(backend, is_reused))
    }

    fn lease(self: &Arc<Self>, mut backend: Backend, is_reused: bool) -> Lease {
        backend.task.is_in_use = true;
        Lease {
            backend,
            pool: Arc::clone(self),
            is_reused,
            keep: IDLE_TIME,
            owner: None,
        }
    }

    fn keep(&self, mut backend: Backend, time: Duration) {
        backend.task.is_in_use = false;
        let since = Instant::now();
        self.push(Idle {
            id: backend.id,
            since,
            until: since + time,
            conn: IdleConn::Spoken(backend),
        });
    }

    fn push(&self, idle: Idle) {
        let mut all = self.idle();
        let oldest = (all.len() >= MAX_IDLE_IN_RUSH).then(|| all.remove(0));
        // One that comes to rest has been idle for longer than those that were released meanwhile.
        let place = all.partition_point(|other| other.since <= idle.since);
        all.insert(place, idle);
        drop(all);
        drop(oldest);
    }

    /// Finds out what becomes of a connection. One that is closed or comes to rest is none of the idle ones any more.
    fn look(&self, id: u64, now: Instant) -> Look {
        let mut idle = self.idle();
        let Some(index) = idle.iter().position(|idle| idle.id == id) else {
            return Look::Again(now + RUSH_TIME);
        };
        let it = &idle[index];
        let is_surplus = index + MAX_IDLE < idle.len();
        let rests_at = it.since + RUSH_TIME;
        let ends_at = if is_surplus { rests_at } else { it.until };
        if ends_at <= now {
            if let IdleConn::Resting(resting) = idle.remove(index).conn {
                resting.leave_to_task();
            }
            return Look::Close;
        }
        match it.conn {
            IdleConn::Resting(_) => Look::Again(ends_at),
            IdleConn::Spoken(_) if rests_at <= now => Look::Rest(idle.remove(index)),
            IdleConn::Spoken(_) => Look::Again(rests_at.min(ends_at)),
        }
    }

    fn forget(&self, id: u64) {
        self.idle().retain(|idle| idle.id != id);
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lease {
    /// Sends a request. On failure, it comes back if nothing of it has been sent.
    pub(crate) async fn send(
        &mut self,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, (hyper::Error, Option<Request<Body>>)> {
        self.backend.sender.try_send_request(request).await.map_err(
            |mut error: TrySendError<Request<Body>>| {
                let request = error.take_message();
                (error.into_error(), request)
            },
        )
    }

    /// Has the next request leave with this target.
    pub(crate) fn set_target(&self, target: RawTarget) {
        self.backend.state.set_target(target);
    }

    /// Keeps the head of the next request, which has no body, so that it can be sent again.
    pub(crate) fn keep_head(&self) {
        self.backend.state.keep_head();
    }

    /// The head that was kept; `None` if nothing of the request has been written.
    pub(crate) fn take_head(&self) -> Option<Bytes> {
        self.backend.state.take_head()
    }

    /// Sends a request of which there is only its head, and that has no body.
    pub(crate) async fn send_again(
        &mut self,
        method: Method,
        head: Bytes,
    ) -> Result<Response<Incoming>, hyper::Error> {
        self.backend.state.set_head(head);
        // The answer is read by the method; nothing else of this request is sent.
        let mut request = Request::new(Body::empty());
        *request.method_mut() = method;
        self.send(request).await.map_err(|(error, _unsent)| error)
    }

    /// Whether the backend has ever said anything on this connection.
    pub(crate) fn has_spoken(&self) -> bool {
        self.backend.state.has_spoken()
    }

    /// The backend closes the connection when it has been idle for `time`.
    pub(crate) fn note_idle_time(&mut self, time: Duration) {
        self.keep = time.min(IDLE_TIME);
    }

    /// From now on nobody but `owner` may use the connection.
    pub(crate) fn bind(&mut self, owner: &Arc<OwnConns>) {
        self.owner = Some(Arc::clone(owner));
    }

    /// Keeps the connection for the next request. The answer has arrived in full.
    pub(crate) fn release(mut self) {
        if self.backend.state.is_deaf() {
            // It is cut.
        } else if self.backend.sender.is_ready() {
            self.keep();
        } else if self.backend.sender.is_closed() {
            // The task says farewell.
            self.backend.task.is_in_use = false;
        } else if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(self.settle());
        }
    }

    /// Keeps the connection as soon as it is ready.
    async fn settle(mut self) {
        if let Ok(Ok(())) = timeout(SETTLE_TIME, self.backend.sender.ready()).await
            && !self.backend.state.is_deaf()
        {
            self.keep();
        }
    }

    fn keep(mut self) {
        match self.owner.take() {
            Some(owner) => owner.keep(self),
            None => self.pool.keep(self.backend, self.keep),
        }
    }

    /// Leaves the connection to whoever takes it over for another protocol.
    pub(crate) fn hand_over(mut self) -> oneshot::Receiver<Conn> {
        self.backend.task.is_in_use = false;
        self.backend.ended
    }
}

impl OwnConns {
    /// One that leads to the backend of `pool`.
    pub(crate) fn take(self: &Arc<Self>, pool: &Arc<Pool>) -> Option<Lease> {
        let mut own = self.own();
        own.retain(|lease| !lease.backend.sender.is_closed());
        let index = own.iter().rposition(|lease| lease.is_of(pool))?;
        let mut lease = own.remove(index);
        lease.is_reused = true;
        lease.owner = Some(Arc::clone(self));
        Some(lease)
    }

    /// Whether there is one that leads to the backend of `pool`.
    pub(crate) fn leads_to(&self, pool: &Arc<Pool>) -> bool {
        self.own().iter().any(|lease| lease.is_of(pool))
    }

    fn keep(&self, lease: Lease) {
        let mut own = self.own();
        let oldest = (own.len() >= MAX_OWN).then(|| own.remove(0));
        own.push(lease);
        drop(own);
        drop(oldest);
    }

    fn own(&self) -> MutexGuard<'_, Vec<Lease>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lease {
    fn is_of(&self, pool: &Arc<Pool>) -> bool {
        Arc::ptr_eq(&self.pool, pool) && self.backend.sender.is_ready()
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if self.is_in_use {
            self.handle.abort();
        }
    }
}

/// The life of a connection. When HTTP ends on it, `end` gets the connection, if anybody waits for it.
async fn run(
    connection: Connection<TokioIo<BackendIo>, Body>,
    id: u64,
    pool: Weak<Pool>,
    end: oneshot::Sender<Conn>,
) {
    // Boxed, so that it takes no room when the connection rests.
    if let Some((conn, idle)) = Box::pin(speak(connection, id, &pool, end)).await {
        resting::rest(conn, idle.into(), &pool).await;
    }
}

/// Speaks HTTP on a connection until that ends, or the connection comes to rest: then it comes back, with what it was among the
/// idle ones.
async fn speak(
    mut connection: Connection<TokioIo<BackendIo>, Body>,
    id: u64,
    pool: &Weak<Pool>,
    end: oneshot::Sender<Conn>,
) -> Option<(Conn, Idle)> {
    let mut look = std::pin::pin!(sleep_until(Instant::now() + RUSH_TIME));
    let ended = loop {
        tokio::select! {
            ended = poll_fn(|cx| connection.poll_without_shutdown(cx)) => break ended,
            () = &mut look => {}
        }
        let now = Instant::now();
        match pool
            .upgrade()
            .map_or(Look::Close, |pool| pool.look(id, now))
        {
            Look::Again(at) => look.as_mut().reset(at),
            Look::Close => break Ok(()),
            Look::Rest(idle) => {
                let parts = connection.into_parts();
                // What it says unasked belongs to no request.
                let is_silent = parts.read_buf.is_empty();
                return is_silent.then(|| (parts.io.into_inner().into(), idle));
            }
        }
    };
    if let Some(pool) = pool.upgrade() {
        pool.forget(id);
    }
    if let Err(error) = ended {
        debug!("a backend connection failed: {}", Chain(&error));
        return None;
    }
    let parts = connection.into_parts();
    let mut conn = Conn::from(parts.io.into_inner());
    conn.unread(parts.read_buf);
    if let Err(mut conn) = end.send(conn) {
        let _farewell = timeout(CLOSE_TIME, conn.close()).await;
    }
    None
}

#[cfg(test)]
mod tests;
