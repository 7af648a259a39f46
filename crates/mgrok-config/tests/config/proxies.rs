//! `[[proxies]]`, and which of them are used.

use mgrok_config::{Bandwidth, BandwidthMode, ProxyConfig, ProxyKind};

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
        &["3:1: start: there is no proxy \"x\""],
    );
}

#[test]
fn what_is_not_used_must_only_be_readable() {
    let unused = "enabled = false\n";
    assert_eq!(
        names(&format!(
            "[[proxies]]\n{unused}type = \"tcp\"\nlocalPort = 70000\n\
             loadBalancer.group = \"g\"\nannotations = {{ \"!\" = \"\" }}\ntransport.bandwidthLimit = \"fast\"\n\
             [[proxies]]\n{unused}type = \"http\"\nname = \"w\"\nsubdomain = \"w\""
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
        &["3:8: proxies[0].type: unknown proxy type: carrier"],
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
            "3:8: proxies[0].type: unknown proxy type: TCP",
            "4:1: proxies[1].type: unknown proxy type: ",
        ],
    );
    for later in ["http", "https", "tcpmux", "stcp", "sudp", "xtcp"] {
        client_mistakes(
            &format!("[[proxies]]\nname = \"a\"\ntype = \"{later}\"\nsubdomain = \"s\""),
            &[&format!(
                "3:8: proxy type `{later}` is not supported by this version of mgrok"
            )],
        );
    }
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
