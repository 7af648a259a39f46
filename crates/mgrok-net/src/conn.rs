//! Any connection of the program, as one type.
//!
//! Bytes travel as owned chunks ([`Bytes`]) through [`ByteStream`], not through borrowed buffers: what
//! one read fetched into a slab of the thread is passed on as a slice of it. So no connection owns a
//! buffer while it waits, and a layer that has nothing to change changes nothing.

mod carrier;
mod flow;
mod quic;
mod std_io;
#[cfg(unix)]
mod unix;

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use mgrok_mux::Stream;
use rustls::CommonState;
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

use crate::tcp;

pub(crate) use flow::{Flow, FlowSender, Flows, settle};
pub(crate) use quic::{NO_ERROR, QuicStream, StreamPermit, connection_lost};

/// A full-duplex stream of bytes that moves owned chunks.
///
/// The methods follow the rules of `poll` functions: on `Pending` the task is woken when it is worth
/// trying again, and the last caller of a direction is the one that is woken.
pub trait ByteStream: Send {
    /// The next bytes that arrived; empty at the end of the stream, and from then on.
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>>;

    /// Takes bytes from the front of `chunk`, as many as there is room for. Ready once `chunk` is
    /// empty. What was taken may still be on its way until [`ByteStream::poll_flush`] is ready.
    fn poll_send(&mut self, cx: &mut Context<'_>, chunk: &mut Bytes) -> Poll<io::Result<()>>;

    /// Ready once everything that was taken has been handed to the carrier.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Flushes, then ends our direction (FIN, `shutdown(SHUT_WR)` or close_notify). Reading goes on.
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
}

/// A connection: bytes that were read from it and not used yet, and what carries it.
pub struct Conn {
    unread: Bytes,
    io: Io,
}

/// What carries a connection.
enum Io {
    /// Boxed: there are few, and others would be larger for it.
    Kcp(Box<mgrok_kcp::Stream>),
    Layered(Box<dyn ByteStream>),
    Mux(Stream),
    /// Boxed: two handles on the connection and their state.
    Quic(Box<QuicStream>),
    Tcp(TcpStream),
    /// Boxed: a TLS session is a hundred times the size of a socket.
    Tls(Box<TlsStream<Conn>>),
}

impl Conn {
    /// A connection through a layer that owns the connection below it.
    pub fn layered(stream: Box<dyn ByteStream>) -> Self {
        Io::Layered(stream).into()
    }

    /// Puts bytes back, in front of all that is still to be read.
    pub fn unread(&mut self, bytes: Bytes) {
        if bytes.is_empty() {
            // Not kept: the empty rest of a buffer still owns all of it.
        } else if self.unread.is_empty() {
            self.unread = bytes;
        } else {
            let mut joined = BytesMut::with_capacity(bytes.len() + self.unread.len());
            joined.extend_from_slice(&bytes);
            joined.extend_from_slice(&self.unread);
            self.unread = joined.freeze();
        }
    }

    /// The next bytes that arrive; empty at the end of the stream. Cancel-safe.
    pub async fn recv(&mut self) -> io::Result<Bytes> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// Sends all of `chunk` and flushes. Not cancel-safe: a part may have been sent.
    pub async fn send(&mut self, mut chunk: Bytes) -> io::Result<()> {
        poll_fn(|cx| self.poll_send(cx, &mut chunk)).await?;
        poll_fn(|cx| self.poll_flush(cx)).await
    }

    /// Flushes and ends our direction; reading goes on. Cancel-safe.
    pub async fn close(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_close(cx)).await
    }

    /// From now on, what has not been read when this is dropped makes the other end's sending fail. It is so with TCP and QUIC in
    /// any case; a multiplexed stream is otherwise drained, for the sake of frp's ends. KCP cannot say it. Has no effect once a
    /// layer lies on top.
    ///
    /// For ends that agreed to [carry half-closes](crate::relay::HalfClose::Carried): to them, the end of one direction
    /// alone does not mean that nobody reads the other.
    pub fn refuse_after_drop(&mut self) {
        match &mut self.io {
            Io::Mux(stream) => stream.refuse_after_drop(),
            Io::Kcp(_) | Io::Layered(_) | Io::Quic(_) | Io::Tcp(_) | Io::Tls(_) => {}
        }
    }

    /// Has the system give the connection up that is silent, or does not acknowledge what was sent, for `timeout`; it asks after `idle`.
    /// Only with a socket of TCP, bare or within TLS: streams of a shared connection end with that, which is watched as a whole.
    pub fn watch_closely(&self, idle: Duration, timeout: Duration) {
        match &self.io {
            Io::Tcp(socket) => tcp::watch_closely(socket, idle, timeout),
            Io::Tls(stream) => stream.get_ref().0.watch_closely(idle, timeout),
            Io::Kcp(_) | Io::Layered(_) | Io::Mux(_) | Io::Quic(_) => {}
        }
    }

    /// From now on, what is sent here goes ahead of what other streams of the same connection send: for messages, which are few and
    /// which users wait for. Has an effect on streams that are multiplexed or QUIC's, as long as no layer lies on top.
    pub fn send_first(&mut self) {
        match &mut self.io {
            Io::Mux(stream) => stream.send_first(),
            Io::Quic(stream) => stream.send_first(),
            Io::Kcp(_) | Io::Layered(_) | Io::Tcp(_) | Io::Tls(_) => {}
        }
    }

    /// The name by which the other end called us when TLS was taken off this connection (SNI); `None` if it gave none, or
    /// a layer lies on top.
    pub fn server_name(&self) -> Option<&str> {
        match &self.io {
            Io::Tls(stream) => match &**stream {
                TlsStream::Client(_) => None,
                TlsStream::Server(stream) => stream.get_ref().1.server_name(),
            },
            Io::Kcp(_) | Io::Layered(_) | Io::Mux(_) | Io::Quic(_) | Io::Tcp(_) => None,
        }
    }

    /// The TLS session, if it is the topmost layer.
    pub(crate) fn tls(&self) -> Option<&CommonState> {
        match &self.io {
            Io::Tls(stream) => Some(stream.get_ref().1),
            Io::Kcp(_) | Io::Layered(_) | Io::Mux(_) | Io::Quic(_) | Io::Tcp(_) => None,
        }
    }

    /// The datagrams of QUIC that belong to this stream, if there is nothing but a stream of QUIC that can have some. To be asked for
    /// once.
    pub(crate) fn flow(&self) -> Option<Flow> {
        match &self.io {
            Io::Quic(stream) => stream.flow(),
            Io::Kcp(_) | Io::Layered(_) | Io::Mux(_) | Io::Tcp(_) | Io::Tls(_) => None,
        }
    }

    /// The socket, if there is nothing but a socket: no layer, and no byte that waits to be read.
    pub(crate) fn bare_tcp(&self) -> Option<&TcpStream> {
        match &self.io {
            Io::Tcp(socket) if self.unread.is_empty() => Some(socket),
            Io::Kcp(_) | Io::Layered(_) | Io::Mux(_) | Io::Quic(_) | Io::Tcp(_) | Io::Tls(_) => {
                None
            }
        }
    }
}

impl ByteStream for Conn {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        if !self.unread.is_empty() {
            return Poll::Ready(Ok(std::mem::take(&mut self.unread)));
        }
        self.io.poll_recv(cx)
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, chunk: &mut Bytes) -> Poll<io::Result<()>> {
        self.io.poll_send(cx, chunk)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io.poll_flush(cx)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io.poll_close(cx)
    }
}

impl From<Io> for Conn {
    fn from(io: Io) -> Self {
        Self {
            unread: Bytes::new(),
            io,
        }
    }
}

impl From<TcpStream> for Conn {
    fn from(socket: TcpStream) -> Self {
        Io::Tcp(socket).into()
    }
}

impl From<Stream> for Conn {
    fn from(stream: Stream) -> Self {
        Io::Mux(stream).into()
    }
}

impl From<mgrok_kcp::Stream> for Conn {
    fn from(stream: mgrok_kcp::Stream) -> Self {
        Io::Kcp(Box::new(stream)).into()
    }
}

impl From<QuicStream> for Conn {
    fn from(stream: QuicStream) -> Self {
        Io::Quic(Box::new(stream)).into()
    }
}

impl From<TlsStream<Conn>> for Conn {
    fn from(stream: TlsStream<Conn>) -> Self {
        Io::Tls(Box::new(stream)).into()
    }
}

/// Says how many bytes are unread, not which: they may be anyone's.
impl fmt::Debug for Conn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let carrier = match &self.io {
            Io::Kcp(_) => "Kcp",
            Io::Layered(_) => "Layered",
            Io::Mux(_) => "Mux",
            Io::Quic(_) => "Quic",
            Io::Tcp(_) => "Tcp",
            Io::Tls(_) => "Tls",
        };
        f.debug_struct("Conn")
            .field("unread", &self.unread.len())
            .field("carrier", &format_args!("{carrier}"))
            .finish()
    }
}

#[cfg(test)]
mod tests;
