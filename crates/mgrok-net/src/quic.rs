//! QUIC as frp speaks it: version 1, ALPN `frp`, and a bidirectional stream for everything.
//!
//! An [`Endpoint`] is a UDP socket that speaks QUIC. Its owner binds the socket, so it may also be one through which a
//! hole was punched. It dials or accepts a [`Connection`], whose streams are [`Conn`]s. The peer sees a stream when the
//! stream's first bytes arrive, not before.
//!
//! Certificates are made and checked as in [`tls`](crate::tls). There is no early data, because it could be replayed,
//! and there are no unidirectional streams. Each end always announces that it accepts datagrams (RFC 9221), which frp
//! does not know. Datagrams belong to a stream and exist only as long as it does:
//! [`DatagramConn`](crate::udp::DatagramConn).

mod endpoint;
mod odd_sni;
mod path;
mod socket;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use quinn::{ConnectionError, MtuDiscoveryConfig, TransportConfig, VarInt};
use rustls::pki_types::CertificateDer;

use crate::conn::{
    Conn, Flows, LEAST_SEND_WINDOW, NO_ERROR, QuicStream, StreamPermit, connection_lost, settle,
};
use crate::printable::printable;
use crate::tcp;
use crate::tls::{CertificateFault, Fingerprint, ShownCertificate, TlsError};

pub use endpoint::{Endpoint, Incoming, QuicClient, QuicServer, bind};

/// The application protocol that a peer must agree to (ALPN).
const PROTOCOL: &[u8] = b"frp";

/// The most bytes that a stream may have in flight: 480 Mbit/s at a round trip of 100 ms. Also the most that
/// accumulates here for a stream that nobody reads. frp's limit for a stream is the same.
const STREAM_WINDOW: u32 = 6 * 1024 * 1024;

/// The most bytes that may accumulate here for all streams of a connection: as many as the windows of a multiplexed
/// session have. A stream that nobody reads keeps its share, and when the whole window is used no stream moves: so up to 21
/// such streams do no harm. No memory is reserved for it.
const CONNECTION_WINDOW: u32 = 128 * 1024 * 1024;

/// The most bytes of datagrams (RFC 9221) that wait to be sent, and that wait to be received. Outgoing ones wait only
/// while the connection has too much in flight; when the buffer is full, new ones are dropped.
const DATAGRAM_BUFFER: usize = 1024 * 1024;

/// How many streams a peer may open at first; the limit then grows with use. quinn reserves some 50 bytes for each
/// allowed stream, before it knows the peer: 5 MB for frp's default.
const STREAMS_AT_FIRST: u64 = 256;

/// How many streams a peer may have until it is [trusted](Connection::trust), and how many bytes may accumulate here
/// for all of them: as much as a login takes.
const UNTRUSTED_STREAMS: u64 = 8;
const UNTRUSTED_WINDOW: u32 = 80 * 1024;

/// The options of a QUIC connection.
#[derive(Clone, Debug)]
pub struct QuicOptions {
    /// How long the connection may be idle before a packet is sent to show the peer, and the NATs between, that this
    /// end is alive. Must be less than both ends' `idle_timeout`. Zero: never.
    pub keepalive: Duration,
    /// How long the peer may be silent before the connection is closed. The lower of both ends' values applies. Zero:
    /// never.
    pub idle_timeout: Duration,
    /// How many streams a peer that dialled may have open at once. The limit rises to this value step by step. A peer
    /// that was dialled may open none.
    pub max_streams: u32,
    /// Whether a peer is trusted from the start. If not, it may use only what a login takes until
    /// [`Connection::trust`].
    pub trusts_at_once: bool,
}

impl Default for QuicOptions {
    // frp: the same (pkg/config/v1/common.go#QUICOptions).
    fn default() -> Self {
        Self {
            keepalive: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(30),
            max_streams: 100_000,
            trusts_at_once: true,
        }
    }
}

impl QuicOptions {
    /// Packets become as large as `largest_payload`, as far as the way to the peer takes it.
    fn transport(&self, largest_payload: u16) -> Result<Arc<TransportConfig>, QuicError> {
        let idle_timeout = self.idle_timeout.try_into();
        let idle_timeout = idle_timeout.map_err(|_| QuicError::IdleTimeout(self.idle_timeout))?;
        let keepalive = (!self.keepalive.is_zero()).then_some(self.keepalive);
        let mut mtu_discovery = MtuDiscoveryConfig::default();
        mtu_discovery.upper_bound(largest_payload);
        let mut transport = TransportConfig::default();
        transport
            .mtu_discovery_config(Some(mtu_discovery))
            .max_idle_timeout(Some(idle_timeout))
            .keep_alive_interval(keepalive)
            .max_concurrent_bidi_streams(streams(self.streams_at_first()))
            .max_concurrent_uni_streams(VarInt::from_u32(0))
            .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
            .receive_window(VarInt::from_u32(match self.trusts_at_once {
                true => CONNECTION_WINDOW,
                false => UNTRUSTED_WINDOW,
            }))
            .send_window(LEAST_SEND_WINDOW)
            .datagram_receive_buffer_size(Some(DATAGRAM_BUFFER))
            .datagram_send_buffer_size(DATAGRAM_BUFFER);
        Ok(Arc::new(transport))
    }

    fn streams_at_first(&self) -> u64 {
        let streams = match self.trusts_at_once {
            true => STREAMS_AT_FIRST,
            false => UNTRUSTED_STREAMS,
        };
        streams.min(self.max_streams.into())
    }
}

fn streams(number: u64) -> VarInt {
    VarInt::from_u64(number).unwrap_or(VarInt::MAX)
}

/// A QUIC connection. Cheap to clone.
///
/// [`Connection::close`] closes it at once. Otherwise it is closed shortly after the last clone and the last stream are
/// dropped.
#[derive(Clone, Debug)]
pub struct Connection {
    inner: quinn::Connection,
    flows: Arc<Flows>,
    permits: Arc<StreamPermits>,
}

/// How many streams the peer has open, and how many it may open.
#[derive(Debug)]
struct StreamPermits {
    trusted: AtomicBool,
    taken: Arc<AtomicU64>,
    granted: AtomicU64,
    max: u64,
}

impl Connection {
    fn new(inner: quinn::Connection, options: &QuicOptions) -> Self {
        let flows = Flows::new(inner.clone());
        if !options.trusts_at_once {
            flows.start_reading();
        }
        Self {
            flows,
            inner,
            permits: Arc::new(StreamPermits {
                trusted: AtomicBool::new(options.trusts_at_once),
                taken: Arc::default(),
                granted: AtomicU64::new(options.streams_at_first()),
                max: options.max_streams.into(),
            }),
        }
    }

    /// Opens a stream. Waits for as long as the peer allows no further stream: the caller sets the deadline.
    /// Cancel-safe.
    pub async fn open(&self) -> Result<Conn, QuicError> {
        let stream = self.inner.open_bi().await;
        let stream = stream.map_err(|error| QuicError::lost(self.remote_addr(), error))?;
        Ok(QuicStream::new(stream, self.flows.clone(), None).into())
    }

    /// The next stream that the peer opens. Cancel-safe.
    pub async fn accept(&self) -> Result<Conn, QuicError> {
        let stream = self.inner.accept_bi().await;
        let stream = stream.map_err(|error| QuicError::lost(self.remote_addr(), error))?;
        let (permit, taken) = StreamPermit::take(&self.permits.taken);
        self.grant(taken);
        Ok(QuicStream::new(stream, self.flows.clone(), Some(permit)).into())
    }

    /// Trusts the peer, which has proved who it is: from now on it may use all that the options allow.
    pub fn trust(&self) {
        if self.permits.trusted.swap(true, Ordering::Relaxed) {
            return;
        }
        self.inner
            .set_receive_window(VarInt::from_u32(CONNECTION_WINDOW));
        let more = STREAMS_AT_FIRST.min(self.permits.max);
        self.permits.granted.store(more, Ordering::Relaxed);
        self.inner.set_max_concurrent_bi_streams(streams(more));
    }

    /// Doubles the number of streams that the peer may have once it uses half of them.
    fn grant(&self, taken: u64) {
        if !self.permits.trusted.load(Ordering::Relaxed) {
            return;
        }
        let granted = self.permits.granted.load(Ordering::Relaxed);
        if taken * 2 > granted && granted < self.permits.max {
            let more = (granted * 2).min(self.permits.max);
            // Two tasks that accept at the same time may both get here; they then set the same value.
            self.permits.granted.store(more, Ordering::Relaxed);
            self.inner.set_max_concurrent_bi_streams(streams(more));
        }
    }

    /// Waits until the connection is closed, and returns the reason. Cancel-safe.
    pub async fn closed(&self) -> QuicError {
        QuicError::lost(self.remote_addr(), self.inner.closed().await)
    }

    /// Whether the connection is closed.
    pub fn is_closed(&self) -> bool {
        self.inner.close_reason().is_some()
    }

    /// Waits until data sent on streams has most probably arrived, for half a second at most. Call this before
    /// [`Connection::close`], which would discard the data.
    pub async fn settle(&self) {
        settle(&self.inner).await;
    }

    /// Ends all streams at once, and tells the peer: application code 0, no reason. Unacknowledged data may be lost. A
    /// caller that exits afterwards must wait for [`Endpoint::idle`], or the peer does not receive the close.
    pub fn close(&self) {
        self.inner.close(NO_ERROR, b"");
    }

    /// The fingerprint of the certificate that the peer showed; `None` if it showed none. The certificate need not have
    /// been verified.
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        let identity = self.inner.peer_identity()?;
        let chain = identity.downcast::<Vec<CertificateDer<'static>>>().ok()?;
        chain.first().map(Fingerprint::of)
    }

    /// The certificate that the peer showed; `None` if it showed none. Nobody has checked it for that.
    pub fn certificate(&self) -> Option<ShownCertificate> {
        let identity = self.inner.peer_identity()?;
        let chain = identity.downcast::<Vec<CertificateDer<'static>>>().ok()?;
        chain.first().map(ShownCertificate::of)
    }

    /// The largest packet, in bytes of UDP's payload, that is known to get there. It grows in the first moments of a connection, as
    /// larger ones are tried.
    pub fn largest_packet(&self) -> u16 {
        self.inner.stats().path.current_mtu
    }

    /// The estimated round-trip time to the peer.
    pub fn round_trip(&self) -> Duration {
        self.inner.rtt()
    }

    /// The peer's address. It may change when a NAT on the path loses its mapping.
    pub fn remote_addr(&self) -> SocketAddr {
        tcp::canonical(self.inner.remote_address())
    }
}

/// Why a QUIC connection could not be made, or why it ended.
#[derive(Debug, thiserror::Error)]
pub enum QuicError {
    /// The peer closed the connection.
    #[error("{peer} closed the QUIC connection{}", detail(*code, reason))]
    Closed {
        /// The peer.
        peer: SocketAddr,
        /// The peer's application code; 0 if nothing went wrong.
        code: u64,
        /// The peer's reason, with control characters escaped.
        reason: String,
    },
    /// This end closed the connection, or the endpoint.
    #[error("the QUIC connection was closed at this end")]
    ClosedHere,
    /// The socket cannot send to this address.
    #[error("cannot dial {peer} over QUIC")]
    Dial {
        /// The address.
        peer: SocketAddr,
        /// What is wrong with it.
        #[source]
        source: quinn::ConnectError,
    },
    /// The handshake failed: both ends exchanged packets, but could not agree.
    #[error("QUIC handshake with {peer} failed: {hint}")]
    Handshake {
        /// The peer.
        peer: SocketAddr,
        /// What the operator should check.
        hint: &'static str,
        /// The error that one end reported.
        #[source]
        source: ConnectionError,
    },
    /// `idle_timeout` is longer than the protocol can express.
    #[error("a QUIC idle timeout of {0:?} is too long")]
    IdleTimeout(Duration),
    /// The connection broke.
    #[error("the QUIC connection with {peer} failed")]
    Lost {
        /// The peer.
        peer: SocketAddr,
        /// How it failed.
        #[source]
        source: io::Error,
    },
    /// The peer sent nothing at all.
    #[error(
        "no answer from {peer} over QUIC: is something listening there, and is UDP let through?"
    )]
    NoAnswer {
        /// The peer.
        peer: SocketAddr,
    },
    /// Nothing came from the peer for the idle timeout.
    #[error("nothing heard from {peer} for longer than the QUIC idle timeout")]
    Silent {
        /// The peer.
        peer: SocketAddr,
    },
    /// The UDP socket cannot be used.
    #[error("cannot use the UDP socket for QUIC")]
    Socket(#[source] io::Error),
    /// Certificates or keys are wrong.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

fn detail(code: u64, reason: &str) -> String {
    match (code, reason) {
        (0, "") => String::new(),
        (code, "") => format!(": code {code}"),
        (code, reason) => format!(": {reason} (code {code})"),
    }
}

/// The TLS alert `no_application_protocol` as a QUIC error code (RFC 9001, section 4.8).
const NO_APPLICATION_PROTOCOL: u64 = 0x100 | 120;
/// All TLS alerts as QUIC error codes.
const ALERTS: std::ops::RangeInclusive<u64> = 0x100..=0x1ff;
/// The QUIC error code of a server that accepts no connections.
const CONNECTION_REFUSED: u64 = 2;

/// The TLS alerts about certificates, `bad_certificate` to `unknown_ca` and `certificate_required`, as QUIC error
/// codes.
const ABOUT_CERTIFICATES: [std::ops::RangeInclusive<u64>; 2] =
    [0x100 | 42..=0x100 | 48, 0x100 | 116..=0x100 | 116];

impl QuicError {
    /// Whether a handshake failed because this end rejected the peer's certificate, or because the peer showed none.
    pub fn is_about_certificate(&self) -> bool {
        let Self::Handshake {
            source: ConnectionError::TransportError(error),
            ..
        } = self
        else {
            return false;
        };
        let code = error.code.into();
        ABOUT_CERTIFICATES.iter().any(|codes| codes.contains(&code))
    }

    /// The error for an established connection that ended.
    fn lost(peer: SocketAddr, error: ConnectionError) -> Self {
        match error {
            ConnectionError::ApplicationClosed(close) => Self::Closed {
                peer,
                code: close.error_code.into(),
                reason: printable(&close.reason),
            },
            ConnectionError::LocallyClosed => Self::ClosedHere,
            ConnectionError::TimedOut => Self::Silent { peer },
            error @ (ConnectionError::CidsExhausted
            | ConnectionError::ConnectionClosed(_)
            | ConnectionError::Reset
            | ConnectionError::TransportError(_)
            | ConnectionError::VersionMismatch) => Self::Lost {
                peer,
                source: connection_lost(&error),
            },
        }
    }

    /// What is wrong with the server's certificate, if that is why a client's handshake failed.
    pub fn certificate_fault(&self) -> Option<CertificateFault> {
        let Self::Handshake {
            // Only errors that this end found: the peer finds no fault with its own certificate.
            source: ConnectionError::TransportError(error),
            ..
        } = self
        else {
            return None;
        };
        let alert = u64::from(error.code).checked_sub(*ALERTS.start())?;
        CertificateFault::of_alert(u8::try_from(alert).ok()?.into())
    }

    /// The error for a connection that could not be established.
    fn handshake(peer: SocketAddr, error: ConnectionError) -> Self {
        let code = match &error {
            ConnectionError::TimedOut => return Self::NoAnswer { peer },
            ConnectionError::ApplicationClosed(_) | ConnectionError::LocallyClosed => {
                return Self::lost(peer, error);
            }
            ConnectionError::TransportError(error) => error.code.into(),
            ConnectionError::ConnectionClosed(close) => close.error_code.into(),
            ConnectionError::CidsExhausted
            | ConnectionError::Reset
            | ConnectionError::VersionMismatch => 0,
        };
        let hint = match code {
            CONNECTION_REFUSED => "it takes no more connections",
            NO_APPLICATION_PROTOCOL => "the other end speaks QUIC, but not frp's",
            code if ALERTS.contains(&code) => {
                "TLS found no agreement; check certificates, authorities and server name at both ends"
            }
            _ => "the ends do not understand each other",
        };
        Self::Handshake {
            peer,
            hint,
            source: error,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
