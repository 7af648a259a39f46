//! The keys of frp that mgrok does not support yet. The loader refuses them by name.
//!
//! A change that adds support for a key removes it from this list and reads it in `check`.

use crate::value::Value;

/// An unsupported key.
#[derive(Clone, Copy)]
pub(crate) struct UnsupportedKey {
    /// The dotted key in its documented spelling, without list indices.
    key: &'static str,
}

/// What the lists of unsupported keys say of a dotted key.
pub(crate) enum Lookup {
    /// The key is a table that holds unsupported keys.
    Prefix,
    /// The key is unsupported.
    Key(&'static UnsupportedKey),
    /// No list has the key.
    NotListed,
}

impl UnsupportedKey {
    /// Looks `key` up in `lists`, ignoring case.
    pub(crate) fn find(lists: &[&'static [Self]], key: &str) -> Lookup {
        let mut lookup = Lookup::NotListed;
        for unsupported in lists.iter().copied().flatten() {
            match strip_prefix(unsupported.key, key) {
                Some("") => return Lookup::Key(unsupported),
                Some(rest) if rest.starts_with('.') => lookup = Lookup::Prefix,
                Some(_) | None => {}
            }
        }
        lookup
    }

    /// The next parts of the unsupported keys below the table `path`. A part may come several times.
    pub(crate) fn below<'a>(
        lists: &'a [&'static [Self]],
        path: &'a str,
    ) -> impl Iterator<Item = &'static str> + 'a {
        lists
            .iter()
            .copied()
            .flatten()
            .filter_map(move |unsupported| {
                let rest = match path {
                    "" => unsupported.key,
                    _ => strip_prefix(unsupported.key, path)?.strip_prefix('.')?,
                };
                rest.split('.').next()
            })
    }

    /// Whether `value` is the zero value of its type, which frp takes for "not set", so that it asks for nothing that mgrok lacks.
    pub(crate) fn is_default(&self, value: &Value) -> bool {
        value.is_zero()
    }
}

fn strip_prefix<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (head, rest) = text.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(rest)
}

const fn key(key: &'static str) -> UnsupportedKey {
    UnsupportedKey { key }
}

/// Keys that the server does not support yet.
pub(crate) const SERVER: &[&[UnsupportedKey]] = &[
    BOTH,
    &[
        key("auth.oidc.issuer"),
        key("auth.oidc.skipExpiryCheck"),
        key("auth.oidc.skipIssuerCheck"),
    ],
];

/// Keys that the client does not support yet.
pub(crate) const CLIENT: &[&[UnsupportedKey]] = &[
    BOTH,
    &[
        key("auth.oidc.additionalEndpointParams"),
        key("auth.oidc.clientID"),
        key("auth.oidc.clientSecret"),
        key("auth.oidc.insecureSkipVerify"),
        key("auth.oidc.proxyURL"),
        key("auth.oidc.scope"),
        key("auth.oidc.tokenEndpointURL"),
        key("auth.oidc.tokenSource"),
        key("auth.oidc.trustedCaFile"),
        key("virtualNet.address"),
        key("visitors.plugin"),
    ],
];

const BOTH: &[UnsupportedKey] = &[key("auth.oidc.audience")];
