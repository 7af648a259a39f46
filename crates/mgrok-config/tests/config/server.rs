//! The server's keys.

use std::{path::PathBuf, time::Duration};

use mgrok_config::{LogLevel, LogTarget, PortSet, ServerConfig, Strictness, load_server_from_str};
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
    assert!(default.transport.tcp_mux);
    assert_eq!(default.transport.tcp_mux_keepalive_interval, seconds(30));
    assert_eq!(default.transport.tcp_keepalive, Some(seconds(7200)));
    assert_eq!(default.transport.max_pool_count, 5);
    assert_eq!(default.transport.heartbeat_timeout, None);
    assert!(!default.transport.tls.force);
    assert_eq!(default.transport.tls.certificate, None);
    assert_eq!(default.transport.tls.trusted_ca, None);
}

#[test]
fn zero_means_the_default() {
    let config = server(
        r#"
        version = "0.70.1"
        bindAddr = ""
        bindPort = 0
        proxyBindAddr = ""
        maxPortsPerClient = 0
        userConnTimeout = 0
        udpPacketSize = 0
        allowPorts = []
        gracePeriod = 0
        auth = { method = "", token = "", additionalScopes = [] }
        log = { to = "", level = "", maxDays = 0, disablePrintColor = false }
        [transport]
        tcpMuxKeepaliveInterval = 0
        tcpKeepalive = 0.0
        maxPoolCount = 0
        heartbeatTimeout = 0
        tls = { force = false, certFile = "", keyFile = "", trustedCaFile = "", serverName = "" }
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
        proxyBindAddr = "192.0.2.2"
        detailedErrorsToClient = false
        maxPortsPerClient = 3
        userConnTimeout = 11
        udpPacketSize = 1400
        allowPorts = [{ start = 10, end = 12 }, { single = 20 }, { start = 0, end = 2 }]
        gracePeriod = 7
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
        [transport.tls]
        force = true
        certFile = "a.crt"
        keyFile = "a.key"
        "#,
    );
    assert_eq!(config.bind_addr, "192.0.2.1");
    assert_eq!(config.bind_port, 7001);
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
    assert!(transport.tls.force);
    let certificate = (PathBuf::from("a.crt"), PathBuf::from("a.key"));
    assert_eq!(transport.tls.certificate, Some(certificate));
}

#[test]
fn less_than_zero_switches_off() {
    let config = server(
        "maxPortsPerClient = -1\ngracePeriod = -1\nlog.maxDays = -1\n\
         transport = { tcpKeepalive = -1, maxPoolCount = -1, heartbeatTimeout = -1, tcpMux = false }",
    );
    assert_eq!(config.max_ports_per_client, None);
    assert_eq!(config.grace_period, Duration::ZERO);
    assert_eq!(config.log.max_days, None);
    assert_eq!(config.transport.tcp_keepalive, None);
    assert_eq!(config.transport.max_pool_count, 0);
    assert_eq!(config.transport.heartbeat_timeout, None);
}

#[test]
fn defaults_that_follow_other_keys() {
    assert_eq!(server("bindAddr = \"::1\"").proxy_bind_addr, "::1");
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
         log.maxDays = 9223372036854775807",
    );
    assert_eq!(config.bind_port, 7001);
    assert_eq!(config.max_ports_per_client.unwrap().get(), u32::MAX);
    assert_eq!(config.log.max_days, Some(u32::MAX));
    // Times can still be added to the present.
    assert!(
        std::time::Instant::now()
            .checked_add(config.user_conn_timeout)
            .is_some()
    );

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
            "5:10: auth.method: invalid auth method \"Token\", must be \"token\"",
            "8:3: auth.additionalScopes: invalid auth additional scopes: \"heartbeats\" is neither \"HeartBeats\" nor \"NewWorkConns\"",
            "11:9: log.level: invalid log level \"INFO\", must be one of trace, debug, info, warn, error",
            "13:27: transport.tcpMuxKeepaliveInterval: must be a number of seconds, not -30",
        ],
    );
}

#[test]
fn settings_without_an_effect_are_told() {
    server_warnings(
        r#"
udpPacketSize = 9000
[transport.tls]
force = false
trustedCaFile = "ca.crt"
certFile = "a.crt"
serverName = "example.com"
"#,
        &[
            "2:17: udpPacketSize: datagrams of more than 7635 bytes may not fit into a message and are then lost",
            "4:9: transport.tls.force: does nothing, because `trustedCaFile` forces TLS",
            "6:12: transport.tls.certFile: is not used without `keyFile`: a self-signed certificate is made instead",
            "7:14: transport.tls.serverName: does nothing on a server",
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
