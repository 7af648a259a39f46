//! The `webServer` section, which both ends have.

use mgrok_config::WebServer;
use mgrok_proto::auth::Secret;

use super::{client, client_mistakes, client_warnings, server, server_mistakes, server_warnings};

/// Checks the same text on both ends.
#[track_caller]
fn check(text: &str, expect: Option<WebServer>) {
    assert_eq!(server(text).web_server, expect, "the server's");
    assert_eq!(client(text).web_server, expect, "the client's");
}

#[track_caller]
fn check_warnings(text: &str, expect: &[&str]) {
    server_warnings(text, expect);
    client_warnings(text, expect);
}

#[track_caller]
fn check_mistakes(text: &str, expect: &[&str]) {
    server_mistakes(text, expect);
    client_mistakes(text, expect);
}

#[test]
fn every_key_arrives() {
    check(
        r#"
        enablePrometheus = true
        [webServer]
        addr = "192.0.2.1"
        port = 7500
        user = "admin"
        password = "secret"
        pprofEnable = true
        assetsDir = "pages"
        "#,
        Some(WebServer {
            addr: "192.0.2.1".to_owned(),
            port: 7500,
            user: "admin".to_owned(),
            password: Secret::new("secret"),
            prometheus: true,
            pprof: true,
            tls: None,
            assets_dir: Some("pages".into()),
        }),
    );
}

#[test]
fn without_a_port_there_is_none() {
    check("", None);
    check("[webServer]\naddr = \"\"\nport = 0", None);
    check_warnings(
        "[webServer]\naddr = \"0.0.0.0\"\nuser = \"u\"\npassword = \"p\"\npprofEnable = true",
        &[
            "2:8: webServer.addr: does nothing without `webServer.port`",
            "3:8: webServer.user: does nothing without `webServer.port`",
            "4:12: webServer.password: does nothing without `webServer.port`",
            "5:15: webServer.pprofEnable: does nothing without `webServer.port`",
        ],
    );
    check_warnings(
        "enablePrometheus = true",
        &["1:20: enablePrometheus: does nothing without `webServer.port`"],
    );
    check_warnings("enablePrometheus = false", &[]);
}

#[test]
fn it_is_on_this_machine_unless_told_otherwise() {
    let default = WebServer {
        port: 7500,
        ..WebServer::default()
    };
    assert_eq!(default.addr, "127.0.0.1");
    assert!(default.user.is_empty() && default.password.is_empty());
    check("webServer.port = 7500", Some(default));
}

#[test]
fn a_port_for_others_without_a_password_is_warned_of() {
    let open = |addr: &str| format!("[webServer]\nport = 7500\naddr = \"{addr}\"\n");
    let warning = "3:8: webServer.addr: lets nobody from other machines in while there is no password: \
                   set `webServer.user` and `webServer.password`";
    for addr in ["0.0.0.0", "::", "192.0.2.1", "tunnel.example.com"] {
        check_warnings(&open(addr), &[warning]);
        for key in ["user", "password"] {
            let closed = open(addr) + key + " = \"x\"";
            check_warnings(&closed, &[]);
        }
    }
    for addr in [
        "127.0.0.1",
        "127.0.0.9",
        "::1",
        "localhost",
        "::ffff:127.0.0.1",
    ] {
        check_warnings(&open(addr), &[]);
    }
}

#[test]
fn what_is_no_admin_port() {
    check_mistakes(
        "[webServer]\nport = 70000\nuser = 5\npprofEnable = 1",
        &[
            "2:8: webServer.port: port number 70000 must be in the range 0..65535",
            "3:8: webServer.user: must be a string, not an integer",
            "4:15: webServer.pprofEnable: must be a boolean, not an integer",
        ],
    );
    check_mistakes(
        "webServer = 5",
        &["1:13: webServer: must be a table, not an integer"],
    );
}

#[test]
fn the_password_is_not_shown() {
    let config = server("webServer = { port = 1, password = \"hunter2\" }");
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn its_tls_needs_a_certificate_and_a_key() {
    let config = server("webServer = { port = 7500, tls = { certFile = \"c\", keyFile = \"k\" } }");
    let tls = config.web_server.unwrap().tls.unwrap();
    assert_eq!(tls.cert_file.to_str(), Some("c"));
    assert_eq!(tls.key_file.to_str(), Some("k"));
    check_mistakes(
        "webServer = { port = 7500, tls.certFile = \"c\" }",
        &["1:43: webServer.tls.certFile: needs `keyFile` beside it"],
    );
    check_mistakes(
        "webServer = { port = 7500, tls.keyFile = \"k\" }",
        &["1:42: webServer.tls.keyFile: needs `certFile` beside it"],
    );
    check_warnings(
        "webServer = { port = 7500, tls.serverName = \"n\" }",
        &["1:45: webServer.tls.serverName: does nothing for the admin port, as in frp"],
    );
}
