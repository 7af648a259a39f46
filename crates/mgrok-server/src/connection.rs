//! What the streams of one client connection know of each other.

use std::sync::{
    Mutex, OnceLock, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use mgrok_proto::liveness;
use tokio_util::sync::CancellationToken;

use crate::{backend::UserAddrs, per_source::Permit};

/// What a connection came by. TLS and WebSocket make no difference.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Road {
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
    pub(crate) addrs: UserAddrs,
    pub(crate) road: Road,
    /// `None` for a connection that is one stream.
    carrier: OnceLock<Carrier>,
    /// Held until the client has proved itself.
    permit: Mutex<Option<Permit>>,
    login_came: AtomicBool,
    has_session: AtomicBool,
    session_over: CancellationToken,
    session_moved: CancellationToken,
}

impl Connection {
    /// A connection of somebody who has yet to prove itself, for which there is a `permit`.
    pub(crate) fn new(addrs: UserAddrs, road: Road, permit: Permit) -> Self {
        Self {
            addrs,
            road,
            carrier: OnceLock::new(),
            permit: Mutex::new(Some(permit)),
            login_came: AtomicBool::new(false),
            has_session: AtomicBool::new(false),
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

    /// From now on the connection may stay as long as the session does, and have as many streams as sessions need.
    pub(crate) fn session_begins(&self) {
        self.has_session.store(true, Ordering::Relaxed);
        match self.carrier.get() {
            Some(Carrier::Mux(opener)) => opener.trust(),
            Some(Carrier::Quic(quic)) => quic.trust(),
            None => {}
        }
        self.is_proved();
    }

    /// The client has shown that it knows a secret of this server or of somebody who is logged in.
    pub(crate) fn is_proved(&self) {
        let mut permit = self.permit.lock().unwrap_or_else(PoisonError::into_inner);
        drop(permit.take());
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

    /// The client is gone or replaced, so its other streams are of no use.
    pub(crate) fn session_ends(&self) {
        self.session_over.cancel();
    }

    /// The client goes on with another connection, and closes this one when it likes.
    pub(crate) fn session_moves(&self) {
        self.session_moved.cancel();
    }

    /// Whether a session ever began.
    pub(crate) fn has_session(&self) -> bool {
        self.has_session.load(Ordering::Relaxed)
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
