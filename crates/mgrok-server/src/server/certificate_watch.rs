//! Reads the files of TLS again when they change. Whoever comes from then on gets what they hold; who is there stays.

use std::time::Duration;

use mgrok_net::error_chain::Chain;
use mgrok_net::quic::Endpoint;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::certificates::pin;
use crate::policy::{CurrentPolicy, Policy};

/// How often files are looked at: soon enough for whoever waits for it, and a few small files to read.
const CHECK_INTERVAL: Duration = Duration::from_secs(3);

/// Looks at the files of the current policy until the server stops listening.
pub(super) async fn run(
    current: CurrentPolicy,
    quic: watch::Receiver<Option<Endpoint>>,
    stop: CancellationToken,
) {
    let mut changes = current.changes();
    // The latest failure, which is logged once.
    let mut failure = None;
    loop {
        let policy = current.now();
        let has_files = policy.config.transport.tls.has_files();
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(CHECK_INTERVAL), if has_files => {}
            _ = changes.changed() => continue,
        }
        let tls = policy.tls.clone();
        let Ok(reloaded) = spawn_blocking(move || tls.reload()).await else {
            return warn!("certificates are not looked at any more: reading them failed badly");
        };
        match reloaded {
            Ok(false) => failure = None,
            Ok(true) if stop.is_cancelled() => return,
            Ok(true) => {
                failure = None;
                changed(&policy, quic.borrow().as_ref());
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

fn changed(policy: &Policy, quic: Option<&Endpoint>) {
    if let Some(endpoint) = quic {
        match policy.quic() {
            Ok(server) => endpoint.set_server(server),
            Err(error) => warn!(
                "the files of transport.tls have changed, but not for QUIC: {}",
                Chain(&error)
            ),
        }
    }
    info!(
        "the files of transport.tls were read again; clients now make sure that they reach this server with {}",
        pin(&policy.tls)
    );
}
