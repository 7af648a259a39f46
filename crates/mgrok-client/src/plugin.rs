//! Plugins, which serve the users of a proxy in place of its local service.

mod answers;
mod error;
mod handshake;
mod requests;

mod front;

mod bridge;
mod http_proxy;
mod socks5;
mod static_file;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use mgrok_config::{LocalAddr, Plugin as Config, Website};
use mgrok_http::Forwarded;
use mgrok_net::resolver::Resolver;

pub(crate) use self::bridge::Tap;
use self::bridge::{Bridge, BridgeOptions};
pub(crate) use self::error::PluginError;
use self::front::Front;
use self::http_proxy::HttpProxy;
pub(crate) use self::requests::serve;
use self::socks5::Socks5;
use self::static_file::StaticFile;
use crate::virtual_net::VirtualNetwork;

/// A plugin. All users of its proxy share it. It either reads the requests of a user's connection and answers them, or finds out what
/// the user is to be connected to.
#[derive(Debug)]
pub(crate) enum Plugin {
    /// Hands requests on to a website.
    Bridge(Arc<Bridge>),
    /// Sends requests to whichever website they name.
    HttpProxy(Arc<HttpProxy>),
    /// Connects users to whichever host they name.
    Socks5(Socks5),
    /// Answers requests with files.
    StaticFile(Arc<StaticFile>),
    /// Terminates TLS, and connects users to a TCP service.
    Tls2Raw { tls: Front, local_addr: LocalAddr },
    /// Connects users to a service on a Unix socket.
    UnixDomainSocket(PathBuf),
    /// Connects visitors with the virtual network.
    VirtualNet(VirtualNetwork),
}

impl Plugin {
    /// Hands requests on to the local service, and has them looked on by `tap`.
    pub(crate) fn watching(
        service: LocalAddr,
        tap: Tap,
        resolver: &Resolver,
    ) -> Result<Self, PluginError> {
        let website = Website {
            local_addr: service,
            host_header_rewrite: String::new(),
            request_headers: BTreeMap::new(),
        };
        let options = BridgeOptions {
            front: None,
            website: &website,
            website_has_tls: false,
            // The server has said who the user is.
            forwarded: Forwarded::Keep,
            tap: Some(tap),
        };
        Ok(Self::Bridge(Arc::new(Bridge::new(&options, resolver)?)))
    }

    /// Makes the plugin of `config`. Reads the files that it names. `resolver` looks up the names of its targets. `tap` looks on the
    /// requests that it reads. `virtual_net` is that of the client.
    pub(crate) fn new(
        config: &Config,
        tap: Option<Tap>,
        resolver: &Resolver,
        virtual_net: Option<&VirtualNetwork>,
    ) -> Result<Self, PluginError> {
        // frp: what becomes of X-Forwarded-For in each of them (pkg/plugin/client/http2http.go,
        // http2https.go, https2http.go, https2https.go)
        let bridge = match config {
            Config::Http2Http(website) => BridgeOptions {
                front: None,
                website,
                website_has_tls: false,
                forwarded: Forwarded::Remove,
                tap,
            },
            Config::Http2Https(website) => BridgeOptions {
                front: None,
                website,
                website_has_tls: true,
                forwarded: Forwarded::Keep,
                tap,
            },
            Config::Https2Http { website, front } => BridgeOptions {
                front: Some(front),
                website,
                website_has_tls: false,
                forwarded: Forwarded::Append { proto: "https" },
                tap,
            },
            Config::Https2Https { website, front } => BridgeOptions {
                front: Some(front),
                website,
                website_has_tls: true,
                forwarded: Forwarded::Append { proto: "https" },
                tap,
            },
            Config::HttpProxy(credentials) => {
                let proxy = HttpProxy::new(credentials.clone(), resolver);
                return Ok(Self::HttpProxy(Arc::new(proxy)));
            }
            Config::Socks5(credentials) => {
                return Ok(Self::Socks5(Socks5::new(credentials.clone())));
            }
            Config::StaticFile {
                root,
                strip_prefix,
                credentials,
            } => {
                let files = StaticFile::new(root.clone(), strip_prefix, credentials.clone());
                return Ok(Self::StaticFile(Arc::new(files)));
            }
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
            Config::VirtualNet => {
                let network = virtual_net.ok_or(PluginError::NoVirtualNet)?;
                return Ok(Self::VirtualNet(network.clone()));
            }
        };
        Ok(Self::Bridge(Arc::new(Bridge::new(&bridge, resolver)?)))
    }

    /// Whether requests are told one by one, so that the connection need not be.
    pub(crate) fn tells_requests(&self) -> bool {
        match self {
            Self::Bridge(bridge) => bridge.tells_requests(),
            Self::HttpProxy(_)
            | Self::Socks5(_)
            | Self::StaticFile(_)
            | Self::Tls2Raw { .. }
            | Self::UnixDomainSocket(_)
            | Self::VirtualNet(_) => false,
        }
    }
}
