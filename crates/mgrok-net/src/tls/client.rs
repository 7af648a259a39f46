//! TLS at the dialling end.

use std::io;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::BytesMut;
use rustls::ClientConfig;
use rustls::client::danger::ServerCertVerifier;
use rustls::client::{ResolvesClientCert, UnbufferedClientConnection, WebPkiServerVerifier};
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;

use super::any_certificate::AnyCertificate;
use super::fingerprint::Fingerprint;
use super::handshake::{invalid, shake_hands};
use super::pinned::{self, PinnedCertificate};
use super::{TlsError, files, provider, system};
use crate::conn::Conn;
use crate::resolver::{without_brackets, without_zone};
use crate::sniff::TLS_CUSTOM;

/// The settings of a client's TLS.
#[derive(Clone, Debug, Default)]
pub struct ClientTlsOptions {
    /// The files of the client's certificate chain and of its key.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// The file of the trusted authorities, one of which must have signed the server's certificate. `None`: any
    /// certificate is accepted, unless one is pinned.
    ///
    /// With `trusted_ca` the certificate must be X.509 v3 and contain the server name as a subject alternative name.
    pub trusted_ca: Option<PathBuf>,
    /// Whether the authorities that the system trusts count as those of `trusted_ca` do, which must be `None` then.
    pub trusts_system: bool,
    /// The SHA-256 of the only accepted certificate (in DER form, without its chain), whatever its content. It must be
    /// X.509 v3. With `trusted_ca` both checks must pass. See [`Fingerprint`](super::Fingerprint).
    pub pinned_sha256: Option<[u8; 32]>,
    /// The name that the certificate must contain, and the SNI unless it is an address. An address may have brackets
    /// and a zone. Without `trusted_ca` any value is accepted, because nothing checks it.
    pub server_name: String,
    /// Whether the byte 0x17 precedes TLS, for servers that share their port with HTTPS.
    pub custom_first_byte: bool,
}

/// Starts TLS on dialled connections. Cheap to clone; clones share the tickets for resumption.
#[derive(Clone, Debug)]
pub struct ClientTls {
    pub(crate) config: Arc<ClientConfig>,
    /// The configured server name, without brackets and zone.
    host: Arc<str>,
    pub(crate) server_name: ServerName<'static>,
    custom_first_byte: bool,
    /// `None` if there are no files to read again.
    source: Option<Arc<Source>>,
}

/// The settings and file contents that a [`ClientTls`] was created from.
#[derive(Debug)]
struct Source {
    options: ClientTlsOptions,
    /// A hash of the files' contents.
    files: files::Digest,
}

impl ClientTls {
    /// Reads the files that `options` names.
    pub fn new(options: ClientTlsOptions) -> Result<Self, TlsError> {
        let files = files::digest(options.certificate.as_ref(), options.trusted_ca.as_ref())?;
        Self::with_files(options, files)
    }

    /// Reads the files again. If they have changed, returns the TLS settings for new connections, which do not resume
    /// earlier sessions.
    ///
    /// Blocks while it reads the files.
    ///
    /// # Errors
    /// As [`ClientTls::new`]. Files that are being replaced may not match yet, so it is worth trying again.
    pub fn reloaded(&self) -> Result<Option<Self>, TlsError> {
        let Some(source) = &self.source else {
            return Ok(None);
        };
        let options = &source.options;
        let files = files::digest(options.certificate.as_ref(), options.trusted_ca.as_ref())?;
        if files == source.files {
            return Ok(None);
        }
        Self::with_files(options.clone(), files).map(Some)
    }

    fn with_files(options: ClientTlsOptions, files: files::Digest) -> Result<Self, TlsError> {
        let provider = provider();
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Setup)?;
        let roots = match &options.trusted_ca {
            Some(path) => Some(files::authorities(path)?),
            None if options.trusts_system => Some(system::authorities()?),
            None => None,
        };
        let has_authority = roots.is_some();
        let authority = match roots {
            None => None,
            Some(roots) => {
                let roots = Arc::new(roots);
                let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider.clone())
                    .build()
                    .map_err(|error| TlsError::Setup(rustls::Error::General(error.to_string())))?;
                Some(verifier)
            }
        };
        let verifier: Arc<dyn ServerCertVerifier> = match (options.pinned_sha256, authority) {
            (None, None) => AnyCertificate::new(&provider),
            (None, Some(authority)) => authority,
            (Some(pinned), authority) => {
                PinnedCertificate::new(Fingerprint(pinned), authority, &provider)
            }
        };
        let builder = builder
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match &options.certificate {
            None => builder.with_no_client_auth(),
            Some(paths) => {
                let certificate = files::certified_key(paths, &provider)?;
                let resolver: Arc<dyn ResolvesClientCert> =
                    Arc::new(SingleCertAndKey::from(certificate));
                builder.with_client_cert_resolver(resolver)
            }
        };
        // Records are protected by `TlsStream`.
        config.enable_secret_extraction = true;
        let server_name = match server_name(&options.server_name) {
            // Any address works here: nothing checks it, and an address is not sent to the server.
            Err(_) if !has_authority => Ipv4Addr::UNSPECIFIED.into(),
            known => known?,
        };
        Ok(Self {
            config: Arc::new(config),
            host: bare(&options.server_name).into(),
            server_name,
            custom_first_byte: options.custom_first_byte,
            source: Some(Arc::new(Source { options, files })),
        })
    }

    /// TLS to a server whose certificate must be signed by an authority that the system trusts, and contain
    /// `server_name`.
    ///
    /// Reads the authorities anew each time; `SSL_CERT_FILE` and `SSL_CERT_DIR` override where from.
    pub fn trusting_system(server_name: &str) -> Result<Self, TlsError> {
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Setup)?
            .with_root_certificates(system::authorities()?)
            .with_no_client_auth();
        config.enable_secret_extraction = true;
        Ok(Self {
            config: Arc::new(config),
            host: bare(server_name).into(),
            server_name: self::server_name(server_name)?,
            custom_first_byte: false,
            source: None,
        })
    }

    /// The same settings without the extra first byte, for servers that do not expect it.
    pub fn without_custom_first_byte(&self) -> Self {
        Self {
            custom_first_byte: false,
            ..self.clone()
        }
    }

    /// The name that the certificate must contain: a host name, or an address without brackets and zone.
    pub fn server_name(&self) -> &str {
        &self.host
    }

    /// Performs the handshake.
    ///
    /// Waits for as long as the server is silent: the caller sets the deadline. Not cancel-safe. With TLS 1.3 a server
    /// that refuses our certificate says so only after the handshake, in answer to our next data.
    ///
    /// # Errors
    /// If the server does not speak TLS, or shows an untrusted certificate, or the connection fails.
    pub async fn connect(&self, conn: Conn) -> io::Result<Conn> {
        let side = UnbufferedClientConnection::new(self.config.clone(), self.server_name.clone());
        // The extra byte and the hello leave in one segment, because a peer that looks at the first bytes may not wait for
        // more.
        let first = self.custom_first_byte.then_some(TLS_CUSTOM);
        let output = first.into_iter().collect();
        let side = side.map(Box::new).map_err(invalid)?;
        let stream = shake_hands(side, conn, BytesMut::new(), output).await;
        Ok(Conn::from(stream.map_err(pinned::in_plain_words)?))
    }
}

/// The name without brackets and zone: a zone means nothing to the peer.
fn bare(name: &str) -> &str {
    without_zone(without_brackets(name))
}

fn server_name(name: &str) -> Result<ServerName<'static>, TlsError> {
    ServerName::try_from(bare(name))
        .map(|name| name.to_owned())
        .map_err(|_| TlsError::ServerName {
            name: name.to_owned(),
        })
}
