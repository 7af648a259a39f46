//! The keys of frp's old INI format, and the keys that took their place.

/// A key of the old format.
pub(crate) struct LegacyKey {
    /// As it is written; with `_` at its end it is the beginning of free keys.
    pub(crate) old: &'static str,
    /// The dotted key of today, below the table that the section became; the table of the rest for the beginning of free keys.
    pub(crate) new: &'static str,
    pub(crate) kind: LegacyKind,
}

/// What the value of a key is, which is always written as plain text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LegacyKind {
    Boolean,
    /// Says that another key counts.
    Condition,
    /// Without an effect.
    Idle,
    Integer,
    /// With commas between items.
    List,
    /// The beginning of free keys.
    Map,
    /// Ports and ranges of them, for `allowPorts`.
    Ports,
    /// Adds this item to the list.
    Scope(&'static str),
    Text,
}

use LegacyKind::{Boolean, Condition, Idle, Integer, List, Map, Ports, Scope, Text};

const fn key(old: &'static str, new: &'static str, kind: LegacyKind) -> LegacyKey {
    LegacyKey { old, new, kind }
}

/// `[common]` of either program.
const COMMON: &[LegacyKey] = &[
    key("assets_dir", "webServer.assetsDir", Text),
    key(
        "authenticate_heartbeats",
        "auth.additionalScopes",
        Scope("HeartBeats"),
    ),
    key(
        "authenticate_new_work_conns",
        "auth.additionalScopes",
        Scope("NewWorkConns"),
    ),
    key("authentication_method", "auth.method", Text),
    key("disable_log_color", "log.disablePrintColor", Boolean),
    key("heartbeat_timeout", "transport.heartbeatTimeout", Integer),
    key("log_file", "log.to", Text),
    key("log_level", "log.level", Text),
    key("log_max_days", "log.maxDays", Integer),
    // frp: read by nothing
    key("log_way", "", Idle),
    key("oidc_audience", "auth.oidc.audience", Text),
    key("pprof_enable", "webServer.pprofEnable", Boolean),
    key(
        "quic_keepalive_period",
        "transport.quic.keepalivePeriod",
        Integer,
    ),
    key(
        "quic_max_idle_timeout",
        "transport.quic.maxIdleTimeout",
        Integer,
    ),
    key(
        "quic_max_incoming_streams",
        "transport.quic.maxIncomingStreams",
        Integer,
    ),
    key("tcp_mux", "transport.tcpMux", Boolean),
    key(
        "tcp_mux_keepalive_interval",
        "transport.tcpMuxKeepaliveInterval",
        Integer,
    ),
    key("tls_cert_file", "transport.tls.certFile", Text),
    key("tls_key_file", "transport.tls.keyFile", Text),
    key("tls_trusted_ca_file", "transport.tls.trustedCaFile", Text),
    key("token", "auth.token", Text),
    key("udp_packet_size", "udpPacketSize", Integer),
];

/// `[common]` of the server.
pub(crate) const SERVER: &[&[LegacyKey]] = &[
    COMMON,
    &[
        key("allow_ports", "allowPorts", Ports),
        key("bind_addr", "bindAddr", Text),
        key("bind_port", "bindPort", Integer),
        key("custom_404_page", "custom404Page", Text),
        key("dashboard_addr", "webServer.addr", Text),
        key("dashboard_port", "webServer.port", Integer),
        key("dashboard_pwd", "webServer.password", Text),
        key("dashboard_tls_cert_file", "webServer.tls.certFile", Text),
        key("dashboard_tls_key_file", "webServer.tls.keyFile", Text),
        key("dashboard_tls_mode", "", Condition),
        key("dashboard_user", "webServer.user", Text),
        key(
            "detailed_errors_to_client",
            "detailedErrorsToClient",
            Boolean,
        ),
        key("enable_prometheus", "enablePrometheus", Boolean),
        key("kcp_bind_port", "kcpBindPort", Integer),
        key("max_pool_count", "transport.maxPoolCount", Integer),
        key("max_ports_per_client", "maxPortsPerClient", Integer),
        key(
            "nat_hole_analysis_data_reserve_hours",
            "natholeAnalysisDataReserveHours",
            Integer,
        ),
        key("oidc_issuer", "auth.oidc.issuer", Text),
        key(
            "oidc_skip_expiry_check",
            "auth.oidc.skipExpiryCheck",
            Boolean,
        ),
        key(
            "oidc_skip_issuer_check",
            "auth.oidc.skipIssuerCheck",
            Boolean,
        ),
        key("proxy_bind_addr", "proxyBindAddr", Text),
        key("quic_bind_port", "quicBindPort", Integer),
        key("subdomain_host", "subDomainHost", Text),
        key("tcp_keepalive", "transport.tcpKeepalive", Integer),
        key("tcpmux_httpconnect_port", "tcpmuxHTTPConnectPort", Integer),
        key("tcpmux_passthrough", "tcpmuxPassthrough", Boolean),
        key("tls_only", "transport.tls.force", Boolean),
        key("user_conn_timeout", "userConnTimeout", Integer),
        key("vhost_http_port", "vhostHTTPPort", Integer),
        key("vhost_http_timeout", "vhostHTTPTimeout", Integer),
        key("vhost_https_port", "vhostHTTPSPort", Integer),
    ],
];

/// `[common]` of the client.
pub(crate) const CLIENT: &[&[LegacyKey]] = &[
    COMMON,
    &[
        key("admin_addr", "webServer.addr", Text),
        key("admin_port", "webServer.port", Integer),
        key("admin_pwd", "webServer.password", Text),
        key("admin_user", "webServer.user", Text),
        key(
            "connect_server_local_ip",
            "transport.connectServerLocalIP",
            Text,
        ),
        key(
            "dial_server_keepalive",
            "transport.dialServerKeepalive",
            Integer,
        ),
        key(
            "dial_server_timeout",
            "transport.dialServerTimeout",
            Integer,
        ),
        key(
            "disable_custom_tls_first_byte",
            "transport.tls.disableCustomTLSFirstByte",
            Boolean,
        ),
        key("dns_server", "dnsServer", Text),
        key("heartbeat_interval", "transport.heartbeatInterval", Integer),
        key("http_proxy", "transport.proxyURL", Text),
        key("includes", "includes", List),
        key("login_fail_exit", "loginFailExit", Boolean),
        key("meta_", "metadatas", Map),
        key("nat_hole_stun_server", "natHoleStunServer", Text),
        key(
            "oidc_additional_",
            "auth.oidc.additionalEndpointParams",
            Map,
        ),
        key("oidc_client_id", "auth.oidc.clientID", Text),
        key("oidc_client_secret", "auth.oidc.clientSecret", Text),
        key("oidc_scope", "auth.oidc.scope", Text),
        key(
            "oidc_token_endpoint_url",
            "auth.oidc.tokenEndpointURL",
            Text,
        ),
        key("pool_count", "transport.poolCount", Integer),
        key("protocol", "transport.protocol", Text),
        key("server_addr", "serverAddr", Text),
        key("server_port", "serverPort", Integer),
        key("start", "start", List),
        key("tls_enable", "transport.tls.enable", Boolean),
        key("tls_server_name", "transport.tls.serverName", Text),
        key("user", "user", Text),
    ],
];

/// Sections of proxies and visitors.
const ENTRY: &[LegacyKey] = &[
    // frp: the section's name counts
    key("name", "", Idle),
    key("role", "", Condition),
    key("sk", "secretKey", Text),
    key("type", "type", Text),
    key("use_compression", "transport.useCompression", Boolean),
    key("use_encryption", "transport.useEncryption", Boolean),
];

/// The section of a proxy.
pub(crate) const PROXY: &[&[LegacyKey]] = &[
    ENTRY,
    &[
        key("allow_users", "allowUsers", List),
        key("bandwidth_limit", "transport.bandwidthLimit", Text),
        key("bandwidth_limit_mode", "transport.bandwidthLimitMode", Text),
        key("custom_domains", "customDomains", List),
        key("group", "loadBalancer.group", Text),
        key("group_key", "loadBalancer.groupKey", Text),
        key("header_", "requestHeaders.set", Map),
        key(
            "health_check_interval_s",
            "healthCheck.intervalSeconds",
            Integer,
        ),
        key("health_check_max_failed", "healthCheck.maxFailed", Integer),
        key(
            "health_check_timeout_s",
            "healthCheck.timeoutSeconds",
            Integer,
        ),
        key("health_check_type", "healthCheck.type", Text),
        key("health_check_url", "healthCheck.path", Text),
        key("host_header_rewrite", "hostHeaderRewrite", Text),
        key("http_pwd", "httpPassword", Text),
        key("http_user", "httpUser", Text),
        key("local_ip", "localIP", Text),
        key("local_port", "localPort", Integer),
        key("locations", "locations", List),
        key("meta_", "metadatas", Map),
        key("multiplexer", "multiplexer", Text),
        key("plugin", "plugin.type", Text),
        key("plugin_crt_path", "plugin.crtPath", Text),
        key("plugin_header_", "plugin.requestHeaders.set", Map),
        key(
            "plugin_host_header_rewrite",
            "plugin.hostHeaderRewrite",
            Text,
        ),
        key("plugin_http_passwd", "plugin.httpPassword", Text),
        key("plugin_http_user", "plugin.httpUser", Text),
        key("plugin_key_path", "plugin.keyPath", Text),
        key("plugin_local_addr", "plugin.localAddr", Text),
        key("plugin_local_path", "plugin.localPath", Text),
        key("plugin_passwd", "plugin.password", Text),
        key("plugin_strip_prefix", "plugin.stripPrefix", Text),
        key("plugin_unix_path", "plugin.unixPath", Text),
        key("plugin_user", "plugin.username", Text),
        key(
            "proxy_protocol_version",
            "transport.proxyProtocolVersion",
            Text,
        ),
        key("remote_port", "remotePort", Integer),
        key("route_by_http_user", "routeByHTTPUser", Text),
        key("subdomain", "subdomain", Text),
    ],
];

/// The section of a visitor.
pub(crate) const VISITOR: &[&[LegacyKey]] = &[
    ENTRY,
    &[
        key("bind_addr", "bindAddr", Text),
        key("bind_port", "bindPort", Integer),
        key("fallback_timeout_ms", "fallbackTimeoutMs", Integer),
        key("fallback_to", "fallbackTo", Text),
        key("keep_tunnel_open", "keepTunnelOpen", Boolean),
        key("max_retries_an_hour", "maxRetriesAnHour", Integer),
        key("min_retry_interval", "minRetryInterval", Integer),
        key("protocol", "protocol", Text),
        key("server_name", "serverName", Text),
        key("server_user", "serverUser", Text),
    ],
];

/// The section `[plugin.<name>]` of the server.
pub(crate) const SERVER_HOOK: &[&[LegacyKey]] = &[&[
    key("addr", "addr", Text),
    // frp: the section's name counts
    key("name", "", Idle),
    key("ops", "ops", List),
    key("path", "path", Text),
    key("tlsVerify", "tlsVerify", Boolean),
]];

/// The plugins of proxies that the old format has.
// frp: others pass, and fail when they should start (pkg/config/legacy/conversion.go)
pub(crate) const PROXY_PLUGINS: [&str; 7] = [
    "http2https",
    "http_proxy",
    "https2http",
    "https2https",
    "socks5",
    "static_file",
    "unix_domain_socket",
];

/// Finds what an old key stands for. Free keys come with what follows their beginning.
pub(crate) fn find<'k>(
    lists: &[&'static [LegacyKey]],
    old: &'k str,
) -> Option<(&'static LegacyKey, &'k str)> {
    let all = || lists.iter().copied().flatten();
    if let Some(key) = all().find(|key| key.old == old && key.kind != Map) {
        return Some((key, ""));
    }
    all()
        .filter(|key| key.kind == Map)
        .find_map(|key| Some((key, old.strip_prefix(key.old)?)))
        .filter(|(_, rest)| !rest.is_empty())
}

/// The old keys of these lists that are no beginnings.
pub(crate) fn names(lists: &[&'static [LegacyKey]]) -> impl Iterator<Item = &'static str> {
    let all = lists.iter().copied().flatten();
    all.filter(|key| key.kind != Map).map(|key| key.old)
}

/// The names that the tables of today had as sections of an old file, to speak of keys as they were written.
#[derive(Default)]
pub(crate) struct OldNames {
    pub(crate) is_server: bool,
    /// The section of each proxy, in their order.
    pub(crate) proxies: Vec<String>,
    /// The section of each visitor.
    pub(crate) visitors: Vec<String>,
    /// The section of each server plugin.
    pub(crate) hooks: Vec<String>,
}

impl OldNames {
    /// The key of the old file that became the dotted `key`, with its section.
    pub(crate) fn old_name(&self, key: &str) -> Option<String> {
        for (list, sections, lists) in [
            ("proxies[", &self.proxies, PROXY),
            ("visitors[", &self.visitors, VISITOR),
            ("httpPlugins[", &self.hooks, SERVER_HOOK),
        ] {
            let Some((index, rest)) = key.strip_prefix(list).and_then(|it| it.split_once(']'))
            else {
                continue;
            };
            let section = sections.get(index.parse::<usize>().ok()?)?;
            let Some(rest) = rest.strip_prefix('.') else {
                return Some(format!("[{section}]"));
            };
            return Some(format!("{section}.{}", old_key(lists, rest)?));
        }
        let lists = if self.is_server { SERVER } else { CLIENT };
        Some(format!("common.{}", old_key(lists, key)?))
    }
}

fn old_key(lists: &[&'static [LegacyKey]], new: &str) -> Option<String> {
    // The item of a list is shown as the list.
    let new = new.split('[').next().unwrap_or(new);
    let all = || lists.iter().copied().flatten();
    if let Some(key) = all().find(|key| key.kind != Map && key.new.eq_ignore_ascii_case(new)) {
        return Some(key.old.to_owned());
    }
    all().filter(|key| key.kind == Map).find_map(|key| {
        let rest = new.strip_prefix(key.new)?.strip_prefix('.')?;
        Some(format!("{}{rest}", key.old))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_lead_there_and_back() {
        let (found, rest) = find(PROXY, "plugin_header_X-A").unwrap();
        assert_eq!((found.new, rest), ("plugin.requestHeaders.set", "X-A"));
        assert_eq!(find(PROXY, "plugin_user").unwrap().0.new, "plugin.username");
        assert!(find(PROXY, "meta_").is_none());
        assert!(find(CLIENT, "bind_port").is_none());
        let names = OldNames {
            proxies: vec!["a".to_owned(), "b".to_owned()],
            ..OldNames::default()
        };
        for (key, expect) in [
            ("serverPort", Some("common.server_port")),
            ("metadatas.x", Some("common.meta_x")),
            ("proxies[1].localPort", Some("b.local_port")),
            ("proxies[1].requestHeaders.set.X", Some("b.header_X")),
            ("proxies[0]", Some("[a]")),
            ("proxies[2].localPort", None),
            ("proxies[0].annotations", None),
            ("store.path", None),
        ] {
            assert_eq!(names.old_name(key).as_deref(), expect, "{key}");
        }
    }
}
