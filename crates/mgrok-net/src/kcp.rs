//! KCP sessions as connections, with frp's parameters: the UDP transport for networks that lose packets.
//!
//! KCP has no message for the end of a connection, so the protocol above has to detect it: the multiplexer's keepalive
//! notices a dead peer, and without a multiplexer the heartbeat messages do.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use mgrok_kcp::packet::{MAX_DATAGRAM, MAX_PAYLOAD};
use mgrok_kcp::{Config, TUNNEL_CONVERSATION};
use socket2::Socket;
use tokio::io::AsyncWriteExt;

use crate::conn::Conn;
use crate::tcp;
use crate::udp::SharedUdpSocket;

pub use mgrok_kcp::{Driver, ListenerDriver, Stream};

/// The size of the socket's buffers in each direction, in bytes, as far as the system allows.
// frp: the same (pkg/util/net/kcp.go#ListenKcp, golib net/dial.go)
const SYSTEM_QUEUE: usize = 4 * 1024 * 1024;

/// The size of the largest datagrams of a session, in bytes: those that carry much.
pub const LARGEST_DATAGRAM: usize = MAX_DATAGRAM;

/// Opens a session with `peer`. Nothing is sent before the first write, and nothing happens at all unless the
/// [`Driver`] is polled, usually by spawning it. The driver ends shortly after the stream was dropped, once all written
/// bytes have arrived.
///
/// Success does not mean that a peer is there: [`Stream::answered`] tells.
///
/// # Errors
/// The system has no route to that address.
pub fn connect(peer: SocketAddr) -> io::Result<(Stream, Driver)> {
    connect_by(peer, Config::frp_client())
}

/// Waits until somebody who speaks KCP answers at `peer`, for as long as it takes. Small datagrams are enough for that.
///
/// # Errors
/// As of [`connect`], or the session has ended: the host says that nobody listens there.
pub async fn answers(peer: SocketAddr) -> io::Result<()> {
    let (stream, driver) = connect(peer)?;
    tokio::select! {
        answered = stream.answered() => answered,
        _ = driver => Err(io::ErrorKind::ConnectionReset.into()),
    }
}

/// Waits until `peer` has acknowledged a datagram of the largest size, for as long as it takes. What is in it is nothing that a server
/// takes for a connection.
///
/// # Errors
/// As of [`answers`].
pub async fn takes_largest(peer: SocketAddr) -> io::Result<()> {
    let config = Config {
        send_window: 1,
        ..Config::frp_client()
    };
    let (mut stream, driver) = connect_by(peer, config)?;
    let acknowledged = async {
        stream.write_all(&[0; MAX_PAYLOAD]).await?;
        // There is no room for this until all of that is acknowledged.
        stream.write_all(&[0]).await
    };
    tokio::select! {
        acknowledged = acknowledged => acknowledged,
        _ = driver => Err(io::ErrorKind::ConnectionReset.into()),
    }
}

fn connect_by(peer: SocketAddr, config: Config) -> io::Result<(Stream, Driver)> {
    let any = match peer {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = open(any)?;
    socket.connect(&peer.into())?;
    let socket = SharedUdpSocket::new(socket, peer, true)?;
    mgrok_kcp::connect(socket, None, config)
}

/// Opens one end of a tunnel with `peer` over `socket`, for which a hole has been punched; the other end does the same.
/// Otherwise as [`connect`].
///
/// # Errors
/// The system has no route to that address.
pub fn tunnel(socket: tokio::net::UdpSocket, peer: SocketAddr) -> io::Result<(Stream, Driver)> {
    let socket = Socket::from(socket.into_std()?);
    socket.connect(&peer.into())?;
    let socket = SharedUdpSocket::new(socket, peer, true)?;
    mgrok_kcp::connect(socket, Some(TUNNEL_CONVERSATION), Config::frp_tunnel())
}

/// Accepts the sessions that peers open. Once it is dropped, there are no new ones.
#[derive(Debug)]
pub struct Listener {
    inner: mgrok_kcp::Listener,
}

impl Listener {
    /// Listens on `host` and `port`; port 0 lets the system choose. `host` is as in [`tcp::bind`]. Nothing happens
    /// unless the [`ListenerDriver`] is polled; the driver ends when the listener is dropped and the last session has
    /// ended.
    pub async fn bind(host: &str, port: u16) -> io::Result<(Self, ListenerDriver)> {
        tcp::bind_with(host, port, |addr| {
            let socket = SharedUdpSocket::new(open(addr)?, addr, false)?;
            let (inner, driver) = mgrok_kcp::Listener::new(socket, Config::frp_server())?;
            Ok((Self { inner }, driver))
        })
        .await
    }

    /// As [`bind`](Self::bind), on a socket that is bound already.
    pub fn from_socket(socket: std::net::UdpSocket) -> io::Result<(Self, ListenerDriver)> {
        let socket = Socket::from(socket);
        socket.set_nonblocking(true)?;
        enlarge_queues(&socket);
        let addr = socket.local_addr()?;
        let addr = addr.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
        let socket = SharedUdpSocket::new(socket, addr, false)?;
        let (inner, driver) = mgrok_kcp::Listener::new(socket, Config::frp_server())?;
        Ok((Self { inner }, driver))
    }

    /// The next session and its source address, which may be forged until the peer has answered; `None` when the driver
    /// is gone. Cancel-safe.
    pub async fn accept(&mut self) -> Option<(Conn, SocketAddr)> {
        let stream = self.inner.accept().await?;
        let from = tcp::canonical(stream.peer_addr());
        Some((stream.into(), from))
    }

    /// The address that the socket is bound to.
    pub fn local_addr(&self) -> SocketAddr {
        self.inner.local_addr()
    }
}

fn open(addr: SocketAddr) -> io::Result<Socket> {
    let socket = tcp::bind_udp(addr, SYSTEM_QUEUE)?;
    enlarge_queues(&socket);
    Ok(socket)
}

fn enlarge_queues(socket: &Socket) {
    // Best effort: the default size works, too.
    let _ = socket.set_recv_buffer_size(SYSTEM_QUEUE);
    let _ = socket.set_send_buffer_size(SYSTEM_QUEUE);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use bytes::Bytes;
    use mgrok_kcp::{Batch, Path};
    use tokio::io::AsyncReadExt;

    use super::*;

    /// Counts calls that moved something.
    #[derive(Debug)]
    struct Counted(SharedUdpSocket, Arc<AtomicUsize>);

    impl mgrok_kcp::Socket for Counted {
        fn io(&self) -> &tokio::net::UdpSocket {
            self.0.io()
        }

        fn try_recv(&self, each: &mut dyn FnMut(&[u8], Path)) -> io::Result<()> {
            mgrok_kcp::Socket::try_recv(&self.0, each)?;
            self.1.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }

        fn try_send(&self, batch: &Batch, path: Option<Path>) -> io::Result<usize> {
            let count = self.0.try_send(batch, path)?;
            self.1.fetch_add(1, Ordering::Relaxed);
            Ok(count)
        }
    }

    // On other systems each datagram is a system call.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn bulk_costs_few_system_calls() {
        const MIB: usize = 8;
        // Per MiB 1028 datagrams are sent, and received, with parity; acknowledgements are few. One sending call moves
        // 32 or more unless a window ends earlier, one receiving call at most 32. So a MiB takes a little over 64
        // calls; the test allows twice that.
        const MOST: usize = 2 * 64 * MIB;

        let calls = Arc::new(AtomicUsize::new(0));
        let at = "127.0.0.1:0".parse().unwrap();
        let far = SharedUdpSocket::new(open(at).unwrap(), at, false).unwrap();
        let to = far.io.local_addr().unwrap();
        let far = Counted(far, Arc::clone(&calls));
        let (mut listener, driver) = mgrok_kcp::Listener::new(far, Config::frp_server()).unwrap();
        tokio::spawn(driver);
        let near = open(at).unwrap();
        near.connect(&to.into()).unwrap();
        let near = SharedUdpSocket::new(near, to, true).unwrap();
        let near = Counted(near, Arc::clone(&calls));
        let (mut near, driver) = mgrok_kcp::connect(near, None, Config::frp_client()).unwrap();
        tokio::spawn(driver);

        let data = vec![7; MIB << 20];
        let sending = async {
            near.write_all(&data).await.unwrap();
            near
        };
        let mut received = vec![0; data.len()];
        let receiving = async {
            let mut far = listener.accept().await.unwrap();
            far.read_exact(&mut received).await.unwrap();
            far
        };
        let _ends = tokio::join!(sending, receiving);
        assert!(received == data);
        let calls = calls.load(Ordering::Relaxed);
        assert!(calls <= MOST, "{calls}");
    }

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
            // The socket is connected, so it receives nothing from other addresses.
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
