//! What can serve a proxy's users in place of its local service.

use std::collections::BTreeMap;
use std::path::PathBuf;

use mgrok_proto::auth::Secret;

use crate::local_addr::LocalAddr;

/// What serves a proxy's users in place of its local service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plugin {
    /// Hands HTTP requests on to a website without TLS.
    Http2Http(Website),
    /// Hands HTTP requests on to a website with TLS, whose certificate is not checked.
    Http2Https(Website),
    /// Sends HTTP requests to whichever website they name, and connects users to whichever host they name by `CONNECT`.
    HttpProxy(PluginCredentials),
    /// Takes TLS off, and hands HTTP requests on to a website without it.
    Https2Http {
        /// The website.
        website: Website,
        /// What users meet.
        front: HttpsFront,
    },
    /// Takes TLS off, and hands HTTP requests on to a website with TLS of its own, whose certificate is not checked.
    Https2Https {
        /// The website.
        website: Website,
        /// What users meet.
        front: HttpsFront,
    },
    /// Connects users to whichever host they name by SOCKS version 5.
    Socks5(PluginCredentials),
    /// Answers HTTP requests with the files of a directory.
    StaticFile {
        /// The directory.
        root: PathBuf,
        /// What paths begin with, without slashes at its ends; empty for nothing.
        strip_prefix: String,
        /// Who may read them.
        credentials: PluginCredentials,
    },
    /// Takes TLS off, and connects users to a TCP service.
    Tls2Raw {
        /// The service.
        local_addr: LocalAddr,
        /// Files of the certificate chain that users are shown and its key; `None` makes one up.
        certificate: Option<(PathBuf, PathBuf)>,
    },
    /// Connects users to a service that listens on a Unix socket.
    UnixDomainSocket {
        /// The socket.
        path: PathBuf,
    },
    /// Connects visitors with the client's virtual network.
    VirtualNet,
}

impl Plugin {
    /// The word that configuration files and messages use.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Http2Http(_) => "http2http",
            Self::Http2Https(_) => "http2https",
            Self::HttpProxy(_) => "http_proxy",
            Self::Https2Http { .. } => "https2http",
            Self::Https2Https { .. } => "https2https",
            Self::Socks5(_) => "socks5",
            Self::StaticFile { .. } => "static_file",
            Self::Tls2Raw { .. } => "tls2raw",
            Self::UnixDomainSocket { .. } => "unix_domain_socket",
            Self::VirtualNet => "virtual_net",
        }
    }

    /// Whether it hands HTTP requests on to one website, so that they can be inspected.
    pub fn is_bridge(&self) -> bool {
        match self {
            Self::Http2Http(_)
            | Self::Http2Https(_)
            | Self::Https2Http { .. }
            | Self::Https2Https { .. } => true,
            Self::HttpProxy(_)
            | Self::Socks5(_)
            | Self::StaticFile { .. }
            | Self::Tls2Raw { .. }
            | Self::UnixDomainSocket { .. }
            | Self::VirtualNet => false,
        }
    }

    /// Whether it copies whatever users send to one service, to which they can be introduced by the PROXY protocol.
    pub fn is_raw(&self) -> bool {
        match self {
            Self::Tls2Raw { .. } | Self::UnixDomainSocket { .. } => true,
            Self::Http2Http(_)
            | Self::Http2Https(_)
            | Self::HttpProxy(_)
            | Self::Https2Http { .. }
            | Self::Https2Https { .. }
            | Self::Socks5(_)
            | Self::StaticFile { .. }
            | Self::VirtualNet => false,
        }
    }
}

/// What users of a plugin must present.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PluginCredentials {
    /// The user's name; with an empty password too, anybody may come.
    pub user: String,
    /// The user's password.
    pub password: Secret,
}

impl PluginCredentials {
    /// Whether anybody may come.
    pub fn is_empty(&self) -> bool {
        self.user.is_empty() && self.password.is_empty()
    }
}

/// A website that a plugin hands requests on to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Website {
    /// Where it is.
    pub local_addr: LocalAddr,
    /// What it sees as `Host`; empty leaves it alone.
    pub host_header_rewrite: String,
    /// Headers to set in requests.
    pub request_headers: BTreeMap<String, String>,
}

/// What users of a plugin meet that speaks HTTPS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpsFront {
    /// Files of the certificate chain that users are shown and its key; `None` makes one up.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// Lets users speak HTTP/2.
    pub enable_http2: bool,
}

impl Default for HttpsFront {
    fn default() -> Self {
        // frp: these values
        Self {
            certificate: None,
            enable_http2: true,
        }
    }
}
