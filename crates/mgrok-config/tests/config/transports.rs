//! The transports to the server: where it is, what carries the connection, through which proxy, and whom TLS believes.

use mgrok_config::{
    ClientConfig, Environment, Protocol, ServerAddr, Strictness, WireProtocol, load_client_in,
};
use mgrok_proto::auth::Secret;

use super::client::FINGERPRINT;
use super::{
    clean, client, client_mistakes, client_warnings, mistakes, server, server_mistakes,
    server_warnings,
};

#[test]
fn protocols() {
    for (name, protocol) in [
        ("tcp", Protocol::Tcp),
        ("kcp", Protocol::Kcp),
        ("quic", Protocol::Quic),
        ("websocket", Protocol::WebSocket),
        ("wss", Protocol::Wss),
        ("auto", Protocol::Auto),
    ] {
        let config = client(&format!("transport.protocol = {name:?}"));
        assert_eq!(config.transport.protocol, protocol);
    }
    for (name, wire_protocol) in [
        ("auto", WireProtocol::Auto),
        ("v1", WireProtocol::V1),
        ("v2", WireProtocol::V2),
    ] {
        let config = client(&format!("transport.wireProtocol = {name:?}"));
        assert_eq!(config.transport.wire_protocol, wire_protocol);
    }
}

#[test]
fn keys_that_do_nothing_with_a_protocol() {
    let keys = r#"
proxyURL = "http://proxy.example.com"
connectServerLocalIP = "192.0.2.1"
dialServerKeepalive = 60
multipath = true
tcpMux = false
tcpMuxKeepaliveInterval = 10
tls = { enable = false, disableCustomTLSFirstByte = false }
"#;
    let with = |protocol| format!("[transport]\nprotocol = \"{protocol}\"{keys}");
    let past_proxies = |protocol| {
        [
            format!("3:12: transport.proxyURL: does nothing with \"{protocol}\""),
            format!("4:24: transport.connectServerLocalIP: does nothing with \"{protocol}\""),
            format!("5:23: transport.dialServerKeepalive: does nothing with \"{protocol}\""),
            format!("6:13: transport.multipath: does nothing with \"{protocol}\""),
        ]
    };
    let encrypted = |protocol| {
        [
            format!(
                "9:18: transport.tls.enable: does nothing with \"{protocol}\", which is always encrypted"
            ),
            format!(
                "9:53: transport.tls.disableCustomTLSFirstByte: does nothing with \"{protocol}\""
            ),
        ]
    };
    let mux = [
        "7:10: transport.tcpMux: does nothing with \"quic\", in which streams share a connection anyway",
        "8:27: transport.tcpMuxKeepaliveInterval: does nothing with \"quic\", which has `transport.quic.keepalivePeriod`",
    ]
    .map(str::to_owned);

    let quic = [&past_proxies("quic")[..], &mux, &encrypted("quic")].concat();
    let quic: Vec<&str> = quic.iter().map(String::as_str).collect();
    client_warnings(&with("quic"), &quic);
    client_warnings(
        &with("kcp"),
        &past_proxies("kcp").each_ref().map(|line| line.as_str()),
    );
    let proxied = "6:13: transport.multipath: does nothing with `proxyURL`";
    let [first, second] = &encrypted("wss");
    client_warnings(&with("wss"), &[proxied, first, second]);
    for protocol in ["auto", "tcp", "websocket"] {
        client_warnings(&with(protocol), &[proxied]);
    }
    // What does what it says anyway needs no words.
    client("transport = { protocol = \"quic\", tcpMux = true, tls = { enable = true } }");
}

#[test]
fn several_connections_share_the_streams_of_a_mux() {
    for (number, connections) in [(0, 1), (1, 1), (64, 64)] {
        let config = client(&format!("transport.tcpMuxConnections = {number}"));
        assert_eq!(config.transport.tcp_mux_connections, connections);
    }
    for number in ["-1", "65"] {
        client_mistakes(
            &format!("transport.tcpMuxConnections = {number}"),
            &[&format!(
                "1:31: transport.tcpMuxConnections: must be a number from 1 to 64, not {number}"
            )],
        );
    }
    client_mistakes(
        "[transport]\ntcpMux = false\ntcpMuxConnections = 2",
        &[
            "3:21: transport.tcpMuxConnections: needs `transport.tcpMux`; without it, each stream has a connection of its own anyway",
        ],
    );
    client_warnings(
        "transport = { protocol = \"quic\", tcpMuxConnections = 2 }",
        &[
            "1:54: transport.tcpMuxConnections: does nothing with \"quic\", in which streams share a connection anyway",
        ],
    );
}

#[test]
fn what_is_always_encrypted_keeps_its_tls() {
    for protocol in ["quic", "wss"] {
        let text = format!(
            "[transport]\nprotocol = {protocol:?}\ntls = {{ enable = false, trustedCaFile = \"ca.crt\" }}"
        );
        let loaded = load_client_in(&Environment::default(), &text, "f", Strictness::Strict);
        let tls = loaded.unwrap().config.transport.tls.unwrap();
        assert_eq!(tls.trusted_ca, Some("ca.crt".into()));
    }
    let auto = client("transport = { protocol = \"auto\", tls.enable = false }");
    assert_eq!(auto.transport.tls, None);
}

fn behind(
    http_proxy: &str,
    text: &str,
) -> Result<mgrok_config::Loaded<ClientConfig>, mgrok_config::LoadError> {
    let environment = Environment {
        http_proxy: Some(Secret::new(http_proxy)),
        ..Environment::default()
    };
    load_client_in(&environment, text, "f", Strictness::Strict)
}

#[test]
fn the_environment_stands_in_for_the_proxy() {
    let from_environment = "http://from-environment";
    let proxy_url = |text| clean(behind(from_environment, text)).transport.proxy_url;
    assert_eq!(proxy_url(""), Some(from_environment.parse().unwrap()));
    assert_eq!(
        proxy_url("transport.protocol = \"wss\""),
        Some(from_environment.parse().unwrap())
    );
    assert_eq!(
        proxy_url("transport.proxyURL = \"socks5://from-file\""),
        Some("socks5://from-file".parse().unwrap())
    );
    // They go past it, so it does not matter what it says.
    for protocol in ["kcp", "quic"] {
        let config = clean(behind("?", &format!("transport.protocol = {protocol:?}")));
        assert_eq!(config.transport.proxy_url, None);
    }
    assert_eq!(clean(behind("", "")), ClientConfig::default());
    assert_eq!(client("").transport.proxy_url, None);
}

#[test]
fn urls_that_name_no_proxy() {
    let shown = "like \"http://proxy.example.com:3128\"";
    for (url, expect) in [
        (
            "proxy.example.com:3128",
            format!("must begin with \"http://\", \"https://\", \"socks5://\" or \"ntlm://\", {shown}"),
        ),
        (
            "ftp://user:hunter2@proxy.example.com",
            format!("must begin with \"http://\", \"https://\", \"socks5://\" or \"ntlm://\", {shown}"),
        ),
        (
            "http://user:hunter2@",
            format!("must name a host after `//` (and `user:password@`), {shown}"),
        ),
        (
            "http://user:hunter2",
            "must have a port from 1 to 65535, or none".to_owned(),
        ),
        (
            "socks5://user:hunter2%@proxy.example.com",
            "must have two hex digits after each `%` of user and password; `%25` is the sign itself".to_owned(),
        ),
    ] {
        assert!(!expect.contains("hunter2"));
        client_mistakes(
            &format!("transport.proxyURL = {url:?}"),
            &[&format!("1:22: transport.proxyURL: {expect}")],
        );
    }
    mistakes(
        behind(
            "http://user:hunter2",
            "user = \"alice\"\n[transport]\npoolCount = 2",
        ),
        &[
            "2:1: transport.proxyURL: is not set, so the environment variable `http_proxy` counts, which must have a port from 1 to 65535, or none",
        ],
    );
}

#[test]
fn several_servers() {
    let config = client(
        r#"
        serverPort = 7001
        serverAddrs = [
            "a.example.com",
            "b.example.com:7002",
            "192.0.2.1:7000",
            "2001:db8::1",
            "[2001:db8::2]",
            "[2001:db8::2]:7000",
            "0.0.0.0",
            "[::]:7000",
        ]
        connectAll = true
        "#,
    );
    let expect = [
        ("a.example.com", 7001),
        ("b.example.com", 7002),
        ("192.0.2.1", 7000),
        ("2001:db8::1", 7001),
        ("2001:db8::2", 7001),
        ("2001:db8::2", 7000),
        ("127.0.0.1", 7001),
        ("::1", 7000),
    ];
    assert_eq!(
        config.servers,
        expect.map(|(host, port)| ServerAddr::new(host, port))
    );
    assert!(config.connect_all);

    let one = client("serverAddrs = [\"a.example.com\"]");
    assert_eq!(one.servers, [ServerAddr::new("a.example.com", 7000)]);
    let none = client("serverAddr = \"a.example.com\"\nserverAddrs = []");
    assert_eq!(none.servers, [ServerAddr::new("a.example.com", 7000)]);
}

#[test]
fn servers_that_cannot_be_meant() {
    client_mistakes(
        r#"
serverAddr = "a.example.com"
serverAddrs = [
    "a.example.com:7000",
    "A.Example.com",
    "0.0.0.0:1",
    "127.0.0.1:1",
    "",
    ":7000",
    "a.example.com:0",
    "a.example.com:x",
    "[a.example.com]:7000",
    "[2001:db8::1]7000",
    "tcp://a.example.com",
    7000,
]
"#,
        &[
            "3:15: serverAddrs: must not be set together with `serverAddr`; name all servers here",
            "5:5: serverAddrs: must not name A.Example.com:7000 twice",
            "7:5: serverAddrs: must not name 127.0.0.1:1 twice",
            &not_a_server("8:5", ""),
            &not_a_server("9:5", ":7000"),
            &not_a_server("10:5", "a.example.com:0"),
            &not_a_server("11:5", "a.example.com:x"),
            &not_a_server("12:5", "[a.example.com]:7000"),
            &not_a_server("13:5", "[2001:db8::1]7000"),
            &not_a_server("14:5", "tcp://a.example.com"),
            "15:5: serverAddrs[11]: must be a string, not an integer",
        ],
    );
    client_warnings(
        "connectAll = true",
        &["1:14: connectAll: does nothing with one server; `serverAddrs` names several"],
    );
}

fn not_a_server(place: &str, text: &str) -> String {
    format!(
        "{place}: serverAddrs: must be a host, or a host and its port, like \"a.example.com\", \"192.0.2.1:7000\" or \"[2001:db8::1]:7000\", not {text:?}"
    )
}

#[cfg(not(feature = "dns-server"))]
#[test]
fn a_dns_server_is_refused_without_its_feature() {
    client_mistakes(
        "dnsServer = \"192.0.2.53\"",
        &[
            "1:13: `dnsServer`, for which this build lacks the feature `dns-server`, is not supported by this version of mgrok",
        ],
    );
}

#[test]
#[cfg_attr(not(feature = "dns-server"), ignore = "the key is refused")]
fn dns_servers() {
    for (text, expect) in [
        ("192.0.2.53", "192.0.2.53:53"),
        ("192.0.2.53:5353", "192.0.2.53:5353"),
        ("2001:db8::53", "[2001:db8::53]:53"),
        ("[2001:db8::53]", "[2001:db8::53]:53"),
        ("[2001:db8::53]:5353", "[2001:db8::53]:5353"),
    ] {
        let config = client(&format!("dnsServer = {text:?}"));
        assert_eq!(config.dns_server, Some(expect.parse().unwrap()));
    }
    for text in [
        "dns.example.com",
        "192.0.2.53:0",
        "192.0.2.53:",
        "[192.0.2.53]",
    ] {
        client_mistakes(
            &format!("dnsServer = {text:?}"),
            &[&format!(
                "1:13: dnsServer: must be an IP address, with a port if it is not 53, like \"192.0.2.53\" or \"[2001:db8::53]:5353\", not {text:?}"
            )],
        );
    }
}

#[test]
fn fingerprints() {
    let plain = "00112233445566778899aabbccddeeff".repeat(2);
    let pairs: Vec<String> = FINGERPRINT
        .iter()
        .map(|byte| format!("{byte:02X}"))
        .collect();
    let colons = pairs.join(":");
    for text in [&plain, &plain.to_uppercase(), &colons] {
        let config = client(&format!("transport.tls.pinnedSha256 = {text:?}"));
        assert_eq!(
            config.transport.tls.unwrap().pinned_sha256,
            Some(FINGERPRINT)
        );
    }
    for text in [
        "00",
        &plain[1..],
        &format!("{plain}0"),
        &plain.replace('a', "g"),
        &plain.replace('a', "ä"),
        &format!("{colons}:"),
        &colons.replace(':', "-"),
        &colons.replacen("00:11", "0:011", 1),
        &format!("sha256:{plain}"),
    ] {
        client_mistakes(
            &format!("transport.tls.pinnedSha256 = {text:?}"),
            &[
                "1:30: transport.tls.pinnedSha256: must be the SHA-256 fingerprint of the server's certificate: 64 hex digits, with colons between pairs or without",
            ],
        );
    }
}

#[test]
fn udp_ports_of_the_server() {
    let config = server("bindPort = 7001\nkcpBindPort = 7001\nquicBindPort = 7002");
    assert_eq!(config.kcp_bind_port, Some(7001));
    assert_eq!(config.quic_bind_port, Some(7002));
    let config = server("bindPort = 7001\nquicBindPort = 7001\nkcpBindPort = 0");
    assert_eq!(config.kcp_bind_port, None);
    assert_eq!(config.quic_bind_port, Some(7001));
    server_mistakes(
        "kcpBindPort = 7000\nquicBindPort = 7000",
        &["2:16: quicBindPort: must not be 7000, which is `kcpBindPort` already"],
    );
    server_mistakes(
        "kcpBindPort = -1\nquicBindPort = 70000\ntransport.quic.maxIncomingStreams = -1",
        &[
            "1:15: kcpBindPort: port number -1 must be in the range 0..65535",
            "2:16: quicBindPort: port number 70000 must be in the range 0..65535",
            "3:37: transport.quic.maxIncomingStreams: must be 1 or more, or nothing could be carried",
        ],
    );
    server_warnings(
        "[transport.quic]\nkeepalivePeriod = 5",
        &["1:1: transport.quic: does nothing without `quicBindPort`"],
    );
}

#[test]
fn a_certificate_that_is_made_and_kept() {
    let tls = server("transport.tls.autoGenCertPath = \"made.pem\"")
        .transport
        .tls;
    assert_eq!(tls.auto_gen_cert_path, Some("made.pem".into()));
    server_warnings(
        "[transport.tls]\ncertFile = \"c\"\nkeyFile = \"k\"\nautoGenCertPath = \"made.pem\"",
        &[
            "4:19: transport.tls.autoGenCertPath: does nothing, because `certFile` and `keyFile` are set",
        ],
    );
}

#[test]
fn the_authorities_of_the_system_may_be_trusted() {
    let key = "transport.tls.trustSystemRoots";
    for (text, trusts) in [(String::new(), false), (format!("{key} = true"), true)] {
        let tls = client(&text).transport.tls.unwrap();
        assert_eq!(tls.trusts_system, trusts);
    }
    client_mistakes(
        &format!("{key} = true\ntransport.tls.trustedCaFile = \"ca.crt\""),
        &[
            "1:34: transport.tls.trustSystemRoots: must not be set beside `trustedCaFile`, because one of them alone can say who is trusted",
        ],
    );
    client_warnings(
        &format!("transport.tls.enable = false\n{key} = true"),
        &[
            "2:34: transport.tls.trustSystemRoots: does nothing while `transport.tls.enable` is false",
        ],
    );
}
