//! How mistakes are told: all of them, in order, each with its place.

use mgrok_config::{
    LoadError, Position, Problem, Strictness, load_client_from_str, load_server_from_str,
};

use super::{server, server_mistakes, warnings};

#[test]
fn all_mistakes_at_once() {
    let text = "\
bindPort = \"7000\"
auth.oidc.audience = 1
bindAdr = \"::\"

[transport]
tcpMux = 1
hearbeatTimeout = 3

[transport.tls]
froce = true

[log]
level = \"loud\"
";
    server_mistakes(
        text,
        &[
            "1:12: bindPort: must be an integer, not a string",
            "2:22: auth.oidc.audience: must be a string, not an integer",
            "3:1: bindAdr: unknown field \"bindAdr\", did you mean \"bindAddr\"?",
            "6:10: transport.tcpMux: must be a boolean, not an integer",
            "7:1: transport.hearbeatTimeout: unknown field \"hearbeatTimeout\", did you mean \"heartbeatTimeout\"?",
            "10:1: transport.tls.froce: unknown field \"froce\", did you mean \"force\"?",
            "13:9: log.level: invalid log level \"loud\", must be one of trace, debug, info, warn, error",
        ],
    );
}

#[test]
fn a_mistake_has_parts() {
    let error = load_server_from_str("\n bindPrt = 1\nx = 1", "a.toml", Strictness::Strict);
    let LoadError::Mistakes(mistakes) = error.unwrap_err() else {
        panic!("it was read");
    };
    let mistake = mistakes.iter().next().unwrap();
    assert_eq!(mistake.origin, "a.toml");
    assert_eq!(mistake.position, Some(Position { line: 2, column: 2 }));
    assert_eq!(mistake.key, "bindPrt");
    let nearest = Some("bindPort".to_owned());
    let field = "bindPrt".to_owned();
    assert_eq!(
        mistake.problem,
        Problem::Unknown {
            field,
            belongs: None,
            nearest,
        }
    );
    assert_eq!(
        mistakes.to_string(),
        "a.toml:2:2: bindPrt: unknown field \"bindPrt\", did you mean \"bindPort\"?\n\
         a.toml:3:1: x: unknown field \"x\""
    );
}

#[test]
fn capitals_do_not_matter() {
    let config = server("BINDPORT = 7001\nTransport.TLS.Force = true\nbindaddr = \"::\"");
    assert_eq!(config.bind_port, 7001);
    assert_eq!(config.bind_addr, "::");
    assert!(config.transport.tls.force);
    server_mistakes(
        "bindPort = 1\nBindPort = 2\n[log]\nto = \"x\"\n[LOG]\nto = \"y\"",
        &[
            "1:1: bindPort: is the same key as `BindPort`",
            "3:2: log: is the same key as `LOG`",
        ],
    );
}

#[test]
fn lenient_reading_only_warns_of_unknown_keys() {
    let lenient = |text| load_server_from_str(text, "f", Strictness::Lenient);
    warnings(
        lenient("bindPrt = 1\n[transport]\nx = 1"),
        &[
            "1:1: bindPrt: unknown field \"bindPrt\", did you mean \"bindPort\"?",
            "3:1: transport.x: unknown field \"x\"",
        ],
    );
    // What frp knows might have protected something.
    let of_client = "virtualNet.address = \"100.86.0.1/24\"";
    assert!(load_client_from_str(of_client, "f", Strictness::Lenient).is_err());
    assert!(lenient("bindPort = \"x\"").is_err());
}

#[test]
fn columns_count_characters() {
    server_mistakes(
        "bindAddr = \"ä\" # ü\nlog = { to = \"äöü\", x = 1 }\r\n\"ä\\n\" = 1",
        &[
            "2:21: log.x: unknown field \"x\"",
            "3:1: ä\\n: unknown field \"ä\\n\"",
        ],
    );
}

#[test]
fn texts_that_are_not_toml() {
    server_mistakes(
        "a = 1\nb = \n c d\n",
        &[
            "2:5: toml: a value is missing here",
            "3:4: toml: key with no value, expected `=`",
        ],
    );
    server_mistakes("bindPort = 1\nbindPort = 2", &["2:1: toml: duplicate key"]);
}

#[test]
fn a_table_must_be_a_table() {
    server_mistakes(
        "transport = 1\nallowPorts = { single = 1 }\nauth = []",
        &[
            "1:13: transport: must be a table, not an integer",
            "2:14: allowPorts: must be a list of tables: write `[[allowPorts]]`, with two brackets on each side",
            "3:8: auth: must be a table, not a list",
        ],
    );
}

#[test]
fn dates_are_texts() {
    assert_eq!(server("bindAddr = 2026-01-02").bind_addr, "2026-01-02");
    server_mistakes(
        "bindPort = 2026-01-02",
        &["1:12: bindPort: must be an integer, not a string"],
    );
}

#[test]
fn a_text_that_is_no_configuration_gets_a_bounded_answer() {
    let text = (0..20_000)
        .map(|n| format!("k{n} = 1\n"))
        .collect::<String>();
    let error = load_server_from_str(&text, "f", Strictness::Strict).unwrap_err();
    let told = error.to_string();
    assert_eq!(told.lines().count(), 1001);
    assert!(told.ends_with("\nand 19000 more"));
    let loaded = load_server_from_str(&text, "f", Strictness::Lenient).unwrap();
    assert_eq!(loaded.warnings.len(), 1001);
    assert_eq!(loaded.warnings.last().unwrap(), "f: and 19000 more");
}
