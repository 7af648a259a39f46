//! TLS to one server: the files that it needs, read again when they change, and the fingerprint of a server that is not verified.

use std::sync::{Mutex, PoisonError};

use mgrok_config::{self as config, ServerAddr};
use mgrok_net::error_chain::Chain;
use mgrok_net::tls::{ClientTls, ClientTlsOptions, Fingerprint, TlsError};
use tracing::{info, warn};

use super::transport::Transport;

/// The most certificates of one server that were logged and are remembered. More mean several servers behind one name.
const MAX_TOLD: usize = 16;

/// TLS to one server.
#[derive(Debug)]
pub(super) struct ServerTls {
    /// Whether transports have TLS that can be without.
    enabled: bool,
    server: ServerAddr,
    /// Whether the server is authenticated.
    verified: bool,
    current: Mutex<ClientTls>,
    told: Mutex<Vec<Fingerprint>>,
}

impl ServerTls {
    /// Reads what is needed. Without `config` some transports have no TLS, and the others check nothing.
    pub(super) fn new(
        config: Option<&config::ClientTls>,
        server: &ServerAddr,
    ) -> Result<Self, TlsError> {
        let own_name = || server.host.clone();
        let options = config.map_or_else(
            || ClientTlsOptions {
                server_name: own_name(),
                ..ClientTlsOptions::default()
            },
            |config| ClientTlsOptions {
                certificate: config.certificate.clone(),
                trusted_ca: config.trusted_ca.clone(),
                trusts_system: config.trusts_system,
                pinned_sha256: config.pinned_sha256,
                server_name: config.server_name.clone().unwrap_or_else(own_name),
                custom_first_byte: config.custom_first_byte,
            },
        );
        Ok(Self {
            enabled: config.is_some(),
            server: server.clone(),
            verified: options.trusted_ca.is_some()
                || options.trusts_system
                || options.pinned_sha256.is_some(),
            current: Mutex::new(ClientTls::new(options)?),
            told: Mutex::default(),
        })
    }

    /// Whether `transport` has TLS.
    pub(super) fn is_on(&self, transport: Transport) -> bool {
        match transport {
            Transport::Kcp | Transport::Tcp | Transport::WebSocket => self.enabled,
            Transport::Quic | Transport::Wss => true,
        }
    }

    /// What a new session is to have. Reads the files again if they have changed; if they cannot be used, what was read before stays.
    pub(super) fn current(&self) -> ClientTls {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        match current.reloaded() {
            Ok(None) => {}
            Ok(Some(reloaded)) => {
                info!("the changed files of transport.tls are in use");
                *current = reloaded;
            }
            Err(error) => warn!(
                "the files of transport.tls cannot be read again, what they held stays in use: {}",
                Chain(&error)
            ),
        }
        current.clone()
    }

    /// Takes note of the certificate that the server has shown, and says how to insist on it if nobody has checked it.
    pub(super) fn handle_certificate(&self, shown: Option<Fingerprint>) {
        let Some(shown) = shown.filter(|_| !self.verified) else {
            return;
        };
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.contains(&shown) {
            return;
        }
        if told.len() == MAX_TOLD {
            told.remove(0);
        }
        told.push(shown);
        warn!(
            "the certificate of {} is not verified, so that somebody in between could have shown it; if the server says that it is \
             its own, insist on it by transport.tls.pinnedSha256 = \"{shown}\"",
            self.server
        );
    }
}
