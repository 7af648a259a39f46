//! Words that are nearly right.

use super::{client_mistakes, server_mistakes};

#[test]
fn the_nearest_word_is_named() {
    client_mistakes(
        r#"
auth.method = "tokn"
auth.additionalScopes = ["HeartBeat"]
transport.protocol = "websockt"
transport.wireProtocol = "v11"
log.level = "infos"
[[proxies]]
name = "a"
type = "tcp"
localPort = 1
healthCheck.type = "htp"
transport = { bandwidthLimit = "1MB", bandwidthLimitMode = "clent", proxyProtocolVersion = "v3" }
plugin.type = "unix_domain_sockt"
[[proxies]]
name = "b"
type = "tcpmux"
localPort = 1
subdomain = "b"
multiplexer = "httpconect"
[[visitors]]
name = "v"
type = "xtcp"
serverName = "x"
bindPort = 1
protocol = "quick"
"#,
        &[
            "2:15: auth.method: invalid auth method \"tokn\", must be \"token\" or \"oidc\", did you mean \"token\"?",
            "3:26: auth.additionalScopes: invalid auth additional scopes: \"HeartBeat\" is neither \"HeartBeats\" nor \"NewWorkConns\", did you mean \"HeartBeats\"?",
            "4:22: transport.protocol: must be one of \"tcp\", \"kcp\", \"quic\", \"websocket\", \"wss\", \"auto\", not \"websockt\", did you mean \"websocket\"?",
            "5:26: transport.wireProtocol: must be \"auto\", \"v1\" or \"v2\", not \"v11\", did you mean \"v1\"?",
            "6:13: log.level: invalid log level \"infos\", must be one of trace, debug, info, warn, error, did you mean \"info\"?",
            "11:20: proxies[0].healthCheck.type: not support health check type: htp, must be \"tcp\" or \"http\", did you mean \"http\"?",
            "12:60: proxies[0].transport.bandwidthLimitMode: bandwidth limit mode must be `client` or `server`, not \"clent\", did you mean \"client\"?",
            "12:92: proxies[0].transport.proxyProtocolVersion: not support proxy protocol version: v3, must be \"v1\" or \"v2\"",
            "13:15: proxies[0].plugin.type: unknown plugin type: unix_domain_sockt, did you mean \"unix_domain_socket\"?",
            "19:15: proxies[1].multiplexer: not support multiplexer: httpconect, must be \"httpconnect\"",
            "25:12: visitors[0].protocol: protocol should be kcp or quic, not \"quick\", did you mean \"quic\"?",
        ],
    );
    server_mistakes(
        "[[httpPlugins]]\naddr = \"a:1\"\nops = [\"Logn\"]",
        &[
            "3:8: httpPlugins[0].ops: invalid http plugin ops: \"Logn\" is none of Login, NewProxy, CloseProxy, Ping, NewWorkConn, NewUserConn, did you mean \"Login\"?",
        ],
    );
}

#[test]
fn other_mistakes_of_a_proxy_whose_type_is_nearly_right_are_told() {
    client_mistakes(
        r#"
[[proxies]]
name = "a"
type = "tpc"
localPort = "22"
remotePrt = 6000
[[proxies]]
name = "b"
type = "htttp"
localPort = 80
locations = "/"
[[visitors]]
name = "v"
type = "stpc"
bindPort = -1000000
bindAdr = "x"
"#,
        &[
            "4:8: proxies[0].type: unknown proxy type: tpc, must be one of tcp, udp, http, https, tcpmux, stcp, sudp, xtcp, did you mean \"tcp\"?",
            "5:13: proxies[0].localPort: must be an integer, not a string",
            "6:1: proxies[0].remotePrt: unknown field \"remotePrt\", did you mean \"remotePort\"?",
            "7:1: proxies[1]: subdomain and custom domains should not be both empty",
            "9:8: proxies[1].type: unknown proxy type: htttp, must be one of tcp, udp, http, https, tcpmux, stcp, sudp, xtcp, did you mean \"http\"?",
            "11:13: proxies[1].locations: must be a list of strings, not a string",
            "12:1: visitors[0].serverName: server name is required",
            "14:8: visitors[0].type: unknown visitor type: stpc, must be one of stcp, sudp, xtcp, did you mean \"stcp\"?",
            "16:1: visitors[0].bindAdr: unknown field \"bindAdr\", did you mean \"bindAddr\"?",
        ],
    );
}

#[test]
fn of_a_proxy_whose_type_nobody_knows_common_keys_are_judged() {
    client_mistakes(
        r#"
[[proxies]]
name = "a"
type = "carrier pigeon"
localPort = 70000
remotePrt = 6000
transport = { useEncription = true }
"#,
        &[
            "4:8: proxies[0].type: unknown proxy type: carrier pigeon, must be one of tcp, udp, http, https, tcpmux, stcp, sudp, xtcp",
            "5:13: proxies[0].localPort: port number 70000 must be in the range 0..65535",
            "7:15: proxies[0].transport.useEncription: unknown field \"useEncription\", did you mean \"useEncryption\"?",
        ],
    );
}
