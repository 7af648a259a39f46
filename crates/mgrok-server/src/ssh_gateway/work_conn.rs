//! A work connection through an SSH client: a `forwarded-tcpip` channel, which is opened when a user needs it.
//!
//! A session offers work connections ahead of need and begins each with a `StartWorkConn`. Here that message opens the channel, so no
//! connection to the local service waits for a user; whoever sends it waits until the client has the service, or hears that it has not.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use mgrok_net::conn::{ByteStream, Conn};
use mgrok_proto::WireVersion;
use mgrok_proto::message::{Message, StartWorkConn};
use russh::ChannelWriteHalf;
use russh::server::{Handle, Msg};
use tokio::io::AsyncWrite;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::inbox::{Inboxes, Reader};
use crate::tasks::Tasks;

/// How many channels an SSH client may have open to its local service, with those that it has yet to open.
pub(super) const MAX_CHANNELS: usize = 4_096;

/// How long the client has to close a channel on which nothing more comes from this end.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// How many channels may be closed from this end while a connection lives.
const MAX_CLOSED: usize = 8_192;

/// What the SSH client wants forwarded: what it calls the address and port that it listens on here, which are names to it and no more.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Forward {
    pub(super) address: String,
    pub(super) port: u32,
}

/// Opens channels to the local service of one client.
#[derive(Clone, Debug)]
pub(super) struct Channels {
    pub(super) handle: Handle,
    pub(super) inboxes: Inboxes,
    pub(super) forward: Arc<Forward>,
    pub(super) permits: Arc<Semaphore>,
    pub(super) wear: Wear,
    pub(super) tasks: Tasks,
}

/// A channel that is open. It is closed when this is dropped.
struct Open {
    reader: Reader,
    writer: Pin<Box<dyn AsyncWrite + Send>>,
    /// Whether the client knows that nothing more comes.
    has_ended: bool,
    half: Option<ChannelWriteHalf<Msg>>,
    permit: Option<OwnedSemaphorePermit>,
    tasks: Tasks,
    wear: Wear,
}

/// Counts the channels of a client that had to be closed from this end. Clones are the same.
///
/// russh keeps some 4 KB of each for as long as the connection lives, where the client has not closed it first.
#[derive(Clone, Debug, Default)]
pub(super) struct Wear {
    closed: Arc<AtomicUsize>,
    worn: CancellationToken,
}

enum State {
    /// Nobody needs it yet. Holds the beginning of the message that says so.
    Idle(BytesMut),
    /// The client has been asked.
    Opening(oneshot::Receiver<io::Result<Open>>),
    Open(Open),
    Failed,
}

struct WorkConn {
    channels: Channels,
    state: State,
}

impl Channels {
    /// A work connection that nobody needs yet.
    pub(super) fn offer(&self) -> Conn {
        Conn::layered(Box::new(WorkConn {
            channels: self.clone(),
            state: State::Idle(BytesMut::new()),
        }))
    }

    /// Asks the client for a channel. Who asked may leave: then it is closed as soon as it is open.
    fn open(&self, start: &StartWorkConn) -> oneshot::Receiver<io::Result<Open>> {
        let (sender, receiver) = oneshot::channel();
        let Ok(permit) = self.permits.clone().try_acquire_owned() else {
            let why = format!("the SSH client has {MAX_CHANNELS} connections");
            let _nobody_waits = sender.send(Err(io::Error::other(why)));
            return receiver;
        };
        let this = self.clone();
        let (address, port) = originator(start);
        self.tasks.spawn(async move {
            let Forward {
                address: to,
                port: to_port,
            } = (*this.forward).clone();
            let opened = this
                .handle
                .channel_open_forwarded_tcpip(to, to_port, address, port)
                .await;
            let opened = opened.map_err(io::Error::other).map(|channel| {
                // Nothing is read from the other half: what comes for it goes to the inbox, and as nobody receives here, russh does
                // not wait for anybody to do so.
                let (_, half) = channel.split();
                Open {
                    reader: this.inboxes.reader(half.id()),
                    writer: Box::pin(half.make_writer()),
                    has_ended: false,
                    half: Some(half),
                    permit: Some(permit),
                    tasks: this.tasks.clone(),
                    wear: this.wear.clone(),
                }
            });
            if sender.send(opened).is_err() {
                debug!("a channel was opened for a user who has left");
            }
        });
        receiver
    }
}

/// Who the SSH client hears has connected: the user, if that is known.
fn originator(start: &StartWorkConn) -> (String, u32) {
    let address = start
        .src_addr
        .parse()
        .map_or(SocketAddr::from(([0, 0, 0, 0], 0)), |ip| {
            SocketAddr::new(ip, start.src_port)
        });
    (address.ip().to_string(), address.port().into())
}

impl Wear {
    /// Ends when a client has had so many channels closed that it has to connect anew.
    pub(super) async fn worn(&self) {
        self.worn.cancelled().await;
    }

    fn closed_one(&self) {
        if self.closed.fetch_add(1, Ordering::Relaxed) >= MAX_CLOSED {
            self.worn.cancel();
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let (half, permit) = (self.half.take(), self.permit.take());
        let Some((half, left)) = half.zip(self.reader.leave()) else {
            return;
        };
        let (has_ended, wear) = (self.has_ended, self.wear.clone());
        // If the client is gone meanwhile, so is the channel.
        self.tasks.spawn(async move {
            if !has_ended {
                let _ = half.eof().await;
            }
            // Only a service that goes on sending keeps the client from closing.
            if timeout(CLOSE_TIMEOUT, left).await.is_err() {
                wear.closed_one();
                let _ = half.close().await;
            }
            drop(permit);
        });
    }
}

impl WorkConn {
    /// Ready when the channel is open, or cannot be.
    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<&mut Open>> {
        if let State::Opening(opening) = &mut self.state {
            let opened = ready!(Pin::new(opening).poll(cx));
            self.state = match opened {
                Ok(Ok(open)) => State::Open(open),
                Ok(Err(error)) => {
                    self.state = State::Failed;
                    return Poll::Ready(Err(error));
                }
                Err(_) => State::Failed,
            };
        }
        match &mut self.state {
            State::Open(open) => Poll::Ready(Ok(open)),
            State::Idle(_) | State::Opening(_) | State::Failed => {
                Poll::Ready(Err(io::ErrorKind::NotConnected.into()))
            }
        }
    }
}

impl ByteStream for WorkConn {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        match &mut self.state {
            // Whoever sends the first message is woken when there is something to receive, because sending it waits for the channel.
            State::Idle(_) => Poll::Pending,
            State::Opening(_) => ready!(self.poll_open(cx))?.reader.poll_recv(cx),
            State::Open(open) => open.reader.poll_recv(cx),
            State::Failed => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, chunk: &mut Bytes) -> Poll<io::Result<()>> {
        if let State::Idle(begun) = &mut self.state {
            begun.extend_from_slice(chunk);
            chunk.clear();
            match WireVersion::V1.decode(begun).map_err(io::Error::other)? {
                None => return Poll::Ready(Ok(())),
                Some((Message::StartWorkConn(start), len)) if start.error.is_empty() => {
                    *chunk = begun.split_off(len).freeze();
                    self.state = State::Opening(self.channels.open(&start));
                }
                // It is not wanted.
                Some(_) => self.state = State::Failed,
            }
        }
        if chunk.is_empty() {
            return Poll::Ready(Ok(()));
        }
        let open = ready!(self.poll_open(cx))?;
        while !chunk.is_empty() {
            open.reader.check_open(cx)?;
            let sent = ready!(open.writer.as_mut().poll_write(cx, chunk))?;
            chunk.advance(sent);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.state {
            State::Idle(_) => Poll::Ready(Ok(())),
            // So whoever has sent the first message hears what came of it.
            State::Opening(_) | State::Failed => self.poll_open(cx).map_ok(|_| ()),
            State::Open(_) => Poll::Ready(Ok(())),
        }
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.state {
            State::Idle(_) | State::Failed => {
                self.state = State::Failed;
                Poll::Ready(Ok(()))
            }
            State::Opening(_) | State::Open(_) => {
                let open = ready!(self.poll_open(cx))?;
                open.reader.check_open(cx)?;
                if !open.has_ended {
                    ready!(open.writer.as_mut().poll_shutdown(cx))?;
                    open.has_ended = true;
                }
                Poll::Ready(Ok(()))
            }
        }
    }
}
