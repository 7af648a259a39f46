//! What can serve a proxy's users in place of its local service.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::local_addr::LocalAddr;

/// What serves a proxy's users in place of its local service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plugin {
    /// Hands HTTP requests on to a website without TLS.
    Http2Http(Website),
    /// Hands HTTP requests on to a website with TLS, whose certificate is not checked.
    Http2Https(Website),
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
            Self::Https2Http { .. } => "https2http",
            Self::Https2Https { .. } => "https2https",
            Self::Tls2Raw { .. } => "tls2raw",
            Self::UnixDomainSocket { .. } => "unix_domain_socket",
            Self::VirtualNet => "virtual_net",
        }
    }

    /// Whether it reads HTTP, rather than to copy whatever users send.
    pub fn is_http(&self) -> bool {
        match self {
            Self::Http2Http(_)
            | Self::Http2Https(_)
            | Self::Https2Http { .. }
            | Self::Https2Https { .. } => true,
            Self::Tls2Raw { .. } | Self::UnixDomainSocket { .. } | Self::VirtualNet => false,
        }
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
