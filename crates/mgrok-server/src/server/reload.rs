//! From one configuration to the next, at the start from none: everything that the new one needs is made first, and nothing that
//! can fail happens after that.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use mgrok_config::ServerConfig;
use mgrok_net::quic::QuicServer;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio_util::future::FutureExt as _;
use tokio_util::sync::DropGuard;
use tracing::info;

use super::listeners;
use super::parts::Parts;
use crate::certificates;
use crate::policy::Policy;
use crate::sockets::{self, Inherited, Socket, SocketAddress, SocketKey};
use crate::start_error::StartError;

/// Changes the configuration of a running server. Clones are the same.
#[derive(Clone, Debug)]
pub struct Reloader {
    parts: Arc<Parts>,
    /// Held by whoever changes something, so that changes come one after the other.
    state: Arc<Mutex<State>>,
}

/// What a reload changed.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ReloadReport {
    /// Listening sockets that are new, each with the key of its port and its address.
    pub opened: Vec<(String, SocketAddr)>,
    /// The keys of the ports on which the server does not listen any more, or not where it did.
    pub closed: Vec<String>,
}

/// Why a reload changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// A file of TLS could not be read to its end.
    #[error("the new configuration could not be prepared")]
    Failed,
    /// Two listening sockets of this server would want one port while the change is made.
    #[error(
        "{wants} cannot have port {port} while this server listens there for {has}; move one of them after the other, or restart"
    )]
    OwnPort {
        /// The key of the port that would be opened.
        wants: String,
        /// The key of the port that is open.
        has: String,
        /// The port in question.
        port: u16,
    },
    /// What the new configuration needs cannot be had.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The server does not run any more.
    #[error("the server is stopping")]
    Stopping,
}

/// The sockets that are served.
#[derive(Debug, Default)]
pub(super) struct State {
    served: HashMap<SocketKey, Served>,
}

/// A socket that is served. Dropping it closes the socket soon, and leaves alone whoever came by it.
#[derive(Debug)]
struct Served {
    at: SocketAddress,
    task: JoinHandle<()>,
    _stop: DropGuard,
}

/// All that a new configuration needs, ready to be used.
#[derive(Debug)]
pub(super) struct Next {
    policy: Arc<Policy>,
    opened: Vec<Opened>,
    closed: Vec<SocketKey>,
    /// How clients are accepted at the QUIC socket that stays, if there is one.
    quic: Option<QuicServer>,
}

#[derive(Debug)]
struct Opened {
    key: SocketKey,
    at: SocketAddress,
    socket: Socket,
}

impl Reloader {
    /// Prepares a server. The state stays locked until it is served.
    pub(super) async fn start(
        config: ServerConfig,
        mut inherited: Inherited,
    ) -> Result<(Self, Arc<Parts>, OwnedMutexGuard<State>, Next), StartError> {
        let state = Arc::new(Mutex::new(State::default())).lock_owned().await;
        let policy = Arc::new(Policy::new(config, None)?);
        let mut opened = Vec::new();
        for (key, at) in sockets::wanted(&policy.config) {
            let socket = inherited.take_or_bind(key, &at, &policy).await?;
            opened.push(Opened { key, at, socket });
        }
        let next = Next {
            quic: None,
            policy: policy.clone(),
            opened,
            closed: Vec::new(),
        };
        let parts = Arc::new(Parts::new(policy));
        let reloader = Self {
            parts: parts.clone(),
            state: OwnedMutexGuard::mutex(&state).clone(),
        };
        Ok((reloader, parts, state, next))
    }

    /// Makes the server do what `config` says: closes the ports that are not wanted any more, opens those that are new, and decides
    /// by `config` from then on. Sessions, proxies and users that are there stay, with what they were given when they came. Two
    /// reloads at once are made one after the other.
    ///
    /// # Errors
    /// The new configuration cannot be served. Nothing has changed then.
    pub async fn reload(&self, config: ServerConfig) -> Result<ReloadReport, ReloadError> {
        let mut state = self.state.lock().await;
        let next = self.prepare(config, &state).await?;
        if self.parts.tasks.stop_listening.is_cancelled() {
            return Err(ReloadError::Stopping);
        }
        let report = next.report();
        state.serve(next, &self.parts);
        Ok(report)
    }

    async fn prepare(&self, config: ServerConfig, state: &State) -> Result<Next, ReloadError> {
        let before = self.parts.policy.now();
        let policy = spawn_blocking(move || Policy::new(config, Some(&before))).await;
        let policy = Arc::new(policy.map_err(|_| ReloadError::Failed)??);
        let wanted = sockets::wanted(&policy.config);
        let stays = |key: &SocketKey, at: &SocketAddress| {
            state.served.get(key).is_some_and(|it| it.at == *at)
        };
        let mut inherited = Inherited::default();
        let mut opened = Vec::new();
        for (key, at) in wanted.iter().filter(|(key, at)| !stays(key, at)) {
            let rival = state
                .served
                .iter()
                .find(|(other, served)| sockets::compete((*key, at), (**other, &served.at)));
            if let Some((has, _)) = rival {
                return Err(ReloadError::OwnPort {
                    wants: key.to_string(),
                    has: has.to_string(),
                    port: at.port,
                });
            }
            let socket = inherited.take_or_bind(*key, at, &policy).await?;
            opened.push(Opened {
                key: *key,
                at: at.clone(),
                socket,
            });
        }
        let closed = state.served.keys().filter(|key| {
            let kept = wanted.iter().find(|(other, _)| other == *key);
            kept.is_none_or(|(key, at)| !stays(key, at))
        });
        let quic_stays = wanted
            .iter()
            .any(|(key, at)| *key == SocketKey::Quic && stays(key, at));
        let quic = quic_stays.then(|| policy.quic()).transpose();
        Ok(Next {
            quic: quic.map_err(StartError::from)?,
            closed: closed.copied().collect(),
            policy,
            opened,
        })
    }

    /// Serves nothing more; gives the accept loop of the control port, which ends.
    pub(super) async fn stop(&self) -> Option<JoinHandle<()>> {
        let mut state = self.state.lock().await;
        let control = state.served.remove(&SocketKey::Control);
        control.map(|it| it.task)
    }
}

impl Next {
    /// Where the socket for `key` listens, if it is a new one.
    pub(super) fn addr(&self, key: SocketKey) -> Option<SocketAddr> {
        let opened = self.opened.iter().find(|it| it.key == key)?;
        opened.socket.local_addr().ok()
    }

    fn report(&self) -> ReloadReport {
        let opened = self.opened.iter().filter_map(|it| {
            let addr = it.socket.local_addr().ok()?;
            Some((it.key.to_string(), addr))
        });
        ReloadReport {
            opened: opened.collect(),
            closed: self.closed.iter().map(SocketKey::to_string).collect(),
        }
    }
}

impl State {
    /// Decides by what `next` says from now on, and serves its sockets in place of those that it does without.
    pub(super) fn serve(&mut self, next: Next, parts: &Parts) {
        let Next {
            policy,
            opened,
            closed,
            quic,
        } = next;
        let before = parts.policy.replace(policy.clone());
        let is_start = self.served.is_empty();
        let config = &policy.config;
        parts
            .holes
            .set_retention(config.nathole_analysis_data_reserve);
        if let Some(next) = policy.admin_access.clone() {
            parts.admin_access.replace(next);
        }
        if is_start || before.config.http_plugins != config.http_plugins {
            policy.hooks.announce();
        }
        if let Some(ssh) = &policy.ssh
            && !before
                .ssh
                .as_ref()
                .is_some_and(|it| !is_start && it.is_as(ssh))
        {
            ssh.announce(!config.auth.token.is_empty());
        }
        if let Some(verifier) = policy.keys.verifier()
            && (is_start || before.config.oidc != config.oidc)
        {
            let stop = parts.tasks.stop_sessions.clone();
            let keep_up = verifier.keep_up().with_cancellation_token_owned(stop);
            parts.tasks.spawn(keep_up);
        }
        for key in closed {
            info!("{key}: the server does not listen there any more");
            self.served.remove(&key);
            if key == SocketKey::Quic {
                // A certificate that changes must not open it again.
                parts.quic.send_replace(None);
            }
        }
        if let (Some(endpoint), Some(server)) = (parts.quic.borrow().as_ref(), quic) {
            endpoint.set_server(server);
        }
        let announces_certificate =
            is_start || before.tls.fingerprint() != policy.tls.fingerprint();
        let mut announced = !announces_certificate;
        for Opened { key, at, socket } in opened {
            // frp: what listens on the proxies' address comes after the certificate, as its log has always had it
            if !announced && !matches!(key, SocketKey::Control | SocketKey::Kcp | SocketKey::Quic) {
                certificates::announce(&policy.tls, &config.transport.tls);
                announced = true;
            }
            let stop = match key {
                // It has something to tell until the very end.
                SocketKey::Admin => parts.tasks.stop_connections.child_token(),
                _ => parts.tasks.stop_listening.child_token(),
            };
            let _stop = stop.clone().drop_guard();
            let task = listeners::serve(key, socket, stop, parts);
            self.served.insert(key, Served { at, task, _stop });
        }
        if !announced {
            certificates::announce(&policy.tls, &config.transport.tls);
        }
    }
}
