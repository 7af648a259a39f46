//! What a session offers to work connections and visitors: streams, and requests on its control connection.
//!
//! Work connections and visitors hold a [`SessionHandle`]. Their messages for the control connection go down a
//! bounded channel to the session's task, which owns that connection; its end of the channel is [`Requests`].

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use mgrok_net::conn::Conn;
use mgrok_net::error_chain::Chain;
use mgrok_net::message::{MessageConn, SendError};
use mgrok_proto::message::{Message, NatHoleResp};
use mgrok_proto::{Negotiated, RunId, WireVersion, liveness, v2};
use tokio::sync::{mpsc, oneshot, watch};
use tracing::{Span, debug};

use crate::connect::{ConnectError, Streams};
use crate::server_text::server_text;

/// Messages that may wait for the session's task, which is busy for moments only.
const MAX_QUEUED: usize = 64;
/// Requests that may wait for the server's answer at a time. Each is one attempt to punch a hole, of which a
/// visitor or a proxy makes one in some seconds.
const MAX_WAITING: usize = 1024;

/// Why a message was not sent, or not answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    #[error("{MAX_WAITING} requests wait for the server's answer already")]
    Busy,
    #[error("the session with the server has ended")]
    Ended,
    #[error(transparent)]
    Send(SendError),
    #[error("no answer from the server within {} s", .0.as_secs_f32())]
    Timeout(Duration),
}

/// A session as work connections and visitors see it. Once the session has ended, every use is an error. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct SessionHandle {
    outgoing: mpsc::Sender<Outgoing>,
    run_id: RunId,
    span: Span,
    streams: Streams,
    negotiated: Negotiated,
}

/// A message for the server, and where its answer goes.
#[derive(Debug)]
pub(crate) struct Outgoing {
    message: Message,
    reply_to: Option<ReplyTo>,
}

#[derive(Debug)]
struct ReplyTo {
    transaction_id: String,
    answer: Answer,
}

type Answer = oneshot::Sender<Result<NatHoleResp, RequestError>>;

/// The session's end of the channel, and the requests that wait for an answer.
#[derive(Debug)]
pub(crate) struct Requests {
    outgoing: mpsc::Receiver<Outgoing>,
    waiting: HashMap<String, Answer>,
}

impl SessionHandle {
    /// A handle for the session `run_id` over `streams`, with what it has `negotiated`. `span` is what the log says of it.
    pub(crate) fn new(
        run_id: RunId,
        streams: Streams,
        negotiated: Negotiated,
        span: Span,
    ) -> (Self, Requests) {
        let (sender, receiver) = mpsc::channel(MAX_QUEUED);
        let handle = Self {
            outgoing: sender,
            run_id,
            span,
            streams,
            negotiated,
        };
        let requests = Requests {
            outgoing: receiver,
            waiting: HashMap::new(),
        };
        (handle, requests)
    }

    /// Opens one more stream to the server.
    pub(crate) async fn open(&self) -> Result<MessageConn, ConnectError> {
        let stream = self.streams.open().await?;
        Ok(self.begin(stream))
    }

    /// Opens one more stream on each connection of a session that has several.
    pub(crate) async fn open_on_each(&self) -> Vec<MessageConn> {
        let opened = self.streams.open_on_each().await;
        opened.into_iter().map(|it| self.begin(it)).collect()
    }

    fn begin(&self, stream: Conn) -> MessageConn {
        let mut conn = self.message_conn(stream);
        match self.negotiated.streams {
            WireVersion::V1 => {}
            // Leaves together with the first message. There is room for it: nothing is queued yet.
            WireVersion::V2 => drop(conn.queue_encoded(v2::MAGIC)),
        }
        conn
    }

    /// A stream that the server has opened, which begins with a message.
    pub(crate) fn opened_by_server(&self, stream: Conn) -> MessageConn {
        self.message_conn(stream)
    }

    fn message_conn(&self, mut stream: Conn) -> MessageConn {
        if self.negotiated.half_close {
            stream.refuse_after_drop();
        }
        if self.negotiated.liveness {
            stream.watch_closely(liveness::INTERVAL, liveness::TIMEOUT);
        }
        MessageConn::new(stream, self.negotiated.streams)
    }

    /// How the session speaks.
    pub(crate) fn negotiated(&self) -> Negotiated {
        self.negotiated
    }

    pub(crate) fn run_id(&self) -> &RunId {
        &self.run_id
    }

    pub(crate) fn span(&self) -> &Span {
        &self.span
    }

    /// Sends `message` on the control connection, and waits for the answer with this `transaction_id`, at most for the
    /// time of `limit`.
    ///
    /// Dropping the future ends the wait; the message may have been sent.
    pub(crate) async fn request(
        &self,
        message: impl Into<Message>,
        transaction_id: &str,
        limit: Duration,
    ) -> Result<NatHoleResp, RequestError> {
        let (answer, answered) = oneshot::channel();
        let reply_to = ReplyTo {
            transaction_id: transaction_id.to_owned(),
            answer,
        };
        let exchange = async {
            self.send(message.into(), Some(reply_to)).await?;
            answered.await.unwrap_or(Err(RequestError::Ended))
        };
        tokio::time::timeout(limit, exchange)
            .await
            .unwrap_or(Err(RequestError::Timeout(limit)))
    }

    /// Has `message` sent on the control connection, without an answer. Waits for moments only.
    pub(crate) async fn tell(&self, message: impl Into<Message>) -> Result<(), RequestError> {
        self.send(message.into(), None).await
    }

    async fn send(&self, message: Message, reply_to: Option<ReplyTo>) -> Result<(), RequestError> {
        let outgoing = Outgoing { message, reply_to };
        let sent = self.outgoing.send(outgoing).await;
        sent.map_err(|_| RequestError::Ended)
    }
}

/// The sessions that a client has, by the numbers of their supervisors.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    by_supervisor: BTreeMap<usize, SessionHandle>,
}

impl Sessions {
    /// The one for visitors.
    pub(crate) fn first(&self) -> Option<&SessionHandle> {
        self.by_supervisor.values().next()
    }

    /// As [`first`](Self::first), once there is one; `None` if the client ends before. Cancel-safe.
    pub(crate) async fn wait_for_first(
        sessions: &mut watch::Receiver<Self>,
    ) -> Option<SessionHandle> {
        let sessions = sessions.wait_for(|it| it.first().is_some()).await;
        sessions.ok()?.first().cloned()
    }

    /// Sets the supervisor's session.
    pub(crate) fn begin(&mut self, supervisor: usize, session: SessionHandle) {
        self.by_supervisor.insert(supervisor, session);
    }

    /// The supervisor has none any more.
    pub(crate) fn end(&mut self, supervisor: usize) {
        self.by_supervisor.remove(&supervisor);
    }
}

impl Requests {
    /// The next message to hand to [`send`](Self::send); waits for ever once nobody can have one.
    ///
    /// Cancel-safe.
    pub(crate) async fn next(&mut self) -> Outgoing {
        match self.outgoing.recv().await {
            Some(outgoing) => outgoing,
            None => std::future::pending().await,
        }
    }

    /// Queues a message on the control connection, and remembers where its answer goes.
    pub(crate) fn send(&mut self, outgoing: Outgoing, control: &mut MessageConn) {
        let Outgoing { message, reply_to } = outgoing;
        self.waiting.retain(|_, answer| !answer.is_closed());
        let queued = if reply_to.is_some() && self.waiting.len() >= MAX_WAITING {
            Err(RequestError::Busy)
        } else {
            control.queue(&message).map_err(RequestError::Send)
        };
        match (queued, reply_to) {
            (Ok(()), None) => {}
            (Ok(()), Some(reply_to)) => {
                // An earlier request with this id gets an error.
                self.waiting
                    .insert(reply_to.transaction_id, reply_to.answer);
            }
            (Err(error), None) => debug!("{} not sent: {}", message.name(), Chain(&error)),
            // A request that was given up needs no answer.
            (Err(error), Some(reply_to)) => drop(reply_to.answer.send(Err(error))),
        }
    }

    /// Gives an answer of the server to its request.
    pub(crate) fn handle_answer(&mut self, answer: &NatHoleResp) {
        match self.waiting.remove(&answer.transaction_id) {
            Some(reply_to) => drop(reply_to.send(Ok(answer.clone()))),
            None => debug!(
                per_session = true,
                "answer to the request [{}], for which nobody waits",
                server_text(&answer.transaction_id)
            ),
        }
    }

    /// Takes no more messages. Waiting requests get the error that the session has ended.
    pub(crate) fn close(&mut self) {
        self.outgoing.close();
        while self.outgoing.try_recv().is_ok() {}
        self.waiting.clear();
    }
}

#[cfg(test)]
mod tests;
