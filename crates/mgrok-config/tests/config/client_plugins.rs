//! `[proxies.plugin]`.

use std::path::PathBuf;

use mgrok_config::{
    HttpsFront, LocalAddr, Plugin, PluginCredentials, ProxyConfig, ProxyKind, Website,
};
use mgrok_proto::auth::Secret;

use super::{client, client_mistakes, client_warnings};

/// A proxy whose plugin's keys begin in line 5.
fn proxy(keys: &str) -> String {
    format!("[[proxies]]\nname = \"a\"\ntype = \"tcp\"\n[proxies.plugin]\n{keys}")
}

#[track_caller]
fn check(keys: &str, expect: Plugin) {
    let name = expect.as_str();
    let config = client(&proxy(&format!("type = \"{name}\"\n{keys}")));
    let expect = ProxyConfig {
        plugin: Some(expect),
        ..ProxyConfig::new("a", ProxyKind::Tcp { remote_port: 0 }, 0)
    };
    assert_eq!(config.proxies, [expect]);
}

fn website(host: &str, port: u16) -> Website {
    Website {
        local_addr: LocalAddr {
            host: host.to_owned(),
            port,
        },
        ..Website::default()
    }
}

#[test]
fn the_least_that_each_needs() {
    let localhost = "localAddr = \"localhost\"";
    check(localhost, Plugin::Http2Http(website("localhost", 80)));
    check(localhost, Plugin::Http2Https(website("localhost", 443)));
    let front = HttpsFront {
        certificate: None,
        enable_http2: true,
    };
    check(
        localhost,
        Plugin::Https2Http {
            website: website("localhost", 80),
            front: front.clone(),
        },
    );
    check(
        localhost,
        Plugin::Https2Https {
            website: website("localhost", 443),
            front,
        },
    );
    check(
        "localAddr = \"[::1]:5432\"",
        Plugin::Tls2Raw {
            local_addr: website("::1", 5432).local_addr,
            certificate: None,
        },
    );
    check(
        "unixPath = \"/run/app.sock\"",
        Plugin::UnixDomainSocket {
            path: PathBuf::from("/run/app.sock"),
        },
    );
    let nobody = PluginCredentials::default;
    let files = |strip_prefix: &str| Plugin::StaticFile {
        root: PathBuf::from("/srv/files"),
        strip_prefix: strip_prefix.to_owned(),
        credentials: nobody(),
    };
    check("localPath = \"/srv/files\"", files(""));
    // Slashes at its ends go without saying.
    check(
        "localPath = \"/srv/files\"\nstripPrefix = \"/a/b/\"",
        files("a/b"),
    );
}

#[test]
fn every_key_arrives() {
    let website = Website {
        host_header_rewrite: "local.test:8080".to_owned(),
        request_headers: [("X-From".to_owned(), "mgrok".to_owned())].into(),
        ..website("web.test", 8080)
    };
    let certificate = Some((PathBuf::from("a.crt"), PathBuf::from("a.key")));
    let keys = r#"
        localAddr = "web.test:8080"
        hostHeaderRewrite = "local.test:8080"
        requestHeaders.set = { X-From = "mgrok" }
    "#;
    check(keys, Plugin::Http2Http(website.clone()));
    check(keys, Plugin::Http2Https(website.clone()));
    let front = HttpsFront {
        certificate: certificate.clone(),
        enable_http2: false,
    };
    let files = "crtPath = \"a.crt\"\nkeyPath = \"a.key\"";
    let keys = format!("{keys}\n{files}\nenableHTTP2 = false");
    check(
        &keys,
        Plugin::Https2Http {
            website: website.clone(),
            front: front.clone(),
        },
    );
    check(
        &keys,
        Plugin::Https2Https {
            website: website.clone(),
            front,
        },
    );
    check(
        &format!("localAddr = \"web.test:8080\"\n{files}"),
        Plugin::Tls2Raw {
            local_addr: website.local_addr,
            certificate,
        },
    );
}

#[test]
fn those_that_want_a_password() {
    let ada = PluginCredentials {
        user: "ada".to_owned(),
        password: Secret::new("s3cret"),
    };
    let http = "httpUser = \"ada\"\nhttpPassword = \"s3cret\"";
    check(http, Plugin::HttpProxy(ada.clone()));
    check(
        &format!("localPath = \"/srv\"\nstripPrefix = \"docs\"\n{http}"),
        Plugin::StaticFile {
            root: PathBuf::from("/srv"),
            strip_prefix: "docs".to_owned(),
            credentials: ada.clone(),
        },
    );
    check(
        "username = \"ada\"\npassword = \"s3cret\"",
        Plugin::Socks5(ada),
    );
}

#[test]
fn what_is_required() {
    for (name, key) in [
        ("http2http", "localAddr"),
        ("http2https", "localAddr"),
        ("https2http", "localAddr"),
        ("https2https", "localAddr"),
        ("static_file", "localPath"),
        ("tls2raw", "localAddr"),
        ("unix_domain_socket", "unixPath"),
    ] {
        client_mistakes(
            &proxy(&format!("type = \"{name}\"\n{key} = \"\"")),
            &[&format!(
                "6:{}: proxies[0].plugin.{key}: plugin {name}: {key} is required",
                key.len() + 4
            )],
        );
    }
}

#[test]
fn values_that_make_no_sense() {
    for (keys, expect) in [
        (
            "type = \"socks4\"\nanything = 1",
            "5:8: proxies[0].plugin.type: unknown plugin type: socks4, did you mean \"socks5\"?",
        ),
        (
            "anything = 1",
            "4:1: proxies[0].plugin.type: plugin type is empty",
        ),
        (
            "type = 5",
            "5:8: proxies[0].plugin.type: must be a string, not an integer",
        ),
        (
            "type = \"unix_domain_socket\"\nunixPath = \"a\"\nlocalAddr = \"b\"",
            "7:1: proxies[0].plugin.localAddr: unknown field \"localAddr\"",
        ),
        (
            "type = \"http_proxy\"\nhttpUser = \"a:b\"",
            "6:12: proxies[0].plugin.httpUser: must not have a `:`, which nobody can send in a name; a password belongs in `httpPassword`",
        ),
        (
            "type = \"socks5\"\nhttpUser = \"a\"",
            "6:1: proxies[0].plugin.httpUser: unknown field \"httpUser\"",
        ),
        (
            &format!("type = \"socks5\"\nusername = \"{}\"", "x".repeat(256)),
            "6:12: proxies[0].plugin.username: must have 255 bytes at most for SOCKS, not 256",
        ),
        (
            "type = \"static_file\"\nlocalPath = \"a\"\nstripPrefix = \"a/../b\"",
            "7:15: proxies[0].plugin.stripPrefix: is no beginning of a path: \"a/../b\"",
        ),
        (
            "type = \"http2http\"\nlocalAddr = \"a\"\ncrtPath = \"b\"",
            "7:1: proxies[0].plugin.crtPath: unknown field \"crtPath\"",
        ),
        (
            "type = \"tls2raw\"\nlocalAddr = \"a:b\"",
            "6:13: proxies[0].plugin.localAddr: must end in a port from 1 to 65535, like `127.0.0.1:8080`, not \"a:b\"",
        ),
        (
            "type = \"http2http\"\nlocalAddr = \"a\"\nrequestHeaders.set.\"x y\" = \"\"",
            "7:28: proxies[0].plugin.requestHeaders.set.x y: the name of a header must have letters, digits and !#$%&'*+-.^_`|~ only",
        ),
    ] {
        client_mistakes(&proxy(keys), &[expect]);
    }
    client_mistakes(
        "[[proxies]]\nname = \"a\"\ntype = \"tcp\"\nplugin = 5",
        &["4:10: proxies[0].plugin: must be a table, not an integer"],
    );
}

#[test]
fn settings_without_an_effect_are_told() {
    for kind in ["udp", "sudp"] {
        let secret = match kind {
            "sudp" => "secretKey = \"k\"\n",
            _ => "",
        };
        client_warnings(
            &format!(
                "[[proxies]]\nname = \"a\"\ntype = \"{kind}\"\nlocalPort = 1\n\
                 plugin = {{ type = \"unix_domain_socket\", unixPath = \"a\" }}\n{secret}"
            ),
            &[&format!(
                "5:10: proxies[0].plugin: does nothing for proxies of type `{kind}`"
            )],
        );
    }
    let bridge = "type = \"http2https\"\nlocalAddr = \"a\"\n";
    client_warnings(
        &proxy(&format!(
            "{bridge}[proxies.transport]\nproxyProtocolVersion = \"v2\""
        )),
        &[
            "8:24: proxies[0].transport.proxyProtocolVersion: does nothing with the plugin `http2https`",
        ],
    );
    for name in ["http_proxy", "socks5"] {
        client_warnings(
            &proxy(&format!("type = \"{name}\"")),
            &[&format!(
                "5:8: proxies[0].plugin.type: `{name}` without a user and a password lets everybody who reaches this proxy \
                 connect to all that this machine can"
            )],
        );
        // Whoever knows the secret key may.
        let config = client(&format!(
            "[[proxies]]\nname = \"a\"\ntype = \"stcp\"\nsecretKey = \"k\"\nplugin.type = \"{name}\""
        ));
        let plugin = config.proxies[0].plugin.as_ref();
        assert_eq!(plugin.map(Plugin::as_str), Some(name));
    }
    client_warnings(
        &proxy(
            "type = \"socks5\"\nusername = \"ada\"\n[proxies.transport]\nproxyProtocolVersion = \"v2\"",
        ),
        &["8:24: proxies[0].transport.proxyProtocolVersion: does nothing with the plugin `socks5`"],
    );
    let front = "type = \"https2http\"\nlocalAddr = \"a\"\n";
    client_warnings(
        &proxy(&format!("{front}crtPath = \"a.crt\"")),
        &[
            "7:11: proxies[0].plugin.crtPath: is not used without `keyPath`: a self-signed certificate is made instead",
        ],
    );
    // Which watches nothing without a port, plugin or not.
    client_warnings(
        &proxy(&format!("{bridge}[proxies.healthCheck]\ntype = \"tcp\"")),
        &["8:8: proxies[0].healthCheck.type: does nothing without `localPort`"],
    );
}
