//! QUIC as frp speaks it: version 1, ALPN `frp`, and a bidirectional stream for everything.
//!
//! An [`Endpoint`] is a UDP socket that speaks QUIC, any socket that its owner has bound, so also one
//! through which a hole was punched. It dials or accepts a [`Connection`], whose streams are [`Conn`]s.
//! A stream shows at the other end when its first bytes arrive there, not before.
//!
//! Certificates are made and checked as in [`tls`](crate::tls). There is no early data, which could be
//! replayed, and no unidirectional stream. That datagrams (RFC 9221) are taken is always announced; frp
//! does not know them. They belong to streams, and come and go with those: [`DatagramConn`](crate::udp::DatagramConn).

mod endpoint;
mod odd_sni;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use quinn::{ConnectionError, TransportConfig, VarInt};
use rustls::pki_types::CertificateDer;

use crate::conn::{Conn, Flows, NO_ERROR, QuicStream, StreamPermit, connection_lost, settle};
use crate::printable::printable;
use crate::tcp;
use crate::tls::{CertificateFault, Fingerprint, ShownCertificate, TlsError};

pub use endpoint::{Endpoint, Incoming, QuicClient, QuicServer, bind};

/// What a peer must agree on (ALPN).
const PROTOCOL: &[u8] = b"frp";

/// How much a stream may have under way, in bytes: 480 Mbit/s with 100 ms there and back. It is also
/// what a stream that nobody reads may pile up here. frp's streams have the same at most.
const STREAM_WINDOW: u32 = 6 * 1024 * 1024;

/// How much all streams of a connection may pile up here, in bytes. A stream that nobody reads keeps
/// its share, and when all is taken no other moves: so it is seven streams' worth that may be stuck
/// before it hurts. Nothing is set aside for it.
const CONNECTION_WINDOW: u32 = 8 * STREAM_WINDOW;

/// How much a connection keeps until it is acknowledged, in bytes: 640 Mbit/s with 100 ms there and back.
/// Unlike the windows above it does fill up, whenever we can write faster than the network takes it.
const SEND_WINDOW: u64 = 8 * 1024 * 1024;

/// How many bytes of datagrams (RFC 9221) may wait to be sent, and to be taken. Those to be sent wait only for as long as the
/// connection would have too much under way; then new ones are dropped.
const DATAGRAM_BUFFER: usize = 1024 * 1024;

/// How many streams a peer may have before it opens many. quinn sets aside some 50 bytes for each
/// stream that might come, before it knows who is there: 5 MB for the default of frp.
const STREAMS_AT_FIRST: u64 = 256;

/// How many streams a peer may have that is not [trusted](Connection::trust), and how much all of them may pile up here, in bytes:
/// what a login takes.
const UNTRUSTED_STREAMS: u64 = 8;
const UNTRUSTED_WINDOW: u32 = 80 * 1024;

/// What the two ends of a connection do on their own.
#[derive(Clone, Debug)]
pub struct QuicOptions {
    /// After how long without a packet one is sent, so that the peer and the NATs between know that we are there.
    /// Must be less than both ends' `idle_timeout`. Zero: never.
    pub keepalive: Duration,
    /// After how long without a packet from the peer the connection is given up. The lower of both ends' holds. Zero: never.
    pub idle_timeout: Duration,
    /// How many streams a peer that dialled may have open at once. It learns of it by and by. A peer that was dialled may have none.
    pub max_streams: u32,
    /// Whether a peer may do all that at once. If not, it may do what a login takes until
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
    fn transport(&self) -> Result<Arc<TransportConfig>, QuicError> {
        let idle_timeout = self.idle_timeout.try_into();
        let idle_timeout = idle_timeout.map_err(|_| QuicError::IdleTimeout(self.idle_timeout))?;
        let keepalive = (!self.keepalive.is_zero()).then_some(self.keepalive);
        let mut transport = TransportConfig::default();
        transport
            .max_idle_timeout(Some(idle_timeout))
            .keep_alive_interval(keepalive)
            .max_concurrent_bidi_streams(streams(self.streams_at_first()))
            .max_concurrent_uni_streams(VarInt::from_u32(0))
            .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
            .receive_window(VarInt::from_u32(match self.trusts_at_once {
                true => CONNECTION_WINDOW,
                false => UNTRUSTED_WINDOW,
            }))
            .send_window(SEND_WINDOW)
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
/// It is closed by [`Connection::close`], at once, and a moment after the last clone and the last stream are dropped.
#[derive(Clone, Debug)]
pub struct Connection {
    inner: quinn::Connection,
    flows: Arc<Flows>,
    permits: Arc<StreamPermits>,
}

/// How many streams the peer has and may have.
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

    /// Opens a stream. Waits for as long as the peer allows no more of them: the caller sets the
    /// deadline. Cancel-safe.
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

    /// The peer has shown who it is: it may do all that the options allow from now on.
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

    /// Lets the peer open twice as many streams once it has half of those that it may have.
    fn grant(&self, taken: u64) {
        if !self.permits.trusted.load(Ordering::Relaxed) {
            return;
        }
        let granted = self.permits.granted.load(Ordering::Relaxed);
        if taken * 2 > granted && granted < self.permits.max {
            let more = (granted * 2).min(self.permits.max);
            // Two tasks that accept at once might both come here, and grant the same.
            self.permits.granted.store(more, Ordering::Relaxed);
            self.inner.set_max_concurrent_bi_streams(streams(more));
        }
    }

    /// Waits until the connection is over, and says why. Cancel-safe.
    pub async fn closed(&self) -> QuicError {
        QuicError::lost(self.remote_addr(), self.inner.closed().await)
    }

    /// Whether the connection is over.
    pub fn is_closed(&self) -> bool {
        self.inner.close_reason().is_some()
    }

    /// Waits until what was sent on streams has most probably arrived, for half a second at most: ahead of [`Connection::close`],
    /// which would destroy it.
    pub async fn settle(&self) {
        settle(&self.inner).await;
    }

    /// Ends all streams at once, and tells the peer: application code 0, no reason. What was sent and
    /// not acknowledged may be lost. Whoever wants to exit then must wait for [`Endpoint::idle`], or the peer
    /// will not learn of it.
    pub fn close(&self) {
        self.inner.close(NO_ERROR, b"");
    }

    /// That of the certificate that the peer showed; `None` if it showed none. Nobody has checked it for that.
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

    /// How long a packet takes to the peer and back, as far as is known.
    pub fn round_trip(&self) -> Duration {
        self.inner.rtt()
    }

    /// Where the peer is. It may move, when a NAT on the way forgets.
    pub fn remote_addr(&self) -> SocketAddr {
        tcp::canonical(self.inner.remote_address())
    }
}

/// Why there is no QUIC connection, or no longer.
#[derive(Debug, thiserror::Error)]
pub enum QuicError {
    /// The peer closed the connection.
    #[error("{peer} closed the QUIC connection{}", detail(*code, reason))]
    Closed {
        /// The peer.
        peer: SocketAddr,
        /// Its application code; 0 without any trouble.
        code: u64,
        /// What it says about it, with control characters escaped.
        reason: String,
    },
    /// We closed the connection, or the endpoint.
    #[error("the QUIC connection was closed at this end")]
    ClosedHere,
    /// There is no way to this address from this socket.
    #[error("cannot dial {peer} over QUIC")]
    Dial {
        /// The address.
        peer: SocketAddr,
        /// What is wrong with it.
        #[source]
        source: quinn::ConnectError,
    },
    /// The handshake failed: both ends talked, but cannot agree.
    #[error("QUIC handshake with {peer} failed: {hint}")]
    Handshake {
        /// The peer.
        peer: SocketAddr,
        /// What to look at.
        hint: &'static str,
        /// What one of the ends said.
        #[source]
        source: ConnectionError,
    },
    /// `idle_timeout` is longer than the protocol can say.
    #[error("a QUIC idle timeout of {0:?} is too long")]
    IdleTimeout(Duration),
    /// The connection broke.
    #[error("the QUIC connection with {peer} failed")]
    Lost {
        /// The peer.
        peer: SocketAddr,
        /// How.
        #[source]
        source: io::Error,
    },
    /// The peer did not answer at all.
    #[error(
        "no answer from {peer} over QUIC: is something listening there, and is UDP let through?"
    )]
    NoAnswer {
        /// The peer.
        peer: SocketAddr,
    },
    /// The peer fell silent.
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

/// The TLS alert `no_application_protocol`, as a code of QUIC (RFC 9001, section 4.8).
const NO_APPLICATION_PROTOCOL: u64 = 0x100 | 120;
/// All TLS alerts, as codes of QUIC.
const ALERTS: std::ops::RangeInclusive<u64> = 0x100..=0x1ff;
/// What a server says that takes no connections.
const CONNECTION_REFUSED: u64 = 2;

/// The TLS alerts about certificates, `bad_certificate` to `unknown_ca` and `certificate_required`, as codes of QUIC.
const ABOUT_CERTIFICATES: [std::ops::RangeInclusive<u64>; 2] =
    [0x100 | 42..=0x100 | 48, 0x100 | 116..=0x100 | 116];

impl QuicError {
    /// Whether a handshake failed because this end did not accept the peer's certificate, or missed it.
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

    /// Why a connection that was up is over.
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

    /// What is wrong with the server's certificate, if it is for that that a client does not get through.
    pub fn certificate_fault(&self) -> Option<CertificateFault> {
        let Self::Handshake {
            // What this end found wrong. The other end finds nothing wrong with its own certificate.
            source: ConnectionError::TransportError(error),
            ..
        } = self
        else {
            return None;
        };
        let alert = u64::from(error.code).checked_sub(*ALERTS.start())?;
        CertificateFault::of_alert(u8::try_from(alert).ok()?.into())
    }

    /// Why a connection does not come up.
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
