//! The annotated files in `examples/` are what they say.

use std::fs;
use std::path::{Path, PathBuf};

use mgrok_config::{
    ClientConfig, Environment, LivenessKeys, ServerConfig, Strictness, load_client_from_str,
    load_client_in, load_server_from_str,
};

use super::clean;

fn examples() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../examples")
}

/// An example with the keys that it shows in comments like `#key = value` set.
fn with_comments_taken_away(name: &str) -> String {
    let path = examples().join(name);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
    let lines = text.lines().map(|line| match line.strip_prefix('#') {
        Some(setting) if setting.starts_with(|first: char| first.is_ascii_alphabetic()) => setting,
        Some(_) | None => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Of two keys that a file shows, but that are not set together, only the first.
fn without_alternatives(text: &str) -> String {
    let alternatives = [
        ("serverAddrs", "serverAddr"),
        ("transport.tls.certFile", "transport.tls.autoGenCertPath"),
    ];
    let sets = |line: &str, key| line.split(" = ").next() == Some(key);
    let shadowed = |line| {
        alternatives
            .iter()
            .any(|(key, other)| sets(line, other) && text.lines().any(|line| sets(line, key)))
    };
    let lines = text.lines().filter(|line| !shadowed(line));
    lines.collect::<Vec<_>>().join("\n")
}

/// The files that examples name are for whoever follows them to make.
fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn every_file_loads() {
    let mut loaded = Vec::new();
    let directories = ["", "transports"].map(|directory| examples().join(directory));
    let entries = directories.iter().flat_map(|it| fs::read_dir(it).unwrap());
    for entry in entries {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let stem = name.strip_suffix(".toml");
        let Some(stem) = stem.or_else(|| name.strip_suffix(".yaml")) else {
            continue;
        };
        if stem.ends_with("server") {
            clean(load_server_from_str(
                &read(&path),
                &name,
                Strictness::Strict,
            ));
        } else if stem.ends_with("client") {
            let variables = [("SERVER", "a.example"), ("TOKEN", "a\"b")];
            let environment = Environment {
                http_proxy: None,
                variables: variables
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .into_iter()
                    .collect(),
            };
            clean(load_client_in(
                &environment,
                &read(&path),
                &name,
                Strictness::Strict,
            ));
        } else {
            panic!("{name} is neither for a server nor for a client");
        }
        loaded.push(name);
    }
    assert!(loaded.contains(&"server.toml".to_owned()));
    assert!(loaded.contains(&"client.toml".to_owned()));
    assert!(loaded.contains(&"quic-client.toml".to_owned()));
    assert!(loaded.contains(&"yaml-client.yaml".to_owned()));
    assert!(loaded.contains(&"template-client.toml".to_owned()));
}

#[test]
#[cfg_attr(not(feature = "dns-server"), ignore = "a setting is refused")]
fn every_setting_that_is_shown_can_be_set() {
    for name in [
        "plugin-server.toml",
        "transports/server.toml",
        "server.toml",
        "tcpmux-server.toml",
        "tls-mutual-server.toml",
        "vhost-http-server.toml",
    ] {
        let text = without_alternatives(&with_comments_taken_away(name));
        clean(load_server_from_str(&text, name, Strictness::Strict));
    }
    for name in [
        "client.toml",
        "plugins-client.toml",
        "transports/outbound-proxy-client.toml",
        "transports/quic-client.toml",
        "transports/several-servers-client.toml",
        "transports/websocket-client.toml",
        "tls-mutual-client.toml",
        "xtcp-client.toml",
    ] {
        let text = without_alternatives(&with_comments_taken_away(name));
        clean(load_client_from_str(&text, name, Strictness::Strict));
        // What is not started is hardly looked at.
        let text = text.replace("start = [", "#start = [");
        clean(load_client_from_str(&text, name, Strictness::Strict));
    }
}

#[test]
fn the_complete_files_show_every_key() {
    let keys = |name| -> Vec<String> {
        let text = with_comments_taken_away(name);
        let settings = text.lines().filter_map(|line| line.split_once(" = "));
        settings.map(|(key, _)| key.to_owned()).collect()
    };
    let server = keys("server.toml");
    for key in [
        "bindAddr",
        "bindPort",
        "quicBindPort",
        "kcpBindPort",
        "proxyBindAddr",
        "detailedErrorsToClient",
        "maxPortsPerClient",
        "userConnTimeout",
        "udpPacketSize",
        "allowPorts",
        "gracePeriod",
        "vhostHTTPPort",
        "vhostHTTPTimeout",
        "vhostHTTPSPort",
        "tcpmuxHTTPConnectPort",
        "tcpmuxPassthrough",
        "subDomainHost",
        "custom404Page",
        "custom502Page",
        "vhostHTTPMaxResponseHeaderBytes",
        "vhostHTTPMaxResponseHeaders",
        "trustForwardedHeadersFrom",
        "acceptProxyProtocolFrom",
        "natholeAnalysisDataReserveHours",
        "httpPlugins",
        "auth.method",
        "auth.token",
        "auth.additionalScopes",
        "log.to",
        "log.level",
        "accessLog.format",
        "accessLog.maxDays",
        "accessLog.maxFiles",
        "accessLog.maxSize",
        "accessLog.to",
        "log.format",
        "log.maxDays",
        "log.maxFiles",
        "log.maxSize",
        "reloadOnChange",
        "log.disablePrintColor",
        "webServer.addr",
        "webServer.port",
        "webServer.user",
        "webServer.password",
        "transport.tcpMux",
        "transport.tcpMuxKeepaliveInterval",
        "transport.tcpKeepalive",
        "transport.maxPoolCount",
        "transport.heartbeatTimeout",
        "transport.userIdleTimeout",
        "transport.quic.keepalivePeriod",
        "transport.quic.maxIdleTimeout",
        "transport.quic.maxIncomingStreams",
        "transport.tls.force",
        "transport.tls.autoGenCertPath",
        "transport.tls.certFile",
        "transport.tls.keyFile",
        "transport.tls.trustedCaFile",
    ] {
        assert!(server.iter().any(|shown| shown == key), "{key}");
    }
    let client = keys("client.toml");
    for key in [
        "serverAddr",
        "serverPort",
        "serverAddrs",
        "connectAll",
        "dnsServer",
        "user",
        "clientID",
        "metadatas.site",
        "auth.method",
        "auth.token",
        "auth.additionalScopes",
        "loginFailExit",
        "udpPacketSize",
        "gracePeriod",
        "start",
        "natHoleStunServer",
        "transport.quic.keepalivePeriod",
        "transport.quic.maxIdleTimeout",
        "transport.quic.maxIncomingStreams",
        "transport.protocol",
        "transport.wireProtocol",
        "transport.proxyURL",
        "transport.dialServerTimeout",
        "transport.dialServerKeepalive",
        "transport.connectServerLocalIP",
        "transport.poolCount",
        "transport.tcpMux",
        "transport.tcpMuxKeepaliveInterval",
        "transport.heartbeatInterval",
        "transport.heartbeatTimeout",
        "transport.tls.enable",
        "transport.tls.trustedCaFile",
        "transport.tls.pinnedSha256",
        "transport.tls.trustSystemRoots",
        "transport.tls.serverName",
        "transport.tls.certFile",
        "transport.tls.keyFile",
        "transport.tls.disableCustomTLSFirstByte",
        "log.to",
        "log.level",
        "log.format",
        "log.maxDays",
        "log.maxFiles",
        "log.maxSize",
        "reloadOnChange",
        "log.disablePrintColor",
        "webServer.addr",
        "webServer.port",
        "webServer.user",
        "webServer.password",
        "name",
        "type",
        "localIP",
        "localPort",
        "remotePort",
        "enabled",
        "annotations.\"example.com/owner\"",
        "metadatas.room",
        "transport.useEncryption",
        "transport.useCompression",
        "transport.bandwidthLimit",
        "transport.bandwidthLimitMode",
        "transport.proxyProtocolVersion",
        "loadBalancer.group",
        "loadBalancer.groupKey",
        "healthCheck.type",
        "healthCheck.path",
        "healthCheck.httpHeaders",
        "healthCheck.timeoutSeconds",
        "healthCheck.intervalSeconds",
        "healthCheck.maxFailed",
        "subdomain",
        "customDomains",
        "locations",
        "httpUser",
        "httpPassword",
        "routeByHTTPUser",
        "hostHeaderRewrite",
        "requestHeaders.set.X-From",
        "responseHeaders.set.X-Robots-Tag",
        "multiplexer",
        "plugin.type",
        "plugin.localAddr",
        "plugin.hostHeaderRewrite",
        "plugin.requestHeaders.set.X-From",
        "plugin.crtPath",
        "plugin.keyPath",
        "plugin.enableHTTP2",
        "plugin.unixPath",
        "plugin.localPath",
        "plugin.stripPrefix",
        "plugin.httpUser",
        "plugin.httpPassword",
        "plugin.username",
        "plugin.password",
        "secretKey",
        "allowUsers",
        "natTraversal.disableAssistedAddrs",
        "serverUser",
        "serverName",
        "bindAddr",
        "bindPort",
        "protocol",
        "keepTunnelOpen",
        "minRetryInterval",
        "maxRetriesAnHour",
        "fallbackTo",
        "fallbackTimeoutMs",
    ] {
        assert!(client.iter().any(|shown| shown == key), "{key}");
    }
}

#[test]
fn what_is_shown_as_a_default_is_one() {
    let shown = with_comments_taken_away("server.toml");
    let shown: String = shown
        .lines()
        .filter(|line| {
            ![
                "accessLog.",
                "acceptProxyProtocolFrom",
                "allowPorts",
                "auth.",
                "custom404Page",
                "custom502Page",
                "httpPlugins",
                "kcpBindPort",
                "log.maxFiles",
                "log.maxSize",
                "quicBindPort",
                "sshTunnelGateway.",
                "subDomainHost",
                "tcpmuxHTTPConnectPort",
                "transport.quic.",
                "transport.tls.",
                "trustForwardedHeadersFrom",
                "vhostHTTPMaxResponse",
                "vhostHTTPPort",
                "vhostHTTPSPort",
                "webServer.",
            ]
            .iter()
            .any(|key| line.starts_with(key))
        })
        .map(|line| format!("{line}\n"))
        .collect();
    let mut config = clean(load_server_from_str(
        &shown,
        "server.toml",
        Strictness::Strict,
    ));
    // What counts is the value, not that it is written down.
    config.transport.liveness_keys = LivenessKeys::default();
    assert_eq!(config, ServerConfig::default());

    let shown = with_comments_taken_away("client.toml");
    let own = [
        "user",
        "clientID",
        "serverAddr",
        "connectAll",
        "dnsServer",
        "log.maxFiles",
        "log.maxSize",
        "metadatas",
        "auth.",
        "start",
        "transport.proxyURL",
        "transport.tls.pinnedSha256",
        "transport.connect",
        "transport.heart",
        "webServer.",
    ];
    let shown: String = shown
        .lines()
        .take_while(|line| *line != "[[proxies]]")
        .filter(|line| !own.iter().any(|key| line.starts_with(key)))
        .filter(|line| !line.contains("File = ") && !line.contains("serverName"))
        .map(|line| format!("{line}\n"))
        .collect();
    let mut config = clean(load_client_from_str(
        &shown,
        "client.toml",
        Strictness::Strict,
    ));
    config.transport.liveness_keys = LivenessKeys::default();
    config.transport.quic.times_are_set = false;
    assert_eq!(config, ClientConfig::default());
}
