//! A visitor that is the way to an address of the virtual network: it has one user, the network, which comes again when it has left.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;
use tracing::{info, warn};

use super::context::VisitorContext;
use super::user::{AcceptUser, User};
use crate::handle::Sessions;
use crate::virtual_net::VirtualNetwork;

/// The first pause after a connection that was refused or did not last; each is twice the one before.
// frp: 10 s after an end, and 60, 120, 240, 300 s after errors (pkg/plugin/visitor/virtual_net.go), so that a restart of the server cuts
// the network for a minute
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest.
const MAX_PAUSE: Duration = Duration::from_secs(60);
/// A connection that has lasted so long was a good one.
const LASTING: Duration = Duration::from_secs(10);

/// Keeps `destination` connected by `visitor`, for ever.
pub(super) async fn keep_connected(
    network: &VirtualNetwork,
    destination: IpAddr,
    visitor: Arc<dyn AcceptUser>,
    context: &VisitorContext,
) {
    let mut sessions = context.sessions.clone();
    let permits = Arc::new(Semaphore::new(1));
    let mut pause = FIRST_PAUSE;
    loop {
        // Neither the semaphore is closed, nor do sessions come after the last.
        let Ok(permit) = permits.clone().acquire_owned().await else {
            return;
        };
        if Sessions::wait_for_first(&mut sessions).await.is_none() {
            return;
        }
        sessions.mark_unchanged();
        let began = Instant::now();
        let carried = match network.visit(destination) {
            None => {
                warn!("virtual network: too many connections, {destination} is not reached");
                drop(permit);
                false
            }
            Some((conn, mut owner)) => {
                visitor.clone().enter(User {
                    conn,
                    from: network.addr(),
                    counted: context.tasks.user(),
                    permit,
                });
                owner.ended().await
            }
        };
        if carried && began.elapsed() >= LASTING {
            pause = FIRST_PAUSE;
        }
        info!("virtual network: {destination} is not connected, next attempt in {pause:?}");
        tokio::select! {
            () = tokio::time::sleep(pause) => pause = MAX_PAUSE.min(pause * 2),
            // What was refused before need not be now.
            changed = sessions.changed() => match changed {
                Ok(()) => pause = FIRST_PAUSE,
                Err(_) => return,
            },
        }
    }
}
