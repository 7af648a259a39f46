//! What a proxy publishes: its `type`, and the keys that only proxies of this type have.

use std::collections::BTreeMap;

use mgrok_proto::auth::Secret;

use crate::domain::{check_domain, check_subdomain, is_too_wide};
use crate::header::{check_header, check_value};
use crate::inspect::Inspect;
use crate::log::parse_size;
use crate::proxy::{Domains, HttpProxy, Private, ProxyKind, TcpMuxProxy};
use crate::section::Section;
use crate::section::choice::{nearest_word, none_of};

/// The types that there are.
const TYPES: [&str; 8] = [
    "tcp", "udp", "http", "https", "tcpmux", "stcp", "sudp", "xtcp",
];

/// What a `type` says.
pub(super) enum Typed<K> {
    Known(K),
    /// There is no such type, but one that is nearly called so, for which the other keys were read.
    Guessed(K),
    /// There is no such type, so that nobody knows which keys belong to it.
    Unknown,
}

/// Reads the type and its keys.
pub(super) fn kind(entry: &mut Section<'_>) -> Typed<ProxyKind> {
    let word = entry.text("type").unwrap_or_default();
    if let Some(kind) = kind_of(entry, &word) {
        return Typed::Known(kind);
    }
    // frp: the beginning of this wording
    let why = format!(
        "unknown proxy type: {}, must be one of {}",
        word.escape_debug(),
        TYPES.join(", ")
    );
    entry.malformed("type", none_of(why, &word, &TYPES));
    let guess = nearest_word(&word, &TYPES);
    match guess.and_then(|guess| kind_of(entry, guess)) {
        Some(kind) => Typed::Guessed(kind),
        None => Typed::Unknown,
    }
}

fn kind_of(entry: &mut Section<'_>, word: &str) -> Option<ProxyKind> {
    Some(match word {
        "tcp" => ProxyKind::Tcp {
            remote_port: entry.port("remotePort").unwrap_or(0),
        },
        "udp" => ProxyKind::Udp {
            remote_port: entry.port("remotePort").unwrap_or(0),
        },
        "http" => ProxyKind::Http(http(entry)),
        "https" => ProxyKind::Https(domains(entry)),
        "tcpmux" => ProxyKind::TcpMux(tcpmux(entry)),
        "stcp" => ProxyKind::Stcp(private(entry)),
        "sudp" => ProxyKind::Sudp(private(entry)),
        "xtcp" => ProxyKind::Xtcp {
            private: private(entry),
            disable_assisted_addrs: disable_assisted_addrs(entry),
        },
        _ => return None,
    })
}

/// Reads what `xtcp` proxies and visitors both have.
pub(super) fn disable_assisted_addrs(entry: &mut Section<'_>) -> bool {
    let mut section = entry.section("natTraversal");
    section.boolean("disableAssistedAddrs").unwrap_or(false)
}

fn http(entry: &mut Section<'_>) -> HttpProxy {
    HttpProxy {
        domains: domains(entry),
        locations: locations(entry),
        user: user(entry, "httpUser"),
        password: password(entry),
        host_header_rewrite: host_header_rewrite(entry),
        request_headers: headers(entry.section("requestHeaders")),
        response_headers: headers(entry.section("responseHeaders")),
        route_by_user: user(entry, "routeByHTTPUser"),
        inspect: inspect(entry.section("inspect")),
    }
}

/// What is kept of requests, which there is if there is a number of them.
fn inspect(mut section: Section<'_>) -> Option<Inspect> {
    let requests = section.integer("requests");
    let body_limit = section.text("bodyLimit").and_then(|text| {
        let parsed = parse_size(&text).and_then(|size| match size {
            ..=Inspect::MAX_BODY => Ok(usize::try_from(size).unwrap_or(usize::MAX)),
            _ => Err(format!("must be {}MB or less", Inspect::MAX_BODY >> 20)),
        });
        parsed.map_err(|why| section.invalid("bodyLimit", why)).ok()
    });
    let redact = section.texts("redact");
    for item in &redact {
        if let Err(error) = check_header(&item.text, "") {
            section.invalid_item("redact", item, error.to_string());
        }
    }
    let Some(requests) = requests else {
        for key in ["bodyLimit", "redact"] {
            if section.says(key) {
                section.warn(key, "is not used without `inspect.requests`");
            }
        }
        return None;
    };
    let requests = usize::try_from(requests)
        .ok()
        .filter(|it| *it <= Inspect::MAX_REQUESTS);
    let Some(requests) = requests else {
        let most = Inspect::MAX_REQUESTS;
        section.invalid("requests", format!("must be between 1 and {most}"));
        return None;
    };
    let mut inspect = Inspect::new(requests);
    if let Some(limit) = body_limit {
        inspect.body_limit = limit;
    }
    if section.says("redact") {
        let names = redact.into_iter().map(|it| it.text.to_ascii_lowercase());
        inspect.redact = names.collect();
    }
    Some(inspect)
}

fn tcpmux(entry: &mut Section<'_>) -> TcpMuxProxy {
    let key = "multiplexer";
    // frp: the first half of this wording
    let why = |word: &str| {
        let word = word.escape_debug();
        format!("not support multiplexer: {word}, must be \"httpconnect\"")
    };
    let multiplexer = entry.choice(key, &["httpconnect"], why);
    if multiplexer.is_none() && !entry.says(key) {
        entry.invalid(key, why("none"));
    }
    TcpMuxProxy {
        domains: domains(entry),
        user: user(entry, "httpUser"),
        password: password(entry),
        route_by_user: user(entry, "routeByHTTPUser"),
    }
}

fn private(entry: &mut Section<'_>) -> Private {
    let secret_key = entry.secret("secretKey", "secretKeySource");
    let secret_key = secret_key.unwrap_or_default();
    if secret_key.is_empty() {
        entry.warn(
            "secretKey",
            "is not set, so that every visitor of a user who is allowed gets in",
        );
    }
    let allow_users = entry.texts("allowUsers");
    Private {
        secret_key,
        allow_users: allow_users.into_iter().map(|item| item.text).collect(),
    }
}

fn domains(entry: &mut Section<'_>) -> Domains {
    let key = "customDomains";
    let custom = entry.texts(key);
    for item in &custom {
        let domain = &item.text;
        if let Err(error) = check_domain(domain) {
            entry.invalid_item(key, item, format!("{domain:?} {error}"));
        } else if is_too_wide(domain) {
            let what =
                format!("{domain:?} stands for no name: two labels or more must follow the `*.`");
            entry.warn_at(item.at, key, what);
        } else if !domain.is_ascii() {
            let what = format!("browsers ask for {domain:?} in its form that begins with `xn--`");
            entry.warn_at(item.at, key, what);
        }
    }
    let subdomain = entry.text("subdomain").unwrap_or_default();
    if !subdomain.is_empty()
        && let Err(error) = check_subdomain(&subdomain)
    {
        entry.invalid("subdomain", format!("{subdomain:?} {error}"));
    }
    if !entry.says(key) && !entry.says("subdomain") {
        // frp: this wording
        entry.invalid("", "subdomain and custom domains should not be both empty");
    }
    Domains {
        custom: custom.into_iter().map(|item| item.text).collect(),
        subdomain,
    }
}

fn locations(entry: &mut Section<'_>) -> Vec<String> {
    let key = "locations";
    let locations = entry.texts(key);
    for item in &locations {
        let location = &item.text;
        // Every path begins with nothing.
        if !location.is_empty() && !location.starts_with('/') {
            let what = format!("{location:?} matches nothing, because every path begins with `/`");
            entry.warn_at(item.at, key, what);
        }
    }
    locations.into_iter().map(|item| item.text).collect()
}

/// A user of HTTP's Basic authentication, where a `:` ends the name.
pub(super) fn user(entry: &mut Section<'_>, key: &'static str) -> String {
    let user = entry.text(key).unwrap_or_default();
    if user.contains(':') {
        // What follows the `:` may be a password.
        let why = "must not have a `:`, which nobody can send in a name; a password belongs in `httpPassword`";
        entry.invalid(key, why);
    }
    user
}

pub(super) fn password(entry: &mut Section<'_>) -> Secret {
    let password = entry.secret("httpPassword", "httpPasswordSource");
    password.unwrap_or_default()
}

/// Reads what a website is to see as `Host`; empty leaves it alone.
pub(super) fn host_header_rewrite(entry: &mut Section<'_>) -> String {
    let key = "hostHeaderRewrite";
    let host = entry.text(key).unwrap_or_default();
    if let Err(error) = check_value(&host) {
        entry.invalid(key, error.to_string());
    }
    host
}

/// Headers to set, of which each is set once.
pub(super) fn headers(mut section: Section<'_>) -> BTreeMap<String, String> {
    let mut headers = BTreeMap::new();
    let mut names: BTreeMap<String, String> = BTreeMap::new();
    for (name, item) in section.named_texts("set") {
        let key = format!("set.{name}");
        if let Err(error) = check_header(&name, &item.text) {
            section.invalid_item(&key, &item, error.to_string());
        }
        if let Some(other) = names.insert(name.to_ascii_lowercase(), name.clone()) {
            section.invalid_item(&key, &item, format!("is the same header as `{other}`"));
        }
        headers.insert(name, item.text);
    }
    headers
}
