//! UDP sockets that speak QUIC.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::{NoInitialCipherSuite, QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, EndpointConfig, ServerConfig, TokioRuntime};
use rustls::client::Resumption;
use rustls::server::NoServerSessionStorage;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::time::timeout;

use super::{Connection, NO_ERROR, PROTOCOL, QuicError, QuicOptions, odd_sni};
use crate::tcp;
use crate::tls::{self, ClientTls, ClientTlsOptions, ServerTls, ServerTlsOptions, TlsError};

/// What the system may queue for us, in bytes, if it lets us: 30 ms at 2 Gbit/s.
const SYSTEM_QUEUE: usize = 7 * 1024 * 1024;

/// Handshakes that may wait to be accepted, and what of them is kept: three packets after the first.
const MAX_INCOMING: usize = 1024;
const INCOMING_BUFFER: u64 = 4 * 1024;
const INCOMING_BUFFERS: u64 = MAX_INCOMING as u64 * INCOMING_BUFFER;

/// How long to wait for the peers to hear of the end.
const GOODBYE: Duration = Duration::from_millis(500);

/// How to dial. Cheap to clone; clones share the tickets for resumption. Who dials opens all streams: [`Connection::accept`] is for the
/// other end.
#[derive(Clone, Debug)]
pub struct QuicClient {
    config: ClientConfig,
    server_name: String,
    options: QuicOptions,
}

impl QuicClient {
    /// Reads all that is needed. `custom_first_byte` means nothing to QUIC, which shares no port.
    pub fn new(tls: ClientTlsOptions, options: QuicOptions) -> Result<Self, QuicError> {
        Self::with_tls(&ClientTls::new(tls)?, options)
    }

    /// With certificates and checks that have been read already. Tickets for resumption are not shared with them.
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
        // The other end opens no streams, so it need not be allowed any.
        let options = QuicOptions {
            max_streams: 0,
            ..options
        };
        let mut config = ClientConfig::new(crypto);
        config.transport_config(options.transport()?);
        Ok(Self {
            config,
            server_name: server_name.to_owned(),
            options,
        })
    }
}

/// How to accept. Cheap to clone.
#[derive(Clone, Debug)]
pub struct QuicServer {
    config: ServerConfig,
    options: QuicOptions,
}

impl QuicServer {
    /// Reads or makes all that is needed. For clients that name the server in a way that TLS knows.
    pub fn new(tls: &ServerTlsOptions, options: QuicOptions) -> Result<Self, QuicError> {
        Self::with_tls(&ServerTls::new(tls.clone())?, options)
    }

    /// The same, with what `tls` holds at this time: the certificate is the one that it shows on other transports.
    pub fn with_tls(tls: &ServerTls, options: QuicOptions) -> Result<Self, QuicError> {
        let rustls = tls.config_for(PROTOCOL)?;
        let crypto = QuicServerConfig::try_from(rustls).map_err(no_suite)?;
        Self::with_crypto(Arc::new(crypto), options)
    }

    /// The same for clients that may call the server anything, as frp's visitors do: they write
    /// `192.0.2.1:443` where a host name belongs. Sessions are not resumed.
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
            .transport_config(options.transport()?)
            .max_incoming(MAX_INCOMING)
            .incoming_buffer_size(INCOMING_BUFFER)
            .incoming_buffer_size_total(INCOMING_BUFFERS);
        Ok(Self { config, options })
    }
}

/// There is one: the provider is ours.
fn no_suite(error: NoInitialCipherSuite) -> QuicError {
    TlsError::Setup(rustls::Error::General(error.to_string())).into()
}

/// Binds a socket for an [`Endpoint`] to `host` and `port`; port 0 lets the system choose. `host` is as in
/// [`tcp::bind`](crate::tcp::bind()).
///
/// # Errors
/// What the system or the resolver says about the last of the addresses of `host`.
pub async fn bind(host: &str, port: u16) -> io::Result<UdpSocket> {
    let mut last = None;
    for addr in tcp::resolve_bind(host, port).await? {
        match open(addr) {
            Ok(socket) => return Ok(socket.into()),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into()))
}

fn open(addr: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
    tcp::dual_stack(&socket, addr)?;
    socket.bind(&addr.into())?;
    Ok(socket)
}

/// A UDP socket that speaks QUIC. Cheap to clone. Its connections outlive it.
#[derive(Clone, Debug)]
pub struct Endpoint {
    inner: quinn::Endpoint,
    options: QuicOptions,
}

impl Endpoint {
    /// For dialling from `socket`, which must not be connected. Must be called within a tokio runtime.
    pub fn client(socket: UdpSocket) -> Result<Self, QuicError> {
        Self::new(socket, None, QuicOptions::default())
    }

    /// For accepting at `socket`, which must not be connected. Must be called within a tokio runtime.
    pub fn server(socket: UdpSocket, server: QuicServer) -> Result<Self, QuicError> {
        Self::new(socket, Some(server.config), server.options)
    }

    fn new(
        socket: UdpSocket,
        server: Option<ServerConfig>,
        options: QuicOptions,
    ) -> Result<Self, QuicError> {
        // The default will do where this is not allowed.
        let _ = SockRef::from(&socket).set_recv_buffer_size(SYSTEM_QUEUE);
        let runtime = Arc::new(TokioRuntime);
        let inner = quinn::Endpoint::new(EndpointConfig::default(), server, socket, runtime);
        let inner = inner.map_err(QuicError::Socket)?;
        Ok(Self { inner, options })
    }

    /// Dials `peer`.
    ///
    /// Waits up to the idle timeout for an answer: the caller sets the deadline. To drop the future gives up.
    pub async fn connect(
        &self,
        peer: SocketAddr,
        client: &QuicClient,
    ) -> Result<Connection, QuicError> {
        let connecting = self
            .inner
            .connect_with(client.config.clone(), peer, &client.server_name)
            .map_err(|source| QuicError::Dial { peer, source })?;
        let connection = connecting.await;
        let connection = connection.map_err(|error| QuicError::handshake(peer, error))?;
        Ok(Connection::new(connection, &client.options))
    }

    /// The next peer that knocks; `None` once the endpoint is closed. Cancel-safe.
    pub async fn accept(&self) -> Option<Incoming> {
        let inner = self.inner.accept().await?;
        Some(Incoming {
            inner,
            options: self.options.clone(),
        })
    }

    /// Serves connections that come from now on as `server` says; open ones go on. The options for the number of
    /// streams stay as they were.
    pub fn set_server(&self, server: QuicServer) {
        self.inner.set_server_config(Some(server.config));
    }

    /// Takes no more connections; open ones go on. New clients get no answer.
    pub fn stop_accepting(&self) {
        self.inner.set_server_config(None);
    }

    /// Where the socket is bound.
    pub fn local_addr(&self) -> Result<SocketAddr, QuicError> {
        self.inner.local_addr().map_err(QuicError::Socket)
    }

    /// Closes all connections as [`Connection::close`] does, and takes no more.
    pub fn close(&self) {
        self.inner.close(NO_ERROR, b"");
    }

    /// Waits until there is no connection.
    pub async fn unused(&self) {
        self.inner.wait_idle().await;
    }

    /// Waits until the peers of closed connections have had the time to hear of it, but at most half a second:
    /// packets get lost, and a peer that heard nothing will find out by itself.
    pub async fn idle(&self) {
        let _ = timeout(GOODBYE, self.inner.wait_idle()).await;
    }
}

/// A peer that knocks. To drop it is to refuse it.
#[derive(Debug)]
pub struct Incoming {
    inner: quinn::Incoming,
    options: QuicOptions,
}

impl Incoming {
    /// Where it comes from. That may be forged until the handshake is done.
    pub fn remote_addr(&self) -> SocketAddr {
        tcp::canonical(self.inner.remote_address())
    }

    /// Gives back a peer that has shown that it is where it says it is. Any other is told to come again with a proof of that,
    /// which costs it a round trip.
    pub fn validated(self) -> Option<Self> {
        if !self.inner.may_retry() {
            return Some(self);
        }
        // It fails only for those who may not.
        let _ = self.inner.retry();
        None
    }

    /// Shakes hands. Waits up to the idle timeout for a silent peer: the caller sets the deadline.
    pub async fn accept(self) -> Result<Connection, QuicError> {
        let peer = self.remote_addr();
        let connection = self.inner.await;
        let connection = connection.map_err(|error| QuicError::handshake(peer, error))?;
        Ok(Connection::new(connection, &self.options))
    }

    /// Says no more to it than nothing.
    pub fn ignore(self) {
        self.inner.ignore();
    }
}
