//! What a client wants a proxy to be, as far as operators are shown it: no secrets.

use std::collections::BTreeMap;

use mgrok_config::BandwidthMode;
use mgrok_proto::message::NewProxy;

/// What a client wants a proxy to be. Secrets are left out.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ProxySettings {
    /// What the client's operator wants to be shown.
    pub annotations: BTreeMap<String, String>,
    /// What the client's operator wants plugins to know.
    pub metadatas: BTreeMap<String, String>,
    /// Whether work connections are encrypted with the token's key.
    pub use_encryption: bool,
    /// Whether work connections are compressed.
    pub use_compression: bool,
    /// How fast the proxy may be, such as `10MB`; empty if there is no limit.
    pub bandwidth_limit: String,
    /// Which end keeps it to that: `client` or `server`.
    pub bandwidth_limit_mode: &'static str,
    /// The group whose members share the load; may be empty.
    pub group: String,
    /// Names that lead to it.
    pub custom_domains: Vec<String>,
    /// One more name, below the server's own domain; may be empty.
    pub subdomain: String,
    /// Paths that lead to it; empty is all of them.
    pub locations: Vec<String>,
    /// The name that the service sees as its own, if another.
    pub host_header_rewrite: String,
    /// How services of a tcpmux port are told apart.
    pub multiplexer: String,
    /// Whose requests alone lead to it; may be empty.
    pub route_by_http_user: String,
}

impl ProxySettings {
    /// What `new` asks for.
    pub(crate) fn of(new: &NewProxy) -> Self {
        let mode = new.bandwidth_limit_mode.parse();
        Self {
            annotations: new.annotations.clone(),
            metadatas: new.metas.clone(),
            use_encryption: new.use_encryption,
            use_compression: new.use_compression,
            bandwidth_limit: new.bandwidth_limit.trim().to_owned(),
            bandwidth_limit_mode: match mode {
                Ok(BandwidthMode::Server) => "server",
                Ok(BandwidthMode::Client) | Err(_) => "client",
            },
            group: new.group.clone(),
            custom_domains: new.custom_domains.clone(),
            subdomain: new.subdomain.clone(),
            locations: new.locations.clone(),
            host_header_rewrite: new.host_header_rewrite.clone(),
            multiplexer: new.multiplexer.clone(),
            route_by_http_user: new.route_by_http_user.clone(),
        }
    }
}
