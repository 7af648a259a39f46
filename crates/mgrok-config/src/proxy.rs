//! One published service.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use mgrok_proto::auth::Secret;

use crate::access::{AccessList, SourceLimits};
use crate::bandwidth::Bandwidth;
use crate::client_plugin::Plugin;
use crate::inspect::Inspect;

/// A proxy of the client's file. Equality is what a reload goes by: a proxy that differs is started anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyConfig {
    /// What the proxy is called, without the user's prefix; never empty, and unique within a [`ClientConfig`](crate::ClientConfig).
    pub name: String,
    /// What it publishes, and as what.
    pub kind: ProxyKind,
    /// The address or name of the local service.
    pub local_host: String,
    /// The port of the local service; may be 0 if a plugin serves users.
    pub local_port: u16,
    /// What serves users in place of the local service; has no effect on `udp` and `sudp`.
    pub plugin: Option<Plugin>,
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
    /// The version of the PROXY protocol header that the local service gets ahead of the user's bytes. `None` sends none. Plugins that read HTTP never get one.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// The group whose members share the users of one public endpoint; `None` is in no group.
    pub group: Option<Group>,
    /// From where users and the clients of visitors may come. A server of mgrok keeps others out.
    pub access: AccessList,
    /// How many connections may come from one source. A server of mgrok keeps it to that.
    pub source_limits: SourceLimits,
    /// How the local service is watched; `None` takes it for healthy.
    pub health_check: Option<HealthCheck>,
}

impl ProxyConfig {
    /// Whether the server has to keep users out by where they come from.
    pub fn is_guarded(&self) -> bool {
        !(self.access.is_open() && self.source_limits.is_open())
    }

    /// A proxy for a service on `127.0.0.1`, with nothing else configured.
    pub fn new(name: impl Into<String>, kind: ProxyKind, local_port: u16) -> Self {
        Self {
            name: name.into(),
            kind,
            // frp: the same
            local_host: "127.0.0.1".to_owned(),
            local_port,
            plugin: None,
            annotations: BTreeMap::new(),
            metadatas: BTreeMap::new(),
            use_encryption: false,
            use_compression: false,
            bandwidth: None,
            proxy_protocol: None,
            group: None,
            access: AccessList::default(),
            source_limits: SourceLimits::default(),
            health_check: None,
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
    /// Names of the server's HTTP port.
    Http(HttpProxy),
    /// Names on the server's HTTPS port, matched against SNI. The local service ends TLS.
    Https(Domains),
    /// Names that `CONNECT` requests to the server's tcpmux port may ask for.
    TcpMux(TcpMuxProxy),
    /// A TCP service that only visitors reach, through the server.
    Stcp(Private),
    /// A UDP service that only visitors reach, through the server.
    Sudp(Private),
    /// A TCP service that only visitors reach, past the server.
    Xtcp {
        /// Who may visit.
        private: Private,
        /// Keeps the client's addresses in its own network from visitors.
        disable_assisted_addrs: bool,
    },
}

impl ProxyKind {
    /// The word that configuration files and messages use.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Tcp { .. } => "tcp",
            Self::Udp { .. } => "udp",
            Self::Http(_) => "http",
            Self::Https(_) => "https",
            Self::TcpMux(_) => "tcpmux",
            Self::Stcp(_) => "stcp",
            Self::Sudp(_) => "sudp",
            Self::Xtcp { .. } => "xtcp",
        }
    }
}

/// The names under which a service is found: at least one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Domains {
    /// Whole names, as written; `*.` in front stands for any labels, `*` alone for every name.
    pub custom: Vec<String>,
    /// One more label, below the server's `subDomainHost`; empty is none.
    pub subdomain: String,
}

/// What an `http` proxy has beside its names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpProxy {
    /// The names.
    pub domains: Domains,
    /// Beginnings of paths that lead here; none is all of them.
    pub locations: Vec<String>,
    /// The user that requests must present (Basic); with an empty password too, anybody may.
    pub user: String,
    /// That user's password.
    pub password: Secret,
    /// What the local service sees as `Host`; empty leaves it alone.
    pub host_header_rewrite: String,
    /// Headers to set in requests.
    pub request_headers: BTreeMap<String, String>,
    /// Headers to set in responses.
    pub response_headers: BTreeMap<String, String>,
    /// Only requests of this user lead here; empty is everybody's.
    pub route_by_user: String,
    /// What is kept of its requests; `None`: nothing.
    pub inspect: Option<Inspect>,
}

/// What a `tcpmux` proxy has beside its names. The only multiplexer there is is `httpconnect`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TcpMuxProxy {
    /// The names.
    pub domains: Domains,
    /// The user that requests must present (Basic); with an empty password too, anybody may.
    pub user: String,
    /// That user's password.
    pub password: Secret,
    /// Only requests of this user lead here; empty is everybody's.
    pub route_by_user: String,
}

/// Who may visit a private service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Private {
    /// What visitors must know.
    pub secret_key: Secret,
    /// Whose visitors may come: nobody is named for those of the client's own user, `*` is for everybody's.
    pub allow_users: Vec<String>,
}

/// Versions of the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyProtocol {
    /// A line of text. It cannot speak of UDP.
    V1,
    /// Binary.
    V2,
}

/// The group a proxy belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Its name; never empty.
    pub name: String,
    /// What all members must know; may be empty.
    pub key: Secret,
    /// How the members share users. The first member decides; `None` goes along, and is [`Strategy::RoundRobin`] for the first.
    pub strategy: Option<Strategy>,
    /// How many users it gets for each that a member of weight 1 gets; at most [`MAX_WEIGHT`](Self::MAX_WEIGHT).
    pub weight: NonZeroU32,
}

impl Group {
    /// The most that a member can weigh.
    pub const MAX_WEIGHT: u32 = 1_000;

    /// A member like any other of the group `name`.
    pub fn new(name: impl Into<String>, key: Secret) -> Self {
        Self {
            name: name.into(),
            key,
            strategy: None,
            weight: NonZeroU32::MIN,
        }
    }
}

/// How the members of a group share users. Who cannot serve a user leaves it to another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strategy {
    /// They take turns.
    #[default]
    RoundRobin,
    /// The next user goes to the one with the fewest.
    LeastConnections,
    /// All users of one IPv4 address, or one /64 of IPv6, go to the same one.
    SourceAddress,
}

/// A text is no [`Strategy`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be \"roundRobin\", \"leastConnections\" or \"sourceAddress\"")]
pub struct StrategyError;

impl Strategy {
    /// All of them.
    pub const ALL: [Self; 3] = [
        Self::RoundRobin,
        Self::LeastConnections,
        Self::SourceAddress,
    ];

    /// The word that configuration files, messages and the wire use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RoundRobin => "roundRobin",
            Self::LeastConnections => "leastConnections",
            Self::SourceAddress => "sourceAddress",
        }
    }
}

impl FromStr for Strategy {
    type Err = StrategyError;

    fn from_str(text: &str) -> Result<Self, StrategyError> {
        let mut all = Self::ALL.into_iter();
        all.find(|it| it.as_str() == text).ok_or(StrategyError)
    }
}

/// How a local service is watched. While it is unhealthy, its proxy is withdrawn from the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// What is tried.
    pub kind: HealthCheckKind,
    /// How long one try may take.
    pub timeout: Duration,
    /// How many tries in a row must fail.
    pub max_failed: NonZeroU32,
    /// The pause between two tries.
    pub interval: Duration,
}

/// What a health check tries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HealthCheckKind {
    /// To connect.
    Tcp,
    /// To get a 2xx response.
    Http {
        /// The path, with a `/` in front, and perhaps a query.
        path: String,
        /// Headers of the request, as written and in order; `Host` is the host asked for.
        headers: Vec<(String, String)>,
    },
}
