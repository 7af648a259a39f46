//! What the streams of one client connection know of each other.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use mgrok_mux::Opener;
use mgrok_proto::liveness;
use tokio_util::sync::CancellationToken;

use crate::backend::UserAddrs;

/// What a connection came by. TLS and WebSocket make no difference.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Road {
    Kcp,
    Quic,
    Tcp,
}

/// One connection of a client, which carries one stream or many.
#[derive(Debug)]
pub(crate) struct Connection {
    /// The client's address, and ours that it came to.
    pub(crate) addrs: UserAddrs,
    pub(crate) road: Road,
    /// The multiplexer that it carries, if it does.
    mux: OnceLock<Opener>,
    has_session: AtomicBool,
    session_over: CancellationToken,
    session_moved: CancellationToken,
}

impl Connection {
    pub(crate) fn new(addrs: UserAddrs, road: Road) -> Self {
        Self {
            addrs,
            road,
            mux: OnceLock::new(),
            has_session: AtomicBool::new(false),
            session_over: CancellationToken::new(),
            session_moved: CancellationToken::new(),
        }
    }

    /// Takes note of the multiplexer on the connection.
    pub(crate) fn is_muxed(&self, mux: Opener) {
        // There is but one.
        let _ = self.mux.set(mux);
    }

    /// Probes the client as two ends of mgrok do that have agreed on it; whether the connection can. If not, the client's pings
    /// have to do it.
    pub(crate) fn watch_closely(&self) -> bool {
        let mux = self.mux.get();
        mux.inspect(|it| it.watch_closely(liveness::INTERVAL, liveness::MUX_TIMEOUT))
            .is_some()
    }

    /// From now on the connection may stay as long as the session does.
    pub(crate) fn session_begins(&self) {
        self.has_session.store(true, Ordering::Relaxed);
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
