//! The server's certificate: which it is, and what clients are told of it.

use std::path::Path;

use mgrok_config::ServerTls as TlsConfig;
use mgrok_net::tls::{self, Fingerprint, ServerTls, ServerTlsOptions, TlsError};
use tracing::info;

use crate::start_error::StartError;

/// Reads or makes what `config` names. All transports show the same certificate.
///
/// Blocks for as long as it takes to read a few files.
pub(crate) fn load(config: &TlsConfig) -> Result<ServerTls, TlsError> {
    let certificate = match (&config.certificate, &config.auto_gen_cert_path) {
        (Some(paths), _) => Some(paths.clone()),
        (None, Some(path)) => Some(tls::kept_certificate(path)?),
        (None, None) => None,
    };
    ServerTls::new(ServerTlsOptions {
        certificate,
        trusted_ca: config.trusted_ca.clone(),
        ..ServerTlsOptions::default()
    })
}

/// Makes sure that the file `path` has a certificate and its key, as [`ServerTls::auto_gen_cert_path`](TlsConfig::auto_gen_cert_path)
/// wants it, and that they can be used. What is there is left alone. Returns the certificate's fingerprint.
///
/// Blocks for as long as it takes to read or write a file.
///
/// # Errors
/// The file cannot be made, or what is in it not be used.
pub fn keep_certificate(path: &Path) -> Result<Fingerprint, StartError> {
    let tls = load(&TlsConfig {
        auto_gen_cert_path: Some(path.to_owned()),
        ..TlsConfig::default()
    })?;
    Ok(tls.fingerprint())
}

/// Tells the operator what clients need to know.
pub(crate) fn announce(tls: &ServerTls, config: &TlsConfig) {
    let until = if config.certificate.is_some() || config.auto_gen_cert_path.is_some() {
        ""
    } else {
        " (until the next start, which makes another certificate, unless transport.tls.autoGenCertPath here names a file to \
         keep it in, or certFile and keyFile name one of your own)"
    };
    info!(
        "clients make sure that they reach this server with {}{until}",
        pin(tls)
    );
}

/// What clients have to put in their files.
pub(crate) fn pin(tls: &ServerTls) -> String {
    format!("transport.tls.pinnedSha256 = \"{}\"", tls.fingerprint())
}
