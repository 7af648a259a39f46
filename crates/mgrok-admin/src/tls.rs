//! TLS of the admin port.

use std::convert::Infallible;
use std::future::pending;
use std::time::Duration;

use mgrok_config::WebServerTls;
use mgrok_net::error_chain::Chain;
use mgrok_net::tls::{ServerTls, ServerTlsOptions, TlsError};
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tracing::{info, warn};

/// How often the files are looked at: soon enough for whoever waits for it.
const CHECK_INTERVAL: Duration = Duration::from_secs(3);

/// The TLS that `config` asks for.
///
/// # Errors
/// If its files cannot be used.
pub(crate) fn load(config: &WebServerTls) -> Result<ServerTls, TlsError> {
    ServerTls::new(ServerTlsOptions {
        certificate: Some((config.cert_file.clone(), config.key_file.clone())),
        ..ServerTlsOptions::default()
    })
}

/// Reads the files of the TLS that `tls` says there is again when they change.
pub(crate) async fn reload_on_change(tls: impl Fn() -> Option<ServerTls>) -> Infallible {
    // The latest failure, which is logged once.
    let mut failure = None;
    loop {
        sleep(CHECK_INTERVAL).await;
        let Some(tls) = tls() else { continue };
        match spawn_blocking(move || tls.reload()).await {
            Ok(Ok(false)) => failure = None,
            Ok(Ok(true)) => {
                failure = None;
                info!("the files of webServer.tls were read again");
            }
            Ok(Err(error)) => {
                let text = Chain(&error).to_string();
                if failure.as_ref() != Some(&text) {
                    warn!(
                        "the files of webServer.tls have changed but cannot be used, so that nothing changes here: {text}"
                    );
                    failure = Some(text);
                }
            }
            Err(_) => {
                warn!(
                    "the files of webServer.tls are not looked at any more: reading them failed badly"
                );
                return pending().await;
            }
        }
    }
}
