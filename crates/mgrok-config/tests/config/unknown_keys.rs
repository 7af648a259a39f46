//! Keys that nothing asks for are refused by name, and values that ask for nothing pass.

use super::{client, client_mistakes, server, server_mistakes};

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
