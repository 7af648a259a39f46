//! The socket of a listener, on a host that may have several addresses.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};

use bytes::BytesMut;
use tokio::net::UdpSocket;

/// What a datagram came by, and its answers leave by.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Path {
    /// The other end.
    pub peer: SocketAddr,
    /// Which of this host's addresses was meant, and for a link-local one the number of the interface. `None`: not known, and the
    /// system chooses.
    pub local: Option<(IpAddr, u32)>,
}

/// A bound socket that is not connected. The one of tokio does not say what a datagram was sent to, so answers leave from where the
/// system chooses.
pub trait ListenerSocket: fmt::Debug + Send + Sync + 'static {
    /// The socket below, to wait for it.
    fn io(&self) -> &UdpSocket;

    /// Receives one datagram into the room that `buffer` has, without waiting. What is longer is cut.
    fn try_recv(&self, buffer: &mut BytesMut) -> io::Result<Path>;

    /// Sends one datagram without waiting.
    fn try_send(&self, datagram: &[u8], path: Path) -> io::Result<()>;
}

impl ListenerSocket for UdpSocket {
    fn io(&self) -> &UdpSocket {
        self
    }

    fn try_recv(&self, buffer: &mut BytesMut) -> io::Result<Path> {
        let (_, peer) = self.try_recv_buf_from(buffer)?;
        Ok(Path { peer, local: None })
    }

    fn try_send(&self, datagram: &[u8], path: Path) -> io::Result<()> {
        self.try_send_to(datagram, path.peer).map(drop)
    }
}
