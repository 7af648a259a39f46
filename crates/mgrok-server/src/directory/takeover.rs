//! Who may end a session by logging in with its run id.
//!
//! A run id is no secret, and a `Login` can be recorded and sent again: by itself it says neither that its sender knows
//! the token nor that it was written just now. So
//!
//! 1. a newcomer who has proved to know the token on this very connection ends the session at once. In v2 that is whoever
//!    has sent a record that could be opened, because its key depends on the server's random value;
//! 2. a newcomer who cannot prove it (v1 has no such thing) ends the session at once if its `Login` was signed later than that of
//!    the session, as is the rule when a client of frp reconnects. What was recorded was not signed later;
//! 3. any other newcomer, and any that proves nothing where the session has, waits while the session's client is asked
//!    for a work connection. If it offers one (or says anything) within [`SIGN_OF_LIFE`], it is there, and the newcomer is
//!    refused. If not, it is gone, and the newcomer has its place. This is what a client meets whose clock was set back, or
//!    which reconnects within the same second.
//!
//! Clocks of the two ends are never compared: frp's clients may have any time they like.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

/// How long the client of a session may take to show that it is there, when somebody wants its place who has proved
/// nothing. Many times a round trip; frp's clients wait 10 s for the answer to their login.
pub(super) const SIGN_OF_LIFE: Duration = Duration::from_secs(3);

/// What a login shows of its right to a session.
#[derive(Clone, Copy, Debug)]
pub(super) struct Credit {
    /// It has proved on its connection that it knows the token.
    pub(super) proved: bool,
    /// When it says that it was signed, in Unix seconds of its own clock.
    pub(super) signed_at: i64,
}

/// What shows that a session's client is there.
#[derive(Debug)]
pub(super) struct Life {
    signed_at: i64,
    /// Whether the client has ever sent what nobody could who does not know the token.
    proved: AtomicBool,
    /// Somebody wants to know.
    asked: Notify,
    /// The client was heard, or has offered a work connection.
    heard: Notify,
}

impl Life {
    /// That of a session whose login has shown `credit`.
    pub(super) fn new(credit: Credit) -> Self {
        Self {
            signed_at: credit.signed_at,
            proved: AtomicBool::new(credit.proved),
            asked: Notify::new(),
            heard: Notify::new(),
        }
    }

    /// Whether the session has to be found silent before `newcomer` may have its place.
    pub(super) fn withstands(&self, newcomer: Credit) -> bool {
        let proved = self.proved.load(Ordering::Relaxed);
        !newcomer.proved && (proved || newcomer.signed_at <= self.signed_at)
    }

    /// The client was heard. Takes note if only who knows the token could have said that.
    pub(super) fn heard(&self, proves: bool) {
        if proves {
            self.proved.store(true, Ordering::Relaxed);
        }
        self.heard.notify_waiters();
    }

    /// Waits until somebody wants to know whether the client is there. Cancel-safe.
    pub(super) async fn asked(&self) {
        self.asked.notified().await;
    }

    /// Asks for a sign of life of a session that may end meanwhile. Whether none came in time.
    pub(super) async fn is_silent(&self, ended: impl Future<Output = ()>) -> bool {
        let heard = self.heard.notified();
        tokio::pin!(heard);
        // From now on it is heard; what it said before does not count.
        heard.as_mut().enable();
        self.asked.notify_one();
        tokio::select! {
            () = heard => false,
            // It has ended meanwhile, or it does not answer.
            _ = timeout(SIGN_OF_LIFE, ended) => true,
        }
    }
}
