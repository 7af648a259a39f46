//! The authorities that the system trusts.

use rustls::RootCertStore;

use super::TlsError;

/// Reads them from where the system keeps them, or where `SSL_CERT_FILE` and `SSL_CERT_DIR` say.
pub(super) fn authorities() -> Result<RootCertStore, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut store = RootCertStore::empty();
    // Systems trust certificates that are too odd for rustls. Nobody who is signed by one of them will be trusted.
    store.add_parsable_certificates(found.certs);
    if store.is_empty() {
        return Err(TlsError::NoAuthorities {
            source: found.errors.into_iter().next(),
        });
    }
    Ok(store)
}
