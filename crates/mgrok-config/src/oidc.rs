//! Logins by OpenID Connect: what the server wants of a token, and where the client gets one.

use std::collections::BTreeMap;
use std::path::PathBuf;

use mgrok_proto::auth::Secret;

use crate::http_url::HttpUrl;
use crate::proxy_url::ProxyUrl;
use crate::value_source::ValueSource;

/// What the server wants of the tokens of its clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OidcServer {
    /// Who must have issued them. Its keys are found below this URL.
    pub issuer: HttpUrl,
    /// For whom they must have been issued; `None` accepts those for anybody.
    pub audience: Option<String>,
    /// Accepts tokens that have expired, or count later.
    pub skip_expiry_check: bool,
    /// Accepts tokens that name another issuer, as long as they are signed with the keys of this one.
    pub skip_issuer_check: bool,
}

/// Where the client gets its tokens.
#[derive(Clone, Debug, PartialEq)]
pub enum OidcClient {
    /// At a token endpoint, for its own credentials. Boxed, as they are large.
    Credentials(Box<ClientCredentials>),
    /// From a file or a program, anew whenever one is needed.
    Source(ValueSource),
}

/// The grant of client credentials: RFC 6749, section 4.4.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientCredentials {
    /// Where tokens are asked for.
    pub token_endpoint: HttpUrl,
    /// Who asks.
    pub client_id: String,
    /// What only that client knows; may be empty.
    pub client_secret: Secret,
    /// Sent as `audience`, if given.
    pub audience: Option<String>,
    /// Sent as `scope`, if given.
    pub scope: Option<String>,
    /// Sent with each request. The values may be secret.
    pub params: BTreeMap<String, Secret>,
    /// A file of authorities, one of which must have signed the certificate of the endpoint; `None` is those of the system.
    pub trusted_ca: Option<PathBuf>,
    /// Accepts any certificate.
    pub insecure_skip_verify: bool,
    /// The outbound proxy on the way to the endpoint.
    pub proxy: Option<ProxyUrl>,
}
