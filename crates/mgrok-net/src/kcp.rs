//! KCP sessions as connections, with frp's parameters: the transport over UDP for networks that lose packets.
//!
//! KCP cannot say that a connection ends. What travels on it must: the multiplexer's keepalive notices a peer that is gone, and
//! without one the messages on it do.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use mgrok_kcp::Config;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;

use crate::conn::Conn;
use crate::tcp;
use crate::udp::AskedSocket;

pub use mgrok_kcp::{Driver, ListenerDriver, Stream};

/// What the system may queue each way, in bytes, if it lets us.
// frp: the same (pkg/util/net/kcp.go#ListenKcp, golib net/dial.go)
const SYSTEM_QUEUE: usize = 4 * 1024 * 1024;

/// Begins a session with `peer`. Nothing is sent before something is written, and nothing happens at all unless the [`Driver`] is
/// polled, usually by spawning it. It ends a moment after the stream was dropped, when what was written has arrived.
///
/// That it begins says nothing of whether anybody is there: [`Stream::answered`] does.
///
/// # Errors
/// There is no way to that address.
pub fn connect(peer: SocketAddr) -> io::Result<(Stream, Driver)> {
    let any = match peer {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = open(any)?;
    socket.connect(&peer.into())?;
    let socket = UdpSocket::from_std(socket.into())?;
    mgrok_kcp::connect(socket, None, Config::frp_client())
}

/// Receives the sessions that others begin. When it is dropped, there are no new ones.
#[derive(Debug)]
pub struct Listener {
    inner: mgrok_kcp::Listener,
}

impl Listener {
    /// Listens at `host` and `port`; port 0 lets the system choose. `host` is as in [`tcp::bind`]. Nothing happens unless the
    /// [`ListenerDriver`] is polled; it ends when the listener is dropped and the last session has ended.
    pub async fn bind(host: &str, port: u16) -> io::Result<(Self, ListenerDriver)> {
        let mut last = None;
        for addr in tcp::resolve_bind(host, port).await? {
            let bound = open(addr).and_then(|socket| UdpSocket::from_std(socket.into()));
            let listening = bound.and_then(|socket| {
                let socket = AskedSocket::new(socket, addr);
                mgrok_kcp::Listener::new(socket, Config::frp_server())
            });
            match listening {
                Ok((inner, driver)) => return Ok((Self { inner }, driver)),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into()))
    }

    /// The next session, and where it comes from, which may be forged until it has answered; `None` when the driver is gone.
    /// Cancel-safe.
    pub async fn accept(&mut self) -> Option<(Conn, SocketAddr)> {
        let stream = self.inner.accept().await?;
        let from = tcp::canonical(stream.peer_addr());
        Some((stream.into(), from))
    }

    /// Where the socket is bound.
    pub fn local_addr(&self) -> SocketAddr {
        self.inner.local_addr()
    }
}

fn open(addr: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
    tcp::dual_stack(&socket, addr)?;
    socket.set_nonblocking(true)?;
    // The default will do where this is not allowed.
    let _ = socket.set_recv_buffer_size(SYSTEM_QUEUE);
    let _ = socket.set_send_buffer_size(SYSTEM_QUEUE);
    socket.bind(&addr.into())?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    async fn meets(host: &str) {
        let (mut listener, driver) = Listener::bind(host, 0).await.unwrap();
        tokio::spawn(driver);
        let (near, driver) = connect(listener.local_addr()).unwrap();
        tokio::spawn(driver);
        near.answered().await.unwrap();
        let mut near = Conn::from(near);
        near.send(Bytes::from_static(b"hello")).await.unwrap();
        let (mut far, from) = listener.accept().await.unwrap();
        assert_eq!(from.ip(), listener.local_addr().ip());
        assert_eq!(&far.recv().await.unwrap()[..], b"hello");
        far.send(Bytes::from_static(b"you too")).await.unwrap();
        assert_eq!(&near.recv().await.unwrap()[..], b"you too");
    }

    #[tokio::test]
    async fn a_server_answers_from_the_address_that_was_dialled() {
        let (mut listener, driver) = Listener::bind("0.0.0.0", 0).await.unwrap();
        tokio::spawn(driver);
        for host in ["127.0.0.1", "127.0.0.2", "127.7.7.7", "::1"] {
            let ip: std::net::IpAddr = host.parse().unwrap();
            // Its socket is connected, and hears nothing from elsewhere.
            let (near, driver) = connect((ip, listener.local_addr().port()).into()).unwrap();
            tokio::spawn(driver);
            let mut near = Conn::from(near);
            near.send(Bytes::from_static(b"hello")).await.unwrap();
            let (mut far, _) = listener.accept().await.unwrap();
            assert_eq!(&far.recv().await.unwrap()[..], b"hello");
            far.send(Bytes::from_static(b"you too")).await.unwrap();
            let answer = near.recv();
            let answer = tokio::time::timeout(std::time::Duration::from_secs(20), answer).await;
            assert_eq!(&answer.unwrap().unwrap()[..], b"you too", "{host}");
        }
    }

    #[tokio::test]
    async fn both_ends_are_connections() {
        meets("127.0.0.1").await;
        meets("::1").await;
    }
}
