//! The dialling end.

use std::io;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use rustls::client::danger::ServerCertVerifier;
use rustls::client::{ResolvesClientCert, WebPkiServerVerifier};
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, ClientConnection};
use tokio_rustls::{TlsConnector, TlsStream};

use super::any_certificate::AnyCertificate;
use super::fingerprint::Fingerprint;
use super::pinned::{self, PinnedCertificate};
use super::{TlsError, files, provider, system};
use crate::conn::Conn;
use crate::resolver::{without_brackets, without_zone};
use crate::sniff::TLS_CUSTOM;

/// What a client's TLS is made of.
#[derive(Clone, Debug, Default)]
pub struct ClientTlsOptions {
    /// The files of the certificate chain that is shown to the server, and of its key.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// The file of the authorities one of which must have signed the server's certificate.
    /// `None`: any certificate will do, unless one is pinned.
    ///
    /// With it the certificate must be X.509 v3 and carry the name as a subject alternative name.
    pub trusted_ca: Option<PathBuf>,
    /// The authorities that the system trusts count as those of `trusted_ca` do, which must be `None` then.
    pub trusts_system: bool,
    /// The SHA-256 of the one certificate (in DER form, without its chain) that will do, whatever it says. It must be
    /// X.509 v3. With `trusted_ca` both must agree. See [`Fingerprint`](super::Fingerprint).
    pub pinned_sha256: Option<[u8; 32]>,
    /// Whom the certificate must name, and what the server is told (SNI) unless it is an address. An
    /// address may stand in brackets and have a zone. Without `trusted_ca` anything will do, for nobody checks it.
    pub server_name: String,
    /// Whether the byte 0x17 goes before TLS, for servers that share their port with HTTPS.
    pub custom_first_byte: bool,
}

/// Puts TLS on dialled connections. Cheap to clone; clones share the tickets for resumption.
#[derive(Clone, Debug)]
pub struct ClientTls {
    pub(crate) config: Arc<ClientConfig>,
    /// As it was named, without brackets and zone.
    host: Arc<str>,
    pub(crate) server_name: ServerName<'static>,
    custom_first_byte: bool,
    /// `None` if there is nothing to read again.
    source: Option<Arc<Source>>,
}

/// What a client's TLS was made of.
#[derive(Debug)]
struct Source {
    options: ClientTlsOptions,
    /// What the files held.
    files: files::Digest,
}

impl ClientTls {
    /// Reads all that is needed.
    pub fn new(options: ClientTlsOptions) -> Result<Self, TlsError> {
        let files = files::digest(options.certificate.as_ref(), options.trusted_ca.as_ref())?;
        Self::with_files(options, files)
    }

    /// Reads the files again. If they have changed, gives what connections are to have from now on, which do not resume sessions of before.
    ///
    /// Blocks for as long as it takes to read files.
    ///
    /// # Errors
    /// As [`ClientTls::new`]. Files that are being replaced may not yet go together, so that it is worth trying again.
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
        let config = match &options.certificate {
            None => builder.with_no_client_auth(),
            Some(paths) => {
                let certificate = files::certified_key(paths, &provider)?;
                let resolver: Arc<dyn ResolvesClientCert> =
                    Arc::new(SingleCertAndKey::from(certificate));
                builder.with_client_cert_resolver(resolver)
            }
        };
        let server_name = match server_name(&options.server_name) {
            // Nobody checks it, and addresses are not told to the server: nothing depends on this one.
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

    /// For a server whose certificate must be signed by one of the authorities that the system trusts, and name
    /// `server_name`.
    ///
    /// They are read anew each time; `SSL_CERT_FILE` and `SSL_CERT_DIR` say where from, if they are set.
    pub fn trusting_system(server_name: &str) -> Result<Self, TlsError> {
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Setup)?
            .with_root_certificates(system::authorities()?)
            .with_no_client_auth();
        Ok(Self {
            config: Arc::new(config),
            host: bare(server_name).into(),
            server_name: self::server_name(server_name)?,
            custom_first_byte: false,
            source: None,
        })
    }

    /// The same without the byte in front, for where nobody expects it.
    pub fn without_custom_first_byte(&self) -> Self {
        Self {
            custom_first_byte: false,
            ..self.clone()
        }
    }

    /// Whom the certificate must name: a name, or an address without brackets and zone.
    pub fn server_name(&self) -> &str {
        &self.host
    }

    /// Shakes hands.
    ///
    /// Waits for as long as the server is silent: the caller sets the deadline. Not cancel-safe.
    /// With TLS 1.3 a server that refuses our certificate says so only in answer to what we send next.
    ///
    /// # Errors
    /// If the server does not speak TLS, or shows a certificate that is not trusted, or the connection fails.
    pub async fn connect(&self, conn: Conn) -> io::Result<Conn> {
        let connector = TlsConnector::from(self.config.clone());
        let name = self.server_name.clone();
        let connecting = if self.custom_first_byte {
            let mut start = Ok(Vec::new());
            let mut connecting = connector.connect_with(name, conn, |session| {
                start = with_client_hello(session);
            });
            // Both in one segment, as what looks at the first bytes might not wait for more.
            if let Some(conn) = connecting.get_mut() {
                conn.send(Bytes::from(start?)).await?;
            }
            connecting
        } else {
            connector.connect(name, conn)
        };
        let connected = connecting.await.map_err(pinned::in_plain_words)?;
        Ok(Conn::from(TlsStream::Client(connected)))
    }
}

/// Takes the ClientHello out of `session`.
fn with_client_hello(session: &mut ClientConnection) -> io::Result<Vec<u8>> {
    let mut start = vec![TLS_CUSTOM];
    while session.wants_write() {
        session.write_tls(&mut start)?;
    }
    Ok(start)
}

/// The name without brackets and zone: a zone means nothing to the other end.
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
