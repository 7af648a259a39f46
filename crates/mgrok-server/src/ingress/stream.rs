//! One stream of a client: its first message says what it is.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use mgrok_net::bond::{Join, JoinError};
use mgrok_net::conn::Conn;
use mgrok_net::message::MessageConn;
use mgrok_net::sniff::{self, Opening};
use mgrok_proto::hook::Op;
use mgrok_proto::message::{Message, NewWorkConn, StartWorkConn};
use mgrok_proto::v2::Content;
use mgrok_proto::{RunId, WireVersion};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing::{debug, warn};

use super::context::ClientContext;
use super::opening::{OpeningError, note_closed};
use crate::connection::Connection;
use crate::excerpt::Excerpt;
use crate::hooks::HookError;
use crate::keys::ProofError;
use crate::links::SessionLinks;
use crate::per_source::OPENING_TIMEOUT;
use crate::session::refuse_work_conn;
use crate::{login, visitor};

/// Why a work connection is not taken. Clients show the texts, which are frp's.
#[derive(Debug, thiserror::Error)]
enum WorkConnError {
    #[error(transparent)]
    Hook(#[from] HookError),
    #[error("no client control found for run id [{0}]")]
    RunId(String),
    #[error("run id [{0}] is that of a session on another connection")]
    Elsewhere(String),
    #[error(transparent)]
    Proof(#[from] ProofError),
    #[error(transparent)]
    Join(#[from] JoinError),
}

/// A stream that has said what it is.
pub(super) struct Stream {
    conn: MessageConn,
    /// The client's hello, which control connections of v2 begin with.
    hello: Option<Bytes>,
    message: Message,
}

/// Waits until the stream has said what it is, or its time is up.
pub(super) async fn first_message(mut conn: Conn) -> Result<Stream, OpeningError> {
    let receive = async {
        if !matches!(sniff::opening(&mut conn).await?, Opening::V2) {
            let mut conn = MessageConn::new(conn, WireVersion::V1);
            let message = conn.recv().await?.ok_or(OpeningError::Closed)?;
            return Ok(Stream {
                conn,
                hello: None,
                message,
            });
        }
        sniff::take_magic(&mut conn).await?;
        let mut conn = MessageConn::new(conn, WireVersion::V2);
        let (hello, message) = match conn.recv_content().await?.ok_or(OpeningError::Closed)? {
            Content::ClientHello(hello) => {
                let message = conn.recv().await?.ok_or(OpeningError::Closed)?;
                (Some(hello), message)
            }
            Content::Message(message) => (None, message),
            Content::ServerHello(_) => return Err(OpeningError::Unexpected("ServerHello")),
        };
        Ok(Stream {
            conn,
            hello,
            message,
        })
    };
    timeout(OPENING_TIMEOUT, receive)
        .await
        .unwrap_or(Err(OpeningError::Silent))
}

/// Serves a stream as what it is.
pub(super) async fn dispatch(
    opened: Result<Stream, OpeningError>,
    connection: &Connection,
    context: &ClientContext,
) {
    let Stream {
        conn,
        hello,
        message,
    } = match opened {
        Ok(stream) => stream,
        Err(error) => {
            return note_closed(connection.addrs.from, &error, context.directory.metrics());
        }
    };
    match message {
        Message::Login(login) => {
            connection.login_comes();
            // Boxed: a session is larger than all other streams.
            Box::pin(login::serve(
                conn,
                hello,
                login,
                connection,
                &context.sessions,
            ))
            .await;
        }
        Message::NewWorkConn(new) => work_conn(conn, new, connection, context).await,
        Message::NewVisitorConn(new) => {
            // Boxed, as is all that few streams need: there may be thousands of them at once.
            Box::pin(visitor::serve(conn, new, connection, &context.visitors)).await;
        }
        other => note_closed(
            connection.addrs.from,
            &OpeningError::Unexpected(other.name()),
            context.directory.metrics(),
        ),
    }
}

/// Where a work connection goes.
enum Destination {
    /// To the session, for a user.
    Session(mpsc::Sender<Conn>),
    /// To the work connection of this id, which has its user.
    Bond(Arc<SessionLinks>, String),
}

/// Takes a work connection to its session.
async fn work_conn(
    conn: MessageConn,
    new: NewWorkConn,
    connection: &Connection,
    context: &ClientContext,
) {
    let from = connection.addrs.from;
    let (version, conn) = (conn.version(), conn.into_conn());
    let (conn, error) = match admit_work_conn(new, connection, context).await {
        Ok(Destination::Session(work_conns)) => {
            connection.is_proved();
            if work_conns.send(conn).await.is_err() {
                debug!(source = %from, "a work connection came when its session had just ended");
            }
            return;
        }
        Ok(Destination::Bond(links, id)) => match join_work_conn(&links, &id, conn, version) {
            Ok(()) => return,
            // It may have ended meanwhile.
            Err((error, conn)) => (conn, WorkConnError::from(error)),
        },
        Err(error) => (conn, error),
    };
    match &error {
        WorkConnError::Join(JoinError::Unknown) => {
            debug!(source = %from, "work connection refused: {error}");
        }
        _ => warn!(source = %from, "work connection refused: {error}"),
    }
    let text = error.to_string();
    let policy = context.policy.now();
    let text = policy.error_text(&text, "invalid NewWorkConn");
    Box::pin(refuse_work_conn(conn, version, text)).await;
}

/// Has a stream join the work connection of this `id`. The ends have agreed on how that is, or there is none of that id.
fn join_work_conn(
    links: &SessionLinks,
    id: &str,
    mut conn: Conn,
    version: WireVersion,
) -> Result<(), (JoinError, Conn)> {
    conn.refuse_after_drop();
    let mut answer = BytesMut::new();
    let encoded = version.encode(&StartWorkConn::default().into(), &mut answer);
    debug_assert!(encoded.is_ok(), "it is empty");
    let answer = answer.freeze();
    links.bonds().join(id, Join { conn, answer })
}

/// Where a work connection goes. In frp's order, which wants plugins asked before a token is looked at.
async fn admit_work_conn(
    new: NewWorkConn,
    connection: &Connection,
    context: &ClientContext,
) -> Result<Destination, WorkConnError> {
    let run_id = RunId::from(new.run_id.as_str());
    let head = || Excerpt(run_id.head()).to_string();
    let session = context.directory.session(&run_id);
    let session = session.ok_or_else(|| WorkConnError::RunId(head()))?;
    if !connection.may_carry(&run_id) {
        return Err(WorkConnError::Elsewhere(head()));
    }
    let hooks = context.policy.now().hooks.clone();
    let new = match hooks.is_subscribed(Op::NewWorkConn) {
        true => {
            Box::pin(async {
                let mut new = new;
                // No business of plugins.
                let bond = std::mem::take(&mut new.mgrok_bond);
                let mut new = hooks.new_work_conn(&session.client, new).await?;
                new.mgrok_bond = bond;
                Ok::<_, HookError>(new)
            })
            .await?
        }
        false => new,
    };
    let (keys, subject) = (&session.keys, &session.subject);
    keys.verify_work_conn(subject, &new).await?;
    Ok(match new.mgrok_bond.is_empty() {
        true => Destination::Session(session.work_conns),
        false => Destination::Bond(session.links, new.mgrok_bond),
    })
}
