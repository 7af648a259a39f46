//! Where a client's tokens come from. A token is kept until shortly before it expires, and asked for once however many want one.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{HeaderValue, InvalidHeaderValue};
use mgrok_config::{ClientCredentials, OidcClient, ValueSource, ValueSourceError};
use mgrok_net::resolver::Resolver;
use mgrok_proto::auth::Secret;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::time::{Instant, timeout};
use url::form_urlencoded;

use crate::fetch::{FetchError, Fetcher, Form, TIMEOUT, Trust};
use crate::once::Once;
use crate::token_answer::{NoTokenAnswer, TokenAnswer};

/// How long before it expires a token is not used any more: it has to arrive, and clocks differ. Of those that live shortly, a tenth.
const MARGIN: Duration = Duration::from_secs(30);

/// What is not written as it is in credentials.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// How long all hear of a failure before anybody is asked again.
const FAILURE_KEPT: Duration = Duration::from_secs(1);

/// Why there is no token. Clones are the same error.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TokenError {
    /// The endpoint has something else to say.
    #[error("couldn't get an OIDC token from {0}")]
    Answer(String, #[source] NoTokenAnswer),
    /// The endpoint cannot be asked.
    #[error("couldn't get an OIDC token from {0}")]
    Fetch(String, #[source] Arc<FetchError>),
    /// Nobody can say what happened.
    #[error("couldn't get an OIDC token: what gets it has failed")]
    Lost,
    /// The endpoint refuses.
    #[error(
        "couldn't get an OIDC token: {0} answered with status {1}: {2}; check auth.oidc.clientID, clientSecret, scope and audience"
    )]
    Refused(String, u16, String),
    /// The secret cannot be written into a request.
    #[error("auth.oidc.clientID or clientSecret cannot be sent")]
    Secret(#[source] Arc<InvalidHeaderValue>),
    /// A file or a program that should give one does not.
    #[error("couldn't get an OIDC token: auth.oidc.tokenSource {0}")]
    Source(#[from] ValueSourceError),
}

/// Gives tokens. Clones are the same.
#[derive(Clone, Debug)]
pub struct TokenSource {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    kind: Kind,
    kept: Mutex<Kept>,
    once: Once<Result<Secret, TokenError>>,
}

#[derive(Debug)]
enum Kind {
    Endpoint(Box<Endpoint>),
    Source(ValueSource),
}

#[derive(Debug)]
struct Endpoint {
    credentials: ClientCredentials,
    fetcher: Fetcher,
    /// Whether it wants the credentials among the parameters.
    wants_params: AtomicBool,
}

#[derive(Debug, Default)]
struct Kept {
    token: Option<(Secret, Until)>,
    failure: Option<(TokenError, Instant)>,
}

/// A time by two clocks: one stands still while the machine sleeps, the other can be set.
#[derive(Clone, Copy, Debug)]
struct Until {
    instant: Instant,
    time: SystemTime,
}

impl TokenSource {
    /// `resolver` looks up the names of the endpoint and of its proxy. Asks nobody yet.
    pub fn new(config: &OidcClient, resolver: &Resolver) -> Self {
        let kind = match config {
            OidcClient::Source(source) => Kind::Source(source.clone()),
            OidcClient::Credentials(credentials) => {
                Kind::Endpoint(Box::new(Endpoint::new(credentials, resolver)))
            }
        };
        Self {
            inner: Arc::new(Inner {
                kind,
                kept: Mutex::default(),
                once: Once::new(),
            }),
        }
    }

    /// The token that there is, if it can still be used.
    pub fn kept(&self) -> Option<Secret> {
        let kept = self.inner.kept();
        let (token, until) = kept.token.as_ref()?;
        until.is_ahead().then(|| token.clone())
    }

    /// A token that can be used now. Takes at most 16 s for an endpoint, and 10 s for a file or a program.
    ///
    /// # Errors
    /// There is none to be had.
    pub async fn token(&self) -> Result<Secret, TokenError> {
        if let Some(token) = self.kept() {
            return Ok(token);
        }
        if let Some((failure, until)) = &self.inner.kept().failure
            && Instant::now() < *until
        {
            return Err(failure.clone());
        }
        let got = self.inner.once.run(|| get(self.inner.clone())).await;
        got.unwrap_or(Err(TokenError::Lost))
    }

    /// Does not use the token any more that there is: somebody has refused it.
    pub fn forget(&self) {
        self.inner.kept().token = None;
    }
}

impl Inner {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn get(inner: Arc<Inner>) -> Result<Secret, TokenError> {
    let got = match &inner.kind {
        Kind::Endpoint(endpoint) => {
            let asked = timeout(TIMEOUT * 2, endpoint.ask()).await;
            asked.unwrap_or_else(|_| Err(endpoint.failed(FetchError::Timeout)))
        }
        Kind::Source(source) => {
            let source = source.clone();
            match tokio::task::spawn_blocking(move || source.resolve()).await {
                Ok(resolved) => resolved.map(|it| (it, None)).map_err(TokenError::from),
                Err(_) => Err(TokenError::Lost),
            }
        }
    };
    let mut kept = inner.kept();
    match got {
        Ok((token, life)) => {
            kept.failure = None;
            kept.token = life.map(|life| (token.clone(), Until::after(life)));
            Ok(token)
        }
        Err(error) => {
            kept.failure = Some((error.clone(), Instant::now() + FAILURE_KEPT));
            Err(error)
        }
    }
}

impl Endpoint {
    fn new(credentials: &ClientCredentials, resolver: &Resolver) -> Self {
        let trust = match &credentials.trusted_ca {
            _ if credentials.insecure_skip_verify => Trust::Anybody,
            Some(path) => Trust::File(path.clone()),
            None => Trust::System,
        };
        Self {
            fetcher: Fetcher::new(trust, credentials.proxy.as_ref(), resolver.clone()),
            credentials: credentials.clone(),
            wants_params: AtomicBool::new(false),
        }
    }

    /// Asks for a token, with the credentials where this endpoint looks for them.
    // frp: first in the header, then among the parameters (oauth2 of Go)
    async fn ask(&self) -> Result<(Secret, Option<Duration>), TokenError> {
        let wants_params = self.wants_params.load(Ordering::Relaxed);
        let first = self.ask_with(wants_params).await;
        if wants_params || !matches!(first, Err(TokenError::Refused(_, 400..=499, _))) {
            return first;
        }
        match self.ask_with(true).await {
            Ok(got) => {
                self.wants_params.store(true, Ordering::Relaxed);
                Ok(got)
            }
            // What it says of the first way is the better reason.
            Err(_) => first,
        }
    }

    async fn ask_with(&self, wants_params: bool) -> Result<(Secret, Option<Duration>), TokenError> {
        let form = self.form(wants_params)?;
        let url = &self.credentials.token_endpoint;
        let answer = self.fetcher.post(url, form).await;
        let answer = answer.map_err(|error| self.failed(error))?;
        let read = TokenAnswer::parse(&answer.body, &answer.content_type);
        let status = answer.status;
        let refused = |why: String| {
            let why = match self.has_secret(&why) {
                true => "it repeats a secret".to_owned(),
                false => why,
            };
            Err(TokenError::Refused(url.to_string(), status.as_u16(), why))
        };
        match read {
            Ok(TokenAnswer::Token(token, life)) if status.is_success() => Ok((token, life)),
            Ok(TokenAnswer::Refused(why)) => refused(why),
            Ok(TokenAnswer::Token(..)) | Err(_) if !status.is_success() => {
                refused("it does not say why".to_owned())
            }
            Ok(TokenAnswer::Token(..)) => refused("it does not say why".to_owned()),
            Err(error) => Err(TokenError::Answer(url.to_string(), error)),
        }
    }

    fn form(&self, wants_params: bool) -> Result<Form, TokenError> {
        let ClientCredentials {
            client_id,
            client_secret,
            audience,
            scope,
            params,
            ..
        } = &self.credentials;
        let mut body = form_urlencoded::Serializer::new(String::new());
        // frp: this one can be replaced (oauth2 of Go)
        if !params.contains_key("grant_type") {
            body.append_pair("grant_type", "client_credentials");
        }
        for (name, value) in [("scope", scope), ("audience", audience)] {
            if let Some(value) = value {
                body.append_pair(name, value);
            }
        }
        for (name, value) in params {
            body.append_pair(name, value.expose());
        }
        if wants_params {
            body.append_pair("client_id", client_id);
            if !client_secret.is_empty() {
                body.append_pair("client_secret", client_secret.expose());
            }
            let (body, authorization) = (body.finish(), None);
            return Ok(Form {
                body,
                authorization,
            });
        }
        // RFC 6749, section 2.3.1: both are encoded before they are joined.
        // frp: as Go does it, so that a name without odd characters is written as it is, for those who do not decode it
        let encode = |text: &str| {
            let encoded = utf8_percent_encode(text, ENCODED).to_string();
            encoded.replace("%20", "+")
        };
        let pair = format!("{}:{}", encode(client_id), encode(client_secret.expose()));
        let value = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(pair)));
        let mut value = value.map_err(|error| TokenError::Secret(Arc::new(error)))?;
        value.set_sensitive(true);
        Ok(Form {
            body: body.finish(),
            authorization: Some(value),
        })
    }

    fn failed(&self, error: FetchError) -> TokenError {
        TokenError::Fetch(self.credentials.token_endpoint.to_string(), Arc::new(error))
    }

    /// Whether `text`, which the endpoint has written, holds something that must not be shown.
    fn has_secret(&self, text: &str) -> bool {
        let params = self.credentials.params.values();
        let mut secrets = params.chain([&self.credentials.client_secret]);
        secrets.any(|it| it.expose().len() >= 4 && text.contains(it.expose()))
    }
}

impl Until {
    fn after(life: Duration) -> Self {
        let used = life.saturating_sub(MARGIN.min(life / 10));
        Self {
            instant: Instant::now() + used,
            time: SystemTime::now() + used,
        }
    }

    fn is_ahead(self) -> bool {
        Instant::now() < self.instant && SystemTime::now() < self.time
    }
}
