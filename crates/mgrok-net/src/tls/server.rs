//! TLS at the accepting end.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::BytesMut;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::server::{UnbufferedServerConnection, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};

use super::fingerprint::Fingerprint;
use super::handshake::{arrive, invalid, shake_hands};
use super::{TlsError, files, provider, self_signed};
use crate::client_hello::{self, Progress};
use crate::conn::Conn;
use crate::sniff::TLS_CUSTOM;

/// The settings of a server's TLS.
#[derive(Clone, Debug, Default)]
pub struct ServerTlsOptions {
    /// The files of the certificate chain and of its key; `None`: a certificate is generated.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// The file of the trusted authorities, one of which must have signed a client's certificate. `None`: clients need
    /// no certificate.
    ///
    /// Clients' certificates must be X.509 v3 (Go also takes v1, rustls does not).
    pub trusted_ca: Option<PathBuf>,
    /// Protocols for clients that ask for some (ALPN); the first that both ends know is chosen, and a client that knows
    /// none of them is refused. Empty: no ALPN.
    pub alpn: Vec<Vec<u8>>,
}

/// Terminates TLS on accepted connections. Cheap to clone; a reload affects all clones.
#[derive(Clone, Debug)]
pub struct ServerTls {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    options: ServerTlsOptions,
    loaded: RwLock<Arc<Loaded>>,
}

/// The state for new connections.
#[derive(Debug)]
struct Loaded {
    config: Arc<ServerConfig>,
    certificate: CertifiedKey,
    /// A hash of the files' contents.
    files: files::Digest,
}

impl ServerTls {
    /// Reads the files that `options` names, and generates a certificate if none is configured.
    pub fn new(options: ServerTlsOptions) -> Result<Self, TlsError> {
        let files = files::digest(options.certificate.as_ref(), options.trusted_ca.as_ref())?;
        let certificate = certificate(&options, &provider())?;
        let loaded = Loaded::new(&options, certificate, files)?;
        Ok(Self {
            shared: Arc::new(Shared {
                options,
                loaded: RwLock::new(Arc::new(loaded)),
            }),
        })
    }

    /// Reads the files again and returns whether they have changed. If so, new connections use the new contents, and no
    /// client resumes an earlier session, which former authorities may have allowed. Existing connections go on. A
    /// generated certificate stays.
    ///
    /// Blocks while it reads the files.
    ///
    /// # Errors
    /// As [`ServerTls::new`]. Nothing changes then: files that are being replaced may not match yet, so it is worth
    /// trying again.
    pub fn reload(&self) -> Result<bool, TlsError> {
        let options = &self.shared.options;
        let before = self.loaded();
        // Hashed before loading, so that a change in between is found at the next check.
        let files = files::digest(options.certificate.as_ref(), options.trusted_ca.as_ref())?;
        if files == before.files {
            return Ok(false);
        }
        let certificate = match &options.certificate {
            None => before.certificate.clone(),
            Some(_) => certificate(options, &provider())?,
        };
        let loaded = Loaded::new(options, certificate, files)?;
        let current = self.shared.loaded.write();
        *current.unwrap_or_else(PoisonError::into_inner) = Arc::new(loaded);
        Ok(true)
    }

    /// The fingerprint of the certificate that clients see, for clients that pin it.
    pub fn fingerprint(&self) -> Fingerprint {
        let chain = &self.loaded().certificate.cert;
        // The chain is not empty: creating the certificate has checked that.
        chain.first().map_or(Fingerprint([0; 32]), Fingerprint::of)
    }

    fn loaded(&self) -> Arc<Loaded> {
        let loaded = self.shared.loaded.read();
        loaded.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The settings for a transport that contains TLS, with an application protocol of its own.
    pub(crate) fn config_for(&self, protocol: &[u8]) -> Result<ServerConfig, TlsError> {
        let mut config = (*self.loaded().config).clone();
        config.alpn_protocols = vec![protocol.to_vec()];
        config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().map_err(TlsError::Setup)?;
        Ok(config)
    }

    /// Performs the handshake, after removing an extra first byte 0x17.
    ///
    /// Waits for as long as the client is silent: the caller sets the deadline. Not cancel-safe.
    ///
    /// # Errors
    /// If the client does not speak TLS, or shows no certificate although one is required, or the connection fails.
    pub async fn accept(&self, mut conn: Conn) -> io::Result<Conn> {
        let mut input = BytesMut::new();
        arrive(&mut conn, &mut input).await?;
        if input.first() == Some(&TLS_CUSTOM) {
            let _ = input.split_to(1);
        }
        // What is wrong with a hello is for rustls to say.
        let server_name = loop {
            match client_hello::parse(&input) {
                Progress::NeedMore(_) => arrive(&mut conn, &mut input).await?,
                Progress::Hello(hello) => break hello.server_name,
                Progress::Refused(_) => break None,
            }
        };
        let side = UnbufferedServerConnection::new(self.loaded().config.clone());
        let side = side.map(Box::new).map_err(invalid)?;
        let mut stream = shake_hands(side, conn, input, Vec::new()).await?;
        stream.set_server_name(server_name.as_deref());
        Ok(Conn::from(stream))
    }
}

impl Loaded {
    fn new(
        options: &ServerTlsOptions,
        certificate: CertifiedKey,
        files: files::Digest,
    ) -> Result<Self, TlsError> {
        let mut config = with_certificate(options, provider(), certificate.clone())?;
        // Tickets allow resumption without state on the server: clients that use a connection per stream perform many
        // handshakes, and there may be many of them.
        config.alpn_protocols.clone_from(&options.alpn);
        // Records are protected by `TlsStream`.
        config.enable_secret_extraction = true;
        config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().map_err(TlsError::Setup)?;
        Ok(Self {
            config: Arc::new(config),
            certificate,
            files,
        })
    }
}

/// The rustls settings of a server, for any transport.
pub(crate) fn config(
    options: &ServerTlsOptions,
    provider: Arc<CryptoProvider>,
) -> Result<ServerConfig, TlsError> {
    let certificate = certificate(options, &provider)?;
    with_certificate(options, provider, certificate)
}

fn certificate(
    options: &ServerTlsOptions,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, TlsError> {
    match &options.certificate {
        Some(paths) => files::certified_key(paths, provider),
        None => self_signed::generate(provider),
    }
}

fn with_certificate(
    options: &ServerTlsOptions,
    provider: Arc<CryptoProvider>,
    certificate: CertifiedKey,
) -> Result<ServerConfig, TlsError> {
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Setup)?;
    let builder = match &options.trusted_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let roots = Arc::new(files::authorities(path)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider)
                .build()
                .map_err(|error| TlsError::Setup(rustls::Error::General(error.to_string())))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    Ok(builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(certificate))))
}
