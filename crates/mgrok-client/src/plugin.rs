//! Plugins: what serves the users of a proxy in place of its local service.

mod bridge;
mod front;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mgrok_config::{LocalAddr, Plugin as Config};
use mgrok_http::Forwarded;
use mgrok_net::conn::Conn;
use mgrok_net::resolver::Resolver;
use mgrok_net::tls::TlsError;
use tokio::time::timeout;

use bridge::{Bridge, BridgeOptions};
use front::Front;

/// How long the other end of TLS may take to shake hands, be it a user or a website.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);

/// What serves the users of a proxy in place of its local service. Shared by all of them.
#[derive(Debug)]
pub(crate) enum Plugin {
    /// Hands requests on to a website.
    Bridge(Arc<Bridge>),
    /// Takes TLS off, and connects users to a TCP service.
    Tls2Raw { tls: Front, local_addr: LocalAddr },
    /// Connects users to a service on a Unix socket.
    UnixDomainSocket(PathBuf),
}

/// Why a plugin cannot be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PluginError {
    #[error("the header `{0}` cannot be set to its value")]
    Header(String),
    #[error("the host of localAddr, `{0}`, is not a name or address that TLS knows")]
    Host(String),
    #[error(transparent)]
    Tls(TlsError),
}

impl From<TlsError> for PluginError {
    fn from(error: TlsError) -> Self {
        match error {
            // It speaks of another key.
            TlsError::ServerName { name } => Self::Host(name),
            error => Self::Tls(error),
        }
    }
}

impl Plugin {
    /// Makes the plugin of `config`. Reads the files that it names. `resolver` looks up the names of what it leads to.
    pub(crate) fn new(config: &Config, resolver: &Resolver) -> Result<Self, PluginError> {
        // frp: what becomes of X-Forwarded-For in each of them (pkg/plugin/client/http2http.go,
        // http2https.go, https2http.go, https2https.go)
        let bridge = match config {
            Config::Http2Http(website) => BridgeOptions {
                front: None,
                website,
                website_has_tls: false,
                forwarded: Forwarded::Remove,
            },
            Config::Http2Https(website) => BridgeOptions {
                front: None,
                website,
                website_has_tls: true,
                forwarded: Forwarded::Keep,
            },
            Config::Https2Http { website, front } => BridgeOptions {
                front: Some(front),
                website,
                website_has_tls: false,
                forwarded: Forwarded::Append { proto: "https" },
            },
            Config::Https2Https { website, front } => BridgeOptions {
                front: Some(front),
                website,
                website_has_tls: true,
                forwarded: Forwarded::Append { proto: "https" },
            },
            Config::Tls2Raw {
                local_addr,
                certificate,
            } => {
                return Ok(Self::Tls2Raw {
                    tls: Front::new(certificate, &[])?,
                    local_addr: local_addr.clone(),
                });
            }
            Config::UnixDomainSocket { path } => return Ok(Self::UnixDomainSocket(path.clone())),
        };
        Ok(Self::Bridge(Arc::new(Bridge::new(&bridge, resolver)?)))
    }
}

/// Waits for a handshake, but not for ever.
async fn in_time(handshake: impl Future<Output = io::Result<Conn>>) -> io::Result<Conn> {
    match timeout(HANDSHAKE_TIME, handshake).await {
        Ok(done) => done,
        Err(_elapsed) => {
            let why = format!("no TLS handshake within {HANDSHAKE_TIME:?}");
            Err(io::Error::new(io::ErrorKind::TimedOut, why))
        }
    }
}
