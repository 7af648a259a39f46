//! The UDP socket below an endpoint: tokio's, with a receive buffer that is as large as a message can be.
//!
//! The system hands over packets of one size as one message (GRO), and no message is longer than the longest packet of UDP. quinn would
//! keep room for 64 packets of the largest size each time, which is 128 MiB where packets may be large.

use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};

/// The longest message: an IP packet without its headers.
pub(super) const LONGEST_MESSAGE: u16 = 65_527;

/// A socket of quinn's runtime.
#[derive(Debug)]
pub(super) struct Socket(pub(super) Arc<dyn AsyncUdpSocket>);

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        self.0.clone().create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.0.try_send(transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        messages: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        self.0.poll_recv(cx, buffers, messages)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.0.max_transmit_segments()
    }

    /// How many packets of the largest size there is room for: one of those is as long as a message of many.
    fn max_receive_segments(&self) -> usize {
        1
    }

    fn may_fragment(&self) -> bool {
        self.0.may_fragment()
    }
}
