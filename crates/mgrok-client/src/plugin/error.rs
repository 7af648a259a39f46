//! Why a plugin cannot be made.

use mgrok_net::tls::TlsError;

/// Why a plugin cannot be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PluginError {
    #[error("the header `{0}` cannot be set to its value")]
    Header(String),
    #[error("the host of localAddr, `{0}`, is not a name or address that TLS knows")]
    Host(String),
    #[error("the client has no virtual network: set `virtualNet.address`")]
    NoVirtualNet,
    #[error(transparent)]
    Tls(TlsError),
}

impl From<TlsError> for PluginError {
    fn from(error: TlsError) -> Self {
        match error {
            // Its own text names a key that plugins do not have.
            TlsError::ServerName { name } => Self::Host(name),
            error => Self::Tls(error),
        }
    }
}
