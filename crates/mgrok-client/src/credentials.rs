//! What a client shows its server: signatures with a token that both know, or the token of an issuer.

use mgrok_config::{Auth, ClientConfig};
use mgrok_net::resolver::Resolver;
use mgrok_oidc::{TokenError, TokenSource};
use mgrok_proto::auth::Secret;
use mgrok_proto::message::{NewWorkConn, Ping};

use crate::signature::{now_in_seconds, signed_now};

/// Shows who a client is. Clones share their token.
#[derive(Clone, Debug)]
pub(crate) struct Credentials {
    auth: Auth,
    /// Where tokens of an issuer come from, if they count instead of signatures.
    source: Option<TokenSource>,
}

/// What a login shows.
#[derive(Clone, Debug)]
pub(crate) struct LoginProof {
    pub(crate) privilege_key: Secret,
    /// In Unix seconds.
    pub(crate) timestamp: i64,
}

impl LoginProof {
    /// A signature with `token`.
    pub(crate) fn signed(token: &Secret) -> Self {
        let (privilege_key, timestamp) = signed_now(token);
        Self {
            privilege_key,
            timestamp,
        }
    }

    /// A `token` of an issuer.
    pub(crate) fn shown(token: Secret) -> Self {
        Self {
            privilege_key: token,
            timestamp: now_in_seconds(),
        }
    }
}

impl Credentials {
    /// Those of `config`. `resolver` looks up where tokens come from.
    pub(crate) fn new(config: &ClientConfig, resolver: &Resolver) -> Self {
        let source = config.oidc.as_ref();
        Self {
            auth: config.auth.clone(),
            source: source.map(|it| TokenSource::new(it, resolver)),
        }
    }

    /// Those of `next`, with the token that there is if it comes from the same place as that of the configuration `before`.
    pub(crate) fn next(
        &self,
        before: &ClientConfig,
        next: &ClientConfig,
        resolver: &Resolver,
    ) -> Self {
        match before.oidc == next.oidc {
            true => Self {
                auth: next.auth.clone(),
                source: self.source.clone(),
            },
            false => Self::new(next, resolver),
        }
    }

    /// What to log in with.
    pub(crate) async fn login(&self) -> Result<LoginProof, TokenError> {
        match &self.source {
            // Boxed, as are those below: most clients sign.
            Some(source) => Ok(LoginProof::shown(Box::pin(source.token()).await?)),
            None => Ok(LoginProof::signed(&self.auth.token)),
        }
    }

    /// A sign of life, if it needs nothing that takes its time.
    pub(crate) fn ping_at_once(&self) -> Option<Ping> {
        let mut ping = Ping::default();
        if self.auth.heartbeats {
            (ping.privilege_key, ping.timestamp) = match &self.source {
                Some(source) => (source.kept()?, now_in_seconds()),
                None => signed_now(&self.auth.token),
            };
        }
        Some(ping)
    }

    /// A sign of life.
    pub(crate) async fn ping(&self) -> Result<Ping, TokenError> {
        let mut ping = Ping::default();
        if self.auth.heartbeats {
            (ping.privilege_key, ping.timestamp) = self.shown().await?;
        }
        Ok(ping)
    }

    /// Has a work connection show what it has to.
    pub(crate) async fn show(&self, offer: &mut NewWorkConn) -> Result<(), TokenError> {
        if self.auth.new_work_conns {
            (offer.privilege_key, offer.timestamp) = self.shown().await?;
        }
        Ok(())
    }

    /// The server does not take what it was shown. A token that it has refused is not shown again.
    pub(crate) fn refused(&self) {
        if let Some(source) = &self.source {
            source.forget();
        }
    }

    async fn shown(&self) -> Result<(Secret, i64), TokenError> {
        match &self.source {
            Some(source) => Ok((Box::pin(source.token()).await?, now_in_seconds())),
            None => Ok(signed_now(&self.auth.token)),
        }
    }
}
