//! The certificate of a server that was given none.

use std::io;
use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256, SerialNumber};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::sign::CertifiedKey;

use super::TlsError;

/// Allows for clients whose clock is slow.
const VALID_SINCE: Duration = Duration::from_secs(60 * 60);
const VALID_FOR: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);
const SERIAL_LEN: usize = 16;

/// Makes a key and a certificate without a name, anew for each server.
// frp: the same but for the key, which is RSA (pkg/transport/tls.go#newRandomTLSKeyPair). Every
// peer knows ECDSA P-256, and its key takes no second to make.
pub(super) fn generate(provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
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
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    let key = provider
        .key_provider
        .load_private_key(key.into())
        .map_err(TlsError::Setup)?;
    Ok(CertifiedKey::new(vec![certificate.der().clone()], key))
}
