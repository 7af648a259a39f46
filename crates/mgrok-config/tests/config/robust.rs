//! No text makes the loader fall over.

use mgrok_config::{Strictness, load_client_from_str, load_server_from_str};
use proptest::prelude::*;

const KEYS: &[&str] = &[
    "allowPorts",
    "proxies",
    "transport",
    "transport.tls",
    "auth",
    "auth.token",
    "log.level",
    "single",
    "start",
    "end",
    "name",
    "type",
    "localPort",
    "webServer",
    "webServer.port",
    "metadatas",
    "visitors",
    "proxies.healthCheck",
    "healthCheck.httpHeaders",
    "requestHeaders.set",
    "customDomains",
    "subdomain",
    "locations",
    "multiplexer",
    "secretKey",
    "serverName",
    "bindPort",
    "fallbackTo",
    "fallbackTimeoutMs",
    "natTraversal",
    "vhostHTTPPort",
    "tcpmuxHTTPConnectPort",
    "natHoleStunServer",
    "serverAddrs",
    "dnsServer",
    "transport.protocol",
    "transport.proxyURL",
    "transport.tls.pinnedSha256",
    "quicBindPort",
    "acceptProxyProtocolFrom",
    "trustForwardedHeadersFrom",
    "vhostHTTPMaxResponseHeaderBytes",
    "natholeAnalysisDataReserveHours",
    "httpPlugins",
    "annotations",
    "transport.bandwidthLimit",
    "proxies.plugin",
    "x",
    "\"a b\"",
    "ä",
];
const VALUES: &[&str] = &[
    "0",
    "-1",
    "70000",
    "9223372036854775807",
    "1.5",
    "nan",
    "true",
    "\"tcp\"",
    "\"http\"",
    "\"xtcp\"",
    "\"quic\"",
    "\"http://a:b@[::1]:80\"",
    "[\"[::1]:80\", \"a:\"]",
    "\"\"",
    "\"1.5MB\"",
    "\"{{ .Envs.X }}\"",
    "[]",
    "[{}]",
    "[1, \"a\"]",
    "{}",
    "{ start = 1, end = 0 }",
    "2026-01-02",
    "",
    "\"",
    "\"ü\"",
];

/// A line as a file might have it, right or wrong.
fn line() -> impl Strategy<Value = String> {
    let key = || proptest::sample::select(KEYS);
    let value = proptest::sample::select(VALUES);
    prop_oneof![
        6 => (key(), value).prop_map(|(key, value)| format!("{key} = {value}")),
        1 => key().prop_map(|key| format!("[{key}]")),
        1 => key().prop_map(|key| format!("[[{key}]]")),
    ]
}

fn load(text: &str) {
    for strictness in [Strictness::Strict, Strictness::Lenient] {
        // Whether it is right does not matter here, but what is said about it must be printable.
        let server = load_server_from_str(text, "f", strictness);
        let client = load_client_from_str(text, "f", strictness);
        for error in [server.err(), client.err()].into_iter().flatten() {
            assert!(!error.to_string().is_empty());
        }
    }
}

proptest! {
    #[test]
    fn arbitrary_text(text in any::<String>()) {
        load(&text);
    }

    #[test]
    fn text_of_tomls_signs(text in "[a-c=\\[\\]{}\"'#.,0-9\n\r \\\\ä:-]{0,80}") {
        load(&text);
    }

    #[test]
    fn lines(lines in proptest::collection::vec(line(), 0..12)) {
        load(&lines.join("\n"));
    }
}

#[test]
fn depth() {
    load(&format!("a = {}", "[".repeat(100_000)));
    load(&format!("a = {}1{}", "[".repeat(70), "]".repeat(70)));
    load(&format!("a{} = 1", ".a".repeat(100_000)));
    load(&"[".repeat(100_000));
    load(&format!("proxies = {}", "[{ transport = ".repeat(10_000)));
}
