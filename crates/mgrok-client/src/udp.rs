//! The UDP work connection of a proxy: every user's datagrams, to and from the local service.

use mgrok_net::conn::Conn;

use crate::proxy::Proxy;

/// Serves `work` until it ends.
pub(crate) async fn serve(_proxy: &Proxy, _work: Conn, _packet_size: usize) {
    std::future::pending().await
}
