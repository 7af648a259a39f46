//! A UDP port for users: their datagrams, on one work connection.

use std::sync::Arc;

use mgrok_net::{conn::Conn, relay::Traffic, udp::UdpSocket};
use mgrok_proto::WireVersion;
use tokio_util::sync::CancellationToken;

/// Serves users until `stop`.
pub(super) async fn run<E: std::error::Error>(
    _socket: &UdpSocket,
    _open: impl AsyncFn() -> Result<Conn, E>,
    _wire: WireVersion,
    _packet_size: usize,
    _traffic: &Arc<Traffic>,
    stop: CancellationToken,
) {
    stop.cancelled().await;
}
