//! Identifies certificates by their hash.

use std::fmt;
use std::path::Path;

use aws_lc_rs::constant_time;
use aws_lc_rs::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use rustls::pki_types::CertificateDer;

use super::{TlsError, files};
use crate::conn::Conn;

/// The SHA-256 of a certificate in DER form, as `openssl x509 -noout -fingerprint -sha256` prints it.
/// Prints as 64 lower-case hex digits, compares in constant time.
#[derive(Clone, Copy, Eq)]
pub struct Fingerprint(pub [u8; SHA256_OUTPUT_LEN]);

impl Fingerprint {
    /// The fingerprint of the first certificate in a file in PEM form. Blocks while it reads the file.
    ///
    /// # Errors
    /// If the file cannot be read or has no certificate.
    pub fn of_file(path: &Path) -> Result<Self, TlsError> {
        files::first_certificate(path).map(|it| Self::of(&it))
    }

    pub(crate) fn of(certificate: &CertificateDer<'_>) -> Self {
        let mut bytes = [0; SHA256_OUTPUT_LEN];
        bytes.copy_from_slice(digest(&SHA256, certificate).as_ref());
        Self(bytes)
    }

    /// The fingerprint of the certificate that the peer of `conn` showed; `None` without TLS, if TLS lies below another
    /// layer, or if the peer showed none. For QUIC, see [`Connection`](crate::quic::Connection::fingerprint).
    ///
    /// The certificate need not have been verified, so this tells which fingerprint to pin, not who the peer is.
    pub fn of_other_end(conn: &Conn) -> Option<Self> {
        conn.peer_certificate().map(Self::of)
    }
}

impl PartialEq for Fingerprint {
    fn eq(&self, other: &Self) -> bool {
        constant_time::verify_slices_are_equal(&self.0, &other.0).is_ok()
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}
