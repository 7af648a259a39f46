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
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::buffers::Buffers;
use crate::config::{Config, ListenerConfig};
use crate::driver::{MAX_TURNS, Session, complete, is_transient, wait_readable};
use crate::error::SessionError;
use crate::machine::peek;
use crate::shared::{Shared, now};
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
    /// A session is known by the other end's address. Data that begins another conversation from
    /// the same address ends it.
    ///
    /// # Errors
    ///
    /// The socket has no address.
    pub fn new(
        socket: UdpSocket,
        config: impl Into<ListenerConfig>,
    ) -> io::Result<(Self, ListenerDriver)> {
        let config = config.into();
        let local = socket.local_addr()?;
        // A channel of zero places does not exist.
        let (accepts, accepted) = mpsc::channel(config.accept_backlog.max(1));
        let sessions = Sessions {
            socket: Arc::new(socket),
            local,
            config: config.session,
            max_sessions: config.max_sessions,
            accepts,
            known: HashMap::new(),
            count: 0,
            ended: VecDeque::new(),
            tasks: JoinSet::new(),
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
    socket: Arc<UdpSocket>,
    local: SocketAddr,
    config: Config,
    max_sessions: usize,
    accepts: mpsc::Sender<Stream>,
    known: HashMap<SocketAddr, Known>,
    /// Living ones in `known`.
    count: usize,
    /// Ended ones in `known`, oldest first.
    ended: VecDeque<(Instant, SocketAddr)>,
    /// One for each session, that sends.
    tasks: JoinSet<(SocketAddr, Arc<Shared>)>,
}

/// The last session from an address.
struct Known {
    conversation: u32,
    /// `None` when it has ended.
    shared: Option<Arc<Shared>>,
}

impl Sessions {
    async fn run(mut self) -> io::Result<()> {
        let socket = Arc::clone(&self.socket);
        let accepts = self.accepts.clone();
        let mut buffers = Buffers::default();
        loop {
            if self.accepts.is_closed() && self.count == 0 {
                return Ok(());
            }
            tokio::select! {
                readable = wait_readable(&socket, &mut buffers) => {
                    readable?;
                    self.receive(&mut buffers)?;
                    tokio::task::consume_budget().await;
                }
                Some(ended) = self.tasks.join_next() => self.forget(ended.ok()),
                () = accepts.closed(), if !self.accepts.is_closed() => {}
            }
        }
    }

    /// Hands datagrams that have arrived to their sessions.
    fn receive(&mut self, buffers: &mut Buffers) -> io::Result<()> {
        for _ in 0..MAX_TURNS {
            let mut buffer = buffers.take();
            let result = self.socket.try_recv_buf_from(&mut buffer);
            let datagram = complete(buffer.split().freeze());
            buffers.give_back(buffer);
            match result {
                Ok((_, peer)) => {
                    if let Some(datagram) = datagram {
                        self.route(datagram, peer);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if is_transient(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn route(&mut self, datagram: Bytes, peer: SocketAddr) {
        let peek = peek(&datagram);
        let entry = self.known.entry(peer);
        if let Entry::Occupied(known) = &entry {
            let known = known.get();
            match (peek, &known.shared) {
                (Some(peek), _) if peek.conversation != known.conversation => {
                    if known.shared.is_some() && !peek.is_first {
                        return;
                    }
                }
                (_, Some(shared)) => return input(shared, datagram),
                // Late packets of a session that has ended.
                (_, None) => return,
            }
        }
        let Some(conversation) = peek.filter(|p| p.may_begin).map(|p| p.conversation) else {
            return;
        };
        let replaced = match &entry {
            Entry::Occupied(known) => known.get().shared.clone(),
            Entry::Vacant(_) => None,
        };
        if self.count >= self.max_sessions && replaced.is_none() {
            tracing::debug!(%peer, "refused a KCP session: there are {}", self.count);
            return;
        }
        let Ok(place) = self.accepts.try_reserve() else {
            return;
        };
        match replaced {
            Some(replaced) => {
                let mut guard = replaced.lock();
                guard.machine.end(SessionError::Replaced);
                guard.finish();
            }
            None => self.count += 1,
        }
        let shared = Shared::new(conversation, self.config.clone());
        place.send(Stream::new(Arc::clone(&shared), self.local, peer));
        entry.insert_entry(Known {
            conversation,
            shared: Some(Arc::clone(&shared)),
        });
        input(&shared, datagram);
        let socket = Arc::clone(&self.socket);
        self.tasks.spawn(async move {
            let session = Session(shared);
            let reason = session.send(&socket, Some(peer)).await;
            tracing::debug!(%peer, %reason, "a KCP session ended");
            (peer, Arc::clone(&session.0))
        });
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

fn input(shared: &Shared, datagram: Bytes) {
    let mut guard = shared.lock();
    guard.machine.handle_datagram(datagram, now());
    guard.finish();
}
