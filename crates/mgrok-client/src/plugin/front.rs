//! What takes TLS off users' connections in front of a plugin.
//!
//! Certificates are renewed while the client runs. So their files are looked at when a user comes, though not for each of many: who
//! comes after a renewal gets the new certificate, and nobody has to wait for files that no user asks for.

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

/// How often files are looked at, at most.
const CHECK_INTERVAL: Duration = Duration::from_secs(3);

/// Takes TLS off.
#[derive(Debug)]
pub(crate) struct Front {
    tls: ServerTls,
    /// When the files of the certificate were looked at; `None`: there are none.
    looked: Option<Mutex<Looked>>,
}

#[derive(Debug)]
struct Looked {
    at: Instant,
    /// The latest failure, which is told once.
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
        let looked = Looked {
            at: Instant::now(),
            failure: None,
        };
        Ok(Self {
            tls,
            looked: certificate.is_some().then(|| Mutex::new(looked)),
        })
    }

    /// Shakes hands with a user, who does not have all the time in the world.
    pub(crate) async fn accept(&self, conn: Conn) -> io::Result<Conn> {
        self.look().await;
        in_time(self.tls.accept(conn)).await
    }

    /// Reads the files again if it is time.
    async fn look(&self) {
        let Some(looked) = &self.looked else { return };
        {
            let mut looked = looked.lock().unwrap_or_else(PoisonError::into_inner);
            if looked.at.elapsed() < CHECK_INTERVAL {
                return;
            }
            // Others who come meanwhile get what there is.
            looked.at = Instant::now();
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
        let mut looked = looked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(text) = &failure
            && looked.failure != failure
        {
            warn!(
                "the plugin's certificate has changed but cannot be used, so the one before stays: {text}"
            );
        }
        looked.failure = failure;
    }
}
