//! The server's certificate: what clients are told of it, and its files, which are read again when they change.

use std::{path::Path, sync::Arc, time::Duration};

use mgrok_config::ServerTls as TlsConfig;
use mgrok_net::{
    error_chain::Chain,
    quic::Endpoint,
    tls::{self, ServerTls, ServerTlsOptions, TlsError},
};
use tokio::{task::spawn_blocking, time::sleep};
use tracing::{info, warn};

use crate::{ingress, server::StartError, shared::Shared};

/// How often files are looked at: soon enough for whoever waits for it, and a few small files to read.
const CHECK_INTERVAL: Duration = Duration::from_secs(3);

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
/// wants it, and that they can be used. What is there is left alone.
///
/// Blocks for as long as it takes to read or write a file.
///
/// # Errors
/// The file cannot be made, or what is in it not be used.
pub fn keep_certificate(path: &Path) -> Result<(), StartError> {
    load(&TlsConfig {
        auto_gen_cert_path: Some(path.to_owned()),
        ..TlsConfig::default()
    })?;
    Ok(())
}

/// Tells the operator what clients need to know.
pub(crate) fn announce(shared: &Shared) {
    let config = &shared.config.transport.tls;
    let until = if config.certificate.is_some() || config.auto_gen_cert_path.is_some() {
        ""
    } else {
        " (until the next start, which makes another certificate, unless transport.tls.autoGenCertPath here names a file to \
         keep it in, or certFile and keyFile name one of your own)"
    };
    info!(
        "clients make sure that they reach this server with {}{until}",
        pin(&shared.tls)
    );
}

/// What clients have to put in their files.
fn pin(tls: &ServerTls) -> String {
    format!("transport.tls.pinnedSha256 = \"{}\"", tls.fingerprint())
}

/// Reads the files again when they change, until the server stops listening. Who comes from then on gets what they hold, by `quic`
/// too; who is there stays.
pub(crate) async fn watch(shared: Arc<Shared>, quic: Option<Endpoint>) {
    let TlsConfig {
        certificate,
        auto_gen_cert_path,
        trusted_ca,
        ..
    } = &shared.config.transport.tls;
    if certificate.is_none() && auto_gen_cert_path.is_none() && trusted_ca.is_none() {
        return;
    }
    let stop = &shared.tasks.stop_listening;
    // The latest failure, which is told once.
    let mut failure = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(CHECK_INTERVAL) => {}
        }
        let tls = shared.tls.clone();
        let Ok(reloaded) = spawn_blocking(move || tls.reload()).await else {
            return warn!("certificates are not looked at any more: reading them failed badly");
        };
        match reloaded {
            Ok(false) => failure = None,
            Ok(true) if stop.is_cancelled() => return,
            Ok(true) => {
                failure = None;
                changed(&shared, quic.as_ref());
            }
            Err(error) => {
                let text = Chain(&error).to_string();
                if failure.as_ref() != Some(&text) {
                    warn!(
                        "the files of transport.tls have changed but cannot be used, so that nothing changes here: {text}"
                    );
                    failure = Some(text);
                }
            }
        }
    }
}

fn changed(shared: &Shared, quic: Option<&Endpoint>) {
    if let Some(quic) = quic {
        match ingress::quic::server(&shared.tls, &shared.config) {
            Ok(server) => quic.set_server(server),
            Err(error) => warn!(
                "the files of transport.tls have changed, but not for QUIC: {}",
                Chain(&error)
            ),
        }
    }
    info!(
        "the files of transport.tls were read again; clients now make sure that they reach this server with {}",
        pin(&shared.tls)
    );
}
