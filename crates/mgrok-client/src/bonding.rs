//! Work connections that are spread over all connections of their session when they prove to be bulk.

use std::time::Duration;

use mgrok_net::bond;
use mgrok_net::conn::Conn;
use mgrok_net::message::MessageConn;
use mgrok_proto::message::{Message, NewWorkConn};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};
use tracing::{Instrument, Span, debug};

use crate::credentials::Credentials;
use crate::handle::SessionHandle;
use crate::tasks::Tasks;

/// How long the server may take to answer streams that join. Those that it has not answered by then are not used.
const JOIN_TIMEOUT: Duration = Duration::from_secs(10);

/// With fewer streams there is nothing to spread over.
const FEWEST: usize = 2;

/// `work`, which the server calls `id`, spread over the connections of its session when it is bulk.
pub(crate) fn bonded(
    work: Conn,
    id: &str,
    session: &SessionHandle,
    credentials: &Credentials,
    tasks: &Tasks,
) -> Conn {
    let id = id.to_owned();
    let (session, credentials, all) = (session.clone(), credentials.clone(), tasks.clone());
    bond::opening(
        work,
        Box::new(move || {
            let (mut joined, joining) = oneshot::channel();
            let tasks = all.clone();
            let join = async move {
                let conns = tokio::select! {
                    conns = join(&session, &credentials, id) => conns,
                    () = joined.closed() => return,
                    () = all.is_cut() => return,
                };
                // Who waits for it may have left; then they are closed.
                let _ = joined.send(conns);
            };
            tasks.spawn(join.instrument(Span::current()));
            joining
        }),
    )
}

/// Streams that have joined the work connection `id`; none if there is nothing to be spread over.
async fn join(session: &SessionHandle, credentials: &Credentials, id: String) -> Vec<Conn> {
    let mut offer = NewWorkConn {
        run_id: session.run_id().as_str().to_owned(),
        mgrok_bond: id,
        ..NewWorkConn::default()
    };
    if let Err(error) = credentials.show(&mut offer).await {
        debug!(
            per_session = true,
            "a user stays on one connection: {error}"
        );
        return Vec::new();
    }
    let mut streams = session.open_on_each().await;
    if streams.len() < FEWEST {
        return Vec::new();
    }
    let deadline = Instant::now() + JOIN_TIMEOUT;
    let offer = Message::from(offer);
    let mut asked = Vec::with_capacity(streams.len());
    for mut stream in streams.drain(..) {
        if let Ok(Ok(())) = timeout_at(deadline, stream.send(&offer)).await {
            asked.push(stream);
        }
    }
    let mut joined = Vec::with_capacity(asked.len());
    for stream in asked {
        if let Ok(Some(conn)) = timeout_at(deadline, answered(stream)).await {
            joined.push(conn);
        }
    }
    if joined.len() < FEWEST {
        joined.clear();
    }
    debug!(
        per_session = true,
        "a user goes over {} connections of the session",
        joined.len().max(1)
    );
    joined
}

/// The stream, if the server has taken it.
async fn answered(mut stream: MessageConn) -> Option<Conn> {
    match stream.recv().await {
        Ok(Some(Message::StartWorkConn(start))) if start.error.is_empty() => {
            Some(stream.into_conn())
        }
        Ok(_) | Err(_) => None,
    }
}
