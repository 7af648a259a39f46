//! A UDP socket that moves datagrams one by one, and answers from the address that was asked: that of KCP's listeners.

use std::io;
use std::net::SocketAddr;

use bytes::BytesMut;
use mgrok_kcp::{ListenerSocket, Path};
use rustix::fd::AsFd;
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::socket::{LocalAddr, Outgoing};
use super::system;

/// A socket that is bound and not connected.
#[derive(Debug)]
pub struct AskedSocket {
    io: UdpSocket,
    /// Whether it is told what datagrams were sent to.
    told_local: bool,
}

impl AskedSocket {
    /// Takes `io`, which is bound to `addr`.
    pub fn new(io: UdpSocket, addr: SocketAddr) -> Self {
        // With one address there is no question where answers leave from.
        let has_many = addr.ip().is_unspecified();
        let told_local = has_many && system::tell_local(io.as_fd(), addr.is_ipv6());
        Self { io, told_local }
    }
}

impl ListenerSocket for AskedSocket {
    fn io(&self) -> &UdpSocket {
        &self.io
    }

    fn try_recv(&self, buffer: &mut BytesMut) -> io::Result<Path> {
        let start = buffer.len();
        buffer.resize(buffer.capacity(), 0);
        let received = self.io.try_io(Interest::READABLE, || {
            system::recv_one(self.io.as_fd(), &mut buffer[start..], self.told_local)
        });
        let len = received.as_ref().map_or(0, |arrived| arrived.len);
        buffer.truncate(start + len);
        let arrived = received?;
        Ok(Path {
            peer: arrived.from,
            local: arrived.local.map(|local| (local.ip, local.interface)),
        })
    }

    fn try_send(&self, datagram: &[u8], path: Path) -> io::Result<()> {
        let message = Outgoing {
            bytes: datagram,
            to: Some(path.peer),
            local: path
                .local
                .map(|(ip, interface)| LocalAddr { ip, interface }),
            segment: None,
        };
        self.io
            .try_io(Interest::WRITABLE, || {
                system::send(self.io.as_fd(), &[message])
            })
            .map(drop)
    }
}
