//! Connections to one backend: those in use, and those kept for the next request.
//!
//! A connection has one task from its beginning to its end, so that an idle one that the backend
//! closes is forgotten at once. Whoever sends a request holds a [`Lease`]: to release it keeps the
//! connection, to drop it cuts the connection.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use mgrok_net::conn::Conn;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::debug;

use crate::body::Body;
use crate::{MAX_BUFFER, MAX_HEAD};

/// Connections that are kept for [`IDLE_TIME`].
// frp: 5 per route (pkg/util/vhost/http.go, MaxIdleConnsPerHost).
const MAX_IDLE: usize = 5;

/// How long the connections used last are kept.
// frp: 60 s (pkg/util/vhost/http.go, IdleConnTimeout).
const IDLE_TIME: Duration = Duration::from_secs(60);

/// Connections that are kept for [`RUSH_TIME`], so that many users at once do not have every second
/// request wait for a new connection.
const MAX_IDLE_IN_RUSH: usize = 128;

/// How long connections beyond [`MAX_IDLE`] are kept.
const RUSH_TIME: Duration = Duration::from_secs(2);

/// How long a connection whose answer has arrived may take to be ready again. It takes long only if
/// the backend answered before it had the request, and is then not worth keeping.
const SETTLE_TIME: Duration = Duration::from_secs(1);

/// How long a connection may take to say farewell.
const CLOSE_TIME: Duration = Duration::from_secs(5);

/// The connections to one backend.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    /// The one that was used last is at the end.
    idle: Mutex<Vec<Idle>>,
    ids: AtomicU64,
}

#[derive(Debug)]
struct Idle {
    since: Instant,
    backend: Backend,
}

/// A connection to a backend.
#[derive(Debug)]
struct Backend {
    id: u64,
    sender: SendRequest<Body>,
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
}

impl Pool {
    /// The idle connection that was used last.
    pub(crate) fn take(self: &Arc<Self>) -> Option<Lease> {
        loop {
            let Idle { backend, .. } = self.idle().pop()?;
            if backend.sender.is_ready() {
                return Some(self.lease(backend, true));
            }
        }
    }

    /// Begins to speak HTTP on a new connection.
    pub(crate) async fn add(self: &Arc<Self>, conn: Conn) -> Result<Lease, hyper::Error> {
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(MAX_BUFFER)
            .max_header_size(MAX_HEAD)
            .title_case_headers(true)
            .handshake(TokioIo::new(conn))
            .await?;
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        let handle = tokio::spawn(run(connection, id, Arc::downgrade(self))).abort_handle();
        let task = Task {
            handle,
            is_in_use: true,
        };
        Ok(self.lease(Backend { id, sender, task }, false))
    }

    fn lease(self: &Arc<Self>, mut backend: Backend, is_reused: bool) -> Lease {
        backend.task.is_in_use = true;
        Lease {
            backend,
            pool: Arc::clone(self),
            is_reused,
        }
    }

    fn keep(&self, mut backend: Backend) {
        backend.task.is_in_use = false;
        let mut idle = self.idle();
        let oldest = (idle.len() >= MAX_IDLE_IN_RUSH).then(|| idle.remove(0));
        idle.push(Idle {
            since: Instant::now(),
            backend,
        });
        drop(idle);
        drop(oldest);
    }

    /// Closes the connection if it has been idle for too long. Returns when to look again.
    fn expire(&self, id: u64, now: Instant) -> Option<Instant> {
        let mut idle = self.idle();
        let Some(index) = idle.iter().position(|idle| idle.backend.id == id) else {
            return Some(now + RUSH_TIME);
        };
        let is_surplus = index + MAX_IDLE < idle.len();
        let ends_at = idle[index].since + if is_surplus { RUSH_TIME } else { IDLE_TIME };
        if ends_at > now {
            return Some(ends_at);
        }
        idle.remove(index);
        None
    }

    fn forget(&self, id: u64) {
        self.idle().retain(|idle| idle.backend.id != id);
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

    /// Keeps the connection for the next request. The answer has arrived in full.
    pub(crate) fn release(self) {
        let Self {
            mut backend, pool, ..
        } = self;
        if backend.sender.is_ready() {
            pool.keep(backend);
        } else if backend.sender.is_closed() {
            // The task says farewell.
            backend.task.is_in_use = false;
        } else if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(settle(backend, pool));
        }
    }

    /// Leaves the connection to whoever takes it over for another protocol.
    pub(crate) fn hand_over(mut self) {
        self.backend.task.is_in_use = false;
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if self.is_in_use {
            self.handle.abort();
        }
    }
}

/// Keeps a connection that is not ready yet as soon as it is.
async fn settle(mut backend: Backend, pool: Arc<Pool>) {
    if let Ok(Ok(())) = timeout(SETTLE_TIME, backend.sender.ready()).await {
        pool.keep(backend);
    }
}

/// The life of a connection.
async fn run(connection: Connection<TokioIo<Conn>, Body>, id: u64, pool: Weak<Pool>) {
    let mut connection = std::pin::pin!(connection.with_upgrades());
    let mut look = std::pin::pin!(sleep_until(Instant::now() + RUSH_TIME));
    let ended = loop {
        tokio::select! {
            ended = &mut connection => break Ok(ended),
            () = &mut look => {
                let next = pool.upgrade().and_then(|pool| pool.expire(id, Instant::now()));
                match next {
                    Some(next) => look.as_mut().reset(next),
                    // Nobody can send on it any more.
                    None => break timeout(CLOSE_TIME, connection).await,
                }
            }
        }
    };
    if let Ok(Err(error)) = ended {
        debug!("a backend connection failed: {}", crate::Chain(&error));
    }
    if let Some(pool) = pool.upgrade() {
        pool.forget(id);
    }
}

#[cfg(test)]
mod tests;
