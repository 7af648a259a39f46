use mgrok_config::{Strictness, load_client_from_settings};

use super::*;

fn config(
    kind: &str,
    set: &[(&str, &str)],
    variables: &[(&str, &str)],
) -> anyhow::Result<ClientConfig> {
    let mut settings = Settings::default();
    settings.set("proxies[0].type", kind, kind);
    for (key, value) in set {
        settings.set(*key, *value, "--flag");
    }
    let local = parse_local("nas.lan:3000").unwrap();
    complete(&mut settings, kind, &local, |name| {
        let found = variables.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| (*value).to_owned())
    })?;
    Ok(load_client_from_settings(&settings, LoadOptions::new(Strictness::Strict))?.config)
}

#[test]
fn a_name_and_a_subdomain_are_chosen_unless_they_are_given() {
    let got = config("http", &[], &[]).unwrap();
    let proxy = &got.proxies[0];
    assert!(proxy.name.starts_with("http-3000-"), "{}", proxy.name);
    assert_eq!((&*proxy.local_host, proxy.local_port), ("nas.lan", 3000));
    let ProxyKind::Http(http) = &proxy.kind else {
        panic!("{proxy:?}");
    };
    assert_eq!(http.domains.subdomain.len(), 8);
    assert_eq!(got.log.level.as_str(), "warn");

    let set = [("proxies[0].subdomain", "mine"), ("proxies[0].name", "web")];
    let got = config("http", &set, &[]).unwrap();
    let ProxyKind::Http(http) = &got.proxies[0].kind else {
        panic!("{got:?}");
    };
    assert_eq!(http.domains.subdomain, "mine");
    assert_eq!(got.proxies[0].name, "web");
}

#[test]
fn the_environment_has_what_no_flag_says() {
    let pin = "ab".repeat(32);
    let variables = [
        ("MGROK_SERVER", "example.com:7001"),
        ("MGROK_TOKEN", "secret"),
        ("MGROK_PIN", &pin),
    ];
    let got = config("tcp", &[], &variables).unwrap();
    assert_eq!(got.servers[0].to_string(), "example.com:7001");
    assert_eq!(got.auth.token.expose(), "secret");
    assert_eq!(got.transport.tls.unwrap().pinned_sha256, Some([0xab; 32]));

    let set = [("serverAddr", "other.test"), ("auth.token", "typed")];
    let got = config("tcp", &set, &variables).unwrap();
    assert_eq!(got.servers[0].to_string(), "other.test:7000");
    assert_eq!(got.auth.token.expose(), "typed");

    let error = config("tcp", &[], &[("MGROK_SERVER", ":7000")]).unwrap_err();
    assert!(error.to_string().contains("MGROK_SERVER"), "{error}");
}

#[test]
fn urls_are_those_that_users_type() {
    let http = ProxyKind::Http(Default::default());
    let https = ProxyKind::Https(Default::default());
    let tcp = ProxyKind::Tcp { remote_port: 0 };
    let udp = ProxyKind::Udp { remote_port: 0 };
    for (kind, addr, expect) in [
        (&http, "a.example.com:8080", "http://a.example.com:8080"),
        (&http, "a.example.com:80", "http://a.example.com"),
        (&https, "a.example.com:443", "https://a.example.com"),
        (&tcp, "example.com:6000", "tcp://example.com:6000"),
        (&udp, "example.com:6000", "udp://example.com:6000"),
    ] {
        assert_eq!(urls(kind, addr), [expect]);
    }
    assert_eq!(urls(&http, "a.test:80,b.test:80").len(), 2);
}

#[test]
fn a_refusal_says_what_to_do() {
    let http = ProxyKind::Http(Default::default());
    let why = "subdomain is not supported because this feature is not enabled in server";
    let text = refused(&http, why).to_string();
    assert!(text.contains("subDomainHost"), "{text}");
    let why = "type [http] not support when vhost http port is not set";
    let text = refused(&http, why).to_string();
    assert!(text.contains("vhostHTTPPort"), "{text}");
}
