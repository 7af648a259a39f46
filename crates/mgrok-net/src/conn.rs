//! One type for every connection in the program.
//!
//! Bytes travel as owned chunks ([`Bytes`]) through [`ByteStream`], not through borrowed buffers: a read fills part of
//! the thread's slab and is passed on as a slice of that slab. So a waiting connection owns no buffer, and a layer that
//! changes nothing copies nothing.

mod carrier;
mod flow;
mod quic;
mod std_io;
#[cfg(unix)]
mod unix;

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use mgrok_mux::Stream;
use rustls::pki_types::CertificateDer;
use tokio::net::TcpStream;

use crate::tcp;
use crate::tls::TlsStream;

pub(crate) use flow::{Flow, FlowSender, Flows, LEAST_SEND_WINDOW, settle};
pub(crate) use quic::{NO_ERROR, QuicStream, StreamPermit, connection_lost};

/// A full-duplex stream of bytes that moves owned chunks.
///
/// The methods follow the rules of `poll` functions: after `Pending` the task is woken when another call can make
/// progress, and only the last task that polled a direction is woken for that direction.
pub trait ByteStream: Send {
    /// The next bytes that arrived; empty at the end of the stream and on every later call.
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>>;

    /// Accepts bytes from the front of `chunk`, as many as there is room for. Ready once `chunk` is empty. Accepted
    /// bytes may still be buffered until [`ByteStream::poll_flush`] is ready.
    fn poll_send(&mut self, cx: &mut Context<'_>, chunk: &mut Bytes) -> Poll<io::Result<()>>;

    /// Ready once every accepted byte has been handed to the carrier.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Flushes, then closes the sending direction (FIN, `shutdown(SHUT_WR)` or close_notify). Receiving continues.
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Whether the peer learns that nobody takes what it still sends when this is dropped, and still gets all that was
    /// sent to it. So it is with the streams of a multiplexed connection; a TCP socket is reset instead.
    fn can_refuse(&self) -> bool {
        false
    }

    /// As [`ByteStream::poll_recv`], but appends to `chunks` as many pieces as lie ready; nothing at the end of the stream.
    fn poll_recv_many(
        &mut self,
        cx: &mut Context<'_>,
        chunks: &mut VecDeque<Bytes>,
    ) -> Poll<io::Result<()>> {
        let chunk = ready!(self.poll_recv(cx))?;
        if !chunk.is_empty() {
            chunks.push_back(chunk);
        }
        Poll::Ready(Ok(()))
    }

    /// As [`ByteStream::poll_send`], of several chunks. Ready once `chunks` is empty.
    fn poll_send_many(
        &mut self,
        cx: &mut Context<'_>,
        chunks: &mut VecDeque<Bytes>,
    ) -> Poll<io::Result<()>> {
        while let Some(chunk) = chunks.front_mut() {
            ready!(self.poll_send(cx, chunk))?;
            chunks.pop_front();
        }
        Poll::Ready(Ok(()))
    }
}

/// A connection: its carrier, and bytes that were read from the carrier but not consumed yet.
pub struct Conn {
    unread: Bytes,
    io: Io,
}

/// The carrier of a connection.
enum Io {
    /// Boxed because KCP connections are few and an inline stream would make every `Conn` larger.
    Kcp(Box<mgrok_kcp::Stream>),
    Layered(Box<dyn ByteStream>),
    Mux(Stream),
    /// Boxed: it contains two stream halves and their state.
    Quic(Box<QuicStream>),
    Tcp(TcpStream),
    /// Boxed: a TLS session is a hundred times the size of a socket.
    Tls(Box<TlsStream>),
}

impl Conn {
    /// A connection through a layer that owns the connection below.
    pub fn layered(stream: Box<dyn ByteStream>) -> Self {
        Io::Layered(stream).into()
    }

    /// Puts bytes back in front of all other unread bytes.
    pub fn unread(&mut self, bytes: Bytes) {
        if bytes.is_empty() {
            // Not kept, because an empty `Bytes` still keeps the whole buffer alive.
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

    /// Appends the next bytes that arrived to `chunks`, several pieces of them where they lie ready; nothing at the end of the stream and
    /// on every later call.
    pub(crate) fn poll_recv_many(
        &mut self,
        cx: &mut Context<'_>,
        chunks: &mut VecDeque<Bytes>,
    ) -> Poll<io::Result<()>> {
        if !self.unread.is_empty() {
            chunks.push_back(std::mem::take(&mut self.unread));
            return Poll::Ready(Ok(()));
        }
        self.io.poll_recv_many(cx, chunks)
    }

    /// Takes back what is left of the chunks that were received last, if the carrier can keep them as if they had not been received: its
    /// window then counts them, and it keeps them in as little memory as it likes.
    pub(crate) fn put_back(&mut self, chunks: &mut VecDeque<Bytes>) {
        if let Io::Mux(stream) = &mut self.io {
            stream.put_back(chunks);
        }
    }

    /// Receives as [`Conn::poll_recv_many`] for `target`, but nothing that it would not take: what waits in a socket costs no memory here.
    pub(crate) fn poll_recv_for(
        &mut self,
        target: &mut Self,
        cx: &mut Context<'_>,
        chunks: &mut VecDeque<Bytes>,
    ) -> Poll<io::Result<()>> {
        let (Some(socket), Io::Mux(stream)) = (self.bare_tcp_mut(), &mut target.io) else {
            return self.poll_recv_many(cx, chunks);
        };
        // First, as a stream that has nothing to send is not to stand in line for room.
        ready!(socket.poll_read_ready(cx))?;
        // Why nothing can be sent any more, sending will say.
        let room = ready!(stream.poll_room(cx)).unwrap_or(usize::MAX);
        let chunk = ready!(carrier::poll_recv_tcp(socket, cx, room))?;
        if !chunk.is_empty() {
            chunks.push_back(chunk);
        }
        Poll::Ready(Ok(()))
    }

    /// Accepts bytes from the front of `chunks`, as [`ByteStream::poll_send`] does of one, together where the carrier can. Ready once
    /// `chunks` is empty.
    pub(crate) fn poll_send_many(
        &mut self,
        cx: &mut Context<'_>,
        chunks: &mut VecDeque<Bytes>,
    ) -> Poll<io::Result<()>> {
        self.io.poll_send_many(cx, chunks)
    }

    /// Sends all of `chunk` and flushes. Not cancel-safe: a part may have been sent.
    pub async fn send(&mut self, mut chunk: Bytes) -> io::Result<()> {
        poll_fn(|cx| self.poll_send(cx, &mut chunk)).await?;
        poll_fn(|cx| self.poll_flush(cx)).await
    }

    /// Flushes and closes the sending direction; receiving continues. Cancel-safe.
    pub async fn close(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_close(cx)).await
    }

    /// Makes the peer's sending fail if this connection is dropped with unread bytes. TCP and QUIC always do that. A
    /// multiplexed stream otherwise drains the bytes, which frp's peers need. KCP cannot signal it. Has no effect once
    /// there is a layer on top.
    ///
    /// For peers that agreed to [carry half-closes](crate::relay::HalfClose::Carried): for them, the end of one
    /// direction does not mean that nobody reads the other.
    pub fn refuse_after_drop(&mut self) {
        match &mut self.io {
            Io::Mux(stream) => stream.refuse_after_drop(),
            Io::Kcp(_) | Io::Layered(_) | Io::Quic(_) | Io::Tcp(_) | Io::Tls(_) => {}
        }
    }

    /// Makes the operating system close the connection after `timeout` without any sign of the peer or without
    /// acknowledgement of sent bytes; keepalive probes begin after `idle`. Only affects TCP sockets, bare or under TLS:
    /// a stream of a shared connection ends with that connection, which has its own keepalive.
    pub fn watch_closely(&self, idle: Duration, timeout: Duration) {
        match &self.io {
            Io::Tcp(socket) => tcp::watch_closely(socket, idle, timeout),
            Io::Tls(stream) => stream.below().watch_closely(idle, timeout),
            Io::Kcp(_) | Io::Layered(_) | Io::Mux(_) | Io::Quic(_) => {}
        }
    }

    /// Waits until the other end has taken note of a stream that was opened here, if there is reason to doubt that it is there. Only waits for
    /// multiplexed streams without a layer on top, see [`mgrok_mux::Stream::answered`].
    pub async fn answered(&mut self) -> io::Result<()> {
        match &mut self.io {
            Io::Mux(stream) => stream.answered().await,
            Io::Kcp(_) | Io::Layered(_) | Io::Quic(_) | Io::Tcp(_) | Io::Tls(_) => Ok(()),
        }
    }

    /// Makes the operating system take only so many bytes as it can send soon, so that those that wait are still here, where
    /// small messages can go ahead. For a connection that many streams share. Only affects TCP sockets, bare or under TLS.
    pub fn keep_little_unsent(&self) {
        match &self.io {
            Io::Tcp(socket) => tcp::keep_little_unsent(socket),
            Io::Tls(stream) => stream.below().keep_little_unsent(),
            Io::Kcp(_) | Io::Layered(_) | Io::Mux(_) | Io::Quic(_) => {}
        }
    }

    /// From now on, bytes sent here go ahead of what other streams of the same connection send. For messages, which are
    /// few and which users wait for. Affects multiplexed and QUIC streams without a layer on top.
    pub fn send_first(&mut self) {
        match &mut self.io {
            Io::Mux(stream) => stream.send_first(),
            Io::Quic(stream) => stream.send_first(),
            Io::Kcp(_) | Io::Layered(_) | Io::Tcp(_) | Io::Tls(_) => {}
        }
    }

    /// The server name (SNI) that the client sent in the TLS handshake; `None` if it sent none, or if there is a layer
    /// above TLS.
    pub fn server_name(&self) -> Option<&str> {
        match &self.io {
            Io::Tls(stream) => stream.server_name(),
            Io::Kcp(_) | Io::Layered(_) | Io::Mux(_) | Io::Quic(_) | Io::Tcp(_) => None,
        }
    }

    /// Whether this is a stream of a multiplexed connection, without a layer above it.
    pub(crate) fn is_multiplexed(&self) -> bool {
        matches!(self.io, Io::Mux(_))
    }

    /// Whether there is a [layer](crate::layers) on top.
    pub(crate) fn is_layered(&self) -> bool {
        matches!(self.io, Io::Layered(_))
    }

    #[cfg(test)]
    pub(crate) fn tls_mut(&mut self) -> Option<&mut TlsStream> {
        match &mut self.io {
            Io::Tls(stream) => Some(stream),
            _ => None,
        }
    }

    /// The certificate that the peer has shown, if TLS is the topmost layer.
    pub(crate) fn peer_certificate(&self) -> Option<&CertificateDer<'static>> {
        match &self.io {
            Io::Tls(stream) => stream.peer_certificate(),
            Io::Kcp(_) | Io::Layered(_) | Io::Mux(_) | Io::Quic(_) | Io::Tcp(_) => None,
        }
    }

    /// The flow of QUIC datagrams that belongs to this stream; `None` for anything but a bare QUIC stream that can have
    /// one. Call at most once.
    pub(crate) fn flow(&self) -> Option<Flow> {
        match &self.io {
            Io::Quic(stream) => stream.flow(),
            Io::Kcp(_) | Io::Layered(_) | Io::Mux(_) | Io::Tcp(_) | Io::Tls(_) => None,
        }
    }

    /// As [`Conn::bare_tcp`], for who uses it alone.
    pub(crate) fn bare_tcp_mut(&mut self) -> Option<&mut TcpStream> {
        match &mut self.io {
            Io::Tcp(socket) if self.unread.is_empty() => Some(socket),
            _ => None,
        }
    }

    /// The TCP socket, if there is no layer above it and no unread byte.
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
        let sent = self.io.poll_send(cx, chunk);
        if chunk.is_empty() {
            // A slice that was advanced to its end still keeps its slab, and the relay keeps the slice while nothing more comes.
            *chunk = Bytes::new();
        }
        sent
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io.poll_flush(cx)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io.poll_close(cx)
    }

    fn can_refuse(&self) -> bool {
        match &self.io {
            Io::Mux(_) | Io::Quic(_) => true,
            Io::Layered(stream) => stream.can_refuse(),
            Io::Kcp(_) | Io::Tcp(_) | Io::Tls(_) => false,
        }
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

impl From<Box<TlsStream>> for Conn {
    fn from(stream: Box<TlsStream>) -> Self {
        Io::Tls(stream).into()
    }
}

/// Shows how many bytes are unread but not the bytes: they may be anyone's data.
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
