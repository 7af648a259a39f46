//! A work connection through an SSH client: a `forwarded-tcpip` channel, which is opened when a user needs it.
//!
//! A session offers work connections ahead of need and begins each with a `StartWorkConn`. Here that message opens the channel, so no
//! connection to the local service waits for a user; whoever sends it waits until the client has the service, or hears that it has not.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use mgrok_net::conn::{ByteStream, Conn};
use mgrok_proto::WireVersion;
use mgrok_proto::message::{Message, StartWorkConn};
use russh::ChannelWriteHalf;
use russh::server::{Handle, Msg};
use tokio::io::AsyncWrite;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tracing::debug;

use super::inbox::{Inboxes, Reader};
use crate::tasks::Tasks;

/// How many channels an SSH client may have open to its local service, with those that it has yet to open.
pub(super) const MAX_CHANNELS: usize = 4_096;

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
    pub(super) tasks: Tasks,
}

/// A channel that is open.
struct Open {
    reader: Reader,
    writer: Pin<Box<dyn AsyncWrite + Send>>,
    _close: CloseOnDrop,
}

/// Closes a channel when it is dropped.
struct CloseOnDrop {
    half: Option<ChannelWriteHalf<Msg>>,
    tasks: Tasks,
    permit: Option<OwnedSemaphorePermit>,
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
                    _close: CloseOnDrop {
                        half: Some(half),
                        tasks: this.tasks.clone(),
                        permit: Some(permit),
                    },
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

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        let (half, permit) = (self.half.take(), self.permit.take());
        if let Some(half) = half {
            self.tasks.spawn(async move {
                // It may be closed already, or the client be gone.
                let _ = half.close().await;
                drop(permit);
            });
        }
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
                open.writer.as_mut().poll_shutdown(cx)
            }
        }
    }
}
