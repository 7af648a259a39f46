//! Server hooks, `httpPlugins` in frp's configuration: HTTP services that are asked before something happens on the server.

use mgrok_proto::hook::Op;

/// One entry of `httpPlugins`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpPlugin {
    /// Names it in the log; may be empty.
    pub name: String,
    /// The operations that it is asked about or notified of; each once.
    pub ops: Vec<Op>,
    /// How it is spoken to.
    pub scheme: PluginScheme,
    /// A name or an address, without brackets.
    pub host: String,
    /// Its port; not 0.
    pub port: u16,
    /// Begins with `/` and has no query.
    pub path: String,
}

/// How a plugin is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PluginScheme {
    /// In clear text.
    Http,
    /// Through TLS.
    Https {
        /// Whether its certificate must be signed by an authority that the system trusts.
        verify: bool,
    },
}

impl PluginScheme {
    /// Where it is if no port is named.
    pub fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https { .. } => 443,
        }
    }
}
