//! What every connection of one server needs, as one value that is passed.

use std::future::Future;

use mgrok_config::ServerConfig;
use mgrok_net::tls::ServerTls;
use mgrok_proto::cipher::CipherKey;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{ports::Ports, registry::Registry};

/// Nothing of it is process-wide, so several servers can live in one process.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: ServerConfig,
    /// Derived once from the token; the control cipher and `useEncryption` use it.
    pub(crate) cipher_key: CipherKey,
    pub(crate) tls: ServerTls,
    pub(crate) ports: Ports,
    pub(crate) registry: Registry,
    /// Everything but user connections.
    pub(crate) tasks: TaskTracker,
    pub(crate) users: TaskTracker,
    /// The order of the stop: no newcomers, then no users, then no sessions, then nothing.
    pub(crate) stop_listening: CancellationToken,
    pub(crate) cut_users: CancellationToken,
    pub(crate) stop_sessions: CancellationToken,
    pub(crate) stop_connections: CancellationToken,
}

impl Shared {
    /// The shared values of a server that has yet to start.
    pub(crate) fn new(config: ServerConfig, tls: ServerTls) -> Self {
        Self {
            cipher_key: CipherKey::derive(&config.auth.token),
            tls,
            ports: Ports::new(&config.proxy_bind_addr, config.allow_ports.clone()),
            registry: Registry::default(),
            tasks: TaskTracker::new(),
            users: TaskTracker::new(),
            stop_listening: CancellationToken::new(),
            cut_users: CancellationToken::new(),
            stop_sessions: CancellationToken::new(),
            stop_connections: CancellationToken::new(),
            config,
        }
    }

    /// Runs one user's connection, counted, until it ends or users are cut.
    pub(crate) fn serve_user(&self, serve: impl Future<Output = ()> + Send + 'static) {
        let cut = self.cut_users.clone();
        self.users.spawn(async move {
            tokio::select! {
                () = cut.cancelled() => {}
                () = serve => {}
            }
        });
    }

    /// What a client is told of an error: `detail`, or only `summary` if the
    /// operator does not want clients to know more.
    pub(crate) fn error_text(&self, detail: &str, summary: &str) -> String {
        if self.config.detailed_errors_to_client {
            detail.to_owned()
        } else {
            summary.to_owned()
        }
    }
}
