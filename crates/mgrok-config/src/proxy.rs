//! One published service.

use std::collections::BTreeMap;

use crate::bandwidth::Bandwidth;

/// A proxy of the client's file. Equality is what a reload goes by: a proxy that differs is started anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyConfig {
    /// What the proxy is called, without the user's prefix; never empty, and unique within a [`ClientConfig`](crate::ClientConfig).
    pub name: String,
    /// What it publishes, and as what.
    pub kind: ProxyKind,
    /// The address or name of the local service.
    pub local_host: String,
    /// The port of the local service.
    pub local_port: u16,
    /// Shown by the server; keys are qualified names.
    pub annotations: BTreeMap<String, String>,
    /// Handed to the server's plugins.
    pub metadatas: BTreeMap<String, String>,
    /// Encrypts what users send and receive with a key made from the token.
    pub use_encryption: bool,
    /// Compresses what users send and receive.
    pub use_compression: bool,
    /// How fast the proxy may be; `None` is as fast as it can.
    pub bandwidth: Option<Bandwidth>,
}

impl ProxyConfig {
    /// A proxy for a service on `127.0.0.1`, with nothing else configured.
    pub fn new(name: impl Into<String>, kind: ProxyKind, local_port: u16) -> Self {
        Self {
            name: name.into(),
            kind,
            // frp: the same
            local_host: "127.0.0.1".to_owned(),
            local_port,
            annotations: BTreeMap::new(),
            metadatas: BTreeMap::new(),
            use_encryption: false,
            use_compression: false,
            bandwidth: None,
        }
    }
}

/// What a proxy publishes, with what only this kind has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProxyKind {
    /// A TCP port of the server.
    Tcp {
        /// The port; 0 lets the server choose.
        remote_port: u16,
    },
    /// A UDP port of the server.
    Udp {
        /// The port; 0 lets the server choose.
        remote_port: u16,
    },
}

impl ProxyKind {
    /// The word that configuration files and messages use.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Tcp { .. } => "tcp",
            Self::Udp { .. } => "udp",
        }
    }
}
