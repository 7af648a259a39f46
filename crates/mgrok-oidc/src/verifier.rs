//! Whether a token is one that a server lets in, and of whom it is.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mgrok_config::OidcServer;
use mgrok_net::error_chain::Chain;
use tokio::time::sleep;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{info, warn};

use crate::claims::{ClaimsError, Told};
use crate::fetch::TIMEOUT;
use crate::issuer::{Issuer, IssuerError};
use crate::jws::{MalformedToken, SignatureError, Token};

/// How often an issuer is asked for its keys, so that those that it has given up do not count for ever.
const REFRESH_EVERY: Duration = Duration::from_secs(3600);
/// How long to wait after an attempt to learn them that failed: first, at most, and while older keys are known.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(30);
const RETRY_WITH_KEYS: Duration = Duration::from_secs(300);

/// Why a token does not let its client in. The words are those of frp's clients where they have some.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// What it says does not help.
    #[error(transparent)]
    Claims(#[from] ClaimsError),
    /// It is no token.
    #[error(transparent)]
    Malformed(#[from] MalformedToken),
    /// Nobody can say whether it is good.
    #[error("the keys of the issuer are not known yet, try again later{}", reason(.0.as_deref()))]
    NoKeys(Option<Arc<IssuerError>>),
    /// Its signature does not count.
    #[error(transparent)]
    Signature(#[from] SignatureError),
}

fn reason(error: Option<&IssuerError>) -> String {
    match error {
        Some(error) => format!(": {}", Chain(error)),
        None => String::new(),
    }
}

/// Verifies the tokens of one issuer. Clones are the same.
#[derive(Clone, Debug)]
pub struct Verifier {
    wanted: OidcServer,
    issuer: Arc<Issuer>,
    stop: CancellationToken,
    /// The last clone ends what keeps up with the issuer.
    _stop: Arc<DropGuard>,
}

/// What an issuer has told, for whoever wants to know whether it works.
#[derive(Clone, Debug)]
pub struct IssuerReport {
    /// How many keys it has that can be used.
    pub keys: usize,
    /// How it signs.
    pub algorithms: Vec<&'static str>,
    /// What time it is there, if it says.
    pub date: Option<SystemTime>,
}

impl Verifier {
    /// The longest that [`verify`](Self::verify) takes.
    pub const PATIENCE: Duration = TIMEOUT;

    /// Knows no keys until it is asked to [`keep_up`](Self::keep_up), or the first token comes.
    pub fn new(wanted: OidcServer) -> Self {
        let stop = CancellationToken::new();
        Self {
            issuer: Arc::new(Issuer::new(wanted.issuer.clone())),
            wanted,
            _stop: Arc::new(stop.clone().drop_guard()),
            stop,
        }
    }

    /// What it wants of tokens.
    pub fn wanted(&self) -> &OidcServer {
        &self.wanted
    }

    /// Keeps up with the keys of the issuer until no clone of this is left, and tells the log how that goes.
    pub fn keep_up(&self) -> impl Future<Output = ()> + Send + 'static {
        let (url, issuer) = (self.wanted.issuer.to_string(), self.issuer.clone());
        let keep_up = async move {
            let mut retry = FIRST_RETRY;
            let mut is_well = false;
            loop {
                let wait = match issuer.ask().await {
                    Ok(()) => {
                        retry = FIRST_RETRY;
                        let was_well = std::mem::replace(&mut is_well, true);
                        if !was_well && let Ok(known) = issuer.keys() {
                            let count = known.keys.len();
                            info!("the OIDC issuer {url} has told its keys: {count}");
                        }
                        REFRESH_EVERY
                    }
                    Err(error) => {
                        is_well = false;
                        let error = Chain(&*error);
                        match issuer.keys() {
                            Ok(_) => {
                                warn!(
                                    "cannot get the keys of the OIDC issuer {url}: {error}; its last ones go on counting"
                                );
                                RETRY_WITH_KEYS
                            }
                            Err(_) => {
                                let wait = retry;
                                retry = (retry * 2).min(LONGEST_RETRY);
                                warn!(
                                    "cannot get the keys of the OIDC issuer {url}: {error}; no client can log in until it tells them, next attempt in {wait:?}"
                                );
                                wait
                            }
                        }
                    }
                };
                // Many servers may have been started at the same time.
                sleep(wait.mul_f64(0.9 + 0.2 * fastrand::f64())).await;
            }
        };
        let stop = self.stop.clone();
        async move {
            tokio::select! {
                () = keep_up => {}
                () = stop.cancelled() => {}
            }
        }
    }

    /// The subject of `token`, if it is good now. Takes no longer than it takes to ask the issuer once, 8 s, which only happens if its keys
    /// do not fit and has not happened too often.
    ///
    /// # Errors
    /// The token is not good, or nobody knows.
    pub async fn verify(&self, token: &str) -> Result<String, VerifyError> {
        let token = Token::parse(token)?;
        let told = Told::new(&token)?;
        told.check(&self.wanted, SystemTime::now())?;
        match self.check_signature(&token) {
            Err(VerifyError::NoKeys(_) | VerifyError::Signature(SignatureError::Key)) => {}
            checked => return checked.map(|()| told.subject),
        }
        // The issuer may have new keys.
        self.issuer.ask_for_stranger().await;
        self.check_signature(&token).map(|()| told.subject)
    }

    fn check_signature(&self, token: &Token<'_>) -> Result<(), VerifyError> {
        let known = self.issuer.keys().map_err(VerifyError::NoKeys)?;
        Ok(known.keys.verify(token, &known.algorithms)?)
    }
}

/// Asks the issuer for its keys, as a server does.
///
/// # Errors
/// It does not tell any that can be used.
pub async fn examine(wanted: &OidcServer) -> Result<IssuerReport, Arc<IssuerError>> {
    let issuer = Arc::new(Issuer::new(wanted.issuer.clone()));
    issuer.ask().await?;
    let known = issuer.keys();
    let known = known.map_err(|_| Arc::new(IssuerError::Timeout))?;
    Ok(IssuerReport {
        keys: known.keys.len(),
        algorithms: known.algorithms.iter().map(|it| it.name()).collect(),
        date: known.date,
    })
}
