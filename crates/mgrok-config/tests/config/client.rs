//! The client's keys, but for its proxies and visitors.

use std::path::PathBuf;
use std::time::Duration;

use mgrok_config::{
    ClientConfig, ClientTls, LivenessKeys, LogLevel, Protocol, ProxyScheme, Quic, ServerAddr,
    WireProtocol,
};
use mgrok_proto::auth::Secret;

use super::{client, client_mistakes, client_warnings};

/// 00:11:22 up to ff, twice.
pub(super) const FINGERPRINT: [u8; 32] = {
    let mut bytes = [0; 32];
    let mut at = 0;
    while at < 32 {
        bytes[at] = (at % 16) as u8 * 0x11;
        at += 1;
    }
    bytes
};

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn an_empty_file_means_the_default() {
    let default = ClientConfig::default();
    assert_eq!(client(""), default);

    // frp 0.70.1; its "0.0.0.0" for the server means this machine
    assert_eq!(default.user, "");
    assert_eq!(default.client_id, "");
    assert_eq!(default.servers, [ServerAddr::new("127.0.0.1", 7000)]);
    assert!(!default.connect_all);
    assert_eq!(default.dns_server, None);
    assert!(default.login_fail_exit);
    assert_eq!(default.udp_packet_size, 1500);
    assert!(default.metadatas.is_empty());
    assert!(default.auth.token.is_empty());
    assert_eq!(default.grace_period, seconds(5));
    assert!(default.proxies.is_empty());
    assert!(default.visitors.is_empty());
    assert_eq!(default.nat_hole_stun_server, "stun.easyvoip.com:3478");
    let transport = default.transport;
    assert_eq!(transport.protocol, Protocol::Tcp);
    // frp: v1
    assert_eq!(transport.wire_protocol, WireProtocol::Auto);
    assert_eq!(transport.proxy_url, None);
    assert_eq!(transport.dial_server_timeout, seconds(10));
    assert_eq!(transport.dial_server_keepalive, Some(seconds(7200)));
    assert_eq!(transport.connect_server_local_ip, None);
    assert_eq!(transport.pool_count, 1);
    assert!(transport.tcp_mux);
    assert_eq!(transport.tcp_mux_keepalive_interval, seconds(30));
    assert_eq!(transport.heartbeat_interval, None);
    assert_eq!(transport.heartbeat_timeout, None);
    assert_eq!(transport.quic.keepalive_period, seconds(10));
    assert_eq!(transport.quic.max_idle_timeout, seconds(30));
    assert_eq!(transport.quic.max_incoming_streams, 100_000);
    let tls = transport.tls.unwrap();
    assert!(!tls.custom_first_byte);
    assert_eq!(tls.certificate, None);
    assert_eq!(tls.trusted_ca, None);
    assert_eq!(tls.pinned_sha256, None);
    assert_eq!(tls.server_name, None);
}

#[test]
fn zero_means_the_default() {
    let config = client(
        r#"
        version = ""
        user = ""
        clientID = ""
        serverAddr = ""
        serverPort = 0
        serverAddrs = []
        connectAll = false
        dnsServer = ""
        udpPacketSize = 0
        start = []
        proxies = []
        visitors = []
        natHoleStunServer = ""
        [metadatas]
        [transport]
        protocol = ""
        wireProtocol = ""
        proxyURL = ""
        dialServerTimeout = 0
        dialServerKeepalive = 0
        connectServerLocalIP = ""
        poolCount = 0
        heartbeatInterval = 0
        heartbeatTimeout = 0
        quic = { keepalivePeriod = 0, maxIdleTimeout = 0, maxIncomingStreams = 0 }
        tls = { serverName = "", certFile = "", pinnedSha256 = "" }
        "#,
    );
    assert_eq!(config, ClientConfig::default());
}

#[test]
#[cfg_attr(not(feature = "dns-server"), ignore = "a key is refused")]
fn every_key_arrives() {
    let config = client(
        r#"
        user = "alice"
        clientID = "laptop"
        serverAddr = "tunnel.example.com"
        serverPort = 7001
        loginFailExit = false
        udpPacketSize = 1400
        gracePeriod = 7
        natHoleStunServer = "stun.example.com:3479"
        dnsServer = "192.0.2.53"
        metadatas = { Site = "berlin", empty = "" }
        auth = { token = "secret", additionalScopes = ["NewWorkConns"] }
        log = { level = "warn" }
        [transport]
        protocol = "websocket"
        wireProtocol = "v2"
        proxyURL = "http://user:password@proxy.example.com:3128"
        dialServerTimeout = 3
        dialServerKeepalive = -1
        connectServerLocalIP = "2001:db8::7"
        poolCount = 4
        tcpMux = false
        tcpMuxKeepaliveInterval = 31
        heartbeatInterval = 5
        heartbeatTimeout = 15
        quic = { keepalivePeriod = 11, maxIdleTimeout = 31, maxIncomingStreams = 7 }
        [transport.tls]
        enable = true
        disableCustomTLSFirstByte = false
        certFile = "c.crt"
        keyFile = "c.key"
        trustedCaFile = "ca.crt"
        pinnedSha256 = "00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF"
        serverName = "other.example.com"
        "#,
    );
    assert_eq!(config.user, "alice");
    assert_eq!(config.client_id, "laptop");
    assert_eq!(
        config.servers,
        [ServerAddr::new("tunnel.example.com", 7001)]
    );
    assert!(!config.login_fail_exit);
    assert_eq!(config.udp_packet_size, 1400);
    assert_eq!(config.grace_period, seconds(7));
    assert_eq!(config.metadatas["Site"], "berlin");
    assert_eq!(config.metadatas["empty"], "");
    assert_eq!(config.auth.token, Secret::new("secret"));
    assert!(!config.auth.heartbeats);
    assert!(config.auth.new_work_conns);
    assert_eq!(config.log.level, LogLevel::Warn);
    assert_eq!(config.nat_hole_stun_server, "stun.example.com:3479");
    assert_eq!(config.dns_server, Some("192.0.2.53:53".parse().unwrap()));
    let transport = config.transport;
    assert_eq!(transport.protocol, Protocol::WebSocket);
    assert_eq!(transport.wire_protocol, WireProtocol::V2);
    let proxy_url = transport.proxy_url.unwrap();
    assert_eq!(proxy_url.scheme, ProxyScheme::Http);
    assert_eq!(proxy_url.host, "proxy.example.com");
    assert_eq!(proxy_url.port, 3128);
    let credentials = proxy_url.credentials.unwrap();
    assert_eq!(credentials.user, "user");
    assert_eq!(credentials.password.expose(), "password");
    assert_eq!(transport.dial_server_timeout, seconds(3));
    assert_eq!(transport.dial_server_keepalive, None);
    assert_eq!(
        transport.connect_server_local_ip,
        Some("2001:db8::7".parse().unwrap())
    );
    assert_eq!(transport.pool_count, 4);
    assert!(!transport.tcp_mux);
    assert_eq!(transport.tcp_mux_keepalive_interval, seconds(31));
    assert_eq!(transport.heartbeat_interval, Some(seconds(5)));
    assert_eq!(transport.heartbeat_timeout, Some(seconds(15)));
    let keys = LivenessKeys {
        heartbeats: true,
        mux: true,
    };
    assert_eq!(transport.liveness_keys, keys);
    let quic = Quic {
        keepalive_period: seconds(11),
        max_idle_timeout: seconds(31),
        max_incoming_streams: 7,
        times_are_set: true,
    };
    assert_eq!(transport.quic, quic);
    let expect = ClientTls {
        custom_first_byte: true,
        certificate: Some((PathBuf::from("c.crt"), PathBuf::from("c.key"))),
        trusted_ca: Some(PathBuf::from("ca.crt")),
        trusts_system: false,
        pinned_sha256: Some(FINGERPRINT),
        server_name: Some("other.example.com".to_owned()),
    };
    assert_eq!(transport.tls, Some(expect));
}

#[test]
fn any_address_is_dialled_as_loopback() {
    for (written, dialled) in [
        ("0.0.0.0", "127.0.0.1"),
        ("::", "::1"),
        ("192.0.2.1", "192.0.2.1"),
        ("localhost", "localhost"),
    ] {
        let config = client(&format!("serverAddr = {written:?}"));
        assert_eq!(config.servers, [ServerAddr::new(dialled, 7000)]);
    }
}

#[test]
fn stun_servers_have_a_host_and_a_port() {
    for server in ["192.0.2.1:3478", "[2001:db8::1]:3478", "stun:1"] {
        let config = client(&format!("natHoleStunServer = {server:?}"));
        assert_eq!(config.nat_hole_stun_server, server);
    }
    for server in [
        "stun.example.com",
        "stun.example.com:",
        "stun.example.com:0",
        "stun.example.com:65536",
        ":3478",
        "2001:db8::1",
        "[2001:db8::1]",
        "[stun.example.com]:3478",
        "stun://example.com:3478",
        "stun example.com:3478",
    ] {
        client_mistakes(
            &format!("natHoleStunServer = {server:?}"),
            &[&format!(
                "1:21: natHoleStunServer: must be a host and its port, like \"stun.example.com:3478\", not {server:?}"
            )],
        );
    }
}

#[test]
fn heartbeats() {
    for (text, interval, timeout) in [
        ("tcpMux = false", Some(30), Some(90)),
        ("tcpMux = true", None, None),
        ("heartbeatInterval = 20", Some(20), None),
        (
            "heartbeatInterval = 20\nheartbeatTimeout = 20",
            Some(20),
            Some(20),
        ),
        ("tcpMux = false\nheartbeatInterval = -1", None, None),
        ("tcpMux = false\nheartbeatTimeout = -1", Some(30), None),
    ] {
        let transport = client(&format!("[transport]\n{text}")).transport;
        assert_eq!(
            transport.heartbeat_interval,
            interval.map(seconds),
            "{text}"
        );
        assert_eq!(transport.heartbeat_timeout, timeout.map(seconds), "{text}");
    }
    client_mistakes(
        "transport.heartbeatTimeout = 9\ntransport.heartbeatInterval = 10",
        &[
            "1:30: transport.heartbeatTimeout: must not be less than `heartbeatInterval`: 9 is less than 10",
        ],
    );
    client_mistakes(
        "\n[transport]\ntcpMux = false\nheartbeatInterval = 100",
        &[
            "2:1: transport.heartbeatTimeout: must not be less than `heartbeatInterval`: 90 is less than 100",
        ],
    );
    client_warnings(
        "transport.heartbeatTimeout = 9",
        &[
            "1:30: transport.heartbeatTimeout: does nothing while `heartbeatInterval` is off, which it is by default with `tcpMux`",
        ],
    );
}

#[test]
fn tls_can_be_off_but_not_unnoticed() {
    assert_eq!(client("transport.tls.enable = false").transport.tls, None);
    client_warnings(
        "[transport.tls]\nenable = false\ncertFile = \"c\"\nkeyFile = \"k\"\ntrustedCaFile = \"a\"\nserverName = \"n\"\npinnedSha256 = \"p\"",
        &[
            "3:12: transport.tls.certFile: does nothing while `transport.tls.enable` is false",
            "4:11: transport.tls.keyFile: does nothing while `transport.tls.enable` is false",
            "5:17: transport.tls.trustedCaFile: does nothing while `transport.tls.enable` is false",
            "7:16: transport.tls.pinnedSha256: does nothing while `transport.tls.enable` is false",
        ],
    );
    client_warnings(
        "transport.tls.keyFile = \"k\"",
        &["1:25: transport.tls.keyFile: is not used without `certFile`: the server is shown none"],
    );
}

#[test]
fn values_that_make_no_sense() {
    client_mistakes(
        r#"
serverPort = 70000
user = 5
start = ["a", 2]
metadatas = { a = "b", c = 1 }
[transport]
protocol = "tpc"
wireProtocol = "v3"
dialServerTimeout = -1
connectServerLocalIP = "localhost"
quic = { keepalivePeriod = -1, maxIncomingStreams = -1, maxIdle = 5 }
[transport.tls]
enable = "yes"
"#,
        &[
            "2:14: serverPort: port number 70000 must be in the range 0..65535",
            "3:8: user: must be a string, not an integer",
            "4:15: start[1]: must be a string, not an integer",
            "5:28: metadatas.c: must be a string, not an integer",
            "7:12: transport.protocol: must be one of \"tcp\", \"kcp\", \"quic\", \"websocket\", \"wss\", \"auto\", not \"tpc\", did you mean \"tcp\"?",
            "8:16: transport.wireProtocol: must be \"auto\", \"v1\" or \"v2\", not \"v3\"",
            "9:21: transport.dialServerTimeout: must be a number of seconds, not -1",
            "10:24: transport.connectServerLocalIP: must be an IP address, not \"localhost\"",
            "11:28: transport.quic.keepalivePeriod: must be a number of seconds, not -1",
            "11:53: transport.quic.maxIncomingStreams: must be 1 or more, or nothing could be carried",
            "11:57: transport.quic.maxIdle: unknown field \"maxIdle\"",
            "13:10: transport.tls.enable: must be a boolean, not a string",
        ],
    );
}
