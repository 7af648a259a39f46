//! The `auth.oidc` section of either end.

use std::collections::BTreeMap;

use mgrok_proto::auth::Secret;

use super::is_loopback;
use crate::http_url::HttpUrl;
use crate::oidc::{ClientCredentials, OidcClient, OidcServer};
use crate::proxy_url::{ProxyScheme, ProxyUrl, ProxyUrlError};
use crate::section::Section;
use crate::section::files::Content;

/// The server's keys. They only count where `is_on`.
pub(super) fn server(mut section: Section<'_>, is_on: bool) -> Option<OidcServer> {
    if !is_on {
        leave_idle(
            &section,
            &["issuer", "audience", "skipExpiryCheck", "skipIssuerCheck"],
        );
    }
    let issuer = url(&mut section, "issuer", is_on);
    if let Some(issuer) = &issuer
        && !issuer.is_https
        && !is_loopback(&issuer.host)
    {
        section.warn(
            "issuer",
            "is asked for its keys in clear text: whoever is between can log in as anybody, so take a URL of https",
        );
    }
    if is_on && !section.says("issuer") {
        section.invalid(
            "issuer",
            "must be set with `auth.method = \"oidc\"`, like \"https://id.example.com/realms/tunnel\"",
        );
    }
    let audience = section.text("audience");
    if is_on && audience.is_none() && !section.says("audience") {
        section.warn(
            "issuer",
            "lets in whoever has any token of this issuer, for whatever service: set `auth.oidc.audience`",
        );
    }
    let skip_expiry_check = section.boolean("skipExpiryCheck").unwrap_or_default();
    let skip_issuer_check = section.boolean("skipIssuerCheck").unwrap_or_default();
    Some(OidcServer {
        issuer: issuer.filter(|_| is_on)?,
        audience,
        skip_expiry_check,
        skip_issuer_check,
    })
}

/// The keys of the client but for `tokenSource`.
const CREDENTIALS: [&str; 10] = [
    "clientID",
    "clientSecret",
    "clientSecretSource",
    "audience",
    "scope",
    "tokenEndpointURL",
    "additionalEndpointParams",
    "trustedCaFile",
    "insecureSkipVerify",
    "proxyURL",
];

/// The client's keys. They only count where `is_on`.
pub(super) fn client(mut section: Section<'_>, is_on: bool) -> Option<OidcClient> {
    if !is_on {
        leave_idle(&section, &CREDENTIALS);
        leave_idle(&section, &["tokenSource"]);
    }
    let has_source = section.says("tokenSource");
    if has_source && CREDENTIALS.iter().any(|key| section.says(key)) {
        // frp: this wording
        section.invalid(
            "tokenSource",
            "cannot specify both auth.oidc.tokenSource and any other field of auth.oidc",
        );
    }
    let source = section.value_source("tokenSource");
    let credentials = credentials(&mut section, is_on && !has_source);
    match (source, credentials) {
        _ if !is_on => None,
        (Some(source), _) => Some(OidcClient::Source(source)),
        (None, Some(credentials)) => Some(OidcClient::Credentials(Box::new(credentials))),
        (None, None) => None,
    }
}

fn credentials(section: &mut Section<'_>, are_needed: bool) -> Option<ClientCredentials> {
    let client_id = section.text("clientID");
    if are_needed && client_id.is_none() && !section.says("clientID") {
        // frp: the beginning of this wording
        section.invalid(
            "clientID",
            "auth.oidc.clientID is required: the name that the provider knows this client by",
        );
    }
    let token_endpoint = url(section, "tokenEndpointURL", are_needed);
    if let Some(endpoint) = &token_endpoint
        && !endpoint.is_https
        && !is_loopback(&endpoint.host)
    {
        section.warn(
            "tokenEndpointURL",
            "sends the secret in clear text: take a URL of https",
        );
    }
    if are_needed && !section.says("tokenEndpointURL") {
        // frp: the beginning of this wording
        section.invalid(
            "tokenEndpointURL",
            "auth.oidc.tokenEndpointURL is required: where the provider gives tokens, `token_endpoint` of its discovery document",
        );
    }
    let audience = section.text("audience");
    let params = params(section, audience.is_some());
    let insecure_skip_verify = section.boolean("insecureSkipVerify").unwrap_or_default();
    let trusted_ca = section.file("trustedCaFile", Content::Certificates);
    if insecure_skip_verify {
        section.warn(
            "insecureSkipVerify",
            "sends the secret to whoever answers: name the authority in `auth.oidc.trustedCaFile` instead",
        );
        if trusted_ca.is_some() {
            section.warn(
                "trustedCaFile",
                "is not used with `auth.oidc.insecureSkipVerify`",
            );
        }
    }
    Some(ClientCredentials {
        client_secret: section
            .secret("clientSecret", "clientSecretSource")
            .unwrap_or_default(),
        audience,
        scope: section.text("scope"),
        params,
        trusted_ca,
        insecure_skip_verify,
        proxy: proxy(section),
        token_endpoint: token_endpoint?,
        client_id: client_id?,
    })
}

fn params(section: &mut Section<'_>, has_audience: bool) -> BTreeMap<String, Secret> {
    let key = "additionalEndpointParams";
    let mut params = BTreeMap::new();
    for (name, item) in section.named_texts(key) {
        match name.as_str() {
            // frp: this wording
            "scope" => section.invalid_item(
                key,
                &item,
                "auth.oidc.additionalEndpointParams.scope is not allowed; use auth.oidc.scope instead",
            ),
            // frp: this wording
            "audience" if has_audience => section.invalid_item(
                key,
                &item,
                "cannot specify both auth.oidc.audience and auth.oidc.additionalEndpointParams.audience",
            ),
            _ => {}
        }
        params.insert(name, Secret::new(item.text));
    }
    params
}

fn url(section: &mut Section<'_>, key: &'static str, is_used: bool) -> Option<HttpUrl> {
    let parsed = section.text(key)?.parse::<HttpUrl>();
    let parsed = parsed.map_err(|error| {
        if is_used {
            section.invalid(key, error.to_string());
        }
    });
    parsed.ok()
}

fn proxy(section: &mut Section<'_>) -> Option<ProxyUrl> {
    let key = "proxyURL";
    let text = section.text(key)?;
    // With either word names are resolved by the proxy.
    let text = match text.split_at_checked("socks5h".len()) {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("socks5h") => format!("socks5{rest}"),
        _ => text,
    };
    match text.parse::<ProxyUrl>() {
        Ok(proxy) if proxy.scheme != ProxyScheme::Ntlm => Some(proxy),
        Ok(_) | Err(ProxyUrlError::Scheme) => {
            section.invalid(
                key,
                "must begin with \"http://\", \"https://\", \"socks5://\" or \"socks5h://\"",
            );
            None
        }
        Err(error) => {
            section.invalid(key, error.to_string());
            None
        }
    }
}

fn leave_idle(section: &Section<'_>, keys: &[&'static str]) {
    for key in keys {
        if section.says(key) {
            section.warn(key, "is not used without `auth.method = \"oidc\"`");
        }
    }
}
