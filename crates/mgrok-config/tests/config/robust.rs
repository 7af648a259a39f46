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

/// A line as a file in frp's old format might have it.
fn old_line() -> impl Strategy<Value = String> {
    let keys = &[
        "bind_port",
        "allow_ports",
        "token",
        "authenticate_heartbeats",
        "dashboard_port",
        "local_port",
        "remote_port",
        "type",
        "role",
        "plugin",
        "custom_domains",
        "meta_x",
        "header_",
        "plugin_header_a.b",
        "[range:p]",
        "[range:]",
        "[a]",
        "[plugin.b]",
        "[common]",
        "[DEFAULT]",
        "[]",
        "includes",
        "start",
        "sk",
    ][..];
    let values = &[
        " = 1",
        " = 70000",
        " = 1-3,7",
        " = 1-99999999",
        "",
        " = true",
        " = tpc",
        " = visitor",
        " = http2https",
        " = \"\"\"a",
        " = `",
        " = \\",
        " = a, b",
        ":x",
        " = xtcp",
        " = ",
    ][..];
    let (key, value) = (
        proptest::sample::select(keys),
        proptest::sample::select(values),
    );
    (key, value).prop_map(|(key, value)| format!("{key}{value}"))
}

/// A piece of a template, right or wrong.
fn action() -> impl Strategy<Value = String> {
    proptest::sample::select(
        &[
            "bindPort = ",
            "1",
            "\n",
            "a",
            "\"",
            "{{",
            "}}",
            "{{- ",
            " -}}",
            "{{ if .Envs.X }}",
            "{{ else }}",
            "{{ else if 1 }}",
            "{{ end }}",
            "{{ range parseNumberRange \"1-3\" }}",
            "{{ . }}",
            "{{ range $i, $v := 3 }}",
            "{{ $v }}",
            "{{ $x := 1 }}",
            "{{ $x = 2 }}",
            "{{ break }}",
            "{{ continue }}",
            "{{ with .Envs.X }}",
            "{{ define \"t\" }}",
            "{{ template \"t\" . }}",
            "{{ block \"b\" . }}",
            "{{/* c */}}",
            "{{ printf \"%5.2d|%q\" 1 \"a\" }}",
            "{{ index .Envs \"X\" }}",
            "{{ slice \"äb\" 1 }}",
            "{{ len",
            " (1",
            "{{ 'ä' }}",
            "{{ 1e999 }}",
            "{{ eq 1 1.5 }}",
            "{{ .Envs }}",
            "{{ `a` | print }}",
            "{{ parseNumberRangePair \"1\" \"2\" }}",
        ][..],
    )
    .prop_map(str::to_owned)
}

fn load(text: &str) {
    let (strict, lenient) = (Strictness::Strict, Strictness::Lenient);
    // The name decides what a text is taken for that is no TOML.
    for (name, strictness) in [
        ("f", strict),
        ("f", lenient),
        ("f.yaml", strict),
        ("f.json", lenient),
    ] {
        // Whether it is right does not matter here, but what is said about it must be printable.
        let server = load_server_from_str(text, name, strictness);
        let client = load_client_from_str(text, name, strictness);
        for error in [server.err(), client.err()].into_iter().flatten() {
            assert!(!error.to_string().is_empty());
        }
    }
}

proptest! {
    // Each case is eight loads. More of them are the fuzz target's work.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn arbitrary_text(text in any::<String>()) {
        load(&text);
    }

    #[test]
    fn text_of_tomls_signs(text in "[a-c=\\[\\]{}\"'#.,0-9\n\r \\\\ä:-]{0,80}") {
        load(&text);
    }

    #[test]
    fn text_of_yamls_signs(text in "[a-c:\\[\\]{}\"'#&*!|>.,0-9\n \\\\ä<~%@-]{0,80}") {
        load(&text);
    }

    #[test]
    fn text_of_jsons_signs(text in "[{}\\[\\]:,\"\\\\a-bu0-9.eE+ntrl -]{0,60}") {
        load(&format!("{{{text}"));
    }

    #[test]
    fn text_of_inis_signs(text in "[a-c=:;#\\[\\]\"'`0-9\n \\\\ä,_-]{0,80}") {
        load(&format!("[common]\n{text}"));
    }

    #[test]
    fn lines_of_ini(lines in proptest::collection::vec(old_line(), 0..12)) {
        load(&format!("[common]\n{}", lines.join("\n")));
    }

    #[test]
    fn actions(actions in proptest::collection::vec(action(), 0..12)) {
        load(&actions.concat());
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
    load(&format!("a{} = 1", ".a".repeat(20_000)));
    load(&"[".repeat(100_000));
    load(&"{{ if 1 }}".repeat(10_000));
    load(&format!("{{{{ {} }}}}", "(".repeat(100_000)));
    load(&format!("{{{{ {} }}}}", "1 | print ".repeat(2_000)));
    load(&format!("proxies = {}", "[{ transport = ".repeat(10_000)));
}
