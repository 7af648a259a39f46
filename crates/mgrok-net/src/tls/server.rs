//! The accepting end.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Buf;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio_rustls::{TlsAcceptor, TlsStream};

use super::fingerprint::Fingerprint;
use super::{TlsError, files, provider, self_signed};
use crate::conn::Conn;
use crate::sniff::TLS_CUSTOM;

/// What a server's TLS is made of.
#[derive(Clone, Debug, Default)]
pub struct ServerTlsOptions {
    /// The files of the certificate chain and of its key; `None`: a certificate is generated.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// The file of the authorities one of which must have signed a client's certificate. `None`: clients need none.
    ///
    /// Clients' certificates must be X.509 v3 (Go also takes v1, rustls does not).
    pub trusted_ca: Option<PathBuf>,
    /// Protocols that are offered to clients that ask for some (ALPN), the first that both know being chosen; clients that
    /// know none of them are refused. Empty: nothing is offered.
    pub alpn: Vec<Vec<u8>>,
}

/// Takes TLS off accepted connections. Cheap to clone; clones are reloaded together.
#[derive(Clone, Debug)]
pub struct ServerTls {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    options: ServerTlsOptions,
    loaded: RwLock<Arc<Loaded>>,
}

/// What new connections get.
#[derive(Debug)]
struct Loaded {
    config: Arc<ServerConfig>,
    certificate: CertifiedKey,
    /// What the files held.
    files: files::Digest,
}

impl ServerTls {
    /// Reads or makes all that is needed.
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

    /// Reads the files again and tells whether they have changed. If so, connections that come from now on get what
    /// they hold, and nobody resumes a session of before, which older authorities may have let in. Those that are
    /// there go on. A generated certificate stays.
    ///
    /// Blocks for as long as it takes to read files.
    ///
    /// # Errors
    /// As [`ServerTls::new`]. All is as before then: files that are being replaced may not yet go together, so that it is
    /// worth trying again.
    pub fn reload(&self) -> Result<bool, TlsError> {
        let options = &self.shared.options;
        let before = self.loaded();
        // Read ahead of what is loaded: what changes in between is found the next time.
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

    /// That of the certificate that is shown to clients, for those who want to pin it.
    pub fn fingerprint(&self) -> Fingerprint {
        let chain = &self.loaded().certificate.cert;
        // Whoever made it found one.
        chain.first().map_or(Fingerprint([0; 32]), Fingerprint::of)
    }

    fn loaded(&self) -> Arc<Loaded> {
        let loaded = self.shared.loaded.read();
        loaded.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The same for a carrier that has TLS in it, with a protocol of its own.
    pub(crate) fn config_for(&self, protocol: &[u8]) -> Result<ServerConfig, TlsError> {
        let mut config = (*self.loaded().config).clone();
        config.alpn_protocols = vec![protocol.to_vec()];
        config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().map_err(TlsError::Setup)?;
        Ok(config)
    }

    /// Shakes hands. A byte 0x17 in front is taken off.
    ///
    /// Waits for as long as the client is silent: the caller sets the deadline. Not cancel-safe.
    ///
    /// # Errors
    /// If the client does not speak TLS, or shows no certificate although it must, or the connection fails.
    pub async fn accept(&self, mut conn: Conn) -> io::Result<Conn> {
        let mut first = conn.recv().await?;
        if first.first() == Some(&TLS_CUSTOM) {
            first.advance(1);
        }
        conn.unread(first);
        let config = self.loaded().config.clone();
        let stream = TlsAcceptor::from(config).accept(conn).await?;
        Ok(Conn::from(TlsStream::Server(stream)))
    }
}

impl Loaded {
    fn new(
        options: &ServerTlsOptions,
        certificate: CertifiedKey,
        files: files::Digest,
    ) -> Result<Self, TlsError> {
        let mut config = with_certificate(options, provider(), certificate.clone())?;
        // Resumption without state here: clients that use a connection per stream shake hands
        // often, and there may be many of them.
        config.alpn_protocols.clone_from(&options.alpn);
        config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().map_err(TlsError::Setup)?;
        Ok(Self {
            config: Arc::new(config),
            certificate,
            files,
        })
    }
}

/// What any server's TLS is made of, whatever carries it.
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
