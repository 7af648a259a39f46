//! Why the client does not reach a server.

use std::error::Error;
use std::io;
use std::time::Duration;

use mgrok_mux::OpenError;
use mgrok_net::outbound::OutboundError;
use mgrok_net::quic::QuicError;
use mgrok_net::tcp::DialError;
use mgrok_net::tls::{CertificateFault, TlsError};
use mgrok_net::websocket::WebSocketError;

/// How long the server may take for a TLS or WebSocket handshake.
// frp: the server gives a connection 10 s to say what it is (server/service.go#connReadTimeout).
pub(super) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a server may take to allow one more stream of QUIC.
pub(super) const STREAM_TIMEOUT: Duration = Duration::from_secs(10);

/// Why the client cannot connect to a server with its configuration.
#[derive(Debug, thiserror::Error)]
pub enum SetUpError {
    /// The files of `transport.tls` are of no use.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Why there is no connection to the server.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The server's certificate is not accepted.
    #[error("the server's certificate is not accepted: {}", .fault.advice())]
    Certificate {
        /// What is wrong.
        fault: CertificateFault,
        /// The error of the TLS library.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The server cannot be reached.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The server did not complete a handshake, if only because there is something else at that port.
    #[error(
        "the server did not answer the {layer} handshake within {seconds} s; check that the port \
         is the server's",
        seconds = HANDSHAKE_TIMEOUT.as_secs()
    )]
    HandshakeTimeout {
        /// `TLS` or `WebSocket`.
        layer: &'static str,
    },
    /// The socket of KCP cannot be used.
    #[error("cannot use UDP for KCP")]
    Kcp(#[source] io::Error),
    /// The outbound proxy does not bring us there.
    #[error(transparent)]
    Outbound(#[from] OutboundError),
    /// QUIC does not bring us there, or carries no further stream.
    #[error(transparent)]
    Quic(#[from] QuicError),
    /// Nothing at all came back over UDP.
    #[error(
        "{server} did not answer over {transport} within {timeout:?}; check that the port is the \
         server's {transport}BindPort and that UDP is let through"
    )]
    Silent {
        /// The server.
        server: String,
        /// `kcp` or `quic`.
        transport: &'static str,
        /// The time it had.
        timeout: Duration,
    },
    /// The connection is there, but carries no further stream.
    #[error("cannot open a stream to the server")]
    Stream(#[source] OpenError),
    /// The server allows no further stream on a QUIC connection.
    #[error(
        "the server allowed no further stream within {} s; transport.quic.maxIncomingStreams of \
         the server may be too low",
        STREAM_TIMEOUT.as_secs()
    )]
    StreamTimeout,
    /// The server did not complete the TLS handshake.
    #[error(
        "TLS with the server failed; check that the port and transport.tls agree with the server"
    )]
    Tls(#[source] io::Error),
    /// There is no WebSocket at the other end.
    #[error(transparent)]
    WebSocket(#[from] WebSocketError),
}
