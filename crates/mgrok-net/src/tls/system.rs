//! The authorities that the system trusts.

use rustls::RootCertStore;

use super::TlsError;

/// Reads them from the system's store, or from where `SSL_CERT_FILE` and `SSL_CERT_DIR` say.
pub(super) fn authorities() -> Result<RootCertStore, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut store = RootCertStore::empty();
    // rustls cannot parse some certificates that systems trust. Certificates signed by those are not trusted.
    store.add_parsable_certificates(found.certs);
    if store.is_empty() {
        return Err(TlsError::NoAuthorities {
            source: found.errors.into_iter().next(),
        });
    }
    Ok(store)
}
