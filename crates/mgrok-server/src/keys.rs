//! What both ends of a session are bound to, and how a client shows that it may be here: by a signature with a token that both know, or by
//! a token of an issuer.

use std::sync::Arc;
use std::time::Duration;

use mgrok_config::{Auth, OidcServer};
use mgrok_oidc::{Verifier, VerifyError};
use mgrok_proto::auth::{self, Secret};
use mgrok_proto::cipher::CipherKey;
use mgrok_proto::message::{Login, NewWorkConn, Ping};

use crate::excerpt::Excerpt;

/// What both ends of a session have to agree on for as long as it lives.
#[derive(Debug)]
pub(crate) struct Keys {
    pub(crate) auth: Auth,
    /// Derived once from the token; the control cipher and `useEncryption` use it.
    pub(crate) cipher: CipherKey,
    /// Verifies tokens of an issuer, if they count instead of signatures.
    verifier: Option<Verifier>,
}

/// Of whom a token is; `None` where signatures count, which are everybody's who knows the token.
pub(crate) type Subject = Option<Arc<str>>;

/// Why a client has not shown that it may be here. Clients show the texts, which are frp's.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProofError {
    #[error("invalid OIDC token in {0}: {1}")]
    Oidc(&'static str, VerifyError),
    #[error(
        "received different OIDC subject in login and ping. new subject: {}",
        Excerpt(.0)
    )]
    Subject(String),
    #[error("token in {0} doesn't match token from configuration")]
    Token(&'static str),
}

impl Keys {
    /// Those of `auth` and `oidc`. What the one `before` knows of the same issuer stays.
    pub(crate) fn new(auth: &Auth, oidc: Option<&OidcServer>, before: Option<&Self>) -> Self {
        let before = before.and_then(|it| it.verifier.as_ref());
        let verifier = oidc.map(|oidc| match before {
            Some(before) if before.wanted() == oidc => before.clone(),
            Some(_) | None => Verifier::new(oidc.clone()),
        });
        Self {
            cipher: CipherKey::derive(&auth.token),
            auth: auth.clone(),
            verifier,
        }
    }

    /// What verifies tokens of an issuer, if they count.
    pub(crate) fn verifier(&self) -> Option<&Verifier> {
        self.verifier.as_ref()
    }

    /// The longest that it may take to verify a login.
    pub(crate) fn patience(&self) -> Duration {
        match self.verifier {
            Some(_) => Verifier::PATIENCE,
            None => Duration::ZERO,
        }
    }

    /// Whether `login` is signed with the token, so that its client can open what is sealed with it.
    pub(crate) fn is_signed(&self, login: &Login) -> bool {
        self.verifier.is_none() && self.signs(login.timestamp, &login.privilege_key)
    }

    /// Whether `login` may have a session, and of whom it is.
    pub(crate) async fn verify_login(&self, login: &Login) -> Result<Subject, ProofError> {
        match &self.verifier {
            Some(verifier) => {
                // Boxed, as are those below: most clients sign.
                let verify = Box::pin(verifier.verify(login.privilege_key.expose()));
                let subject = verify.await;
                let subject = subject.map_err(|error| ProofError::Oidc("login", error))?;
                Ok(Some(subject.into()))
            }
            None if self.signs(login.timestamp, &login.privilege_key) => Ok(None),
            None => Err(ProofError::Token("login")),
        }
    }

    /// Whether `ping` counts, of a session whose login was of `subject`.
    pub(crate) async fn verify_ping(
        &self,
        subject: &Subject,
        ping: &Ping,
    ) -> Result<(), ProofError> {
        if !self.auth.heartbeats {
            return Ok(());
        }
        match &self.verifier {
            Some(verifier) => verify_same(verifier, subject, &ping.privilege_key).await,
            None if self.signs(ping.timestamp, &ping.privilege_key) => Ok(()),
            None => Err(ProofError::Token("heartbeat")),
        }
    }

    /// Whether `new` may be a work connection of a session whose login was of `subject`.
    pub(crate) async fn verify_work_conn(
        &self,
        subject: &Subject,
        new: &NewWorkConn,
    ) -> Result<(), ProofError> {
        if !self.auth.new_work_conns {
            return Ok(());
        }
        match &self.verifier {
            Some(verifier) => verify_same(verifier, subject, &new.privilege_key).await,
            None if self.signs(new.timestamp, &new.privilege_key) => Ok(()),
            None => Err(ProofError::Token("NewWorkConn")),
        }
    }

    fn signs(&self, timestamp: i64, key: &Secret) -> bool {
        auth::verify(&self.auth.token, timestamp, key.expose())
    }
}

/// Whether `token` is a good one of the same `subject` as the login.
// frp: that of anybody's login will do (pkg/auth/oidc.go)
async fn verify_same(
    verifier: &Verifier,
    subject: &Subject,
    token: &Secret,
) -> Result<(), ProofError> {
    let verified = Box::pin(verifier.verify(token.expose())).await;
    let told = verified.map_err(|error| ProofError::Oidc("ping", error))?;
    match subject {
        Some(subject) if **subject == *told => Ok(()),
        Some(_) | None => Err(ProofError::Subject(told)),
    }
}
