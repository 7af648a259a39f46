//! The server's keys.

use std::path::PathBuf;
use std::time::Duration;

use mgrok_config::{
    AccessList, AccessListError, BanRules, HostKeyFile, LivenessKeys, LogLevel, LogTarget, PortSet,
    Quic, ServerConfig, SshGateway, Strictness, Vhost, load_server_from_str,
};
use mgrok_proto::auth::Secret;

use super::{server, server_mistakes, server_warnings};

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn an_empty_file_means_the_default() {
    let default = ServerConfig::default();
    assert_eq!(server(""), default);
    assert_eq!(
        server("# nothing\n\n[transport]\n[transport.tls]\n[log]\n"),
        default
    );

    // frp 0.70.1
    assert_eq!(default.bind_addr, "0.0.0.0");
    assert_eq!(default.bind_port, 7000);
    assert_eq!(default.kcp_bind_port, None);
    assert_eq!(default.quic_bind_port, None);
    assert_eq!(default.proxy_bind_addr, "0.0.0.0");
    assert!(default.detailed_errors_to_client);
    assert_eq!(default.max_ports_per_client, None);
    assert_eq!(default.user_conn_timeout, seconds(10));
    assert_eq!(default.udp_packet_size, 1500);
    assert!(default.allow_ports.is_unrestricted());
    assert!(default.auth.token.is_empty());
    assert!(!default.auth.heartbeats);
    assert!(!default.auth.new_work_conns);
    assert_eq!(default.log.to, LogTarget::Console);
    assert_eq!(default.log.level, LogLevel::Info);
    assert_eq!(default.log.max_days, Some(3));
    assert!(default.log.color);
    assert_eq!(default.grace_period, seconds(5));
    assert_eq!(default.vhost.http_port, None);
    assert_eq!(default.vhost.http_timeout, seconds(60));
    assert_eq!(default.vhost.https_port, None);
    assert_eq!(default.vhost.tcpmux_port, None);
    assert!(!default.vhost.tcpmux_passthrough);
    assert_eq!(default.vhost.sub_domain_host, "");
    assert_eq!(default.vhost.not_found_page, None);
    assert!(default.accept_proxy_protocol_from.is_empty());
    assert!(default.http_plugins.is_empty());
    let hours = default.nathole_analysis_data_reserve.as_secs() / 3600;
    assert_eq!(hours, 168);
    assert!(default.transport.tcp_mux);
    assert_eq!(default.transport.tcp_mux_keepalive_interval, seconds(30));
    assert_eq!(default.transport.tcp_keepalive, Some(seconds(7200)));
    assert_eq!(default.transport.max_pool_count, 5);
    assert_eq!(default.transport.heartbeat_timeout, None);
    assert!(!default.transport.tls.force);
    assert_eq!(default.transport.quic, Quic::default());
    assert_eq!(default.transport.tls.certificate, None);
    assert_eq!(default.transport.tls.auto_gen_cert_path, None);
    assert_eq!(default.transport.tls.trusted_ca, None);
}

#[test]
fn zero_means_the_default() {
    let config = server(
        r#"
        version = "0.70.1"
        bindAddr = ""
        bindPort = 0
        kcpBindPort = 0
        quicBindPort = 0
        proxyBindAddr = ""
        maxPortsPerClient = 0
        userConnTimeout = 0
        udpPacketSize = 0
        allowPorts = []
        gracePeriod = 0
        vhostHTTPPort = 0
        vhostHTTPTimeout = 0
        vhostHTTPSPort = 0
        tcpmuxHTTPConnectPort = 0
        tcpmuxPassthrough = false
        subDomainHost = ""
        custom404Page = ""
        custom502Page = ""
        vhostHTTPMaxResponseHeaderBytes = 0
        vhostHTTPMaxResponseHeaders = 0
        trustForwardedHeadersFrom = []
        natholeAnalysisDataReserveHours = 0
        acceptProxyProtocolFrom = []
        bans = { failures = 0, window = 0, duration = 0, exempt = [] }
        access = { logins = { allow = [], deny = [] }, users = {}, visitors = { deny = [] } }
        httpPlugins = []
        auth = { method = "", token = "", additionalScopes = [] }
        log = { to = "", level = "", maxDays = 0, disablePrintColor = false }
        [transport]
        tcpMuxKeepaliveInterval = 0
        tcpKeepalive = 0.0
        maxPoolCount = 0
        heartbeatTimeout = 0
        userIdleTimeout = 0
        tls = { force = false, certFile = "", keyFile = "", trustedCaFile = "", autoGenCertPath = "", serverName = "" }
        "#,
    );
    assert_eq!(config, ServerConfig::default());
}

#[test]
fn every_key_arrives() {
    let config = server(
        r#"
        bindAddr = "192.0.2.1"
        bindPort = 7001
        kcpBindPort = 7002
        quicBindPort = 7003
        proxyBindAddr = "192.0.2.2"
        detailedErrorsToClient = false
        maxPortsPerClient = 3
        userConnTimeout = 11
        udpPacketSize = 1400
        allowPorts = [{ start = 10, end = 12 }, { single = 20 }, { start = 0, end = 2 }]
        gracePeriod = 7
        vhostHTTPPort = 80
        vhostHTTPTimeout = 61
        vhostHTTPSPort = 443
        tcpmuxHTTPConnectPort = 1337
        tcpmuxPassthrough = true
        subDomainHost = "Tunnel.Example.COM"
        custom404Page = "404.html"
        custom502Page = "502.html"
        vhostHTTPMaxResponseHeaderBytes = 65536
        vhostHTTPMaxResponseHeaders = 100
        trustForwardedHeadersFrom = ["10.1.0.0/16"]
        natholeAnalysisDataReserveHours = 2
        acceptProxyProtocolFrom = ["10.0.0.0/8", "::1"]
        access.logins.allow = ["10.0.0.0/8"]
        access.logins.deny = ["10.0.0.1"]
        access.users.deny = ["192.0.2.0/24", "::1"]
        access.visitors.allow = ["fd00::/8"]
        bans = { failures = 5, window = 61, duration = 601, exempt = ["10.0.0.0/8"] }
        [auth]
        method = "token"
        token = "secret"
        additionalScopes = ["HeartBeats", "NewWorkConns"]
        [log]
        to = "/var/log/mgroks.log"
        level = "trace"
        maxDays = 9
        disablePrintColor = true
        [transport]
        tcpMux = false
        tcpMuxKeepaliveInterval = 31
        tcpKeepalive = 100
        maxPoolCount = 6
        heartbeatTimeout = 12
        userIdleTimeout = 3600
        quic = { keepalivePeriod = 11, maxIdleTimeout = 31, maxIncomingStreams = 7 }
        [transport.tls]
        force = true
        certFile = "a.crt"
        keyFile = "a.key"
        "#,
    );
    assert_eq!(config.bind_addr, "192.0.2.1");
    assert_eq!(config.bind_port, 7001);
    let access = config.access;
    assert_eq!(
        Ok(access.logins),
        access_list(&["10.0.0.0/8"], &["10.0.0.1"])
    );
    assert_eq!(Ok(access.users), access_list(&[], &["192.0.2.0/24", "::1"]));
    assert_eq!(Ok(access.visitors), access_list(&["fd00::/8"], &[]));
    let bans = BanRules {
        failures: 5.try_into().unwrap(),
        window: seconds(61),
        duration: seconds(601),
        exempt: vec!["10.0.0.0/8".parse().unwrap()],
    };
    assert_eq!(config.bans, Some(bans));
    assert_eq!(config.kcp_bind_port, Some(7002));
    assert_eq!(config.quic_bind_port, Some(7003));
    assert_eq!(config.proxy_bind_addr, "192.0.2.2");
    assert!(!config.detailed_errors_to_client);
    assert_eq!(config.max_ports_per_client.unwrap().get(), 3);
    assert_eq!(config.user_conn_timeout, seconds(11));
    assert_eq!(config.udp_packet_size, 1400);
    assert_eq!(
        config.allow_ports,
        PortSet::from_ranges([1..=2, 10..=12, 20..=20])
    );
    assert_eq!(config.grace_period, seconds(7));
    let vhost = Vhost {
        http_port: Some(80),
        http_timeout: seconds(61),
        https_port: Some(443),
        tcpmux_port: Some(1337),
        tcpmux_passthrough: true,
        sub_domain_host: "tunnel.example.com".to_owned(),
        not_found_page: Some(PathBuf::from("404.html")),
        unreachable_page: Some(PathBuf::from("502.html")),
        max_response_head: 65_536,
        max_response_headers: 100,
        trusted_proxies: vec!["10.1.0.0/16".parse().unwrap()],
    };
    assert_eq!(config.vhost, vhost);
    assert_eq!(config.nathole_analysis_data_reserve, seconds(2 * 60 * 60));
    let networks = ["10.0.0.0/8", "::1/128"].map(|network| network.parse().unwrap());
    assert_eq!(config.accept_proxy_protocol_from, networks);
    assert_eq!(config.auth.token, Secret::new("secret"));
    assert!(config.auth.heartbeats);
    assert!(config.auth.new_work_conns);
    assert_eq!(
        config.log.to,
        LogTarget::File(PathBuf::from("/var/log/mgroks.log"))
    );
    assert_eq!(config.log.level, LogLevel::Trace);
    assert_eq!(config.log.max_days, Some(9));
    assert!(!config.log.color);
    let transport = config.transport;
    assert!(!transport.tcp_mux);
    assert_eq!(transport.tcp_mux_keepalive_interval, seconds(31));
    assert_eq!(transport.tcp_keepalive, Some(seconds(100)));
    assert_eq!(transport.max_pool_count, 6);
    assert_eq!(transport.heartbeat_timeout, Some(seconds(12)));
    let keys = LivenessKeys {
        heartbeats: true,
        mux: true,
    };
    assert_eq!(transport.liveness_keys, keys);
    assert_eq!(transport.user_idle_timeout, Some(seconds(3600)));
    let quic = Quic {
        keepalive_period: seconds(11),
        max_idle_timeout: seconds(31),
        max_incoming_streams: 7,
        times_are_set: true,
    };
    assert_eq!(transport.quic, quic);
    assert!(transport.tls.force);
    let certificate = (PathBuf::from("a.crt"), PathBuf::from("a.key"));
    assert_eq!(transport.tls.certificate, Some(certificate));
}

#[test]
fn less_than_zero_switches_off() {
    let config = server(
        "maxPortsPerClient = -1\ngracePeriod = -1\nlog.maxDays = -1\n\
         natholeAnalysisDataReserveHours = -1\n\
         transport = { tcpKeepalive = -1, heartbeatTimeout = -1, tcpMux = false }",
    );
    assert_eq!(config.max_ports_per_client, None);
    assert_eq!(config.grace_period, Duration::ZERO);
    assert_eq!(config.nathole_analysis_data_reserve, Duration::ZERO);
    assert_eq!(config.log.max_days, None);
    assert_eq!(config.transport.tcp_keepalive, None);
    assert_eq!(config.transport.heartbeat_timeout, None);
    server_mistakes(
        "transport.maxPoolCount = -1",
        &["1:26: transport.maxPoolCount: invalid transport.maxPoolCount, must be non-negative"],
    );
}

#[test]
fn defaults_that_follow_other_keys() {
    assert_eq!(server("bindAddr = \"::1\"").proxy_bind_addr, "::1");
    assert_eq!(
        server("vhostHTTPTimeout = -1").vhost.http_timeout,
        seconds(60)
    );
    let timeout = server("transport.tcpMux = false")
        .transport
        .heartbeat_timeout;
    assert_eq!(timeout, Some(seconds(90)));
    let tls = server("transport.tls.trustedCaFile = \"ca.crt\"")
        .transport
        .tls;
    assert!(tls.force);
}

#[test]
fn numbers_may_be_huge_or_written_as_fractions() {
    let config = server(
        "bindPort = 7001.0\nmaxPortsPerClient = 9223372036854775807\nuserConnTimeout = 9223372036854775807\n\
         log.maxDays = 9223372036854775807\nnatholeAnalysisDataReserveHours = 9223372036854775807",
    );
    assert_eq!(config.bind_port, 7001);
    assert_eq!(config.max_ports_per_client.unwrap().get(), u32::MAX);
    assert_eq!(config.log.max_days, Some(u32::MAX));
    // Times can still be added to the present.
    let now = std::time::Instant::now();
    assert!(now.checked_add(config.user_conn_timeout).is_some());
    let reserve = config.nathole_analysis_data_reserve;
    assert!(now.checked_add(reserve).is_some());

    let not_whole = "must be an integer, not a fractional number";
    for number in ["7000.5", "nan", "-inf", "1e300"] {
        server_mistakes(
            &format!("bindPort = {number}"),
            &[&format!("1:12: bindPort: {not_whole}")],
        );
    }
    server_mistakes(
        "bindPort = 99999999999999999999",
        &["1:12: toml: the integer has more than 64 bits"],
    );
}

#[test]
fn ports() {
    assert_eq!(server("bindPort = 1").bind_port, 1);
    assert_eq!(server("bindPort = 65535").bind_port, 65535);
    for number in [-1, 65536] {
        server_mistakes(
            &format!("bindPort = {number}"),
            &[&format!(
                "1:12: bindPort: port number {number} must be in the range 0..65535"
            )],
        );
    }
}

#[test]
fn ports_that_many_share_are_not_taken_twice() {
    server_mistakes(
        "vhostHTTPPort = 80\nvhostHTTPSPort = 80\ntcpmuxHTTPConnectPort = 80",
        &[
            "2:18: vhostHTTPSPort: must not be 80, which is `vhostHTTPPort` already",
            "3:25: tcpmuxHTTPConnectPort: must not be 80, which is `vhostHTTPPort` already",
        ],
    );
    server_mistakes(
        "vhostHTTPSPort = 443\ntcpmuxHTTPConnectPort = 443",
        &["2:25: tcpmuxHTTPConnectPort: must not be 443, which is `vhostHTTPSPort` already"],
    );
    server_mistakes(
        "tcpmuxHTTPConnectPort = 7000",
        &["1:25: tcpmuxHTTPConnectPort: must not be 7000, which is `bindPort` already"],
    );

    // The control port shows by the first bytes of a connection what it is for.
    let shared = server("bindPort = 443\nvhostHTTPPort = 443\nvhostHTTPSPort = 443").vhost;
    assert_eq!(shared.http_port, Some(443));
    assert_eq!(shared.https_port, Some(443));
    // On another address it is another port.
    let apart = "bindAddr = \"192.0.2.1\"\nproxyBindAddr = \"192.0.2.2\"";
    let config = server(&format!("{apart}\ntcpmuxHTTPConnectPort = 7000"));
    assert_eq!(config.vhost.tcpmux_port, Some(7000));
    server_mistakes(
        &format!("{apart}\nvhostHTTPPort = 7000\nvhostHTTPSPort = 7000"),
        &["4:18: vhostHTTPSPort: must not be 7000, which is `vhostHTTPPort` already"],
    );
}

#[test]
fn the_domain_of_subdomains() {
    let host = |text: &str| {
        server(&format!("vhostHTTPPort = 80\n{text}"))
            .vhost
            .sub_domain_host
    };
    assert_eq!(host("subdomainHost = \"Example.com\""), "example.com");
    for (host, why) in [
        ("*.example.com", "must be a name without `*`"),
        (
            ".example.com",
            "must have something before and after each dot",
        ),
        (
            "http://example.com",
            "must be a name alone, without `http://` or the like",
        ),
        ("example.com:80", "must be a name alone, without a port"),
    ] {
        server_mistakes(
            &format!("subDomainHost = {host:?}"),
            &[&format!("1:17: subDomainHost: {host:?} {why}")],
        );
    }
}

fn access_list(allow: &[&str], deny: &[&str]) -> Result<AccessList, AccessListError> {
    let texts = |list: &[&str]| list.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
    AccessList::parse(&texts(allow), &texts(deny))
}

#[test]
fn bans_need_a_number() {
    let default = server("bans.failures = 3").bans;
    assert_eq!(default, Some(BanRules::new(3.try_into().unwrap())));
    server_warnings(
        "bans.window = 3\nbans.exempt = [\"::1\"]",
        &[
            "1:15: bans.window: does nothing without `bans.failures`",
            "2:15: bans.exempt: does nothing without `bans.failures`",
        ],
    );
}

#[test]
fn access_lists_are_bounded() {
    let many = vec!["\"::1\""; AccessList::MAX_NETWORKS + 1].join(", ");
    server_mistakes(
        &format!("access.users.deny = [{many}]"),
        &["1:21: access.users.deny: may have at most 1000 networks, not 1001; use larger ones"],
    );
}

#[test]
fn balancers_are_networks() {
    server_mistakes(
        r#"
acceptProxyProtocolFrom = [
  "10.0.0.0/8",
  "10.0.0.1/8",
  "balancer.example.com",
  "10.0.0.0/33",
  5,
]"#,
        &[
            "4:3: acceptProxyProtocolFrom: \"10.0.0.1/8\" has bits set beyond its prefix; did you mean 10.0.0.0/8?",
            "5:3: acceptProxyProtocolFrom: \"balancer.example.com\" must be an IP address, or one with the length of a prefix such as 10.0.0.0/8",
            "6:3: acceptProxyProtocolFrom: \"10.0.0.0/33\" must have a prefix of a length between 0 and 32",
            "7:3: acceptProxyProtocolFrom[4]: must be a string, not an integer",
        ],
    );
}

#[test]
fn allowed_ports_must_allow_something() {
    server_mistakes(
        r#"
allowPorts = [
  { start = 9, end = 3 },
  {},
  { start = 5 },
  { end = 5 },
  { single = 70000 },
  { singel = 5 },
  5,
]"#,
        &[
            "3:13: allowPorts[0].start: the range is reversed: 9 is greater than 3",
            "4:3: allowPorts[1]: must have a port as `single`, or a range as `start` and `end`",
            "5:13: allowPorts[2].start: a range needs an `end` too",
            "6:11: allowPorts[3].end: a range needs a `start` too",
            "7:14: allowPorts[4].single: port number 70000 must be in the range 0..65535",
            "8:3: allowPorts[5]: must have a port as `single`, or a range as `start` and `end`",
            "8:5: allowPorts[5].singel: unknown field \"singel\", did you mean \"single\"?",
            "9:3: allowPorts[6]: must be a table, not an integer",
        ],
    );
    server_warnings(
        "allowPorts = [{ single = 5, start = 7, end = 9 }]",
        &["1:26: allowPorts[0].single: makes `start` and `end` of the same entry do nothing"],
    );
}

#[test]
fn values_that_make_no_sense() {
    server_mistakes(
        r#"
userConnTimeout = -1
udpPacketSize = 65536
[auth]
method = "Token"
additionalScopes = [
  "HeartBeats",
  "heartbeats",
]
[log]
level = "INFO"
[transport]
tcpMuxKeepaliveInterval = -30
"#,
        &[
            "2:19: userConnTimeout: must be a number of seconds, not -1",
            "3:17: udpPacketSize: must be between 1 and 65535, not 65536",
            "5:10: auth.method: invalid auth method \"Token\", must be \"token\" or \"oidc\", did you mean \"token\"?",
            "8:3: auth.additionalScopes: invalid auth additional scopes: \"heartbeats\" is neither \"HeartBeats\" nor \"NewWorkConns\", did you mean \"HeartBeats\"?",
            "11:9: log.level: invalid log level \"INFO\", must be one of trace, debug, info, warn, error, did you mean \"info\"?",
            "13:27: transport.tcpMuxKeepaliveInterval: must be a number of seconds, not -30",
        ],
    );
}

#[test]
fn settings_without_an_effect_are_told() {
    server_warnings(
        r#"
udpPacketSize = 9000
tcpmuxPassthrough = true
subDomainHost = "example.com"
custom404Page = "404.html"
[transport.tls]
force = false
trustedCaFile = "ca.crt"
certFile = "a.crt"
serverName = "example.com"
"#,
        &[
            "2:17: udpPacketSize: datagrams of more than 7635 bytes may not fit into a message and are then lost",
            "3:21: tcpmuxPassthrough: does nothing without `tcpmuxHTTPConnectPort`",
            "4:17: subDomainHost: does nothing without `vhostHTTPPort`, `vhostHTTPSPort` or `tcpmuxHTTPConnectPort`",
            "5:17: custom404Page: does nothing without `vhostHTTPPort` or `tcpmuxHTTPConnectPort`",
            "7:9: transport.tls.force: does nothing, because `trustedCaFile` forces TLS",
            "9:12: transport.tls.certFile: is not used without `keyFile`: a self-signed certificate is made instead",
            "10:14: transport.tls.serverName: does nothing on a server",
        ],
    );
}

#[test]
fn the_token_is_not_shown() {
    let loaded = load_server_from_str("auth.token = \"hush\"", "f", Strictness::Strict);
    assert!(!format!("{loaded:?}").contains("hush"));
    let text = "auth.token = [\"hush\"]\nbindPort = x";
    let error = load_server_from_str(text, "f", Strictness::Strict).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("hush"));
}

#[test]
fn the_ssh_gateway_is_on_with_its_port() {
    assert_eq!(server("").ssh_gateway, None);
    let gateway = |text: &str| server(&format!("[sshTunnelGateway]\n{text}")).ssh_gateway;
    // frp: this file
    let kept = HostKeyFile::Kept(PathBuf::from("./.autogen_ssh_key"));
    let expect = SshGateway {
        bind_port: 2200,
        host_key: kept,
        authorized_keys: None,
    };
    assert_eq!(gateway("bindPort = 2200"), Some(expect.clone()));
    let given = SshGateway {
        host_key: HostKeyFile::Given(PathBuf::from("k")),
        authorized_keys: Some(PathBuf::from("a")),
        ..expect
    };
    let text = "bindPort = 2200\nprivateKeyFile = \"k\"\nauthorizedKeysFile = \"a\"";
    assert_eq!(gateway(text), Some(given));
    let elsewhere = SshGateway {
        host_key: HostKeyFile::Kept(PathBuf::from("k")),
        ..expect
    };
    let text = "bindPort = 2200\nautoGenPrivateKeyPath = \"k\"";
    assert_eq!(gateway(text), Some(elsewhere));
}

#[test]
fn keys_of_the_ssh_gateway_that_do_nothing_are_told() {
    server_warnings(
        "[sshTunnelGateway]\nprivateKeyFile = \"k\"\nautoGenPrivateKeyPath = \"g\"\nauthorizedKeysFile = \"a\"",
        &[
            "2:18: sshTunnelGateway.privateKeyFile: does nothing without `sshTunnelGateway.bindPort`",
            "3:25: sshTunnelGateway.autoGenPrivateKeyPath: does nothing without `sshTunnelGateway.bindPort`",
            "3:25: sshTunnelGateway.autoGenPrivateKeyPath: does nothing, because `privateKeyFile` is set",
            "4:22: sshTunnelGateway.authorizedKeysFile: does nothing without `sshTunnelGateway.bindPort`",
        ],
    );
}

#[test]
fn the_ssh_gateway_has_a_port_of_its_own() {
    let text = |port| format!("vhostHTTPPort = 80\n[sshTunnelGateway]\nbindPort = {port}");
    for (port, key) in [(7000, "bindPort"), (80, "vhostHTTPPort")] {
        let expect = format!(
            "2:1: sshTunnelGateway: must not have the port {port}, which is `{key}` already"
        );
        server_mistakes(&text(port), &[&expect]);
    }
    server_mistakes(
        "sshTunnelGateway.bindPort = 2200\nwebServer.addr = \"0.0.0.0\"\nwebServer.port = 2200",
        &[
            "2:1: webServer: must not have the port 2200, which is `sshTunnelGateway.bindPort` already",
        ],
    );
}
