//! The tasks that move datagrams between a socket and state machines.

use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use tokio::net::UdpSocket;

use crate::buffers::{BUFFER_SIZE, Buffers};
use crate::config::Config;
use crate::error::SessionError;
use crate::machine::Machine;
use crate::packet::MAX_DATAGRAM;
use crate::shared::{Shared, now};
use crate::socket::{ListenerSocket, Path};
use crate::stream::Stream;

/// Datagrams that are moved before other tasks get their turn.
pub(crate) const MAX_TURNS: usize = 64;

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
    socket: UdpSocket,
    conversation: Option<u32>,
    config: Config,
) -> io::Result<(Stream, Driver)> {
    let (local, peer) = (socket.local_addr()?, socket.peer_addr()?);
    let conversation = conversation.unwrap_or_else(|| fastrand::u32(..));
    let session = Session(Shared::new(Machine::new(conversation, config, now())));
    let stream = Stream::new(Arc::clone(&session.0), local, peer);
    let driver = Driver(Box::pin(async move {
        let receiving = async {
            let mut buffers = Buffers::default();
            loop {
                if let Err(error) = receive(&socket, &mut buffers, &session.0).await {
                    return SessionError::Io(Arc::new(error));
                }
            }
        };
        let reason = tokio::select! {
            reason = session.send(Destination::Connected(&socket)) => reason,
            reason = receiving => reason,
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
    /// Sends the session's datagrams `to` the other end until the session ends.
    pub(crate) async fn send(&self, to: Destination<'_>) -> SessionError {
        let mut datagram = Vec::with_capacity(MAX_DATAGRAM);
        let mut sleep = pin!(tokio::time::sleep_until(tokio::time::Instant::now()));
        let mut turns = 0;
        loop {
            match self.turn(&mut datagram) {
                Turn::Send => {
                    send(to, &datagram).await;
                    turns += 1;
                    if turns % MAX_TURNS == 0 {
                        tokio::task::yield_now().await;
                    }
                }
                Turn::Wait { until } => {
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

    /// Does what is due, and makes the next datagram if there is one.
    fn turn(&self, datagram: &mut Vec<u8>) -> Turn {
        let mut guard = self.0.lock();
        let now = now();
        guard.machine.handle_timeout(now);
        let (turn, driver_at) = if guard.machine.poll_transmit(datagram, now) {
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

/// Where datagrams go.
#[derive(Clone, Copy)]
pub(crate) enum Destination<'a> {
    /// Where the socket is connected to.
    Connected(&'a UdpSocket),
    Of(&'a dyn ListenerSocket, Path),
}

impl<'a> Destination<'a> {
    fn try_send(self, datagram: &[u8]) -> io::Result<()> {
        match self {
            Self::Connected(socket) => socket.try_send(datagram).map(drop),
            Self::Of(socket, path) => socket.try_send(datagram, path),
        }
    }

    fn io(self) -> &'a UdpSocket {
        match self {
            Self::Connected(socket) => socket,
            Self::Of(socket, _) => socket.io(),
        }
    }
}

/// Sends a datagram. One that cannot be sent is lost, as others are on their way: what made it
/// so often passes, and if it does not the session ends for want of answers.
async fn send(to: Destination<'_>, datagram: &[u8]) {
    loop {
        match to.try_send(datagram) {
            Ok(()) => return,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                if to.io().writable().await.is_err() {
                    return;
                }
            }
            Err(error) => {
                tracing::debug!(%error, "a KCP datagram could not be sent");
                return;
            }
        }
    }
}

/// Waits for datagrams of a connected socket and hands them to its session.
async fn receive(socket: &UdpSocket, buffers: &mut Buffers, shared: &Shared) -> io::Result<()> {
    wait_readable(socket, buffers).await?;
    for _ in 0..MAX_TURNS {
        let mut buffer = buffers.take();
        let result = socket.try_recv_buf(&mut buffer);
        let datagram = complete(buffer.split().freeze());
        buffers.give_back(buffer);
        match result {
            Ok(_) => {
                if let Some(datagram) = datagram {
                    let mut guard = shared.lock();
                    guard.machine.handle_datagram(datagram, now());
                    guard.finish();
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) if is_transient(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Waits until something arrives; a socket on which nothing does for a while holds no buffers.
pub(crate) async fn wait_readable(socket: &UdpSocket, buffers: &mut Buffers) -> io::Result<()> {
    /// How long buffers are kept for the next datagram.
    const KEEP_BUFFERS: std::time::Duration = std::time::Duration::from_secs(1);

    match tokio::time::timeout(KEEP_BUFFERS, socket.readable()).await {
        Ok(result) => result,
        Err(_elapsed) => {
            buffers.shrink();
            socket.readable().await
        }
    }
}

/// A datagram, unless it may have been cut.
pub(crate) fn complete(datagram: Bytes) -> Option<Bytes> {
    (datagram.len() < BUFFER_SIZE).then_some(datagram)
}

/// Whether an error of reading is about something that was sent, such as that nobody has the
/// port open. That may change, and anybody can say it.
pub(crate) fn is_transient(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionRefused, ConnectionReset, HostUnreachable, Interrupted, NetworkUnreachable,
    };
    matches!(
        error.kind(),
        ConnectionRefused | ConnectionReset | HostUnreachable | Interrupted | NetworkUnreachable
    )
}
