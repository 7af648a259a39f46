//! The server as a whole: how it starts and how it stops.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use mgrok_config::ServerConfig;
use mgrok_net::{
    tcp,
    tls::{ServerTls, ServerTlsOptions, TlsError},
};
use tokio::{net::TcpListener, time::timeout};
use tracing::{info, warn};

use crate::{ingress, shared::Shared};

/// How long sessions and connections get to end once users are gone. They only
/// have to notice; whoever takes longer is dropped with the runtime.
const WIND_UP: Duration = Duration::from_secs(2);

/// Why a server could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The control port could not be bound.
    #[error(
        "cannot listen on {host}:{port}; choose another bindAddr or bindPort, or stop what has it"
    )]
    Bind {
        /// The address asked for.
        host: String,
        /// The port asked for.
        port: u16,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// The certificate, key or CA file could not be used.
    #[error("transport.tls")]
    Tls(#[from] TlsError),
}

/// How a server stopped.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct StopReport {
    /// User connections that were cut because the grace period was over.
    pub cut: usize,
}

/// A server that listens on its control port and serves once it is [run](Server::run).
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    shared: Arc<Shared>,
}

impl Server {
    /// Listens on `bindAddr`:`bindPort`.
    ///
    /// # Errors
    /// When the port cannot be bound or a TLS file cannot be used.
    pub async fn bind(config: ServerConfig) -> Result<Self, StartError> {
        let listener = tcp::bind(&config.bind_addr, config.bind_port)
            .await
            .map_err(|source| StartError::Bind {
                host: config.bind_addr.clone(),
                port: config.bind_port,
                source,
            })?;
        Self::from_listener(config, listener)
    }

    /// Serves on a listener that is bound already; `bindAddr` and `bindPort` are not used.
    ///
    /// # Errors
    /// When a TLS file cannot be used.
    pub fn from_listener(config: ServerConfig, listener: TcpListener) -> Result<Self, StartError> {
        let tls = ServerTls::new(ServerTlsOptions {
            certificate: config.transport.tls.certificate.clone(),
            trusted_ca: config.transport.tls.trusted_ca.clone(),
        })?;
        Ok(Self {
            listener,
            shared: Arc::new(Shared::new(config, tls)),
        })
    }

    /// Where clients connect to.
    ///
    /// # Errors
    /// When the operating system does not say.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `stop` resolves, then stops in order: no newcomers, users
    /// within the grace period, sessions, everything else.
    ///
    /// Dropping the future instead cuts everything at once.
    pub async fn run(self, stop: impl Future<Output = ()>) -> StopReport {
        let Self { listener, shared } = self;
        // Whatever way this future ends, nothing that it started outlives it for long.
        let _cut = StopAll(shared.clone());
        if let Ok(addr) = listener.local_addr() {
            info!("frps tcp listen on {addr}");
        }
        let ingress = shared.tasks.spawn(ingress::run(listener, shared.clone()));
        info!("frps started successfully");
        stop.await;
        info!("stopping: no new connections are taken");
        shared.stop_listening.cancel();
        if ingress.await.is_err() {
            warn!("the accept loop of the control port had failed");
        }
        wind_up(&shared).await
    }
}

async fn wind_up(shared: &Shared) -> StopReport {
    shared.users.close();
    let cut = match timeout(shared.config.grace_period, shared.users.wait()).await {
        Ok(()) => 0,
        Err(_) => shared.users.len(),
    };
    shared.cut_users.cancel();
    shared.stop_sessions.cancel();
    shared.stop_connections.cancel();
    shared.tasks.close();
    if timeout(WIND_UP, shared.tasks.wait()).await.is_err() {
        warn!("{} tasks did not end in time", shared.tasks.len());
    }
    StopReport { cut }
}

/// Cuts everything when it is dropped.
struct StopAll(Arc<Shared>);

impl Drop for StopAll {
    fn drop(&mut self) {
        self.0.stop_listening.cancel();
        self.0.cut_users.cancel();
        self.0.stop_sessions.cancel();
        self.0.stop_connections.cancel();
    }
}
