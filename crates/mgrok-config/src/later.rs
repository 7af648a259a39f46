//! frp's keys that mgrok does not have yet, so that they are refused by name.
//!
//! Whoever adds one of them removes it here and asks for it in `check`.

use crate::source::Value;

/// A key to come, and the value that may stand there because mgrok behaves as if it did.
#[derive(Clone, Copy)]
pub(crate) struct Later {
    /// The dotted key in proper spelling, without places in lists.
    key: &'static str,
    default: Absent,
}

#[derive(Clone, Copy)]
enum Absent {
    /// Only the zero of its kind, which means "not set".
    Zero,
    /// Or this text.
    Text(&'static str),
}

/// What a dotted key is among the keys to come.
pub(crate) enum Place {
    /// A table that holds some of them.
    Above,
    /// One of them.
    Key(&'static Later),
    /// Neither.
    Nowhere,
}

impl Later {
    /// Finds `key` in `lists`, whatever its capitals.
    pub(crate) fn find(lists: &[&'static [Self]], key: &str) -> Place {
        let mut place = Place::Nowhere;
        for later in lists.iter().copied().flatten() {
            match strip_prefix(later.key, key) {
                Some("") => return Place::Key(later),
                Some(rest) if rest.starts_with('.') => place = Place::Above,
                Some(_) | None => {}
            }
        }
        place
    }

    /// The next parts of the keys below the table `path`, some of them several times.
    pub(crate) fn below<'a>(
        lists: &'a [&'static [Self]],
        path: &'a str,
    ) -> impl Iterator<Item = &'static str> + 'a {
        lists.iter().copied().flatten().filter_map(move |later| {
            let rest = match path {
                "" => later.key,
                _ => strip_prefix(later.key, path)?.strip_prefix('.')?,
            };
            rest.split('.').next()
        })
    }

    /// Whether `value` asks for nothing that mgrok does not do.
    pub(crate) fn says_nothing(&self, value: &Value) -> bool {
        value.is_zero()
            || match (self.default, value) {
                (Absent::Text(default), Value::Text(value)) => default == value,
                (Absent::Zero | Absent::Text(_), _) => false,
            }
    }
}

fn strip_prefix<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (head, rest) = text.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(rest)
}

const fn later(key: &'static str) -> Later {
    let default = Absent::Zero;
    Later { key, default }
}

const fn text(key: &'static str, default: &'static str) -> Later {
    let default = Absent::Text(default);
    Later { key, default }
}

/// What the server does not have yet.
pub(crate) const SERVER: &[&[Later]] = &[
    BOTH,
    &[
        later("auth.oidc.issuer"),
        later("auth.oidc.skipExpiryCheck"),
        later("auth.oidc.skipIssuerCheck"),
        later("enablePrometheus"),
        text(
            "sshTunnelGateway.autoGenPrivateKeyPath",
            "./.autogen_ssh_key",
        ),
        later("sshTunnelGateway.authorizedKeysFile"),
        later("sshTunnelGateway.bindPort"),
        later("sshTunnelGateway.privateKeyFile"),
    ],
];

/// What the client does not have yet.
pub(crate) const CLIENT: &[&[Later]] = &[
    BOTH,
    &[
        later("auth.oidc.additionalEndpointParams"),
        later("auth.oidc.clientID"),
        later("auth.oidc.clientSecret"),
        later("auth.oidc.insecureSkipVerify"),
        later("auth.oidc.proxyURL"),
        later("auth.oidc.scope"),
        later("auth.oidc.tokenEndpointURL"),
        later("auth.oidc.tokenSource"),
        later("auth.oidc.trustedCaFile"),
        later("featureGates"),
        later("includes"),
        later("store.path"),
        later("virtualNet.address"),
        later("visitors.plugin"),
    ],
];

const BOTH: &[Later] = &[
    later("auth.oidc.audience"),
    later("auth.tokenSource"),
    later("webServer.assetsDir"),
    later("webServer.pprofEnable"),
    later("webServer.tls.certFile"),
    later("webServer.tls.keyFile"),
    later("webServer.tls.serverName"),
    later("webServer.tls.trustedCaFile"),
];
