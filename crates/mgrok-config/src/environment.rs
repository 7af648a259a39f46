//! What a client's configuration takes from its surroundings.

use std::env;

use mgrok_proto::auth::Secret;

/// The variables of an environment that stand in for keys. [`Default`] is one without any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    /// `http_proxy`: stands in for `transport.proxyURL`. It may hold a password.
    // frp: in lower case only, and without no_proxy (pkg/config/v1/client.go#ClientTransportConfig)
    pub http_proxy: Option<Secret>,
}

impl Environment {
    /// That of this process, now. What is not UTF-8 is as good as not there.
    pub fn of_process() -> Self {
        Self {
            http_proxy: env::var("http_proxy").ok().map(Secret::new),
        }
    }
}
