//! Users as they come and go, for a program that shows them to a person.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::mpsc;

use crate::inspector::{Entry, Message};

/// Events that may wait for whoever shows them. The next ones are counted and left out.
const MAX_QUEUED: usize = 1024;

/// What happened to a user of a proxy.
#[derive(Clone, Debug)]
pub struct UserEvent {
    /// Where the user comes from; `None` if the server does not say.
    pub from: Option<SocketAddr>,
    /// What it was.
    pub what: UserEventKind,
}

/// See [`UserEvent`].
#[derive(Clone, Debug)]
pub enum UserEventKind {
    /// The user is connected to the local service, or has sent the first datagram.
    Connected,
    /// The user's connection is over, or no datagram has come for long.
    Closed {
        /// Bytes to the local service.
        received: u64,
        /// Bytes to the user.
        sent: u64,
        /// How long it lasted.
        after: Duration,
    },
    /// The local service cannot be reached.
    Unreachable,
    /// A request of HTTP is over, with its answer and, if its connection changed to another protocol, with all that followed.
    Request {
        /// The method.
        method: String,
        /// The path with its query, as the user sent it.
        target: String,
        /// The status of the answer; `None` if there was none.
        status: Option<u16>,
        /// How long it took to the end of the answer.
        after: Duration,
        /// What the inspector keeps of it.
        kept: KeptRequest,
    },
}

/// What the inspector keeps of a request, for as long as it does.
#[derive(Clone, Debug, Default)]
pub struct KeptRequest(Weak<Entry>);

/// A request and its answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestDetail {
    /// The request.
    pub request: MessageDetail,
    /// The answer; without any header if there was none.
    pub response: MessageDetail,
}

/// A request or an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MessageDetail {
    /// Names in lower case, and values, of which those that may be secrets are `***`.
    pub headers: Vec<(String, String)>,
    /// The beginning of the body, as it is on the wire.
    pub body: Vec<u8>,
    /// How long the body is, in bytes.
    pub size: u64,
}

impl KeptRequest {
    pub(crate) fn new(entry: &Arc<Entry>) -> Self {
        Self(Arc::downgrade(entry))
    }

    /// A copy of it; `None` if requests are not inspected, or it is not kept any more.
    pub fn detail(&self) -> Option<RequestDetail> {
        let entry = self.0.upgrade()?;
        let message = |message: &Message, size| MessageDetail {
            headers: message.shown_headers(),
            body: message.body.clone(),
            size,
        };
        Some(RequestDetail {
            request: message(&entry.request, entry.request_size()),
            response: message(&entry.response, entry.response_size()),
        })
    }
}

/// The events of a [`Client`](crate::Client), in their order.
#[derive(Debug)]
pub struct UserEvents {
    events: mpsc::Receiver<UserEvent>,
    missed: Arc<AtomicU64>,
}

impl UserEvents {
    /// Waits for the next event; `None` once the client has ended. Blocks the thread, which must not be one of the runtime's.
    pub fn blocking_next(&mut self) -> Option<UserEvent> {
        self.events.blocking_recv()
    }

    /// Waits for the next event; `None` once the client has ended. Cancel-safe.
    pub async fn next(&mut self) -> Option<UserEvent> {
        self.events.recv().await
    }

    /// How many events were left out since the last call, because nobody took those that waited.
    pub fn missed(&self) -> u64 {
        self.missed.swap(0, Ordering::Relaxed)
    }
}

/// Where events are told. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Observer {
    events: mpsc::Sender<UserEvent>,
    missed: Arc<AtomicU64>,
}

impl Observer {
    pub(crate) fn new() -> (Self, UserEvents) {
        let (sender, events) = mpsc::channel(MAX_QUEUED);
        let missed = Arc::new(AtomicU64::new(0));
        let observer = Self {
            events: sender,
            missed: missed.clone(),
        };
        (observer, UserEvents { events, missed })
    }

    pub(crate) fn tell(&self, from: Option<SocketAddr>, what: UserEventKind) {
        if self.events.try_send(UserEvent { from, what }).is_err() {
            self.missed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_takes_is_counted() {
        let (observer, mut events) = Observer::new();
        for _ in 0..MAX_QUEUED + 3 {
            observer.tell(None, UserEventKind::Connected);
        }
        assert_eq!(events.missed(), 3);
        assert_eq!(events.missed(), 0);
        drop(observer);
        let mut told = 0;
        while events.blocking_next().is_some() {
            told += 1;
        }
        assert_eq!(told, MAX_QUEUED);
    }
}
