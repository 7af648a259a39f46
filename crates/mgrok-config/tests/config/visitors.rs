//! `[[visitors]]`, and which of them are used.

use std::time::Duration;

use mgrok_config::{TunnelProtocol, VisitorConfig, VisitorKind, XtcpVisitor};
use mgrok_proto::auth::Secret;

use super::{client, client_mistakes, client_warnings};

/// A visitor with more keys.
fn visitor(name: &str, kind: &str, more: &str) -> String {
    format!("[[visitors]]\nname = \"{name}\"\ntype = \"{kind}\"\nserverName = \"s\"\n{more}\n")
}

/// What a visitor is of which only the needed keys are given.
fn least(name: &str, kind: VisitorKind, bind_port: Option<u16>) -> VisitorConfig {
    VisitorConfig {
        name: name.to_owned(),
        kind,
        server_user: None,
        server_name: "s".to_owned(),
        secret_key: Secret::default(),
        bind_addr: "127.0.0.1".to_owned(),
        bind_port,
        plugin: None,
        use_encryption: false,
        use_compression: false,
    }
}

#[test]
fn the_least_that_a_visitor_needs() {
    let default = XtcpVisitor::default();
    for kind in [
        VisitorKind::Stcp,
        VisitorKind::Sudp,
        VisitorKind::Xtcp(default.clone()),
    ] {
        let config = client(&visitor("v", kind.as_str(), "bindPort = 9000"));
        assert_eq!(config.visitors, [least("v", kind, Some(9000))]);
    }

    // frp 0.70.1
    assert_eq!(default.protocol, TunnelProtocol::Quic);
    assert!(!default.keep_tunnel_open);
    assert_eq!(default.max_retries_an_hour, 8);
    assert_eq!(default.min_retry_interval, Duration::from_secs(90));
    assert_eq!(default.fallback_to, None);
    assert_eq!(default.fallback_timeout, Duration::from_secs(1));
    assert!(!default.disable_assisted_addrs);
}

#[test]
fn zero_means_the_default() {
    let config = client(&visitor(
        "v",
        "xtcp",
        "bindPort = 1\nserverUser = \"\"\nsecretKey = \"\"\nbindAddr = \"\"\nprotocol = \"\"\n\
         keepTunnelOpen = false\nmaxRetriesAnHour = 0\nminRetryInterval = 0\nfallbackTo = \"\"\n\
         fallbackTimeoutMs = 0\nnatTraversal = {}\ntransport = {}",
    ));
    let kind = VisitorKind::Xtcp(XtcpVisitor::default());
    assert_eq!(config.visitors, [least("v", kind, Some(1))]);
}

#[test]
fn every_key_arrives() {
    let config = client(
        r#"
        [[visitors]]
        name = "v"
        type = "xtcp"
        enabled = true
        serverUser = "bob"
        serverName = "ssh"
        secretKey = "k"
        bindAddr = "::1"
        bindPort = 9001
        protocol = "kcp"
        keepTunnelOpen = true
        maxRetriesAnHour = 3
        minRetryInterval = 60
        fallbackTo = "w"
        fallbackTimeoutMs = 250
        natTraversal.disableAssistedAddrs = true
        transport = { useEncryption = true, useCompression = true }
        [[visitors]]
        name = "w"
        type = "stcp"
        serverName = "s"
        bindPort = -1
        "#,
    );
    let xtcp = XtcpVisitor {
        protocol: TunnelProtocol::Kcp,
        keep_tunnel_open: true,
        max_retries_an_hour: 3,
        min_retry_interval: Duration::from_secs(60),
        fallback_to: Some("w".to_owned()),
        fallback_timeout: Duration::from_millis(250),
        disable_assisted_addrs: true,
    };
    let first = VisitorConfig {
        server_user: Some("bob".to_owned()),
        server_name: "ssh".to_owned(),
        secret_key: Secret::new("k"),
        bind_addr: "::1".to_owned(),
        use_encryption: true,
        use_compression: true,
        ..least("v", VisitorKind::Xtcp(xtcp), Some(9001))
    };
    assert_eq!(
        config.visitors,
        [first, least("w", VisitorKind::Stcp, None)]
    );
}

#[test]
fn less_than_no_time_falls_back_at_once() {
    let text = visitor(
        "v",
        "xtcp",
        "bindPort = 1\nfallbackTo = \"w\"\nfallbackTimeoutMs = -1",
    );
    let config = client(&(text + &visitor("w", "stcp", "bindPort = 2")));
    let VisitorKind::Xtcp(xtcp) = &config.visitors[0].kind else {
        panic!("it is another kind");
    };
    assert_eq!(xtcp.fallback_timeout, Duration::ZERO);
}

#[test]
fn start_and_enabled_choose() {
    let names = |text: &str| -> Vec<String> {
        let visitors = client(text).visitors;
        visitors.into_iter().map(|visitor| visitor.name).collect()
    };
    // A visitor may have the name of a proxy.
    let text = visitor("a", "stcp", "bindPort = 1")
        + &visitor("b", "sudp", "bindPort = 2\nenabled = false")
        + &visitor("c", "xtcp", "bindPort = 3")
        + "[[proxies]]\nname = \"c\"\ntype = \"tcp\"\nlocalPort = 1\n\
           [[proxies]]\nname = \"d\"\ntype = \"tcp\"\nlocalPort = 1\n";
    assert_eq!(names(&text), ["a", "c"]);
    let chosen = format!("start = [\"c\", \"b\"]\n{text}");
    assert_eq!(names(&chosen), ["c"]);
    assert_eq!(client(&chosen).proxies.len(), 1);
    client_warnings(
        &format!("start = [\"a\", \"d\", \"x\"]\n{text}"),
        &["1:20: start: there is no proxy or visitor \"x\""],
    );
}

#[test]
fn what_is_not_used_must_only_be_readable() {
    let unused = "[[visitors]]\nenabled = false\n";
    assert_eq!(
        client(&format!(
            "{unused}type = \"xtcp\"\nbindPort = 70000\nprotocol = \"x\"\nfallbackTo = \"y\"\nplugin = {{ type = \"x\" }}"
        ))
        .visitors,
        []
    );
    client_mistakes(
        &format!("{unused}type = \"stcp\"\nbindPort = \"x\"\nfallbackTo = \"y\""),
        &[
            "4:12: visitors[0].bindPort: must be an integer, not a string",
            "5:1: visitors[0].fallbackTo: unknown field \"fallbackTo\"",
        ],
    );
    client_mistakes(
        &format!("{unused}type = \"tcp\"\nanything = 1"),
        &[
            "3:8: visitors[0].type: unknown visitor type: tcp, must be one of stcp, sudp, xtcp, did you mean \"stcp\"?",
            "4:1: visitors[0].anything: unknown field \"anything\"",
        ],
    );
}

#[test]
fn what_is_needed_is_asked_for() {
    client_mistakes(
        r#"
[[visitors]]
type = "stcp"
[[visitors]]
name = "a"
type = "sudp"
serverName = "s"
bindPort = -1
[[visitors]]
name = "a"
type = "xtcp"
serverName = 5
bindPort = 0
[[visitors]]
"#,
        &[
            "2:1: visitors[0].name: name is required",
            "2:1: visitors[0].serverName: server name is required",
            "2:1: visitors[0].bindPort: bind port is required",
            "8:12: visitors[1].bindPort: must be a port, because no other visitor can hand its users over to one of type `sudp`",
            "10:8: visitors[2].name: visitor name [a] is duplicated",
            "12:14: visitors[2].serverName: must be a string, not an integer",
            "13:12: visitors[2].bindPort: bind port is required",
            "14:1: visitors[3].name: name is required",
            "14:1: visitors[3].type: unknown visitor type: , must be one of stcp, sudp, xtcp",
            "14:1: visitors[3].serverName: server name is required",
            "14:1: visitors[3].bindPort: bind port is required",
        ],
    );
}

#[test]
fn values_that_make_no_sense() {
    client_mistakes(
        &visitor(
            "v",
            "xtcp",
            "bindPort = 65536\nprotocol = \"tcp\"\nminRetryInterval = -1\ntransport = { bandwidthLimit = \"1MB\" }\n\
             localPort = 22\nnatTraversal = 5",
        ),
        &[
            "5:12: visitors[0].bindPort: port number 65536 must be in the range 0..65535",
            "6:12: visitors[0].protocol: protocol should be kcp or quic, not \"tcp\"",
            "7:20: visitors[0].minRetryInterval: must be a number of seconds, not -1",
            "8:15: visitors[0].transport.bandwidthLimit: unknown field \"bandwidthLimit\"",
            "9:1: visitors[0].localPort: unknown field \"localPort\"",
            "10:16: visitors[0].natTraversal: must be a table, not an integer",
        ],
    );
}

#[test]
fn fallbacks_must_lead_somewhere() {
    let to = |name: &str, fallback: &str| {
        visitor(
            name,
            "xtcp",
            &format!(
                "bindPort = {}\nfallbackTo = \"{fallback}\"",
                name.as_bytes()[0]
            ),
        )
    };
    client_mistakes(
        &to("a", "a"),
        &[
            "6:14: visitors[0].fallbackTo: \"a\" leads back to this visitor, so that users might wait for ever",
        ],
    );
    // One mistake for the ring of b, c and d; a leads into it.
    let ring = to("a", "b") + &to("b", "c") + &to("c", "d") + &to("d", "b");
    client_mistakes(
        &ring,
        &[
            "12:14: visitors[1].fallbackTo: \"c\" leads back to this visitor, so that users might wait for ever",
        ],
    );
    client(&(to("a", "b") + &to("b", "c") + &to("d", "b") + &visitor("c", "stcp", "bindPort = 1")));
    client_mistakes(
        &(to("a", "b") + &visitor("b", "sudp", "bindPort = 1")),
        &[
            "6:14: visitors[0].fallbackTo: \"b\" is a visitor of type `sudp`, which cannot take users over",
        ],
    );
}

#[test]
fn a_long_chain_of_fallbacks_is_checked_quickly() {
    let mut text = String::new();
    for n in 0..20_000 {
        text += &visitor(
            &format!("v{n}"),
            "xtcp",
            &format!("bindPort = {}\nfallbackTo = \"v{}\"", n + 2, n + 1),
        );
    }
    text += &visitor("v20000", "stcp", "bindPort = 1");
    assert_eq!(client(&text).visitors.len(), 20_001);
}

#[test]
fn settings_without_an_effect_are_told() {
    client_warnings(
        &(visitor(
            "a",
            "xtcp",
            "bindPort = 1\nfallbackTo = \"b\"\ntransport.useEncryption = true",
        ) + &visitor("b", "stcp", "bindPort = 1\nenabled = false")
            + &visitor("c", "xtcp", "bindPort = -1\nfallbackTimeoutMs = 5")),
        &[
            "6:14: visitors[0].fallbackTo: there is no visitor \"b\" in use, so that nothing takes users over",
            "7:27: visitors[0].transport.useEncryption: does not hide anything, because the key is made from `secretKey`, which is empty",
            "18:12: visitors[2].bindPort: is negative, it has no `plugin`, and no `fallbackTo` names this visitor, so that nobody can reach it",
            "19:21: visitors[2].fallbackTimeoutMs: does nothing without `fallbackTo`",
        ],
    );
}
