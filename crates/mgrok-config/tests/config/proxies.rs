//! `[[proxies]]`, and which of them are used.

use std::time::Duration;

use mgrok_config::{
    AccessList, Bandwidth, BandwidthMode, Group, HealthCheck, HealthCheckKind, ProxyConfig,
    ProxyKind, ProxyProtocol, SourceLimits, Strategy,
};
use mgrok_proto::auth::Secret;

use super::{client, client_mistakes, client_warnings};

fn names(text: &str) -> Vec<String> {
    let proxies = client(text).proxies;
    proxies.into_iter().map(|proxy| proxy.name).collect()
}

#[test]
fn the_least_that_a_proxy_needs() {
    let config = client("[[proxies]]\nname = \"a\"\ntype = \"tcp\"\nlocalPort = 22");
    let kind = ProxyKind::Tcp { remote_port: 0 };
    assert_eq!(config.proxies, [ProxyConfig::new("a", kind, 22)]);
}

#[test]
fn every_key_arrives() {
    let config = client(
        r#"
        auth.token = "t"
        [[proxies]]
        name = "dns"
        type = "udp"
        enabled = true
        localIP = "192.0.2.1"
        localPort = 53
        remotePort = 6053
        annotations = { "example.com/Owner" = "alice" }
        metadatas = { Room = "7" }
        [proxies.transport]
        useEncryption = true
        useCompression = true
        bandwidthLimit = " 1.5MB"
        bandwidthLimitMode = "server"
        proxyProtocolVersion = "v2"
        [proxies.healthCheck]
        type = "tcp"
        timeoutSeconds = 4
        maxFailed = 5
        intervalSeconds = 6
        "#,
    );
    let expect = ProxyConfig {
        local_host: "192.0.2.1".to_owned(),
        annotations: [("example.com/Owner".to_owned(), "alice".to_owned())].into(),
        metadatas: [("Room".to_owned(), "7".to_owned())].into(),
        use_encryption: true,
        use_compression: true,
        bandwidth: Some(Bandwidth {
            text: " 1.5MB".to_owned(),
            bytes_per_second: 1_572_864.try_into().unwrap(),
            mode: BandwidthMode::Server,
        }),
        proxy_protocol: Some(ProxyProtocol::V2),
        health_check: Some(HealthCheck {
            kind: HealthCheckKind::Tcp,
            timeout: Duration::from_secs(4),
            max_failed: 5.try_into().unwrap(),
            interval: Duration::from_secs(6),
        }),
        ..ProxyConfig::new("dns", ProxyKind::Udp { remote_port: 6053 }, 53)
    };
    assert_eq!(config.proxies, [expect]);
}

#[test]
fn start_and_enabled_choose() {
    let three = "[[proxies]]\nname = \"a\"\ntype = \"tcp\"\nlocalPort = 1\n\
                 [[proxies]]\nname = \"b\"\ntype = \"udp\"\nlocalPort = 2\nenabled = false\n\
                 [[proxies]]\nname = \"c\"\ntype = \"tcp\"\nlocalPort = 3\n";
    assert_eq!(names(three), ["a", "c"]);
    assert_eq!(names(&format!("start = [\"c\", \"b\"]\n{three}")), ["c"]);
    client_warnings(
        &format!("start = [\n\"a\",\n\"x\"]\n{three}"),
        &["3:1: start: there is no proxy or visitor \"x\""],
    );
}

#[test]
fn what_is_not_used_must_only_be_readable() {
    let unused = "enabled = false\n";
    assert_eq!(
        names(&format!(
            "[[proxies]]\n{unused}type = \"tcp\"\nlocalPort = 70000\n\
             plugin = {{ type = \"p\" }}\nannotations = {{ \"!\" = \"\" }}\ntransport.bandwidthLimit = \"fast\"\n\
             [[proxies]]\n{unused}type = \"http\"\nname = \"w\"\nsubdomain = \"w.w\"\nhealthCheck.type = \"x\""
        )),
        Vec::<String>::new()
    );
    client_mistakes(
        &format!("[[proxies]]\n{unused}type = \"tcp\"\nlocalPort = \"x\"\nnmae = \"a\""),
        &[
            "4:13: proxies[0].localPort: must be an integer, not a string",
            "5:1: proxies[0].nmae: unknown field \"nmae\", did you mean \"name\"?",
        ],
    );
    client_mistakes(
        &format!("[[proxies]]\n{unused}type = \"carrier\"\nanything = 1"),
        &[
            "3:8: proxies[0].type: unknown proxy type: carrier, must be one of tcp, udp, http, https, tcpmux, stcp, sudp, xtcp",
        ],
    );
}

#[test]
fn names_are_given_and_given_once() {
    client_mistakes(
        r#"
[[proxies]]
type = "tcp"
localPort = 1
[[proxies]]
name = "a"
type = "tcp"
localPort = 1
[[proxies]]
name = "a"
type = "udp"
localPort = 1
enabled = false
"#,
        &[
            "2:1: proxies[0].name: name should not be empty",
            "10:8: proxies[2].name: proxy name [a] is duplicated",
        ],
    );
}

#[test]
fn types() {
    client_mistakes(
        "[[proxies]]\nname = \"a\"\ntype = \"TCP\"\n[[proxies]]\nname = \"b\"\nanything = 1",
        &[
            "3:8: proxies[0].type: unknown proxy type: TCP, must be one of tcp, udp, http, https, tcpmux, stcp, sudp, xtcp, did you mean \"tcp\"?",
            "4:1: proxies[1].type: unknown proxy type: , must be one of tcp, udp, http, https, tcpmux, stcp, sudp, xtcp",
        ],
    );
}

#[test]
fn values_that_make_no_sense() {
    client_mistakes(
        r#"
[[proxies]]
name = "a"
type = "tcp"
localPort = 65536
remotePort = -1
customDomains = ["example.com"]
annotations = { "not a name" = "" }
[proxies.transport]
bandwidthLimit = "1 MB"
bandwidthLimitMode = "both"
[[proxies]]
name = "b"
type = "udp"
localPort = 1
transport = { bandwidthLimit = "5", bandwithLimitMode = "server" }
"#,
        &[
            "5:13: proxies[0].localPort: port number 65536 must be in the range 0..65535",
            "6:14: proxies[0].remotePort: port number -1 must be in the range 0..65535",
            "7:1: proxies[0].customDomains: unknown field \"customDomains\"",
            "8:15: proxies[0].annotations: annotation key \"not a name\" must have a name of 1 to 63 letters, digits, `-`, `_` and `.` that starts and ends with a letter or digit",
            "10:18: proxies[0].transport.bandwidthLimit: the bandwidth limit must start with a number that its unit follows at once, like `1.5MB`, not \"1 MB\"",
            "11:22: proxies[0].transport.bandwidthLimitMode: bandwidth limit mode must be `client` or `server`, not \"both\"",
            "16:32: proxies[1].transport.bandwidthLimit: unit not support: a bandwidth limit must end in `MB` or `KB`, not \"5\"",
            "16:37: proxies[1].transport.bandwithLimitMode: unknown field \"bandwithLimitMode\", did you mean \"bandwidthLimitMode\"?",
        ],
    );
    client_mistakes(
        "proxies = 5",
        &["1:11: proxies: must be a list of tables, not an integer"],
    );
    client_mistakes(
        "proxies = [5]",
        &["1:12: proxies[0]: must be a table, not an integer"],
    );
}

#[test]
fn settings_without_an_effect_are_told() {
    client_warnings(
        "[[proxies]]\nname = \"a\"\ntype = \"tcp\"\ntransport.useEncryption = true",
        &[
            "1:1: proxies[0].localPort: is not set, so nothing can be reached through this proxy",
            "4:27: proxies[0].transport.useEncryption: does not hide anything, because the key is made from `auth.token`, which is empty",
        ],
    );
}

/// A proxy on port 1 with more keys.
fn tcp(more: &str) -> String {
    format!("[[proxies]]\nname = \"a\"\ntype = \"tcp\"\nlocalPort = 1\n{more}")
}

#[test]
fn access_lists() {
    let access = |text: &str| client(&tcp(text)).proxies.remove(0).access;
    assert!(access("").is_open());
    let limited = "access = { maxConnectionsPerSource = 9, maxRatePerSource = 3 }";
    let limits = SourceLimits {
        connections: 9.try_into().ok(),
        rate: 3.try_into().ok(),
    };
    assert_eq!(
        client(&tcp(limited)).proxies.remove(0).source_limits,
        limits
    );
    let lists = access("access.allow = [\"10.0.0.0/8\"]\naccess.deny = [\"10.0.0.1\"]");
    let texts = |list: &str| vec![list.to_owned()];
    let expect = AccessList::parse(&texts("10.0.0.0/8"), &texts("10.0.0.1"));
    assert_eq!(lists, expect.unwrap());
}

#[test]
fn groups() {
    let group = |text: &str| client(&tcp(text)).proxies.remove(0).group;
    let expect = |key: &str| Some(Group::new("g", Secret::new(key)));
    assert_eq!(group(""), None);
    assert_eq!(
        group("loadBalancer = { group = \"\", groupKey = \"\" }"),
        None
    );
    assert_eq!(group("loadBalancer.group = \"g\""), expect(""));
    assert_eq!(
        group("[proxies.loadBalancer]\ngroup = \"g\"\ngroupKey = \"k\""),
        expect("k")
    );
    client_warnings(
        &tcp("loadBalancer.groupKey = \"k\""),
        &["5:25: proxies[0].loadBalancer.groupKey: does nothing without `loadBalancer.group`"],
    );
    let balanced = "loadBalancer = { group = \"g\", strategy = \"sourceAddress\", weight = 3 }";
    let expect = Group {
        strategy: Some(Strategy::SourceAddress),
        weight: 3.try_into().unwrap(),
        ..Group::new("g", Secret::default())
    };
    assert_eq!(group(balanced), Some(expect));
    client_warnings(
        &tcp("loadBalancer.strategy = \"roundRobin\"\nloadBalancer.weight = 2"),
        &[
            "5:25: proxies[0].loadBalancer.strategy: does nothing without `loadBalancer.group`",
            "6:23: proxies[0].loadBalancer.weight: does nothing without `loadBalancer.group`",
        ],
    );
    for kind in ["udp", "stcp", "sudp", "xtcp"] {
        let text = format!(
            "[[proxies]]\nname = \"a\"\ntype = \"{kind}\"\nlocalPort = 1\nloadBalancer.group = \"g\""
        );
        let text = match kind {
            "udp" => text,
            _ => format!("{text}\nsecretKey = \"k\""),
        };
        client_warnings(
            &text,
            &[&format!(
                "5:22: proxies[0].loadBalancer.group: does nothing for proxies of type `{kind}`"
            )],
        );
    }
}

#[test]
fn health_checks() {
    let check = |text: &str| client(&tcp(text)).proxies.remove(0).health_check;
    let tcp_check = HealthCheck {
        kind: HealthCheckKind::Tcp,
        // frp 0.70.1
        timeout: Duration::from_secs(3),
        max_failed: 1.try_into().unwrap(),
        interval: Duration::from_secs(10),
    };
    assert_eq!(check(""), None);
    assert_eq!(
        check("healthCheck = { type = \"\", timeoutSeconds = 7 }"),
        None
    );
    assert_eq!(check("healthCheck.type = \"tcp\""), Some(tcp_check.clone()));
    let less_than_nothing = "healthCheck = { type = \"tcp\", timeoutSeconds = -1, maxFailed = -1, intervalSeconds = -1 }";
    assert_eq!(check(less_than_nothing), Some(tcp_check.clone()));
    for (written, asked) in [("/status", "/status"), ("up?full=1", "/up?full=1")] {
        let text = format!(
            "healthCheck = {{ type = \"http\", path = \"{written}\", httpHeaders = [\n\
             {{ name = \"Host\", value = \"h\" }}, {{ name = \"x\" }}, {{ name = \"Host\", value = \"i\" }}] }}"
        );
        let headers = [("Host", "h"), ("x", ""), ("Host", "i")];
        let kind = HealthCheckKind::Http {
            path: asked.to_owned(),
            headers: headers
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
        };
        let expect = HealthCheck {
            kind,
            ..tcp_check.clone()
        };
        assert_eq!(check(&text), Some(expect));
    }
}

#[test]
fn health_checks_that_make_no_sense() {
    client_mistakes(
        r#"
[[proxies]]
name = "a"
type = "udp"
localPort = 1
healthCheck.type = "udp"
[[proxies]]
name = "b"
type = "tcp"
localPort = 1
healthCheck = { type = "http", interval = 1 }
[[proxies]]
name = "c"
type = "tcp"
localPort = 1
[proxies.healthCheck]
type = "http"
path = "/a b"
httpHeaders = [
  { value = "v" },
  { name = "x y" },
  { name = "x", value = "a\r\nb: c" },
  { name = 5 },
  { nmae = "x" },
]
"#,
        &[
            "6:20: proxies[0].healthCheck.type: not support health check type: udp, must be \"tcp\" or \"http\"",
            "11:15: proxies[1].healthCheck.path: health check path should not be empty",
            "11:32: proxies[1].healthCheck.interval: unknown field \"interval\"",
            "18:8: proxies[2].healthCheck.path: must be written as in a URL, where a space is `%20`, not \"/a b\"",
            "20:3: proxies[2].healthCheck.httpHeaders[0]: the name of a header must have letters, digits and !#$%&'*+-.^_`|~ only",
            "21:3: proxies[2].healthCheck.httpHeaders[1]: the name of a header must have letters, digits and !#$%&'*+-.^_`|~ only",
            "22:3: proxies[2].healthCheck.httpHeaders[2]: the value of a header must not have line breaks or other control characters",
            "23:12: proxies[2].healthCheck.httpHeaders[3].name: must be a string, not an integer",
            "24:3: proxies[2].healthCheck.httpHeaders[4]: the name of a header must have letters, digits and !#$%&'*+-.^_`|~ only",
            "24:5: proxies[2].healthCheck.httpHeaders[4].nmae: unknown field \"nmae\", did you mean \"name\"?",
        ],
    );
    client_warnings(
        r#"
[[proxies]]
name = "a"
type = "tcp"
healthCheck.type = "tcp"
[[proxies]]
name = "b"
type = "tcp"
localPort = 1
healthCheck.path = "/"
[[proxies]]
name = "c"
type = "tcp"
localPort = 1
healthCheck.type = "tcp"
healthCheck.httpHeaders = [{ name = "x" }]
"#,
        &[
            "2:1: proxies[0].localPort: is not set, so nothing can be reached through this proxy",
            "5:20: proxies[0].healthCheck.type: does nothing without `localPort`",
            "10:20: proxies[1].healthCheck.path: does nothing without `healthCheck.type`",
            "16:27: proxies[2].healthCheck.httpHeaders: does nothing while `healthCheck.type` is \"tcp\"",
        ],
    );
}

#[test]
fn proxy_protocols() {
    let version = |text: &str| client(&tcp(text)).proxies.remove(0).proxy_protocol;
    assert_eq!(version("transport.proxyProtocolVersion = \"\""), None);
    let v1 = version("transport.proxyProtocolVersion = \"v1\"");
    assert_eq!(v1, Some(ProxyProtocol::V1));
    client_mistakes(
        &tcp("transport.proxyProtocolVersion = \"2\""),
        &[
            "5:34: proxies[0].transport.proxyProtocolVersion: not support proxy protocol version: 2, must be \"v1\" or \"v2\", did you mean \"v2\"?",
        ],
    );
    client_warnings(
        "[[proxies]]\nname = \"a\"\ntype = \"udp\"\nlocalPort = 1\ntransport.proxyProtocolVersion = \"v1\"",
        &[
            "5:34: proxies[0].transport.proxyProtocolVersion: \"v1\" cannot speak of UDP, so that its header only says UNKNOWN; \"v2\" can",
        ],
    );
}
