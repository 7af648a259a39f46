//! The names of the transports, and which of them run over UDP.

use std::fmt;

/// A way to bring bytes to a server.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Transport {
    /// KCP over UDP, within it TLS if it is on.
    Kcp,
    /// QUIC over UDP.
    Quic,
    /// TCP, within it TLS if it is on.
    Tcp,
    /// WebSocket over TCP, within it TLS if it is on.
    WebSocket,
    /// WebSocket within TLS over TCP.
    Wss,
}

impl Transport {
    /// What `transport.protocol` and hellos call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kcp => "kcp",
            Self::Quic => "quic",
            Self::Tcp => "tcp",
            Self::WebSocket => "websocket",
            Self::Wss => "wss",
        }
    }

    /// Whether it runs over UDP, which outbound proxies do not carry.
    pub(crate) fn is_udp(self) -> bool {
        match self {
            Self::Kcp | Self::Quic => true,
            Self::Tcp | Self::WebSocket | Self::Wss => false,
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
