//! A user of an `stcp` visitor: from its listener through the server to the service.

use mgrok_net::error_chain::Chain;
use mgrok_net::relay::{Traffic, relay};
use tracing::{debug, warn};

use super::target::Target;
use super::user::{User, UserCount};

/// A TCP service, as its visitor reaches it.
#[derive(Debug)]
pub(super) struct Stcp {
    target: Target,
    /// What all its users have moved so far.
    traffic: Traffic,
}

impl Stcp {
    pub(super) fn new(target: Target) -> Self {
        Self {
            target,
            traffic: Traffic::default(),
        }
    }

    /// Carries one user to the service, who is one of `users` then; ends when either of them does.
    pub(super) async fn serve(&self, user: User, users: &UserCount) {
        let User {
            conn,
            from,
            counted: _counted,
            permit,
        } = user;
        let (visit, negotiated) = match Box::pin(self.target.open()).await {
            Ok(opened) => opened,
            Err(e) => {
                return warn!(source = %from, "user connection [{from}] refused: {}", Chain(&e));
            }
        };
        drop(permit);
        let _served = users.enter();
        let end = relay(conn, visit, negotiated.into(), &self.traffic).await;
        debug!(source = %from, "user connection [{from}] ended: {end:?}");
    }
}
