//! Certificates and keys from PEM files.

use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA256, SHA256_OUTPUT_LEN};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, Error, RootCertStore};

use super::TlsError;

/// A hash of files' contents.
pub(super) type Digest = [u8; SHA256_OUTPUT_LEN];

/// A hash of the contents of one end's files. Take it before loading them: a change in between is then found at the
/// next check.
pub(super) fn digest(
    certificate: Option<&(PathBuf, PathBuf)>,
    authorities: Option<&PathBuf>,
) -> Result<Digest, TlsError> {
    let mut all = Context::new(&SHA256);
    let pair = certificate.into_iter().flat_map(|(one, two)| [one, two]);
    for path in pair.chain(authorities) {
        let content = read(path)?;
        // So that moving bytes from one file to the next changes the hash.
        all.update(&content.len().to_le_bytes());
        all.update(&content);
    }
    let mut digest = Digest::default();
    digest.copy_from_slice(all.finish().as_ref());
    Ok(digest)
}

/// Reads a certificate chain and its key.
pub(super) fn certified_key(
    (certificate, key): &(PathBuf, PathBuf),
    provider: &CryptoProvider,
) -> Result<CertifiedKey, TlsError> {
    let chain = certificates(certificate)?;
    let der = PrivateKeyDer::from_pem_slice(&read(key)?).map_err(|source| match source {
        pem::Error::NoItemsFound => TlsError::Missing {
            path: key.clone(),
            wanted: "private key",
        },
        source => TlsError::Pem {
            path: key.clone(),
            source,
        },
    })?;
    let der = provider.key_provider.load_private_key(der);
    let certified = CertifiedKey::new(
        chain,
        der.map_err(|source| TlsError::Key {
            path: key.clone(),
            source,
        })?,
    );
    match certified.keys_match() {
        Ok(()) => Ok(certified),
        // The certificate is well-formed but of a kind that rustls cannot parse, such as X.509 v1. frp's peers accept
        // such certificates, so the check is left to the peer.
        Err(Error::InvalidCertificate(CertificateError::Other(_))) => Ok(certified),
        Err(source) => Err(TlsError::Mismatch {
            certificate: certificate.clone(),
            key: key.clone(),
            source,
        }),
    }
}

/// Reads the authorities whose certificates are trusted.
pub(super) fn authorities(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    for (index, certificate) in certificates(path)?.into_iter().enumerate() {
        store
            .add(certificate)
            .map_err(|source| TlsError::Authority {
                path: path.to_owned(),
                number: index + 1,
                source,
            })?;
    }
    Ok(store)
}

/// The first certificate of a file.
pub(super) fn first_certificate(path: &Path) -> Result<CertificateDer<'static>, TlsError> {
    // There is one, or that was the error.
    let missing = || TlsError::Missing {
        path: path.to_owned(),
        wanted: "certificate",
    };
    certificates(path)?.into_iter().next().ok_or_else(missing)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(path)?).collect();
    let found = found.map_err(|source| TlsError::Pem {
        path: path.to_owned(),
        source,
    })?;
    if found.is_empty() {
        return Err(TlsError::Missing {
            path: path.to_owned(),
            wanted: "certificate",
        });
    }
    Ok(found)
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Read {
        path: path.to_owned(),
        source,
    })
}
