//! What a UDP work connection is served with.

use std::time::Duration;

use mgrok_net::proxy_protocol::Version;

/// What a work connection is served with.
#[derive(Clone, Copy, Debug)]
pub(super) struct UdpOptions {
    /// The longest datagram of the local service that is carried whole; longer ones are cut.
    pub(super) packet_size: usize,
    /// The version of the PROXY protocol header on the first datagram of each user's socket; `None`: no header.
    pub(super) proxy_protocol: Option<Version>,
    /// How often a keepalive is sent to the server.
    pub(super) ping: Duration,
    /// How long a user's socket is kept without a datagram either way.
    pub(super) idle: Duration,
    /// How many users have a socket at a time. The one that was silent for longest gives way to a newcomer.
    pub(super) max_users: usize,
}

impl UdpOptions {
    pub(super) fn new(packet_size: usize) -> Self {
        Self {
            packet_size,
            proxy_protocol: None,
            // frp: the same; its server gives a connection up after 60 s of silence
            // (client/proxy/udp.go#InWorkConn).
            ping: Duration::from_secs(30),
            // frp: the same (pkg/proto/udp/udp.go#Forwarder).
            idle: Duration::from_secs(30),
            // frp sets no limit. Each is a file descriptor, of which a process rarely has more
            // than some ten thousand, and TCP users need theirs.
            max_users: 4096,
        }
    }
}
