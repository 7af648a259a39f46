//! A verifier that accepts only the server certificate with the pinned fingerprint.

use std::fmt;
use std::io;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, SignatureScheme};

use super::fingerprint::Fingerprint;

/// Accepts one certificate, whatever its content, and only from the holder of its key. So the signature of the
/// handshake must be checked: certificates that do not allow that (X.509 v1) cannot be pinned.
#[derive(Debug)]
pub(super) struct PinnedCertificate {
    pinned: Fingerprint,
    /// If set, this verifier must accept the certificate, too.
    authority: Option<Arc<WebPkiServerVerifier>>,
    algorithms: WebPkiSupportedAlgorithms,
}

/// The server showed another certificate.
#[derive(Clone, Copy, thiserror::Error)]
#[error("the server's certificate has the SHA-256 fingerprint {seen}, but {pinned} is pinned")]
pub(super) struct NotPinned {
    seen: Fingerprint,
    pinned: Fingerprint,
}

/// Prints the plain message, because rustls prints the `Debug` form within its own error, and QUIC passes on only that.
impl fmt::Debug for NotPinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl PinnedCertificate {
    pub(super) fn new(
        pinned: Fingerprint,
        authority: Option<Arc<WebPkiServerVerifier>>,
        provider: &CryptoProvider,
    ) -> Arc<Self> {
        Arc::new(Self {
            pinned,
            authority,
            algorithms: provider.signature_verification_algorithms,
        })
    }
}

impl ServerCertVerifier for PinnedCertificate {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let (seen, pinned) = (Fingerprint::of(certificate), self.pinned);
        if seen != pinned {
            let error = OtherError(Arc::new(NotPinned { seen, pinned }));
            return Err(CertificateError::Other(error).into());
        }
        match &self.authority {
            None => Ok(ServerCertVerified::assertion()),
            Some(authority) => {
                authority.verify_server_cert(certificate, intermediates, name, ocsp_response, now)
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Replaces an error of a handshake by our own error inside, if there is one: rustls would print it as code.
pub(super) fn in_plain_words(error: io::Error) -> io::Error {
    let rustls = error.get_ref().and_then(|it| it.downcast_ref());
    let Some(Error::InvalidCertificate(CertificateError::Other(OtherError(ours)))) = rustls else {
        return error;
    };
    match ours.downcast_ref::<NotPinned>() {
        Some(not_pinned) => io::Error::new(error.kind(), *not_pinned),
        None => error,
    }
}
