//! TLS termination in front of a plugin.
//!
//! Certificates are renewed while the client runs. So their files are checked when a user connects, at most once in
//! [`CHECK_INTERVAL`]: a user after a renewal gets the new certificate.

use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use mgrok_net::conn::Conn;
use mgrok_net::error_chain::Chain;
use mgrok_net::tls::{ServerTls, ServerTlsOptions, TlsError};
use tokio::task::spawn_blocking;
use tokio::time::Instant;
use tracing::{info, warn};

use super::handshake::in_time;

/// The shortest time between two checks of the files.
const CHECK_INTERVAL: Duration = Duration::from_secs(3);

/// Terminates TLS.
#[derive(Debug)]
pub(crate) struct Front {
    tls: ServerTls,
    /// When the certificate's files were checked; `None`: there are no files.
    checked: Option<Mutex<Checked>>,
}

#[derive(Debug)]
struct Checked {
    at: Instant,
    /// The latest failure, which is logged once.
    failure: Option<String>,
}

impl Front {
    /// With the files of a certificate and its key, or a certificate made for it, and with these protocols to choose from (ALPN).
    pub(super) fn new(
        certificate: &Option<(PathBuf, PathBuf)>,
        protocols: &[&[u8]],
    ) -> Result<Self, TlsError> {
        let tls = ServerTls::new(ServerTlsOptions {
            certificate: certificate.clone(),
            // Users need no certificate.
            trusted_ca: None,
            alpn: protocols.iter().map(|name| name.to_vec()).collect(),
        })?;
        let checked = Checked {
            at: Instant::now(),
            failure: None,
        };
        Ok(Self {
            tls,
            checked: certificate.is_some().then(|| Mutex::new(checked)),
        })
    }

    /// Does the TLS handshake with a user, within a time limit.
    pub(crate) async fn accept(&self, conn: Conn) -> io::Result<Conn> {
        self.check().await;
        in_time(self.tls.accept(conn)).await
    }

    /// Reads the files again if [`CHECK_INTERVAL`] has passed.
    async fn check(&self) {
        let Some(checked) = &self.checked else { return };
        {
            let mut checked = checked.lock().unwrap_or_else(PoisonError::into_inner);
            if checked.at.elapsed() < CHECK_INTERVAL {
                return;
            }
            // Users who connect meanwhile get the certificate there is.
            checked.at = Instant::now();
        }
        let tls = self.tls.clone();
        let Ok(reloaded) = spawn_blocking(move || tls.reload()).await else {
            return warn!("the plugin's certificate cannot be read again");
        };
        let failure = match reloaded {
            Ok(has_changed) => {
                if has_changed {
                    info!("the plugin's certificate has changed and was read again");
                }
                None
            }
            Err(error) => Some(Chain(&error).to_string()),
        };
        let mut checked = checked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(text) = &failure
            && checked.failure != failure
        {
            warn!(
                "the plugin's certificate has changed but cannot be used, so the one before stays: {text}"
            );
        }
        checked.failure = failure;
    }
}
