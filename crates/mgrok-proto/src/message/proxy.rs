//! Publishing a service and taking it back.

use std::collections::BTreeMap;

use crate::{auth::Secret, go_json::object};

object! {
    /// Publishes one service. Which fields matter depends on `proxy_type`.
    pub struct NewProxy {
        /// Name on this server, with the user ahead of it.
        pub proxy_name: String,
        /// `tcp`, `udp`, `http`, ...; empty means `tcp`.
        pub proxy_type: String,
        /// Work connections are encrypted with the token's key.
        pub use_encryption: bool,
        /// Work connections are compressed.
        pub use_compression: bool,
        /// Bytes per second of this proxy: `10MB`, `512KB`; empty is unlimited.
        pub bandwidth_limit: String,
        /// Who enforces it: `server`; anything else means the client does.
        pub bandwidth_limit_mode: String,
        /// Group whose members share the load.
        pub group: String,
        /// What a member must know to join the group.
        pub group_key: Secret,
        /// What the operator wants hooks to know.
        pub metas: BTreeMap<String, String>,
        /// What the operator wants dashboards to show (since frp 0.55.0).
        pub annotations: BTreeMap<String, String>,
        /// Public port of `tcp` and `udp`; 0 lets the server choose. Not checked to be a port.
        pub remote_port: i64,
        /// Names that lead here (`http`, `https`, `tcpmux`).
        pub custom_domains: Vec<String>,
        /// One more name, below the server's own domain.
        pub subdomain: String,
        /// Paths that lead here (`http`); empty is all of them.
        pub locations: Vec<String>,
        /// Users must present this name (`http`, `tcpmux`).
        pub http_user: String,
        /// Users must present this password (`http`, `tcpmux`).
        pub http_pwd: Secret,
        /// `Host` that the service sees (`http`).
        pub host_header_rewrite: String,
        /// Request headers to set (`http`).
        pub headers: BTreeMap<String, String>,
        /// Response headers to set (`http`, since frp 0.58.0).
        pub response_headers: BTreeMap<String, String>,
        /// Only requests of this user lead here (`http`, `tcpmux`).
        pub route_by_http_user: String,
        /// What visitors sign with (`stcp`, `sudp`, `xtcp`).
        pub sk: Secret,
        /// Whose visitors may come; `*` is everybody's.
        pub allow_users: Vec<String>,
        /// How `tcpmux` tells services apart: `httpconnect`.
        pub multiplexer: String,
        /// Networks from which alone users and visitors may come; empty is all. Of mgrok, as is what follows, and only where both ends
        /// agreed on it ([`Extension::ACCESS`](crate::hello::Extension::ACCESS)).
        pub mgrok_allow_from: Vec<String>,
        /// Networks from which users and visitors may not come.
        pub mgrok_deny_from: Vec<String>,
        /// How many connections one source may have; 0 is as many as it likes.
        pub mgrok_connections_per_source: i64,
        /// How many new connections one source may make in a second; 0 is as many as it likes.
        pub mgrok_rate_per_source: i64,
        /// How the members of its group share users; empty goes along with the others
        /// ([`Extension::BALANCING`](crate::hello::Extension::BALANCING)).
        pub mgrok_strategy: String,
        /// Its part of them; 0 is as much as 1.
        pub mgrok_weight: i64,
    }
}

object! {
    /// Answers a [`NewProxy`].
    pub struct NewProxyResp {
        /// The name, unchanged.
        pub proxy_name: String,
        /// Where users find the service, for display.
        pub remote_addr: String,
        /// Why it is not published; empty on success.
        pub error: String,
    }
}

object! {
    /// Takes a service back. Nobody answers.
    pub struct CloseProxy {
        /// Its name as in [`NewProxy`].
        pub proxy_name: String,
    }
}
