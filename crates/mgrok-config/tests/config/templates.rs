//! Files that are templates.

use mgrok_config::{
    Environment, LoadError, Loaded, ProxyKind, ServerConfig, Strictness, load_client_in,
    load_server_in,
};

fn environment() -> Environment {
    let all = [("PORT", "7001"), ("TOKEN", "s3cret"), ("BAD", "70000")];
    Environment {
        http_proxy: None,
        variables: all
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into_iter()
            .collect(),
    }
}

fn server(text: &str) -> Result<Loaded<ServerConfig>, LoadError> {
    load_server_in(&environment(), text, "f", Strictness::Strict)
}

#[test]
fn every_format_may_be_a_template() {
    for text in [
        "# {{ .Envs.PORT }}\nbindPort = {{ .Envs.PORT }}\nauth.token = \"{{ .Envs.TOKEN }}\"",
        "bindPort: {{ .Envs.PORT }}\nauth:\n  token: \"{{ .Envs.TOKEN }}\"",
        "{\"bindPort\": {{ .Envs.PORT }}, \"auth\": {\"token\": {{ printf \"%q\" .Envs.TOKEN }} }}",
        "[common]\nbind_port = {{ .Envs.PORT }}\ntoken = {{ .Envs.TOKEN }}",
        "{{- if .Envs.PORT -}}\nbindPort = 7001\n{{- end }}\nauth.token = \"s3cret\"",
    ] {
        let loaded = server(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(loaded.config.bind_port, 7001, "{text}");
        assert_eq!(loaded.config.auth.token.expose(), "s3cret", "{text}");
    }
}

#[test]
fn a_loop_makes_proxies() {
    let text = r#"
serverAddr = "a.example"
{{ range $i, $v := parseNumberRangePair "6000-6001,6007" "7000-7002" }}
[[proxies]]
name = "p-{{ $i }}"
type = "tcp"
localPort = {{ $v.First }}
remotePort = {{ $v.Second }}
{{ end }}
"#;
    let loaded = load_client_in(&environment(), text, "f", Strictness::Strict).unwrap();
    let found = loaded.config.proxies.into_iter();
    let found: Vec<_> = found.map(|it| (it.name, it.local_port, it.kind)).collect();
    let expect = [(6000, 7000), (6001, 7001), (6007, 7002)]
        .into_iter()
        .enumerate();
    let expect: Vec<_> = expect
        .map(|(index, (local, remote_port))| {
            (format!("p-{index}"), local, ProxyKind::Tcp { remote_port })
        })
        .collect();
    assert_eq!(found, expect);
}

#[test]
fn mistakes_name_the_line_of_the_template() {
    let text = r#"{{ range parseNumberRange "1-2" }}
[[allowPorts]]
single = {{ . }}
sinlge = 1
{{ end }}
[log]
level = "loud"
{{ if true }}bindPort = {{ .Envs.BAD }}{{ end }}
"#;
    let error = server(&("bindPort = {{ .Envs.BAD }}\n".to_owned() + text)).unwrap_err();
    assert_eq!(
        error.to_string().lines().collect::<Vec<_>>(),
        [
            "f:1:12: bindPort: port number 70000 must be in the range 0..65535",
            "f:5:1: allowPorts[0].sinlge: unknown field \"sinlge\", did you mean \"single\"?",
            "f:5:1: allowPorts[1].sinlge: unknown field \"sinlge\", did you mean \"single\"?",
            "f:8:9: log.level: invalid log level \"loud\", must be one of trace, debug, info, warn, error",
            "f:9:14: log.bindPort: unknown field \"bindPort\"; `bindPort` is a key of the whole file, and belongs above the first `[table]`",
        ]
    );
    let error = server("bindPort = 1\n\nbindAddr = \"{{ .Env.X }}\"").unwrap_err();
    assert_eq!(
        error.to_string(),
        "f:3:16: template: a file's template has `.Envs` alone, no `.Env`; an environment variable is `.Envs.Env`"
    );
}

#[test]
fn variables_that_are_not_set_are_warned_of() {
    let loaded = server("bindAddr = \"{{ .Envs.NONE }}\"").unwrap();
    assert_eq!(loaded.config.bind_addr, "<no value>");
    assert_eq!(
        loaded.warnings,
        ["f:1:16: the environment variable `NONE` is not set, so that `<no value>` stands here"]
    );
}

#[test]
fn references_of_shells_are_explained() {
    let loaded = server(
        "bindAddr = \"${HOST}\"\nauth.token = \"a${b c}$\"\n[[httpPlugins]]\naddr = \"a:1\"\nops = [\"Login\"]\npath = \"/${X_1}\"",
    );
    let Err(LoadError::Mistakes(mistakes)) = &loaded else {
        panic!("{loaded:?}");
    };
    assert!(mistakes.to_string().contains("httpPlugins[0].path"));
    let loaded = server("bindAddr = \"${HOST}\"\nauth.token = \"a${b c}$\"").unwrap();
    assert_eq!(
        loaded.warnings,
        [
            "f:1:12: bindAddr: `${HOST}` is taken as it stands; an environment variable is written `{{ .Envs.HOST }}`"
        ]
    );
}

#[test]
fn the_environment_is_not_shown() {
    assert!(!format!("{:?}", environment()).contains("s3cret"));
}
