//! From a verified identity and its control stream to a running session.
//!
//! How the client has shown who it is, and how it is told that it may come, is the matter of whoever calls this: `login`, or a gateway
//! that knows another proof than the token.

use std::sync::Arc;
use std::time::Duration;

use mgrok_net::message::MessageConn;
use mgrok_proto::message::Message;
use tokio::sync::mpsc;
use tracing::{Instrument, Span, info, info_span};

use super::{ClientSpec, Ended, Session, SessionContext, WORK_CONN_QUEUE};
use crate::backend::ServerStreams;
use crate::directory::{ClaimError, Identity};

/// A control stream on which the client and its session can talk.
pub(crate) struct Control {
    pub(crate) conn: MessageConn,
    /// What the client has said on it already.
    pub(crate) first: Option<Message>,
    /// After how long without a ping the client is gone; `None` is never.
    pub(crate) heartbeat_timeout: Option<Duration>,
}

/// A session that is about to run.
pub(crate) struct Started {
    session: Session,
    span: Span,
}

/// Gives `identity` a session, ending an older one of the same run id first. `pool_count` is how many idle work connections the client
/// wants kept.
///
/// `control` is awaited when the session has its row and all is free that an older one held. So that is the time to tell the client; if
/// it comes to nothing, there is no session.
pub(crate) async fn start(
    identity: Identity,
    pool_count: i64,
    control: impl Future<Output = Option<Control>>,
    context: &Arc<SessionContext>,
) -> Result<Option<Box<Started>>, ClaimError> {
    let (negotiated, who) = (identity.negotiated, identity.who());
    let span = info_span!("session", run_id = identity.run_id.head());
    let links = identity.links.clone();
    let (work_conn_sender, work_conns) = mpsc::channel(WORK_CONN_QUEUE);
    let claim = context.directory.claim(identity, work_conn_sender);
    let row = claim.instrument(span.clone()).await?;
    let Some(control) = control.await else {
        return Ok(None);
    };
    span.in_scope(|| info!(source = %who.from, "client login success: {who}"));
    let streams = ServerStreams::of(&links, negotiated, &context.policy);
    let max_pool_count = context.policy.now().config.transport.max_pool_count;
    let client = ClientSpec {
        negotiated,
        heartbeat_timeout: control.heartbeat_timeout,
        pool_count: match streams {
            // None is waited for, so none is kept.
            Some(_) => 0,
            None => kept(pool_count, max_pool_count as usize),
        },
        streams,
        who: who.to_string(),
        first: control.first,
    };
    let session = Session::new(context.clone(), client, control.conn, row, work_conns);
    // Boxed: whoever waits for it is not to hold room for it.
    Ok(Some(Box::new(Started { session, span })))
}

impl Started {
    /// Serves the client until it leaves, is replaced, or the server stops.
    // Not an async function, which would hold the session twice.
    pub(crate) fn run(self: Box<Self>) -> impl Future<Output = Ended> {
        let Self { session, span } = *self;
        session.run().instrument(span)
    }
}

/// How many idle work connections are kept for a client that asks for so many, which may be a number below zero.
fn kept(asked: i64, max: usize) -> usize {
    usize::try_from(asked).unwrap_or(0).min(max)
}

#[cfg(test)]
mod tests;
