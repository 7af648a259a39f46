//! The server as a whole: how it starts and how it stops.

mod listeners;

use std::{io, net::SocketAddr, sync::Arc};

use mgrok_admin::{AdminPort, BindError};
use mgrok_config::ServerConfig;
use mgrok_net::{quic::QuicError, tcp, tls::TlsError};
use tokio::net::TcpListener;
use tracing::{info, warn};

use self::listeners::{UdpListeners, VhostListeners};
use crate::{
    certificates,
    hooks::{Hooks, PluginError},
    ingress,
    shared::Shared,
    tasks::Tasks,
    vhost::Vhosts,
};

/// Why a server could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The admin port could not be bound.
    #[error(transparent)]
    Admin(#[from] BindError),
    /// A port could not be bound.
    #[error(
        "cannot listen on {host}:{port}; choose another {address_key} or {port_key}, or stop what has it"
    )]
    Bind {
        /// The address asked for.
        host: String,
        /// The port asked for.
        port: u16,
        /// The key of the address.
        address_key: &'static str,
        /// The key of the port.
        port_key: &'static str,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// A plugin of `httpPlugins` cannot be used.
    #[error(transparent)]
    Plugin(#[from] PluginError),
    /// What `transport.quic` says cannot be done.
    #[error("transport.quic")]
    Quic(#[from] QuicError),
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
    admin: Option<AdminPort>,
    control: TcpListener,
    udp: UdpListeners,
    vhosts: VhostListeners,
    shared: Arc<Shared>,
}

impl Server {
    /// Listens on `bindAddr`:`bindPort`, and on the UDP, vhost and admin ports that are on.
    ///
    /// # Errors
    /// When a port cannot be bound or a TLS file cannot be used.
    pub async fn bind(config: ServerConfig) -> Result<Self, StartError> {
        let control = tcp::bind(&config.bind_addr, config.bind_port)
            .await
            .map_err(|source| StartError::Bind {
                host: config.bind_addr.clone(),
                port: config.bind_port,
                address_key: "bindAddr",
                port_key: "bindPort",
                source,
            })?;
        Self::from_listener(config, control).await
    }

    /// Serves clients on a listener that is bound already; `bindPort` is not used. Listens on the UDP, vhost and admin
    /// ports that are on.
    ///
    /// # Errors
    /// When one of those ports cannot be bound or a TLS file cannot be used.
    pub async fn from_listener(
        config: ServerConfig,
        control: TcpListener,
    ) -> Result<Self, StartError> {
        let tls = certificates::load(&config.transport.tls)?;
        let hooks = Hooks::new(&config.http_plugins)?;
        let udp = UdpListeners::bind(&config, &tls).await?;
        let vhosts = VhostListeners::bind(&config).await?;
        let admin = match &config.web_server {
            Some(web_server) => Some(AdminPort::bind(web_server).await?),
            None => None,
        };
        let tasks = Tasks::default();
        let names = Vhosts::new(&config, &tasks);
        Ok(Self {
            admin,
            control,
            udp,
            vhosts,
            shared: Arc::new(Shared::new(config, tls, hooks, names, tasks)),
        })
    }

    /// Where clients connect to.
    ///
    /// # Errors
    /// When the operating system does not say.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.control.local_addr()
    }

    /// The UDP address that clients connect to by KCP; `None` if that is off.
    pub fn kcp_addr(&self) -> Option<SocketAddr> {
        let (listener, _) = self.udp.kcp.as_ref()?;
        Some(listener.local_addr())
    }

    /// The UDP address that clients connect to by QUIC; `None` if that is off.
    pub fn quic_addr(&self) -> Option<SocketAddr> {
        let (_, addr) = self.udp.quic.as_ref()?;
        Some(*addr)
    }

    /// Serves until `stop` resolves, then stops in order: no newcomers, users
    /// within the grace period, sessions, everything else.
    ///
    /// Dropping the future instead cuts everything at once.
    pub async fn run(self, stop: impl Future<Output = ()>) -> StopReport {
        let Self {
            admin,
            control,
            udp,
            vhosts,
            shared,
        } = self;
        let tasks = &shared.tasks;
        // Whatever way this future ends, nothing that it started outlives it for long.
        let _cut = StopAll(tasks.clone());
        shared.hooks.announce();
        if let Ok(addr) = control.local_addr() {
            info!("frps tcp listen on {addr}");
        }
        let quic = udp.quic.as_ref().map(|(endpoint, _)| endpoint.clone());
        udp.run(&shared);
        certificates::announce(&shared);
        tasks.spawn(certificates::watch(shared.clone(), quic));
        vhosts.run(&shared);
        let ingress = tasks.spawn(ingress::run(control, shared.clone()));
        info!("frps started successfully");
        if let Some(admin) = admin {
            if let Ok(addr) = admin.local_addr() {
                info!("dashboard listen on {addr}");
            }
            // It has something to tell until the very end.
            let stopping = tasks.stop_listening.clone();
            let routes = shared.clients.routes();
            let routes = routes.ready_when(move || match stopping.is_cancelled() {
                false => Ok(()),
                true => Err("stopping".to_owned()),
            });
            tasks.spawn(admin.run(routes, tasks.stop_connections.clone()));
        }
        stop.await;
        info!("stopping: no new connections are taken");
        tasks.stop_listening();
        if ingress.await.is_err() {
            warn!("the accept loop of the control port had failed");
        }
        let cut = tasks.wind_up(shared.config.grace_period).await;
        StopReport { cut }
    }
}

/// Cuts everything when it is dropped.
struct StopAll(Tasks);

impl Drop for StopAll {
    fn drop(&mut self) {
        self.0.cut_all();
    }
}
