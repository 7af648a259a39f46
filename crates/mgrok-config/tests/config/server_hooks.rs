//! `[[httpPlugins]]`.

use mgrok_config::{HttpPlugin, PluginScheme};
use mgrok_proto::hook::Op;

use super::{server, server_mistakes, server_warnings};

#[test]
fn every_key_arrives() {
    let config = server(
        r#"
        [[httpPlugins]]
        name = "a"
        addr = "127.0.0.1:9000"
        path = "/handler"
        ops = ["Login", "NewProxy", "CloseProxy", "Ping", "NewWorkConn", "NewUserConn", "Login"]
        [[httpPlugins]]
        addr = "https://Plugin.example.com/base"
        path = "/more"
        tlsVerify = true
        ops = ["Ping"]
        "#,
    );
    let first = HttpPlugin {
        name: "a".to_owned(),
        ops: Op::ALL.to_vec(),
        scheme: PluginScheme::Http,
        host: "127.0.0.1".to_owned(),
        port: 9000,
        path: "/handler".to_owned(),
    };
    let second = HttpPlugin {
        name: String::new(),
        ops: vec![Op::Ping],
        scheme: PluginScheme::Https { verify: true },
        host: "Plugin.example.com".to_owned(),
        port: 443,
        path: "/base/more".to_owned(),
    };
    assert_eq!(config.http_plugins, [first, second]);
}

#[track_caller]
fn check(addr: &str, expect: Option<(&str, u16)>) {
    let text =
        format!("httpPlugins = [{{ addr = {addr:?}, tlsVerify = false, ops = [\"Ping\"] }}]");
    match expect {
        Some((host, port)) => {
            let plugin = server(&text).http_plugins.remove(0);
            assert_eq!((plugin.host.as_str(), plugin.port), (host, port), "{addr}");
            assert_eq!(plugin.path, "/");
        }
        None => server_mistakes(
            &text,
            &[&format!(
                "1:25: httpPlugins[0].addr: {addr:?} is not \"host:port\", \"http://host:port\" or \"https://host:port\""
            )],
        ),
    }
}

#[test]
fn addresses() {
    check("localhost:9000", Some(("localhost", 9000)));
    check("http://10.0.0.1:9000", Some(("10.0.0.1", 9000)));
    check(
        "https://a_b.example.com:9000",
        Some(("a_b.example.com", 9000)),
    );
    check("plugin", Some(("plugin", 80)));
    check("https://plugin/", Some(("plugin", 443)));
    check("[::1]:9000", Some(("::1", 9000)));
    check("http://[::1]", Some(("::1", 80)));
    for addr in [
        "a:0",
        "a:65536",
        "a:http",
        "a:",
        ":9000",
        "http://",
        "::1",
        "[::1",
        "[a]:1",
        "a b:1",
        "a..b:1",
        "ftp://a:1",
        "ä:1",
        "a:1?b",
        "HTTP://a:1",
    ] {
        check(addr, None);
    }
}

#[test]
fn all_mistakes_at_once() {
    server_mistakes(
        r#"
[[httpPlugins]]
name = 1
ops = ["Login", "login", "Logout"]
[[httpPlugins]]
addr = "a:1"
path = "handler"
ops = "Login"
[[httpPlugins]]
addr = "a:1"
path = "/?op=x"
op = ["Login"]
"#,
        &[
            "2:1: httpPlugins[0].addr: must say where the plugin is, like \"host:port\"",
            "3:8: httpPlugins[0].name: must be a string, not an integer",
            "4:17: httpPlugins[0].ops: invalid http plugin ops: \"login\" is none of Login, NewProxy, CloseProxy, Ping, NewWorkConn, NewUserConn, did you mean \"Login\"?",
            "4:26: httpPlugins[0].ops: invalid http plugin ops: \"Logout\" is none of Login, NewProxy, CloseProxy, Ping, NewWorkConn, NewUserConn",
            "7:8: httpPlugins[1].path: must begin with \"/\" and be a path as in a URL, without a query",
            "8:7: httpPlugins[1].ops: must be a list of strings, not a string",
            "11:8: httpPlugins[2].path: must begin with \"/\" and be a path as in a URL, without a query",
            "12:1: httpPlugins[2].op: unknown field \"op\", did you mean \"ops\"?",
        ],
    );
}

#[test]
fn settings_that_may_surprise_are_told() {
    server_warnings(
        r#"
[[httpPlugins]]
addr = "https://a:1"
ops = ["Ping"]
[[httpPlugins]]
addr = "https://a:1"
ops = ["Ping"]
tlsVerify = false
[[httpPlugins]]
addr = "a:1"
tlsVerify = true
"#,
        &[
            "3:8: httpPlugins[0].addr: the plugin's certificate is not checked unless `tlsVerify` is true",
            "9:1: httpPlugins[2].ops: names nothing that the plugin would be asked about",
            "11:13: httpPlugins[2].tlsVerify: does nothing without https",
        ],
    );
}
