//! From HTTP to raw bytes: what follows a 101, or a success of CONNECT.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use mgrok_net::conn::{ByteStream, Conn};
use mgrok_net::relay::{HalfClose, RelayEnd, Traffic, relay};
use tokio::sync::oneshot;

use crate::meter::{Direction, Meter};
use crate::user_io::UserIo;

/// Two connections that stop speaking HTTP. It travels in the extensions of an answer.
#[derive(Clone, Debug)]
pub(crate) struct Switch {
    user: OnUpgrade,
    /// Shared, as all that travels so can be cloned.
    backend: Arc<Mutex<Option<oneshot::Receiver<Conn>>>>,
    half_close: HalfClose,
    idle_timeout: Option<Duration>,
    /// Counts what passes, if anybody wants to know.
    meter: Option<Arc<dyn Meter>>,
}

/// The connection of a user whose bytes somebody wants to see.
struct Seen {
    conn: Conn,
    meter: Arc<dyn Meter>,
}

impl ByteStream for Seen {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        let polled = self.conn.poll_recv(cx);
        if let Poll::Ready(Ok(bytes)) = &polled {
            self.meter.see_raw(Direction::Received, bytes);
        }
        polled
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, chunk: &mut Bytes) -> Poll<io::Result<()>> {
        let before = chunk.clone();
        let polled = self.conn.poll_send(cx, chunk);
        let sent = before.len() - chunk.len();
        self.meter.see_raw(Direction::Sent, &before[..sent]);
        polled
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.conn.poll_flush(cx)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.conn.poll_close(cx)
    }
}

/// Why two connections cannot be joined.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SwitchError {
    #[error("the connection to the backend ended before the protocol changed")]
    Backend,
    #[error("the connection is not one of ours")]
    Foreign,
    #[error("the connection ended before the protocol changed")]
    Lost(#[from] hyper::Error),
}

impl Switch {
    /// From `user`, and from a connection that arrives here when HTTP has ended on it.
    pub(crate) fn new(
        user: OnUpgrade,
        backend: oneshot::Receiver<Conn>,
        half_close: HalfClose,
        idle_timeout: Option<Duration>,
        meter: Option<Arc<dyn Meter>>,
    ) -> Self {
        Self {
            user,
            backend: Arc::new(Mutex::new(Some(backend))),
            half_close,
            idle_timeout,
            meter,
        }
    }

    /// Copies both ways until the end.
    pub(crate) async fn run(self) -> Result<RelayEnd, SwitchError> {
        let meter = self.meter.clone();
        let end = self.join().await;
        if let Some(meter) = meter {
            meter.note_raw_end(end.as_ref().ok());
        }
        end
    }

    async fn join(self) -> Result<RelayEnd, SwitchError> {
        let mut user = into_conn(self.user.await?)?;
        if let Some(meter) = self.meter.as_ref().filter(|it| it.sees_raw()) {
            let meter = meter.clone();
            user = Conn::layered(Box::new(Seen { conn: user, meter }));
        }
        let backend = {
            let mut backend = self.backend.lock().unwrap_or_else(PoisonError::into_inner);
            backend.take()
        };
        let backend = backend.ok_or(SwitchError::Backend)?;
        let backend = backend.await.map_err(|_| SwitchError::Backend)?;
        let unmetered = Traffic::default();
        let traffic = self.meter.as_ref().map_or(&unmetered, |it| it.traffic());
        let relay = relay(user, backend, self.half_close, traffic);
        Ok(relay.with_idle_timeout(self.idle_timeout).await)
    }
}

/// Takes the user's connection back, with what was read ahead of the change in front of it.
fn into_conn(upgraded: Upgraded) -> Result<Conn, SwitchError> {
    let parts = upgraded
        .downcast::<TokioIo<UserIo>>()
        .map_err(|_foreign| SwitchError::Foreign)?;
    let mut conn: Conn = parts.io.into_inner().into();
    conn.unread(parts.read_buf);
    Ok(conn)
}
