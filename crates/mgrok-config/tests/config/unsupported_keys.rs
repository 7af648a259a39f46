//! frp's keys that mgrok does not have yet: refused by name, unless they say what mgrok does anyway.

use super::{client, client_mistakes, server, server_mistakes};

fn check(keys: &[&str], check: impl Fn(&str, &[&str])) {
    for setting in keys {
        let (key, _) = setting.split_once(" =").unwrap_or((setting, ""));
        let expect = format!("1:COLUMN: `{key}` is not supported by this version of mgrok");
        // The last part of a dotted key is what is pointed at.
        let column = key.rfind('.').map_or(1, |dot| dot + 2);
        check(setting, &[&expect.replace("COLUMN", &column.to_string())]);
    }
}

#[test]
fn on_the_client() {
    check(&["virtualNet.address = \"100.86.0.1/24\""], client_mistakes);
}

#[test]
fn plugins() {
    client_mistakes(
        "[[proxies]]\nname = \"a\"\ntype = \"tcp\"\nplugin = { type = \"virtual_net\", anything = 1 }",
        &["4:19: the plugin `virtual_net` is not supported by this version of mgrok"],
    );
    client_mistakes(
        r#"
[[visitors]]
name = "a"
type = "stcp"
serverName = "b"
bindPort = -1
plugin = { type = "virtual_net", destinationIP = "192.0.2.1" }
"#,
        &["7:1: `visitors[0].plugin` is not supported by this version of mgrok"],
    );
}

#[test]
fn values_that_ask_for_nothing_pass() {
    server(
        r#"
        enablePrometheus = false
        auth.oidc = {}
        sshTunnelGateway = { bindPort = 0, autoGenPrivateKeyPath = "./.autogen_ssh_key" }
        webServer = { port = 0, user = "", assetsDir = "", pprofEnable = false, tls = {} }
        "#,
    );
    client(
        r#"
        featureGates = {}
        includes = []
        store.path = ""
        [[proxies]]
        name = "a"
        type = "tcp"
        localPort = 1
        "#,
    );
}

#[test]
fn what_frp_does_not_know_either_is_unknown() {
    server_mistakes(
        "[webServer]\nprot = 7500\n[webServer.tls]\ncert = \"c\"\nport = 1",
        &[
            "2:1: webServer.prot: unknown field \"prot\", did you mean \"port\"?",
            "4:1: webServer.tls.cert: unknown field \"cert\"",
            "5:1: webServer.tls.port: unknown field \"port\"",
        ],
    );
    // Keys of the other side.
    client_mistakes(
        "kcpBindPort = 7000",
        &["1:1: kcpBindPort: unknown field \"kcpBindPort\""],
    );
    server_mistakes(
        "visitors = []",
        &[
            "1:1: visitors: unknown field \"visitors\"; it is a key of the client, `mgrokc`, whose file is another",
        ],
    );
}
