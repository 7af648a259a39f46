//! TLS for both ends, as frp's peers expect it.
//!
//! Without a certificate authority no end is authenticated: the server generates a certificate, and the client accepts
//! any. That is frp's default. It keeps out eavesdroppers but not an active attacker. With `trusted_ca` an end requires
//! a certificate signed by one of these authorities; a client can also require one certificate by its [`Fingerprint`].
//!
//! Keys and certificates are read when [`ServerTls`] or [`ClientTls`] is created; an error there names the file and its
//! fault. Both can read them again later. TLS 1.2 and 1.3; no ALPN unless requested.

mod any_certificate;
mod client;
mod fault;
mod files;
mod fingerprint;
mod handshake;
mod pinned;
mod record;
mod self_signed;
mod server;
mod shown;
mod stream;
mod system;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::CipherSuite;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem;

#[cfg(test)]
pub(crate) use any_certificate::AnyCertificate;
pub use client::{ClientTls, ClientTlsOptions};
pub use fault::CertificateFault;
pub use fingerprint::Fingerprint;
pub use self_signed::kept_certificate;
pub(crate) use server::config as server_config;
pub use server::{ServerTls, ServerTlsOptions};
pub use shown::{CertificateDetails, ShownCertificate, UnixSeconds, Validity};
pub(crate) use stream::TlsStream;

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// An authority's certificate cannot be used.
    #[error("{}: certificate {number} cannot be used as an authority", path.display())]
    Authority {
        /// The file.
        path: PathBuf,
        /// The certificate's number in the file, from 1.
        number: usize,
        /// What is wrong with it.
        #[source]
        source: rustls::Error,
    },
    /// A server certificate cannot be generated.
    #[error("cannot generate a certificate")]
    Generate(#[source] io::Error),
    /// The private key cannot be used.
    #[error("{}: the private key cannot be used", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: rustls::Error,
    },
    /// The certificate does not match the key, or is damaged.
    #[error("{}: the first certificate does not go with the private key in {}", certificate.display(), key.display())]
    Mismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What is wrong.
        #[source]
        source: rustls::Error,
    },
    /// A file contains no item of the wanted kind.
    #[error("{}: no {wanted} in PEM form", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// The wanted kind.
        wanted: &'static str,
    },
    /// No trusted authorities were found on this system.
    #[error(
        "no trusted authorities found on this system; name a file or directory of them in SSL_CERT_FILE or SSL_CERT_DIR"
    )]
    NoAuthorities {
        /// The first error of the search, if there was one.
        #[source]
        source: Option<rustls_native_certs::Error>,
    },
    /// A file is not well-formed PEM.
    #[error("{}: malformed PEM", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: pem::Error,
    },
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A server certificate cannot be checked against this name.
    #[error("transport.tls.serverName `{name}` is not a host name or address")]
    ServerName {
        /// The name.
        name: String,
    },
    /// rustls does not accept these settings.
    #[error("cannot set up TLS")]
    Setup(#[source] rustls::Error),
    /// A generated certificate cannot be stored.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Whether a handshake with a client failed because it showed no certificate, or none that an authority has signed and
/// that is currently valid. `error` is the error of [`ServerTls::accept`].
pub fn is_about_certificate(error: &io::Error) -> bool {
    let error = error.get_ref().and_then(|it| it.downcast_ref());
    matches!(
        error,
        Some(rustls::Error::NoCertificatesPresented | rustls::Error::InvalidCertificate(_))
    )
}

/// Passed explicitly and never installed process-wide: with two providers in the program, rustls cannot choose a
/// default.
///
/// A client prefers AES with keys of 128 bits, as Go's does: no weaker here, and a tenth cheaper.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    let preferred = CipherSuite::TLS13_AES_128_GCM_SHA256;
    provider
        .cipher_suites
        .sort_by_key(|suite| suite.suite() != preferred);
    Arc::new(provider)
}

#[cfg(test)]
mod tests;
