//! A login that begins no session, but adds its connection to the one that there is.
//!
//! Its client shows what every login shows, and in addition that it knows the token (a record that can be opened), or a token of the same
//! subject where an issuer's count. So whoever has seen a run id, or a login, gets no streams of others.

use mgrok_net::message::MessageConn;
use mgrok_proto::RunId;
use tracing::{debug, info};

use crate::connection::{Connection, SessionGuard};
use crate::directory::{ClaimError, Directory, Identity};
use crate::links::{JoinedLink, LinksEnd, MAX_LINKS};
use crate::metrics::LoginEnd;
use crate::tasks::Tasks;

/// Why a connection is not added to a session.
#[derive(Debug, thiserror::Error)]
pub(super) enum JoinError {
    #[error(transparent)]
    Claim(#[from] ClaimError),
    #[error("no proof that the client knows the token")]
    NoProof,
    #[error("there is no session of run id [{0}] that takes further connections")]
    NoSession(String),
    #[error("the session has {MAX_LINKS} connections already")]
    TooManyLinks,
}

impl JoinError {
    /// As what it is counted.
    pub(super) fn outcome(&self) -> LoginEnd {
        match self {
            Self::Claim(_) => LoginEnd::Taken,
            Self::NoProof => LoginEnd::Proof,
            Self::NoSession(_) | Self::TooManyLinks => LoginEnd::Malformed,
        }
    }
}

/// A place among the links of a session.
#[derive(Debug)]
pub(super) struct Place {
    joined: JoinedLink,
    /// Whether the two ends of the session have agreed on when a link is dead.
    pub(super) liveness: bool,
}

/// A connection that a session has beyond its first.
pub(super) struct Link<'a> {
    pub(super) run_id: RunId,
    /// Nothing is said on it. It tells of the end of the link.
    pub(super) control: MessageConn,
    pub(super) place: Place,
    pub(super) guard: SessionGuard<'a>,
}

/// Takes a place for `connection`, which is of `identity`, among the links of its session.
pub(super) fn admit(
    identity: &Identity,
    connection: &Connection,
    directory: &Directory,
) -> Result<Place, JoinError> {
    let Identity {
        keys,
        proved,
        run_id,
        subject,
        ..
    } = identity;
    if !proved && keys.verifier().is_none() {
        return Err(JoinError::NoProof);
    }
    let session = directory.session(run_id).filter(|it| it.negotiated.links);
    let session = session.ok_or_else(|| JoinError::NoSession(run_id.head().to_owned()))?;
    if session.subject != *subject {
        return Err(ClaimError::OtherSubject.into());
    }
    let joined = session.links.join(connection.streams().as_ref());
    let joined = joined.ok_or(JoinError::TooManyLinks)?;
    Ok(Place {
        joined,
        liveness: session.negotiated.liveness,
    })
}

impl Link<'_> {
    /// Holds the connection in its session until that is over or has moved, either end closes the link, or the server stops.
    pub(super) async fn run(self: Box<Self>, tasks: &Tasks) {
        let Self {
            run_id,
            mut control,
            place,
            mut guard,
        } = *self;
        let head = run_id.head();
        debug!(source = %head, "the session [{head}] has a further connection");
        tokio::select! {
            end = place.joined.ended() => {
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
