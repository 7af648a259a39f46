//! What is allowed now: one immutable value, made from a checked configuration.
//!
//! A decision reads the current policy when it decides, so that a reload counts from the next decision on. A reload builds the
//! next policy whole before it publishes it; a mistake leaves the current one where it is. A session keeps only the [`Keys`] that it
//! logged in with, because the wire binds it to them.

use std::sync::Arc;

use mgrok_admin::NextAdminAccess;
use mgrok_config::ServerConfig;
use mgrok_net::quic::{QuicError, QuicOptions, QuicServer};
use mgrok_net::tls::ServerTls;
use tokio::sync::watch;

use crate::bans::Bans;
use crate::certificates;
use crate::excerpt::Excerpt;
use crate::hooks::Hooks;
use crate::keys::Keys;
use crate::source_limits::SourceLimiter;
use crate::ssh_policy::SshPolicy;
use crate::start_error::StartError;

/// What a server does, from one reload to the next.
#[derive(Debug)]
pub(crate) struct Policy {
    pub(crate) config: ServerConfig,
    pub(crate) keys: Arc<Keys>,
    pub(crate) tls: ServerTls,
    pub(crate) hooks: Hooks,
    /// The SSH gateway, if there is one.
    pub(crate) ssh: Option<Arc<SshPolicy>>,
    /// Who is let in to the admin port, if there is one.
    pub(crate) admin_access: Option<NextAdminAccess>,
}

impl Policy {
    /// The policy that `config` describes. What `before` has and `config` leaves as it is stays: a certificate that was made, the
    /// connections to plugins.
    ///
    /// Blocks for as long as it takes to read a few files.
    ///
    /// # Errors
    /// A file of TLS, a host key or a plugin cannot be used.
    pub(crate) fn new(config: ServerConfig, before: Option<&Self>) -> Result<Self, StartError> {
        let keys = match before {
            Some(before)
                if before.config.auth == config.auth && before.config.oidc == config.oidc =>
            {
                before.keys.clone()
            }
            Some(_) | None => {
                let before = before.map(|it| &*it.keys);
                Arc::new(Keys::new(&config.auth, config.oidc.as_ref(), before))
            }
        };
        let tls = match before {
            Some(before) if before.config.transport.tls == config.transport.tls => {
                before.tls.clone()
            }
            Some(_) | None => certificates::load(&config.transport.tls)?,
        };
        let hooks = match before {
            Some(before) if before.config.http_plugins == config.http_plugins => {
                before.hooks.clone()
            }
            Some(_) | None => Hooks::new(&config.http_plugins)?,
        };
        let ssh = match (&config.ssh_gateway, before) {
            (None, _) => None,
            (gateway, Some(before)) if *gateway == before.config.ssh_gateway => before.ssh.clone(),
            (Some(gateway), _) => Some(Arc::new(SshPolicy::new(gateway)?)),
        };
        let admin_access = config.web_server.as_ref();
        let admin_access = admin_access.map(NextAdminAccess::new).transpose();
        Ok(Self {
            admin_access: admin_access.map_err(StartError::AdminTls)?,
            config,
            keys,
            tls,
            hooks,
            ssh,
        })
    }

    /// How clients that come by QUIC are accepted, with the certificate of this moment.
    pub(crate) fn quic(&self) -> Result<QuicServer, QuicError> {
        let quic = &self.config.transport.quic;
        let options = QuicOptions {
            keepalive: quic.keepalive_period,
            idle_timeout: quic.max_idle_timeout,
            max_streams: quic.max_incoming_streams,
            trusts_at_once: false,
        };
        QuicServer::with_tls(&self.tls, options)
    }

    /// What a client is told of an error: `detail`, or only `summary` if the operator does not want clients to know more.
    pub(crate) fn error_text(&self, detail: &str, summary: &str) -> String {
        if self.config.detailed_errors_to_client {
            Excerpt(detail).to_string()
        } else {
            summary.to_owned()
        }
    }
}

/// The policy of one server. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct CurrentPolicy {
    current: watch::Sender<Arc<Policy>>,
    bans: Bans,
    /// How many connections users have, by where they come from, and the clients of visitors.
    users: SourceLimiter,
    visitors: SourceLimiter,
}

impl CurrentPolicy {
    /// Begins with `policy`.
    pub(crate) fn new(policy: Arc<Policy>) -> Self {
        Self {
            current: watch::Sender::new(policy),
            bans: Bans::default(),
            users: SourceLimiter::default(),
            visitors: SourceLimiter::default(),
        }
    }

    /// That of `config`, for tests, whose configurations have no mistakes.
    #[cfg(test)]
    pub(crate) fn of(config: ServerConfig) -> Self {
        Self::new(Arc::new(Policy::new(config, None).unwrap()))
    }

    /// The policy of this moment. Whoever decides several things that have to fit asks once.
    pub(crate) fn now(&self) -> Arc<Policy> {
        self.current.borrow().clone()
    }

    /// Who is kept out for a while, whatever the policy becomes.
    pub(crate) fn bans(&self) -> &Bans {
        &self.bans
    }

    /// Counts the connections of users to all public endpoints.
    pub(crate) fn user_limiter(&self) -> &SourceLimiter {
        &self.users
    }

    /// Counts the connections of visitors to all private services.
    pub(crate) fn visitor_limiter(&self) -> &SourceLimiter {
        &self.visitors
    }

    /// Decides everything by `policy` from now on. Returns the one before.
    pub(crate) fn replace(&self, policy: Arc<Policy>) -> Arc<Policy> {
        self.current.send_replace(policy)
    }

    /// Tells when the policy is replaced.
    pub(crate) fn changes(&self) -> watch::Receiver<Arc<Policy>> {
        self.current.subscribe()
    }
}
