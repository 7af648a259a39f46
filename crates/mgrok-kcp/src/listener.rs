//! Many sessions on one socket.

use std::collections::VecDeque;
use std::collections::hash_map::{Entry, HashMap};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::admission::Admission;
use crate::config::{Config, ListenerConfig};
use crate::driver::{Inbox, Session};
use crate::error::SessionError;
use crate::machine::{Machine, peek};
use crate::shared::{Shared, now};
use crate::socket::{Batch, Path, Socket};
use crate::stream::Stream;

/// How long an ended session is remembered, so that late packets of it do not begin it anew.
const REMEMBERED_FOR: Duration = Duration::from_secs(60);

/// Ended sessions that are remembered at a time; beyond, the oldest is forgotten.
const MAX_REMEMBERED: usize = 4096;

/// Receives the sessions that others begin. When it is dropped, there are no new ones.
#[derive(Debug)]
pub struct Listener {
    accepted: mpsc::Receiver<Stream>,
    local: SocketAddr,
}

impl Listener {
    /// Serves sessions on `socket`, which is bound and not connected. Nothing happens unless the
    /// [`ListenerDriver`] is polled, usually by spawning it.
    ///
    /// A session is known by the other end's address, and answers from the address that it was begun at, if the socket knows that. Data that begins another conversation from
    /// the same address ends it, once its sender has proved that it is there.
    ///
    /// # Errors
    ///
    /// The socket has no address.
    pub fn new(
        socket: impl Socket,
        config: impl Into<ListenerConfig>,
    ) -> io::Result<(Self, ListenerDriver)> {
        let config = config.into();
        let local = socket.io().local_addr()?;
        // A channel of zero places does not exist.
        let (accepts, accepted) = mpsc::channel(config.accept_backlog.max(1));
        let sessions = Sessions {
            socket: Arc::new(socket),
            local,
            config: config.session,
            max_sessions: config.max_sessions,
            max_unproved: config.max_unproved,
            admission: Admission::new(now()),
            accepts,
            known: HashMap::new(),
            count: 0,
            unproved: VecDeque::new(),
            ended: VecDeque::new(),
            tasks: JoinSet::new(),
            challenge: Batch::default(),
        };
        Ok((
            Self { accepted, local },
            ListenerDriver(Box::pin(sessions.run())),
        ))
    }

    /// The next session; `None` when the driver is gone.
    pub async fn accept(&mut self) -> Option<Stream> {
        self.accepted.recv().await
    }

    /// As [`accept`](Self::accept).
    pub fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Option<Stream>> {
        self.accepted.poll_recv(cx)
    }

    /// Address that the socket is bound to.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }
}

/// Moves the datagrams of a listener's sessions. Ends when the [`Listener`] is dropped and the
/// last session has ended, or with an error if the socket fails. Dropping it ends all sessions
/// at once.
#[must_use = "a listener does nothing unless its driver is polled"]
pub struct ListenerDriver(Pin<Box<dyn Future<Output = io::Result<()>> + Send>>);

impl Future for ListenerDriver {
    type Output = io::Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl std::fmt::Debug for ListenerDriver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ListenerDriver").finish_non_exhaustive()
    }
}

/// What the driver of a listener owns.
struct Sessions {
    socket: Arc<dyn Socket>,
    local: SocketAddr,
    config: Config,
    max_sessions: usize,
    max_unproved: usize,
    admission: Admission,
    accepts: mpsc::Sender<Stream>,
    known: HashMap<SocketAddr, Known>,
    /// Living ones in `known`.
    count: usize,
    /// Those of them whose address may be forged, oldest first; at most `max_unproved`.
    unproved: VecDeque<SocketAddr>,
    /// Ended ones in `known`, oldest first.
    ended: VecDeque<(Instant, SocketAddr)>,
    /// One for each session, that sends.
    tasks: JoinSet<(SocketAddr, Arc<Shared>)>,
    /// Room for a challenge.
    challenge: Batch,
}

/// The last session from an address.
struct Known {
    conversation: u32,
    /// `None` when it has ended.
    shared: Option<Arc<Shared>>,
    is_proved: bool,
}

impl Sessions {
    async fn run(mut self) -> io::Result<()> {
        let socket = Arc::clone(&self.socket);
        let accepts = self.accepts.clone();
        let mut inbox = Inbox::new();
        loop {
            if self.accepts.is_closed() && self.count == 0 {
                return Ok(());
            }
            tokio::select! {
                received = inbox.receive(&*socket) => {
                    received?;
                    self.route(&mut inbox.arrived);
                    tokio::task::consume_budget().await;
                }
                Some(ended) = self.tasks.join_next() => self.forget(ended.ok()),
                () = accepts.closed(), if !self.accepts.is_closed() => {}
            }
        }
    }

    /// Hands datagrams that have arrived to their sessions.
    fn route(&mut self, arrived: &mut Vec<(Bytes, Path)>) {
        let mut arrived = arrived.drain(..).peekable();
        while let Some((datagram, path)) = arrived.next() {
            let peer = path.peer;
            let known = self.known.get(&peer).filter(|it| it.takes(&datagram));
            let Some(known) = known else {
                self.meet(datagram, path);
                continue;
            };
            // Without a session it is a late packet of one that has ended.
            let Some(shared) = &known.shared else {
                continue;
            };
            // Datagrams of one session come in a row, and cost one lock.
            let mut next = Some(datagram);
            let run = std::iter::from_fn(|| {
                let goes_along =
                    |(datagram, path): &(Bytes, Path)| path.peer == peer && known.takes(datagram);
                next.take().or_else(|| Some(arrived.next_if(goes_along)?.0))
            });
            if shared.handle_datagrams(run) && !known.is_proved {
                self.prove(peer);
            }
        }
    }

    /// Looks at a datagram that is of no session that is known.
    fn meet(&mut self, datagram: Bytes, path: Path) {
        let peer = path.peer;
        let Some(peek) = peek(&datagram) else { return };
        let conversation = peek.conversation;
        let is_alive = self
            .known
            .get(&peer)
            .is_some_and(|known| known.shared.is_some());
        let is_proof = |timestamp| {
            self.admission
                .is_proof(peer, conversation, timestamp, now())
        };
        if peek.proof.is_some_and(is_proof) {
            self.begin(conversation, path, datagram, true);
        } else if peek.asks {
            self.challenge(conversation, path);
        } else if !peek.may_begin || (is_alive && !peek.is_first) {
            // Nothing that anybody waits for.
        } else if is_alive || self.is_crowded() {
            // In whose name this came may be asked before a session ends, or many begin.
            self.challenge(conversation, path);
        } else {
            self.begin(conversation, path, datagram, false);
        }
    }

    /// Whether a new session has to be proved before it begins. Half of the backlog is left to those that are.
    fn is_crowded(&self) -> bool {
        self.unproved.len() >= self.max_unproved
            || self.count >= self.max_sessions
            || self.accepts.capacity() <= self.accepts.max_capacity() / 2
    }

    /// Asks for a proof that datagrams to the peer arrive there.
    fn challenge(&mut self, conversation: u32, path: Path) {
        let admission = &self.admission;
        self.challenge.clear();
        self.challenge
            .push(|out| admission.challenge(path.peer, conversation, now(), out));
        // If there is no room now: it is asked again when the datagram comes again.
        let _may_be_lost = self.socket.try_send(&self.challenge, Some(path));
    }

    /// Begins a session, in place of that from the same address if there is one.
    fn begin(&mut self, conversation: u32, path: Path, datagram: Bytes, is_proved: bool) {
        let peer = path.peer;
        let Ok(place) = self.accepts.clone().try_reserve_owned() else {
            return;
        };
        let is_new = self.known.get(&peer).is_none_or(|it| it.shared.is_none());
        if is_new && self.count >= self.max_sessions && !(is_proved && self.evict()) {
            tracing::debug!(%peer, "refused a KCP session: there are {}", self.count);
            return;
        }
        self.end(peer, SessionError::Replaced);
        let now = now();
        let config = self.config.clone();
        let shared = Shared::new(match is_proved {
            true => Machine::new(conversation, config, now),
            false => {
                let origin = self.admission.origin(peer, conversation, now);
                Machine::unproved(conversation, config, origin, now)
            }
        });
        place.send(Stream::new(Arc::clone(&shared), self.local, peer));
        self.count += 1;
        if !is_proved {
            self.unproved.push_back(peer);
        }
        let known = Known {
            conversation,
            shared: Some(Arc::clone(&shared)),
            is_proved,
        };
        self.known.insert(peer, known);
        shared.handle_datagrams([datagram]);
        let socket = Arc::clone(&self.socket);
        self.tasks.spawn(async move {
            let session = Session(shared);
            let reason = session.send(&*socket, Some(path)).await;
            tracing::debug!(%peer, %reason, "a KCP session ended");
            (peer, Arc::clone(&session.0))
        });
    }

    /// Ends the oldest session whose address may be forged. Returns whether there was one.
    fn evict(&mut self) -> bool {
        let Some(peer) = self.unproved.front().copied() else {
            return false;
        };
        self.end(peer, SessionError::Evicted);
        self.ended.push_back((now(), peer));
        true
    }

    /// Ends the session with `peer`, if there is one.
    fn end(&mut self, peer: SocketAddr, reason: SessionError) {
        let known = self.known.get_mut(&peer);
        if let Some(shared) = known.and_then(|known| known.shared.take()) {
            let mut guard = shared.lock();
            guard.machine.end(reason);
            guard.finish();
            self.count -= 1;
            self.unproved.retain(|&other| other != peer);
        }
    }

    /// Takes note that `peer` is where it says.
    fn prove(&mut self, peer: SocketAddr) {
        if let Some(known) = self.known.get_mut(&peer) {
            known.is_proved = true;
        }
        self.unproved.retain(|&other| other != peer);
    }

    /// Takes note that a session ended; which one is not known if its task panicked.
    fn forget(&mut self, ended: Option<(SocketAddr, Arc<Shared>)>) {
        let now = now();
        match ended {
            Some((peer, ended)) => {
                let known = self.known.get_mut(&peer).map(|known| &mut known.shared);
                if let Some(known) = known
                    && known.as_ref().is_some_and(|s| Arc::ptr_eq(s, &ended))
                {
                    *known = None;
                    self.count -= 1;
                    self.unproved.retain(|&other| other != peer);
                    self.ended.push_back((now, peer));
                }
            }
            None => {
                self.known.retain(|_, known| {
                    let shared = known.shared.as_ref();
                    shared.is_none_or(|s| s.lock().machine.ended().is_none())
                });
                let alive = self.known.values().filter(|known| known.shared.is_some());
                self.count = alive.count();
                let known = &self.known;
                let is_unproved = |it: &Known| it.shared.is_some() && !it.is_proved;
                self.unproved
                    .retain(|peer| known.get(peer).is_some_and(is_unproved));
            }
        }
        while let Some(&(at, peer)) = self.ended.front() {
            if self.ended.len() <= MAX_REMEMBERED && now.duration_since(at) < REMEMBERED_FOR {
                break;
            }
            self.ended.pop_front();
            if let Entry::Occupied(known) = self.known.entry(peer)
                && known.get().shared.is_none()
            {
                known.remove();
            }
        }
    }
}

impl Known {
    /// Whether a datagram from its address is meant for it. What names no conversation is.
    fn takes(&self, datagram: &[u8]) -> bool {
        peek(datagram).is_none_or(|peek| peek.conversation == self.conversation)
    }
}
