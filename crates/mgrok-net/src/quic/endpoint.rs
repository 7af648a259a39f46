//! UDP sockets that speak QUIC.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

use quinn::crypto::rustls::{NoInitialCipherSuite, QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, EndpointConfig, Runtime, ServerConfig, TokioRuntime};
use rustls::client::Resumption;
use rustls::server::NoServerSessionStorage;
use socket2::SockRef;
use tokio::time::timeout;
use tracing::warn;

use super::socket::{LONGEST_MESSAGE, Socket};
use super::{Connection, NO_ERROR, PROTOCOL, QuicError, QuicOptions, odd_sni, path};
use crate::tcp;
use crate::tls::{self, ClientTls, ClientTlsOptions, ServerTls, ServerTlsOptions, TlsError};

/// The size of the socket's receive buffer in bytes, as far as the system allows: 30 ms at 2 Gbit/s.
const SYSTEM_QUEUE: usize = 7 * 1024 * 1024;

/// Of a receive buffer that is shorter than this the operator is told: 4 ms at 2 Gbit/s, which a busy processor may let pass.
const SHORT_QUEUE: usize = 1024 * 1024;

/// The size of the socket's send buffer in bytes, as far as the system allows: 32 bursts of the largest packets. What waits there has
/// passed pacing and congestion control.
const SEND_QUEUE: usize = 2 * 1024 * 1024;

/// How many handshakes may wait to be accepted, and how many bytes each may buffer: three packets after the first.
const MAX_INCOMING: usize = 1024;
const INCOMING_BUFFER: u64 = 4 * 1024;
const INCOMING_BUFFERS: u64 = MAX_INCOMING as u64 * INCOMING_BUFFER;

/// How long to wait for the peers to learn that their connections are closed.
const CLOSE_WAIT: Duration = Duration::from_millis(500);

/// The settings for dialling. Cheap to clone; clones share the tickets for resumption. The dialling end opens all
/// streams; [`Connection::accept`] is for the accepting end.
#[derive(Clone, Debug)]
pub struct QuicClient {
    config: ClientConfig,
    server_name: String,
    options: QuicOptions,
}

impl QuicClient {
    /// Reads the files that `tls` names. `custom_first_byte` has no effect: QUIC shares its port with no other
    /// protocol.
    pub fn new(tls: ClientTlsOptions, options: QuicOptions) -> Result<Self, QuicError> {
        Self::with_tls(&ClientTls::new(tls)?, options)
    }

    /// Uses certificates and checks that have been read already, but keeps its own tickets for resumption.
    pub fn with_tls(tls: &ClientTls, options: QuicOptions) -> Result<Self, QuicError> {
        let mut rustls = (*tls.config).clone();
        rustls.alpn_protocols = vec![PROTOCOL.to_vec()];
        rustls.resumption = Resumption::default();
        let crypto = QuicClientConfig::try_from(rustls).map_err(no_suite)?;
        Self::with_crypto(Arc::new(crypto), &tls.server_name.to_str(), options)
    }

    pub(super) fn with_crypto(
        crypto: Arc<dyn quinn::crypto::ClientConfig>,
        server_name: &str,
        options: QuicOptions,
    ) -> Result<Self, QuicError> {
        // The accepting end opens no streams, so it is allowed none.
        let options = QuicOptions {
            max_streams: 0,
            ..options
        };
        let mut config = ClientConfig::new(crypto);
        config.transport_config(options.transport(path::USUAL)?);
        Ok(Self {
            config,
            server_name: server_name.to_owned(),
            options,
        })
    }
}

/// The settings for accepting. Cheap to clone.
#[derive(Clone, Debug)]
pub struct QuicServer {
    config: ServerConfig,
    options: QuicOptions,
}

impl QuicServer {
    /// For clients whose server name is valid in TLS. Uses the certificate and keys that `tls` has loaded now: QUIC clients see the same
    /// certificate as those of other transports.
    pub fn with_tls(tls: &ServerTls, options: QuicOptions) -> Result<Self, QuicError> {
        let rustls = tls.config_for(PROTOCOL)?;
        let crypto = QuicServerConfig::try_from(rustls).map_err(no_suite)?;
        Self::with_crypto(Arc::new(crypto), options)
    }

    /// Reads or makes the certificate and keys, for clients that may send any server name. frp's visitors write `192.0.2.1:443` where a host
    /// name belongs. Sessions are not resumed.
    pub fn by_any_name(tls: &ServerTlsOptions, options: QuicOptions) -> Result<Self, QuicError> {
        let provider = odd_sni::provider((*tls::provider()).clone());
        let mut rustls = tls::server_config(tls, Arc::new(provider))?;
        rustls.alpn_protocols = vec![PROTOCOL.to_vec()];
        rustls.session_storage = Arc::new(NoServerSessionStorage {});
        rustls.send_tls13_tickets = 0;
        let crypto = QuicServerConfig::try_from(rustls).map_err(no_suite)?;
        Self::with_crypto(Arc::new(odd_sni::ServerConfig::new(crypto)), options)
    }

    fn with_crypto(
        crypto: Arc<dyn quinn::crypto::ServerConfig>,
        options: QuicOptions,
    ) -> Result<Self, QuicError> {
        let mut config = ServerConfig::with_crypto(crypto);
        config
            .transport_config(options.transport(path::USUAL)?)
            .max_incoming(MAX_INCOMING)
            .incoming_buffer_size(INCOMING_BUFFER)
            .incoming_buffer_size_total(INCOMING_BUFFERS);
        Ok(Self { config, options })
    }
}

/// Does not happen: our provider has a suite for QUIC.
fn no_suite(error: NoInitialCipherSuite) -> QuicError {
    TlsError::Setup(rustls::Error::General(error.to_string())).into()
}

/// Asks the system for long queues, and says once if the one for what comes is so short that packets get lost.
fn ask_for_queues(socket: &UdpSocket) {
    static SAID: Once = Once::new();
    let socket = SockRef::from(socket);
    // Best effort: the default sizes work, too.
    let _ = socket.set_recv_buffer_size(SYSTEM_QUEUE);
    let _ = socket.set_send_buffer_size(SEND_QUEUE);
    // Linux counts what it keeps for itself, too: as much again.
    let own = if cfg!(target_os = "linux") { 2 } else { 1 };
    let granted = socket.recv_buffer_size().map(|it| it / own);
    if let Ok(granted) = granted
        && granted < SHORT_QUEUE
    {
        SAID.call_once(|| {
            warn!(
                "the system queues only {} KiB for a socket of UDP, so QUIC loses packets when much comes at once: raise \
                 net.core.rmem_max and net.core.wmem_max to 7500000 (sysctl -w), and keep that in /etc/sysctl.d",
                granted / 1024
            );
        });
    }
}

/// Binds a socket for an [`Endpoint`] to `host` and `port`; port 0 lets the system choose. `host` is as in
/// [`tcp::bind`](crate::tcp::bind()).
///
/// # Errors
/// The error of the system or the resolver for the last address of `host`.
pub async fn bind(host: &str, port: u16) -> io::Result<UdpSocket> {
    tcp::bind_with(host, port, |addr| {
        Ok(tcp::bind_udp(addr, SYSTEM_QUEUE)?.into())
    })
    .await
}

/// A UDP socket that speaks QUIC. Cheap to clone. Its connections outlive it.
#[derive(Clone, Debug)]
pub struct Endpoint {
    inner: quinn::Endpoint,
    /// What new connections get, if any are accepted.
    server: Arc<Mutex<Option<QuicServer>>>,
    options: QuicOptions,
}

impl Endpoint {
    /// An endpoint that dials from `socket`, which must not be connected. Must be called within a tokio runtime.
    pub fn client(socket: UdpSocket) -> Result<Self, QuicError> {
        Self::new(socket, None, QuicOptions::default())
    }

    /// An endpoint that accepts on `socket`, which must not be connected. Must be called within a tokio runtime.
    pub fn server(socket: UdpSocket, server: QuicServer) -> Result<Self, QuicError> {
        let options = server.options.clone();
        Self::new(socket, Some(server), options)
    }

    fn new(
        socket: UdpSocket,
        server: Option<QuicServer>,
        options: QuicOptions,
    ) -> Result<Self, QuicError> {
        ask_for_queues(&socket);
        let runtime = Arc::new(TokioRuntime);
        let socket = runtime.wrap_udp_socket(socket).map_err(QuicError::Socket)?;
        let mut config = EndpointConfig::default();
        // Fails only for sizes below 1200.
        let _ = config.max_udp_payload_size(LONGEST_MESSAGE);
        let inner = quinn::Endpoint::new_with_abstract_socket(
            config,
            server.as_ref().map(|it| it.config.clone()),
            Arc::new(Socket(socket)),
            runtime,
        );
        let inner = inner.map_err(QuicError::Socket)?;
        let server = Arc::new(Mutex::new(server));
        Ok(Self {
            inner,
            server,
            options,
        })
    }

    /// Dials `peer`.
    ///
    /// Waits up to the idle timeout for an answer: the caller sets the deadline. Dropping the future cancels the
    /// attempt.
    pub async fn connect(
        &self,
        peer: SocketAddr,
        client: &QuicClient,
    ) -> Result<Connection, QuicError> {
        let mut config = client.config.clone();
        let largest = path::largest_payload(peer);
        if largest > path::USUAL {
            config.transport_config(client.options.transport(largest)?);
        }
        let connecting = self
            .inner
            .connect_with(config, peer, &client.server_name)
            .map_err(|source| QuicError::Dial { peer, source })?;
        let connection = connecting.await;
        let connection = connection.map_err(|error| QuicError::handshake(peer, error))?;
        Ok(Connection::new(connection, &client.options))
    }

    /// The next incoming connection attempt; `None` once the endpoint is closed. Cancel-safe.
    pub async fn accept(&self) -> Option<Incoming> {
        let inner = self.inner.accept().await?;
        Some(Incoming {
            inner,
            server: self.server.clone(),
            options: self.options.clone(),
        })
    }

    /// Uses `server` for new connections; established ones go on unchanged. The limits for streams stay as they were.
    pub fn set_server(&self, server: QuicServer) {
        self.keep_server(Some(server.clone()));
        self.inner.set_server_config(Some(server.config));
    }

    /// Stops accepting connections; established ones go on. New clients get no answer.
    pub fn stop_accepting(&self) {
        self.keep_server(None);
        self.inner.set_server_config(None);
    }

    fn keep_server(&self, server: Option<QuicServer>) {
        if let Ok(mut kept) = self.server.lock() {
            *kept = server;
        }
    }

    /// The address that the socket is bound to.
    pub fn local_addr(&self) -> Result<SocketAddr, QuicError> {
        self.inner.local_addr().map_err(QuicError::Socket)
    }

    /// Closes all connections as [`Connection::close`] does, and accepts no more.
    pub fn close(&self) {
        self.inner.close(NO_ERROR, b"");
    }

    /// Waits until there is no connection.
    pub async fn unused(&self) {
        self.inner.wait_idle().await;
    }

    /// Waits until the peers of closed connections have had time to learn of it, for half a second at most: packets get
    /// lost, and a peer that missed the close detects it by timeout.
    pub async fn idle(&self) {
        let _ = timeout(CLOSE_WAIT, self.inner.wait_idle()).await;
    }
}

/// An incoming connection attempt. Dropping it refuses the connection.
#[derive(Debug)]
pub struct Incoming {
    inner: quinn::Incoming,
    server: Arc<Mutex<Option<QuicServer>>>,
    options: QuicOptions,
}

impl Incoming {
    /// The peer's address, which may be forged until the handshake is done.
    pub fn remote_addr(&self) -> SocketAddr {
        tcp::canonical(self.inner.remote_address())
    }

    /// Returns the attempt if the peer's address is validated. Otherwise asks the peer to retry with a proof of its
    /// address, which costs one round trip, and returns `None`.
    pub fn validated(self) -> Option<Self> {
        if !self.inner.may_retry() {
            return Some(self);
        }
        // `retry` fails only when `may_retry` is false.
        let _ = self.inner.retry();
        None
    }

    /// Performs the handshake. Waits up to the idle timeout for a silent peer: the caller sets the deadline.
    pub async fn accept(self) -> Result<Connection, QuicError> {
        let peer = self.remote_addr();
        let connection = match self.server_for_large_packets() {
            Some(server) => async { self.inner.accept_with(server.into())?.await }.await,
            None => self.inner.await,
        };
        let connection = connection.map_err(|error| QuicError::handshake(peer, error))?;
        Ok(Connection::new(connection, &self.options))
    }

    /// The settings, if larger packets than usual are worth trying.
    fn server_for_large_packets(&self) -> Option<ServerConfig> {
        let largest = path::largest_payload(self.remote_addr());
        if largest <= path::USUAL {
            return None;
        }
        let mut server = self.server.lock().ok()?.clone()?;
        let transport = server.options.transport(largest).ok()?;
        server.config.transport_config(transport);
        Some(server.config)
    }

    /// Drops the attempt without an answer.
    pub fn ignore(self) {
        self.inner.ignore();
    }
}
