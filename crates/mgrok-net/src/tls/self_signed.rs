//! The certificate of a server that was given none.

use std::fs::{File, OpenOptions};
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

use super::TlsError;

/// Allows for clients whose clock is slow.
const VALID_SINCE: Duration = Duration::from_secs(60 * 60);
const VALID_FOR: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);
const SERIAL_LEN: usize = 16;

/// Makes sure that the file `path` has a certificate and its key, both in PEM form: what is there is left alone, and what is not is
/// made, readable by nobody else. Returns where each of the two is, for
/// [`ServerTlsOptions::certificate`](super::ServerTlsOptions::certificate), which finds out whether it is of any use.
///
/// Blocks for as long as it takes to write a file.
///
/// # Errors
/// Nothing can be generated, or the file not be written. Its directory must be there.
pub fn kept_certificate(path: &Path) -> Result<(PathBuf, PathBuf), TlsError> {
    let is_there = path.try_exists().map_err(|source| TlsError::Read {
        path: path.to_owned(),
        source,
    })?;
    if !is_there {
        let (certificate, key) = make()?;
        let pem = certificate.pem() + &key.serialize_pem();
        write_whole(path, pem.as_bytes()).map_err(|source| TlsError::Write {
            path: path.to_owned(),
            source,
        })?;
    }
    Ok((path.to_owned(), path.to_owned()))
}

/// Writes a file that is there whole or not at all.
fn write_whole(path: &Path, content: &[u8]) -> io::Result<()> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut unfinished = std::ffi::OsString::from(".");
    unfinished.push(name);
    // Two programs may do this at a time.
    unfinished.push(format!(".{}", std::process::id()));
    let unfinished = path.with_file_name(unfinished);
    let written = create(&unfinished).and_then(|mut file| {
        file.write_all(content)?;
        file.sync_all()?;
        std::fs::rename(&unfinished, path)
    });
    if written.is_err() {
        // There may be none.
        let _ = std::fs::remove_file(&unfinished);
    }
    written
}

/// Creates a file that nobody else can read, in place of one that a program left that had the same number.
fn create(path: &Path) -> io::Result<File> {
    let _ = std::fs::remove_file(path);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Makes a key and a certificate without a name.
pub(super) fn generate(provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
    let (certificate, key) = make()?;
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    let key = provider
        .key_provider
        .load_private_key(key.into())
        .map_err(TlsError::Setup)?;
    Ok(CertifiedKey::new(vec![certificate.der().clone()], key))
}

// frp: the same but for the key, which is RSA (pkg/transport/tls.go#newRandomTLSKeyPair). Every
// peer knows ECDSA P-256, and its key takes no second to make.
fn make() -> Result<(Certificate, KeyPair), TlsError> {
    let failed = |error| TlsError::Generate(io::Error::other(error));
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)?;
    let mut serial = [0; SERIAL_LEN];
    aws_lc_rs::rand::fill(&mut serial)
        .map_err(|_| TlsError::Generate(io::Error::other("no random numbers")))?;
    let now = SystemTime::now();
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.not_before = (now - VALID_SINCE).into();
    params.not_after = (now + VALID_FOR).into();
    let certificate = params.self_signed(&key).map_err(failed)?;
    Ok((certificate, key))
}
