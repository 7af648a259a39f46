//! Logins by OpenID Connect, on both ends.

use mgrok_config::{
    OidcClient, ProxyScheme, Strictness, load_client_from_str, load_server_from_str,
};

use super::{client, client_warnings, server, server_warnings};

#[test]
fn the_server_knows_its_issuer() {
    let config = server(
        r#"
        auth.method = "oidc"
        auth.token = "t"
        auth.oidc.issuer = "https://id.test/realms/a/"
        auth.oidc.audience = "tunnel"
        auth.oidc.skipIssuerCheck = true
        "#,
    );
    let oidc = config.oidc.unwrap();
    assert_eq!(oidc.issuer.as_str(), "https://id.test/realms/a/");
    assert_eq!(oidc.audience.as_deref(), Some("tunnel"));
    assert!(oidc.skip_issuer_check && !oidc.skip_expiry_check);
    assert_eq!(config.auth.token.expose(), "t");
}

#[test]
fn the_client_knows_where_tokens_are() {
    let config = client(
        r#"
        auth.method = "oidc"
        auth.oidc.clientID = "laptop"
        auth.oidc.clientSecret = "hunter2"
        auth.oidc.tokenEndpointURL = "https://id.test/token?x=1"
        auth.oidc.scope = "a b"
        auth.oidc.additionalEndpointParams = { audience = "tunnel", password = "hunter2" }
        auth.oidc.proxyURL = "socks5h://127.0.0.1"
        "#,
    );
    let Some(OidcClient::Credentials(oidc)) = &config.oidc else {
        panic!("{config:?}");
    };
    assert_eq!(oidc.token_endpoint.target, "/token?x=1");
    assert_eq!(oidc.params["audience"].expose(), "tunnel");
    let proxy = oidc.proxy.as_ref().unwrap();
    assert_eq!((proxy.scheme, proxy.port), (ProxyScheme::Socks5, 1080));
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn the_old_format_has_it_too() {
    let text = "[common]\nauthentication_method = oidc\noidc_client_id = a\noidc_client_secret = s\noidc_token_endpoint_url = https://id.test/t\n\
                oidc_additional_x = y\n";
    let config = load_client_from_str(text, "f", Strictness::Strict);
    let config = config.unwrap().config;
    let Some(OidcClient::Credentials(oidc)) = &config.oidc else {
        panic!("{config:?}");
    };
    assert_eq!(oidc.params["x"].expose(), "y");
    let text = "[common]\nauthentication_method = oidc\noidc_issuer = https://id.test\noidc_audience = a\noidc_skip_expiry_check = true\n";
    let config = load_server_from_str(text, "f", Strictness::Strict);
    let config = config.unwrap().config;
    assert!(config.oidc.unwrap().skip_expiry_check);
}

#[test]
fn what_its_author_should_know() {
    server_warnings(
        "auth.method = \"oidc\"\nauth.oidc.issuer = \"http://id.test\"",
        &[
            "2:20: auth.oidc.issuer: is asked for its keys in clear text: whoever is between can log in as anybody, so take a URL of https",
            "2:20: auth.oidc.issuer: lets in whoever has any token of this issuer, for whatever service: set `auth.oidc.audience`",
        ],
    );
    client_warnings(
        "auth.oidc.clientID = \"a\"",
        &["1:22: auth.oidc.clientID: is not used without `auth.method = \"oidc\"`"],
    );
}
