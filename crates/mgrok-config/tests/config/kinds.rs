//! The keys that only proxies of one type have.

use mgrok_config::{Domains, HttpProxy, Inspect, Private, ProxyConfig, ProxyKind, TcpMuxProxy};
use mgrok_proto::auth::Secret;

use super::{client, client_mistakes, client_warnings};

/// A proxy on port 1 whose keys of its own begin in line 5.
fn proxy(kind: &str, keys: &str) -> String {
    format!("[[proxies]]\nname = \"a\"\ntype = \"{kind}\"\nlocalPort = 1\n{keys}")
}

#[track_caller]
fn check(kind: &str, keys: &str, expect: ProxyKind) {
    assert_eq!(expect.as_str(), kind);
    let config = client(&proxy(kind, keys));
    assert_eq!(config.proxies, [ProxyConfig::new("a", expect, 1)]);
}

fn texts<const N: usize>(texts: [&str; N]) -> Vec<String> {
    texts.map(str::to_owned).into()
}

#[test]
fn http() {
    let keys = r#"
        customDomains = ["Example.com", "*.example.com", "*"]
        subdomain = "Www"
        locations = ["/", "", "/pic"]
        httpUser = "u"
        httpPassword = "p:q"
        hostHeaderRewrite = "local.test:8080"
        requestHeaders.set = { X-From = "mgrok", Empty = "" }
        responseHeaders.set.X-Via = "tunnel"
        routeByHTTPUser = "r"
        inspect = { requests = 20, bodyLimit = "1MB", redact = ["X-Secret"] }
    "#;
    let expect = HttpProxy {
        domains: Domains {
            custom: texts(["Example.com", "*.example.com", "*"]),
            subdomain: "Www".to_owned(),
        },
        locations: texts(["/", "", "/pic"]),
        user: "u".to_owned(),
        password: Secret::new("p:q"),
        host_header_rewrite: "local.test:8080".to_owned(),
        request_headers: [("X-From", "mgrok"), ("Empty", "")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        response_headers: [("X-Via".to_owned(), "tunnel".to_owned())].into(),
        route_by_user: "r".to_owned(),
        inspect: Some(Inspect {
            requests: 20,
            body_limit: 1 << 20,
            redact: texts(["x-secret"]),
        }),
    };
    check("http", keys, ProxyKind::Http(expect));
}

#[test]
fn https() {
    let domains = Domains {
        custom: texts(["example.com"]),
        subdomain: String::new(),
    };
    let keys = "customDomains = [\"example.com\"]\nsubdomain = \"\"";
    check("https", keys, ProxyKind::Https(domains));
    let domains = Domains {
        custom: Vec::new(),
        subdomain: "www".to_owned(),
    };
    check("https", "subdomain = \"www\"", ProxyKind::Https(domains));
}

#[test]
fn tcpmux() {
    let keys = r#"
        multiplexer = "httpconnect"
        customDomains = ["tunnel1"]
        subdomain = "s"
        httpUser = "u"
        httpPassword = "p"
        routeByHTTPUser = "r"
    "#;
    let expect = TcpMuxProxy {
        domains: Domains {
            custom: texts(["tunnel1"]),
            subdomain: "s".to_owned(),
        },
        user: "u".to_owned(),
        password: Secret::new("p"),
        route_by_user: "r".to_owned(),
    };
    check("tcpmux", keys, ProxyKind::TcpMux(expect));
    for (keys, found) in [("", "1:1"), ("multiplexer = \"CONNECT\"", "5:15")] {
        let told = if keys.is_empty() { "none" } else { "CONNECT" };
        client_mistakes(
            &proxy("tcpmux", &format!("{keys}\nsubdomain = \"s\"")),
            &[&format!(
                "{found}: proxies[0].multiplexer: not support multiplexer: {told}, must be \"httpconnect\""
            )],
        );
    }
}

#[test]
fn private_services() {
    let private = Private {
        secret_key: Secret::new("k"),
        allow_users: texts(["alice", "*"]),
    };
    let keys = "secretKey = \"k\"\nallowUsers = [\"alice\", \"*\"]";
    check("stcp", keys, ProxyKind::Stcp(private.clone()));
    check("sudp", keys, ProxyKind::Sudp(private.clone()));
    for disable_assisted_addrs in [false, true] {
        check(
            "xtcp",
            &format!("{keys}\nnatTraversal.disableAssistedAddrs = {disable_assisted_addrs}"),
            ProxyKind::Xtcp {
                private: private.clone(),
                disable_assisted_addrs,
            },
        );
    }
    for kind in ["stcp", "sudp", "xtcp"] {
        client_warnings(
            &proxy(kind, "allowUsers = []"),
            &[
                "1:1: proxies[0].secretKey: is not set, so that every visitor of a user who is allowed gets in",
            ],
        );
    }
}

#[test]
fn keys_of_another_type_are_unknown() {
    let domain = "subdomain = \"s\"";
    for (kind, keys, stranger) in [
        ("tcp", "", "customDomains = []"),
        ("udp", "", "secretKey = \"\""),
        ("http", domain, "remotePort = 0"),
        ("http", domain, "multiplexer = \"httpconnect\""),
        ("https", domain, "locations = []"),
        ("https", domain, "httpUser = \"\""),
        ("tcpmux", domain, "hostHeaderRewrite = \"\""),
        ("tcpmux", domain, "requestHeaders = {}"),
        ("stcp", "", "natTraversal = {}"),
        ("sudp", "", "remotePort = 0"),
        ("xtcp", "", "subdomain = \"\""),
    ] {
        let more = match kind {
            "tcpmux" => "multiplexer = \"httpconnect\"",
            "stcp" | "sudp" | "xtcp" => "secretKey = \"k\"",
            _ => "",
        };
        let (key, _) = stranger.split_once(' ').unwrap();
        client_mistakes(
            &proxy(kind, &format!("{stranger}\n{keys}\n{more}")),
            &[&format!("5:1: proxies[0].{key}: unknown field \"{key}\"")],
        );
    }
}

#[test]
fn domains_that_nobody_can_ask_for() {
    for kind in ["http", "https", "tcpmux"] {
        let more = match kind {
            "tcpmux" => "multiplexer = \"httpconnect\"",
            _ => "",
        };
        client_mistakes(
            &proxy(kind, &format!("{more}\ncustomDomains = []")),
            &["1:1: proxies[0]: subdomain and custom domains should not be both empty"],
        );
    }
    client_mistakes(
        &proxy(
            "https",
            r#"subdomain = "a.b"
customDomains = [
  "https://example.com",
  "example.com:443",
  "example.com/x",
  ".example.com",
  "exam ple.com",
  "www.*.com",
  "",
  5,
]"#,
        ),
        &[
            "5:13: proxies[0].subdomain: \"a.b\" must be one label: '.' and '*' are not supported in subdomain",
            "7:3: proxies[0].customDomains: \"https://example.com\" must be a name alone, without `http://` or the like",
            "8:3: proxies[0].customDomains: \"example.com:443\" must be a name alone, without a port",
            "9:3: proxies[0].customDomains: \"example.com/x\" must be a name alone, without a path",
            "10:3: proxies[0].customDomains: \".example.com\" must have something before and after each dot",
            "11:3: proxies[0].customDomains: \"exam ple.com\" must not have spaces or control characters",
            "12:3: proxies[0].customDomains: \"www.*.com\" may only have a `*` instead of its first label, like `*.example.com`, or alone",
            "13:3: proxies[0].customDomains: \"\" must be a name",
            "14:3: proxies[0].customDomains[7]: must be a string, not an integer",
        ],
    );
    // That something is missing would be wrong here.
    client_mistakes(
        &proxy("https", "customDomains = \"example.com\""),
        &["5:17: proxies[0].customDomains: must be a list of strings, not a string"],
    );
}

#[test]
fn headers_that_http_does_not_allow() {
    client_mistakes(
        &proxy(
            "http",
            r#"subdomain = "s"
hostHeaderRewrite = "a\r\nb"
httpUser = "a:b"
routeByHTTPUser = ":"
responseHeaders.remove = ["x"]
[proxies.requestHeaders.set]
"x y" = "v"
x = "a\nb"
Y = "1"
y = "2"
z = 3"#,
        ),
        &[
            "6:21: proxies[0].hostHeaderRewrite: the value of a header must not have line breaks or other control characters",
            "7:12: proxies[0].httpUser: must not have a `:`, which nobody can send in a name; a password belongs in `httpPassword`",
            "8:19: proxies[0].routeByHTTPUser: must not have a `:`, which nobody can send in a name; a password belongs in `httpPassword`",
            "9:17: proxies[0].responseHeaders.remove: unknown field \"remove\"",
            "11:9: proxies[0].requestHeaders.set.x y: the name of a header must have letters, digits and !#$%&'*+-.^_`|~ only",
            "12:5: proxies[0].requestHeaders.set.x: the value of a header must not have line breaks or other control characters",
            "14:5: proxies[0].requestHeaders.set.y: is the same header as `Y`",
            "15:5: proxies[0].requestHeaders.set.z: must be a string, not an integer",
        ],
    );
}

#[test]
fn settings_without_an_effect_are_told() {
    client_warnings(
        &proxy(
            "http",
            "customDomains = [\"*.com\", \"bücher.example\"]\nlocations = [\"pic\"]",
        ),
        &[
            "5:18: proxies[0].customDomains: \"*.com\" stands for no name: two labels or more must follow the `*.`",
            "5:27: proxies[0].customDomains: browsers ask for \"bücher.example\" in its form that begins with `xn--`",
            "6:14: proxies[0].locations: \"pic\" matches nothing, because every path begins with `/`",
        ],
    );
    // The tunnel's key is not made from the token.
    client_warnings(
        &format!(
            "auth.token = \"t\"\n{}",
            proxy("xtcp", "transport.useEncryption = true")
        ),
        &[
            "2:1: proxies[0].secretKey: is not set, so that every visitor of a user who is allowed gets in",
            "6:27: proxies[0].transport.useEncryption: does not hide anything, because the key is made from `secretKey`, which is empty",
        ],
    );
}

#[test]
fn secrets_are_not_shown() {
    let keys = "subdomain = \"s\"\nhttpPassword = \"hush\"\nloadBalancer = { group = \"g\", groupKey = \"hush\" }";
    assert!(!format!("{:?}", client(&proxy("http", keys))).contains("hush"));
    let keys = "secretKey = \"hush\"";
    assert!(!format!("{:?}", client(&proxy("stcp", keys))).contains("hush"));
}
