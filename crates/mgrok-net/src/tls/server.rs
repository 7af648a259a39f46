//! The accepting end.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Buf;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::sign::SingleCertAndKey;
use tokio_rustls::{TlsAcceptor, TlsStream};

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
}

/// Takes TLS off accepted connections. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ServerTls {
    config: Arc<ServerConfig>,
}

impl ServerTls {
    /// Reads or makes all that is needed.
    pub fn new(options: ServerTlsOptions) -> Result<Self, TlsError> {
        let mut config = config(&options, provider())?;
        // Resumption without state here: clients that use a connection per stream shake hands
        // often, and there may be many of them.
        config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().map_err(TlsError::Setup)?;
        Ok(Self {
            config: Arc::new(config),
        })
    }

    /// Offers `protocols` to clients that ask for some (ALPN), the first that both know being chosen. Clients that know none
    /// of them are refused.
    #[must_use]
    pub fn with_alpn(mut self, protocols: &[&[u8]]) -> Self {
        let protocols = protocols.iter().map(|name| name.to_vec()).collect();
        Arc::make_mut(&mut self.config).alpn_protocols = protocols;
        self
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
        let stream = TlsAcceptor::from(self.config.clone()).accept(conn).await?;
        Ok(Conn::from(TlsStream::Server(stream)))
    }
}

/// What any server's TLS is made of, whatever carries it.
pub(crate) fn config(
    options: &ServerTlsOptions,
    provider: Arc<CryptoProvider>,
) -> Result<ServerConfig, TlsError> {
    let certificate = match &options.certificate {
        Some(paths) => files::certified_key(paths, &provider)?,
        None => self_signed::generate(&provider)?,
    };
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
