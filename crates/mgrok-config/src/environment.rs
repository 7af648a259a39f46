//! What a configuration takes from its surroundings.

use std::collections::BTreeMap;
use std::env;
use std::fmt;

use mgrok_proto::auth::Secret;

/// The variables of an environment. [`Default`] is one without any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// `http_proxy`: stands in for the client's `transport.proxyURL`. It may hold a password.
    // frp: in lower case only, and without no_proxy (pkg/config/v1/client.go#ClientTransportConfig)
    pub http_proxy: Option<Secret>,
    /// All variables, for templates: `{{ .Envs.NAME }}`.
    pub variables: Variables,
}

impl Environment {
    /// That of this process, now. What is not UTF-8 is as good as not there.
    pub fn of_process() -> Self {
        let all = env::vars_os();
        let texts = all.filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        Self {
            http_proxy: env::var("http_proxy").ok().map(Secret::new),
            variables: texts.collect(),
        }
    }
}

/// Variables of an environment. Their values may be secrets and are never shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Variables(BTreeMap<String, String>);

impl Variables {
    pub(crate) fn as_map(&self) -> &BTreeMap<String, String> {
        &self.0
    }
}

impl FromIterator<(String, String)> for Variables {
    fn from_iter<T: IntoIterator<Item = (String, String)>>(variables: T) -> Self {
        Self(variables.into_iter().collect())
    }
}

impl fmt::Debug for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} variables", self.0.len())
    }
}
