//! The tasks that move datagrams between a socket and state machines.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::buffers::Buffers;
use crate::config::Config;
use crate::error::SessionError;
use crate::machine::Machine;
use crate::shared::{Shared, now};
use crate::socket::{Batch, MAX_RECEIVED, Path, Socket};
use crate::stream::Stream;

/// Received datagrams whose buffers are kept while they are in use: a batch for each of several sessions, or what the largest window
/// holds (2 MiB).
const MAX_KEPT: usize = 1024;

/// How long buffers are kept for the next datagrams.
const KEEP_BUFFERS: Duration = Duration::from_secs(1);

/// Begins a session with the address that `socket` is connected to. Nothing is sent before
/// something is written, and nothing happens at all unless the [`Driver`] is polled, usually by
/// spawning it.
///
/// `conversation` is a random number unless given; the other end must use the same, which a
/// listener does. Windows of a thousand segments want socket buffers of a few MiB, which are the
/// caller's to set.
///
/// # Errors
///
/// The socket is not connected.
pub fn connect(
    socket: impl Socket,
    conversation: Option<u32>,
    config: Config,
) -> io::Result<(Stream, Driver)> {
    let (local, peer) = (socket.io().local_addr()?, socket.io().peer_addr()?);
    let conversation = conversation.unwrap_or_else(|| fastrand::u32(..));
    let session = Session(Shared::new(Machine::new(conversation, config, now())));
    let stream = Stream::new(Arc::clone(&session.0), local, peer);
    let driver = Driver(Box::pin(async move {
        let reason = tokio::select! {
            reason = session.send(&socket, None) => reason,
            error = receive(&socket, &session.0) => SessionError::Io(Arc::new(error)),
        };
        session.end(reason)
    }));
    Ok((stream, driver))
}

/// Moves the datagrams of a session that was made by [`connect`]. Ends when the session ends:
/// with `Ok` if its stream was dropped, else with the reason. Dropping it ends the session at
/// once.
#[must_use = "a session does nothing unless its driver is polled"]
pub struct Driver(Pin<Box<dyn Future<Output = Result<(), SessionError>> + Send>>);

impl Future for Driver {
    type Output = Result<(), SessionError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl std::fmt::Debug for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver").finish_non_exhaustive()
    }
}

/// What a turn of a driver came to.
enum Turn {
    Ended(SessionError),
    Send,
    Wait { until: Instant },
}

/// A session as its driver holds it; it ends with its driver.
#[derive(Debug)]
pub(crate) struct Session(pub(crate) Arc<Shared>);

impl Session {
    /// Sends the session's datagrams to the other end, by `path` unless the socket is connected, until the session ends.
    pub(crate) async fn send(&self, socket: &dyn Socket, path: Option<Path>) -> SessionError {
        let mut batch = Batch::default();
        let mut sleep = pin!(tokio::time::sleep_until(tokio::time::Instant::now()));
        loop {
            match self.turn(&mut batch) {
                Turn::Send => {
                    send(socket, &mut batch, path).await;
                    tokio::task::consume_budget().await;
                }
                Turn::Wait { until } => {
                    if until.saturating_duration_since(now()) > KEEP_BUFFERS {
                        batch.release();
                    }
                    sleep.as_mut().reset(tokio::time::Instant::from_std(until));
                    tokio::select! {
                        () = &mut sleep => {}
                        () = self.0.driver.notified() => {}
                    }
                }
                Turn::Ended(reason) => return reason,
            }
        }
    }

    /// Does what is due, and makes the next datagrams if there are any.
    fn turn(&self, batch: &mut Batch) -> Turn {
        let mut guard = self.0.lock();
        let now = now();
        guard.machine.handle_timeout(now);
        batch.fill(|out| guard.machine.poll_transmit(out, now));
        let (turn, driver_at) = if !batch.is_empty() {
            (Turn::Send, None)
        } else if let Some(reason) = guard.machine.ended().cloned() {
            (Turn::Ended(reason), None)
        } else {
            // There is a time unless it has ended.
            let until = guard.machine.timeout_at().unwrap_or(now);
            (Turn::Wait { until }, Some(until))
        };
        guard.finish_driving(driver_at);
        turn
    }

    /// Ends the session, unless it has ended, and returns how it did.
    pub(crate) fn end(&self, reason: SessionError) -> Result<(), SessionError> {
        let mut guard = self.0.lock();
        guard.machine.end(reason);
        let ended = guard.machine.ended().cloned();
        guard.finish_driving(None);
        match ended {
            None | Some(SessionError::Closed) => Ok(()),
            Some(reason) => Err(reason),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _known = self.end(SessionError::Closed);
    }
}

/// Sends all datagrams of `batch`. One that cannot be sent is lost, as others are on their way: what made it
/// so often passes, and if it does not the session ends for want of answers.
async fn send(socket: &dyn Socket, batch: &mut Batch, path: Option<Path>) {
    while !batch.is_empty() {
        match socket.try_send(batch, path) {
            Ok(count) => batch.skip(count),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if socket.io().writable().await.is_err() {
                    batch.skip(1);
                }
            }
            Err(error) => {
                tracing::debug!(%error, "a KCP datagram could not be sent");
                batch.skip(1);
            }
        }
    }
}

/// Hands the datagrams of a connected socket to its session until the socket fails.
async fn receive(socket: &dyn Socket, shared: &Shared) -> io::Error {
    let mut inbox = Inbox::new();
    loop {
        if let Err(error) = inbox.receive(socket).await {
            return error;
        }
        shared.handle_datagrams(inbox.arrived.drain(..).map(|(datagram, _)| datagram));
        tokio::task::consume_budget().await;
    }
}

/// What a socket received, in buffers that are used again.
#[derive(Debug)]
pub(crate) struct Inbox {
    buffers: Buffers,
    pub(crate) arrived: Vec<(Bytes, Path)>,
}

impl Inbox {
    pub(crate) fn new() -> Self {
        Self {
            buffers: Buffers::new(MAX_RECEIVED, MAX_KEPT),
            arrived: Vec::new(),
        }
    }

    /// Waits until something arrives, and takes it in. A socket on which nothing does for a while holds no buffers. Cancel-safe.
    pub(crate) async fn receive(&mut self, socket: &dyn Socket) -> io::Result<()> {
        loop {
            match tokio::time::timeout(KEEP_BUFFERS, socket.io().readable()).await {
                Ok(result) => result?,
                Err(_elapsed) => {
                    self.buffers.shrink();
                    self.arrived = Vec::new();
                    socket.io().readable().await?;
                }
            }
            let (buffers, arrived) = (&mut self.buffers, &mut self.arrived);
            let mut each = |datagram: &[u8], path| {
                // What fills its room may have been cut.
                if datagram.len() < MAX_RECEIVED {
                    arrived.push((buffers.copy(datagram), path));
                }
            };
            match socket.try_recv(&mut each) {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if is_transient(&error) => {
                    tokio::task::consume_budget().await;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// Whether an error of reading is about something that was sent, such as that nobody has the
/// port open. That may change, and anybody can say it.
fn is_transient(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionRefused, ConnectionReset, HostUnreachable, Interrupted, NetworkUnreachable,
    };
    matches!(
        error.kind(),
        ConnectionRefused | ConnectionReset | HostUnreachable | Interrupted | NetworkUnreachable
    )
}
