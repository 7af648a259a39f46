//! How a connection or stream begins, and why some of them come to nothing.

use std::future::Future;
use std::io;
use std::net::SocketAddr;

use mgrok_net::error_chain::Chain;
use mgrok_net::message::RecvError;
use mgrok_net::quic::QuicError;
use mgrok_net::tls;
use mgrok_net::websocket::WebSocketError;
use tracing::{debug, warn};

use crate::metrics::{Handshake, Metrics};
use crate::per_source::{OPENING_TIMEOUT, Permit};
use crate::policy::Policy;

/// Why a connection or stream was closed before it was one.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpeningError {
    #[error(
        "its certificate is missing or not valid; one that an authority in transport.tls.trustedCaFile has signed is \
         required here, so check transport.tls.certFile and transport.tls.keyFile in the client"
    )]
    Certificate(#[source] io::Error),
    #[error("closed before its first message")]
    Closed,
    #[error("connection failed")]
    Io(#[from] io::Error),
    #[error("its first message cannot be read")]
    Message(#[from] RecvError),
    #[error(
        "expected a multiplexed connection; transport.tcpMux is on here, and must be on in the client"
    )]
    MuxExpected,
    #[error(
        "a multiplexed connection; transport.tcpMux is off here, and must be off in the client"
    )]
    MuxUnexpected,
    #[error("not a client of this server")]
    NotAClient,
    #[error("no QUIC connection")]
    Quic(#[source] QuicError),
    #[error("said nothing for {} s", OPENING_TIMEOUT.as_secs())]
    Silent,
    #[error(
        "TLS is required here (transport.tls.force); turn transport.tls.enable on in the client"
    )]
    TlsRequired,
    #[error("TLS handshake failed")]
    Tls(#[source] io::Error),
    #[error("first message {0} is not one that opens a stream")]
    Unexpected(&'static str),
    #[error("no WebSocket")]
    WebSocket(#[from] WebSocketError),
}

impl OpeningError {
    /// Why no TLS came about.
    pub(super) fn tls(error: io::Error, policy: &Policy) -> Self {
        let wants_certificate = policy.config.transport.tls.trusted_ca.is_some();
        if wants_certificate && tls::is_about_certificate(&error) {
            Self::Certificate(error)
        } else {
            Self::Tls(error)
        }
    }

    /// As what it is counted.
    fn outcome(&self) -> Handshake {
        match self {
            Self::Certificate(_) => Handshake::Certificate,
            Self::Closed => Handshake::Closed,
            Self::Io(_) => Handshake::Failed,
            Self::Message(_) | Self::Unexpected(_) => Handshake::Malformed,
            Self::MuxExpected | Self::MuxUnexpected => Handshake::MuxMismatch,
            Self::NotAClient => Handshake::NotAClient,
            // TLS is a part of it.
            Self::Quic(_) | Self::Tls(_) => Handshake::Tls,
            Self::Silent => Handshake::Silent,
            Self::TlsRequired => Handshake::TlsRequired,
            Self::WebSocket(_) => Handshake::WebSocket,
        }
    }

    /// Why no QUIC connection came about.
    pub(super) fn quic(error: QuicError, policy: &Policy) -> Self {
        let wants_certificate = policy.config.transport.tls.trusted_ca.is_some();
        if wants_certificate && error.is_about_certificate() {
            Self::Certificate(io::Error::other(error))
        } else {
            Self::Quic(error)
        }
    }
}

/// What `opening` comes to, unless it takes longer than `permit` allows.
pub(super) async fn in_time<T>(
    permit: &Permit,
    opening: impl Future<Output = Result<T, OpeningError>>,
) -> Result<T, OpeningError> {
    tokio::select! {
        opened = opening => opened,
        () = permit.expired() => Err(OpeningError::Silent),
    }
}

/// Counts and logs a connection that comes to nothing. A scan of the port is nothing to wake anybody for; a client that is set up
/// differently from its server is.
pub(super) fn note_closed(from: SocketAddr, error: &OpeningError, metrics: &Metrics) {
    metrics.handshakes.of(error.outcome()).inc();
    match error {
        OpeningError::Certificate(_)
        | OpeningError::MuxExpected
        | OpeningError::MuxUnexpected
        | OpeningError::TlsRequired
        // Who asks for this path is a client, and what is wrong with its request a proxy's doing.
        | OpeningError::WebSocket(WebSocketError::Request { .. }) => {
            warn!(source = %from, "connection of {from} closed: {}", Chain(error));
        }
        OpeningError::Closed
        | OpeningError::Io(_)
        | OpeningError::Message(_)
        | OpeningError::NotAClient
        | OpeningError::Quic(_)
        | OpeningError::Silent
        | OpeningError::Tls(_)
        | OpeningError::Unexpected(_)
        | OpeningError::WebSocket(_) => debug!(source = %from, "connection of {from} closed: {}", Chain(error)),
    }
}
