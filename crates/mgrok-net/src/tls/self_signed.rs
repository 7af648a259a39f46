//! The certificate of a server that has none configured.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    Certificate, CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256,
    SerialNumber,
};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::sign::CertifiedKey;
use tempfile::NamedTempFile;

use super::TlsError;

/// Backdates the certificate, for clients whose clock is slow.
const BACKDATED_BY: Duration = Duration::from_secs(60 * 60);
const VALID_FOR: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);
const SERIAL_LEN: usize = 16;

/// Makes sure that the file `path` has a certificate and its key, both in PEM form: an existing file is left alone, a
/// missing one is generated, readable only by its owner. Returns the paths of certificate and key for
/// [`ServerTlsOptions::certificate`](super::ServerTlsOptions::certificate), which checks whether they are usable.
///
/// Blocks while it writes the file.
///
/// # Errors
/// The certificate cannot be generated, or the file cannot be written. Its directory must exist.
pub fn kept_certificate(path: &Path) -> Result<(PathBuf, PathBuf), TlsError> {
    let is_there = path.try_exists().map_err(|source| TlsError::Read {
        path: path.to_owned(),
        source,
    })?;
    if !is_there {
        let (certificate, key) = generate_pair()?;
        let pem = certificate.pem() + &key.serialize_pem();
        write_whole(path, pem.as_bytes()).map_err(|source| TlsError::Write {
            path: path.to_owned(),
            source,
        })?;
    }
    Ok((path.to_owned(), path.to_owned()))
}

/// Writes a file atomically, readable only by its owner.
fn write_whole(path: &Path, content: &[u8]) -> io::Result<()> {
    // In the same directory, because a rename does not work across file systems.
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    };
    // A temporary file has mode 0600, and is removed unless it is persisted.
    let mut file = NamedTempFile::new_in(directory)?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

/// Makes a key and a certificate without a name.
pub(super) fn generate(provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
    let (certificate, key) = generate_pair()?;
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    let key = provider
        .key_provider
        .load_private_key(key.into())
        .map_err(TlsError::Setup)?;
    Ok(CertifiedKey::new(vec![certificate.der().clone()], key))
}

// frp: the same except for the key, which is RSA (pkg/transport/tls.go#newRandomTLSKeyPair). Every peer supports ECDSA
// P-256, and generating an RSA key would take a second.
fn generate_pair() -> Result<(Certificate, KeyPair), TlsError> {
    let failed = |error| TlsError::Generate(io::Error::other(error));
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)?;
    let mut serial = [0; SERIAL_LEN];
    aws_lc_rs::rand::fill(&mut serial)
        .map_err(|_| TlsError::Generate(io::Error::other("no random numbers")))?;
    let now = SystemTime::now();
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.not_before = (now - BACKDATED_BY).into();
    params.not_after = (now + VALID_FOR).into();
    let certificate = params.self_signed(&key).map_err(failed)?;
    Ok((certificate, key))
}
