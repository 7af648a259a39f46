//! A login that begins no session, but adds its connection to the one that there is.
//!
//! Its client shows what every login shows, and in addition that it knows the token (a record that can be opened), or a token of the same
//! subject where an issuer's count. So whoever has seen a run id, or a login, gets no streams of others.

use mgrok_net::message::MessageConn;
use mgrok_proto::RunId;
use tracing::{debug, info};

use super::hello::seal;
use super::{Begun, Known, LoginError, answer, refuse};
use crate::connection::{Connection, SessionGuard};
use crate::directory::{ClaimError, Directory, Identity, SessionHandle};
use crate::links::{JoinedLink, LinksEnd};
use crate::session::SessionContext;
use crate::tasks::Tasks;

/// A connection that a session has beyond its first.
pub(super) struct Link<'a> {
    run_id: RunId,
    /// Nothing is said on it. It tells of the end of the link.
    control: MessageConn,
    joined: JoinedLink,
    guard: SessionGuard<'a>,
}

/// Adds `connection` to the session of its run id, and says so to the client; `None` if it may not be added, which the client has been
/// told, or the client is gone.
pub(super) async fn join<'a>(
    known: Known,
    connection: &'a Connection,
    context: &SessionContext,
) -> Option<Begun<'a>> {
    let Known {
        mut control,
        agreement,
        identity,
        ..
    } = known;
    let metrics = context.directory.metrics();
    let policy = &context.policy;
    let run_id = identity.run_id.clone();
    let admitted = admit(&identity, &context.directory).and_then(|(session, joined)| {
        let guard = connection.begin_session(run_id.clone());
        let guard = guard.ok_or(LoginError::SecondSession)?;
        Ok((session, joined, guard))
    });
    let (session, joined, guard) = match admitted {
        Ok(admitted) => admitted,
        Err(error) => return refuse(&mut control, &error, &identity.who(), policy, metrics).await,
    };
    if !answer(&mut control, run_id.as_str().to_owned(), String::new()).await {
        return None;
    }
    if !identity.proved {
        control = seal(control, agreement.as_ref()?, &identity.keys);
    }
    if session.negotiated.liveness {
        connection.watch_closely();
    }
    Some(Begun::Link(Box::new(Link {
        run_id,
        control,
        joined,
        guard,
    })))
}

fn admit(
    identity: &Identity,
    directory: &Directory,
) -> Result<(SessionHandle, JoinedLink), LoginError> {
    let Identity {
        keys,
        proved,
        run_id,
        subject,
        ..
    } = identity;
    if !proved && keys.verifier().is_none() {
        return Err(LoginError::NoProof);
    }
    let session = directory.session(run_id).filter(|it| it.negotiated.links);
    let session = session.ok_or_else(|| LoginError::NoSession(run_id.head().to_owned()))?;
    if session.subject != *subject {
        return Err(LoginError::Claim(ClaimError::OtherSubject));
    }
    let joined = session.links.join().ok_or(LoginError::TooManyLinks)?;
    Ok((session, joined))
}

impl Link<'_> {
    /// Holds the connection in its session until that is over or has moved, either end closes the link, or the server stops.
    pub(super) async fn run(self: Box<Self>, tasks: &Tasks) {
        let Self {
            run_id,
            mut control,
            joined,
            mut guard,
        } = *self;
        let head = run_id.head();
        debug!(source = %head, "the session [{head}] has a further connection");
        tokio::select! {
            end = joined.ended() => {
                if end == LinksEnd::Moved {
                    guard.moved();
                }
            }
            // Whatever it is: its time is over.
            _ = control.recv() => {
                info!(source = %head, "the session [{head}] has lost one of its further connections");
            }
            () = tasks.stop_sessions.cancelled() => {}
        }
    }
}
