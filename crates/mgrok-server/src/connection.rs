//! What the streams of one client connection know of each other.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use mgrok_net::mux_links::MuxLinks;
use mgrok_proto::{RunId, liveness};
use tokio_util::sync::CancellationToken;

use crate::backend::PeerAddrs;
use crate::links::SessionLinks;
use crate::per_source::Permit;

/// What a connection came by. TLS and WebSocket make no difference.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Transport {
    Kcp,
    Quic,
    Tcp,
}

/// What carries many streams, and lets its client have few of them before there is a session.
#[derive(Debug)]
pub(crate) enum Carrier {
    Mux(mgrok_mux::Opener),
    Quic(mgrok_net::quic::Connection),
}

/// One connection of a client, which carries one stream or many.
#[derive(Debug)]
pub(crate) struct Connection {
    /// The client's address, and ours that it came to.
    pub(crate) addrs: PeerAddrs,
    pub(crate) transport: Transport,
    /// `None` for a connection that is one stream.
    carrier: OnceLock<Carrier>,
    /// Held until the client has proved itself.
    permit: Mutex<Option<Permit>>,
    login_came: AtomicBool,
    session: OnceLock<RunId>,
    session_over: CancellationToken,
    session_moved: CancellationToken,
}

impl Connection {
    /// A connection of somebody who has yet to prove itself, for which there is a `permit`.
    pub(crate) fn new(addrs: PeerAddrs, transport: Transport, permit: Permit) -> Self {
        Self {
            addrs,
            transport,
            carrier: OnceLock::new(),
            permit: Mutex::new(Some(permit)),
            login_came: AtomicBool::new(false),
            session: OnceLock::new(),
            session_over: CancellationToken::new(),
            session_moved: CancellationToken::new(),
        }
    }

    /// Takes note of what carries the connection's streams; once.
    pub(crate) fn carried_by(&self, carrier: Carrier) {
        let _already_set = self.carrier.set(carrier);
    }

    /// Probes the client as two ends of mgrok do that have agreed on it; whether the connection can. If not, the client's pings
    /// have to do it.
    pub(crate) fn watch_closely(&self) -> bool {
        match self.carrier.get() {
            Some(Carrier::Mux(opener)) => {
                opener.watch_closely(liveness::INTERVAL, liveness::MUX_TIMEOUT);
                true
            }
            Some(Carrier::Quic(_)) | None => false,
        }
    }

    /// From now on the connection may stay as long as the session `run_id` does, which is as long as the value lives, and have as
    /// many streams as sessions need; work and visitor connections of that session may come on it. A connection has, or joins, one
    /// session in its life; `None` if there is one already.
    pub(crate) fn begin_session(&self, run_id: RunId) -> Option<SessionGuard<'_>> {
        self.session.set(run_id).ok()?;
        match self.carrier.get() {
            Some(Carrier::Mux(opener)) => opener.trust(),
            Some(Carrier::Quic(quic)) => quic.trust(),
            None => {}
        }
        self.is_proved();
        Some(SessionGuard {
            connection: self,
            moved: false,
        })
    }

    /// The client has shown that it knows a secret of this server or of somebody who is logged in.
    pub(crate) fn is_proved(&self) {
        let permit = self
            .permit
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        drop(permit);
    }

    /// A login is being looked at. From now on it takes as long as it takes.
    pub(crate) fn login_comes(&self) {
        self.login_came.store(true, Ordering::Relaxed);
    }

    /// Whether anybody ever tried to log in.
    pub(crate) fn login_came(&self) -> bool {
        self.login_came.load(Ordering::Relaxed)
    }

    /// Ends when the client has had the time to send a login or whatever else proves it.
    pub(crate) async fn expired(&self) {
        let expired = {
            let permit = self.permit.lock().unwrap_or_else(PoisonError::into_inner);
            permit.as_ref().map(Permit::expired)
        };
        match expired {
            Some(expired) => expired.await,
            None => std::future::pending().await,
        }
    }

    /// Whether streams of the session `run_id` may come here. A run id is no secret: where all streams of a session come on
    /// one connection, on any other they are not its client's.
    pub(crate) fn may_carry(&self, run_id: &RunId) -> bool {
        self.carrier.get().is_none() || self.session.get() == Some(run_id)
    }

    /// The links of a session that begins here, of which this connection is the first.
    pub(crate) fn session_links(&self) -> Arc<SessionLinks> {
        let (over, moved) = (&self.session_over, &self.session_moved);
        SessionLinks::new(self.streams(), over.clone(), moved.clone())
    }

    /// Opens streams on the connection, if it is multiplexed.
    pub(crate) fn streams(&self) -> Option<MuxLinks> {
        match self.carrier.get() {
            Some(Carrier::Mux(opener)) => Some(MuxLinks::new(opener.clone())),
            Some(Carrier::Quic(_)) | None => None,
        }
    }

    /// Whether a session ever began.
    pub(crate) fn has_session(&self) -> bool {
        self.session.get().is_some()
    }

    /// Waits until the client has taken its session to another connection.
    pub(crate) async fn session_moved(&self) {
        self.session_moved.cancelled().await;
    }

    /// Waits until a session that began is over.
    pub(crate) async fn session_over(&self) {
        self.session_over.cancelled().await;
    }
}

/// A session on a connection. When it is dropped, the client is gone or replaced, so that its other streams are of no use.
#[derive(Debug)]
pub(crate) struct SessionGuard<'a> {
    connection: &'a Connection,
    moved: bool,
}

impl SessionGuard<'_> {
    /// The client goes on with another connection, and closes this one when it likes.
    pub(crate) fn moved(&mut self) {
        self.moved = true;
    }
}

impl Drop for SessionGuard<'_> {
    fn drop(&mut self) {
        if self.moved {
            self.connection.session_moved.cancel();
        } else {
            self.connection.session_over.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::metrics::Limit;
    use crate::per_source::{Limits, PerSource};

    fn connection() -> Connection {
        let addrs = PeerAddrs {
            from: "192.0.2.1:7".parse().unwrap(),
            to: None,
            is_trusted_proxy: false,
        };
        let limits = Limits {
            what: "tests",
            limit: Limit::TcpOpenings,
            total: 1,
            per_source: 1,
            waiting: 1,
            waiting_per_source: 1,
        };
        let permits = PerSource::new(limits, &Arc::default());
        let permit = permits.try_acquire(addrs.from.ip()).unwrap();
        Connection::new(addrs, Transport::Tcp, permit)
    }

    #[tokio::test]
    async fn a_session_that_comes_to_nothing_ends_its_connection() {
        let connection = connection();
        let begun = connection.begin_session(RunId::from("r"));
        assert!(connection.has_session() && begun.is_some());
        assert!(connection.begin_session(RunId::from("s")).is_none());
        drop(begun);
        connection.session_over().await;
    }

    #[tokio::test]
    async fn a_session_that_has_moved_leaves_its_connection() {
        let connection = connection();
        let mut begun = connection.begin_session(RunId::from("r")).unwrap();
        begun.moved();
        drop(begun);
        connection.session_moved().await;
        assert!(!connection.session_over.is_cancelled());
    }
}
