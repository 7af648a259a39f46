//! A visitor: a local listener for a private proxy of another client.

use std::time::Duration;

use mgrok_proto::auth::Secret;

use crate::virtual_net::VisitorPlugin;

/// A visitor of the client's file. Equality is what a reload goes by: a visitor that differs is started anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VisitorConfig {
    /// What the visitor is called; never empty, and unique within a [`ClientConfig`](crate::ClientConfig).
    pub name: String,
    /// What it visits.
    pub kind: VisitorKind,
    /// The user whose proxy it is; `None` is the client's own.
    pub server_user: Option<String>,
    /// The proxy's name, without the user's prefix; never empty.
    pub server_name: String,
    /// What the proxy's client knows too.
    pub secret_key: Secret,
    /// The address that it listens on.
    pub bind_addr: String,
    /// The port that it listens on; `None` does not listen, and serves only as the `fallbackTo` of another visitor, or its plugin.
    pub bind_port: Option<u16>,
    /// What it does beside listening; never that of an `sudp` visitor, which has no use for one.
    pub plugin: Option<VisitorPlugin>,
    /// Encrypts what users send and receive, up to the server, with a key made from `secret_key`.
    pub use_encryption: bool,
    /// Compresses what users send and receive, up to the server.
    pub use_compression: bool,
}

/// What a visitor visits, with what only this kind has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VisitorKind {
    /// A TCP service, through the server.
    Stcp,
    /// A UDP service, through the server.
    Sudp,
    /// A TCP service, past the server.
    Xtcp(XtcpVisitor),
}

impl VisitorKind {
    /// The word that configuration files and messages use.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Stcp => "stcp",
            Self::Sudp => "sudp",
            Self::Xtcp(_) => "xtcp",
        }
    }
}

/// What an `xtcp` visitor has beside the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XtcpVisitor {
    /// What the tunnel to the proxy's client is made of.
    pub protocol: TunnelProtocol,
    /// Opens the tunnel before a user comes, and again when it is lost.
    pub keep_tunnel_open: bool,
    /// How often it may be tried in an hour to keep the tunnel open.
    pub max_retries_an_hour: u32,
    /// How often the tunnel is looked after to keep it open.
    pub min_retry_interval: Duration,
    /// The visitor that takes users over when there is no tunnel in time; `None` turns them away.
    pub fallback_to: Option<String>,
    /// How long a user waits for the tunnel before that.
    pub fallback_timeout: Duration,
    /// Keeps this client's addresses in its own network from the other side.
    pub disable_assisted_addrs: bool,
}

impl Default for XtcpVisitor {
    fn default() -> Self {
        // frp: these values
        Self {
            protocol: TunnelProtocol::Quic,
            keep_tunnel_open: false,
            max_retries_an_hour: 8,
            min_retry_interval: Duration::from_secs(90),
            fallback_to: None,
            fallback_timeout: Duration::from_millis(1000),
            disable_assisted_addrs: false,
        }
    }
}

/// What a tunnel between two clients is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TunnelProtocol {
    /// QUIC.
    #[default]
    Quic,
    /// KCP, with yamux on top.
    Kcp,
}

impl TunnelProtocol {
    /// The word that configuration files and messages use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Quic => "quic",
            Self::Kcp => "kcp",
        }
    }
}
