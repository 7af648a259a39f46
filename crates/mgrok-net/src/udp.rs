//! Datagrams in batches.

use std::io;
use std::net::SocketAddr;

/// A UDP socket that moves many datagrams per system call.
#[derive(Debug)]
pub struct UdpSocket {
    io: tokio::net::UdpSocket,
}

impl UdpSocket {
    /// Binds to `host` and `port`.
    pub async fn bind(host: &str, port: u16) -> io::Result<Self> {
        let io = tokio::net::UdpSocket::bind((host, port)).await?;
        Ok(Self { io })
    }

    /// Our address.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.local_addr()
    }
}
