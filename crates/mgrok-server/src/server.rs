//! The server as a whole: how it starts and how it stops.

use std::{io, net::SocketAddr, sync::Arc};

use mgrok_admin::{AdminPort, BindError, Routes};
use mgrok_config::ServerConfig;
use mgrok_net::{
    kcp,
    quic::{self, QuicError, QuicOptions, QuicServer},
    tcp,
    tls::{ServerTls, ServerTlsOptions, TlsError},
};
use tokio::net::TcpListener;
use tracing::{info, warn};

use crate::{
    hooks::{Hooks, PluginError},
    ingress,
    shared::Shared,
    tasks::Tasks,
    vhost::{self, Vhost, Vhosts},
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
    udp: UdpRoads,
    vhosts: VhostListeners,
    shared: Arc<Shared>,
}

/// The roads over UDP on which clients come, if they are on.
#[derive(Debug)]
struct UdpRoads {
    kcp: Option<(kcp::Listener, kcp::ListenerDriver)>,
    quic: Option<(quic::Endpoint, SocketAddr)>,
}

/// The listeners of the ports that many services share, unless the control port is one of them.
#[derive(Debug, Default)]
struct VhostListeners {
    http: Option<TcpListener>,
    https: Option<TcpListener>,
    tcpmux: Option<TcpListener>,
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
        let tls = ServerTls::new(ServerTlsOptions {
            certificate: config.transport.tls.certificate.clone(),
            trusted_ca: config.transport.tls.trusted_ca.clone(),
            ..ServerTlsOptions::default()
        })?;
        let hooks = Hooks::new(&config.http_plugins)?;
        let udp = UdpRoads::bind(&config, &tls).await?;
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
        udp.run(&shared);
        vhosts.run(&shared);
        let ingress = tasks.spawn(ingress::run(control, shared.clone()));
        info!("frps started successfully");
        if let Some(admin) = admin {
            if let Ok(addr) = admin.local_addr() {
                info!("dashboard listen on {addr}");
            }
            // It has something to tell until the very end.
            tasks.spawn(admin.run(Routes::default(), tasks.stop_connections.clone()));
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

impl UdpRoads {
    async fn bind(config: &ServerConfig, tls: &ServerTls) -> Result<Self, StartError> {
        let host = &config.bind_addr;
        let failed = |port, port_key| {
            move |source| StartError::Bind {
                host: host.clone(),
                port,
                address_key: "bindAddr",
                port_key,
                source,
            }
        };
        let kcp = match config.kcp_bind_port {
            Some(port) => {
                let bound = kcp::Listener::bind(host, port).await;
                Some(bound.map_err(failed(port, "kcpBindPort"))?)
            }
            None => None,
        };
        let quic = match config.quic_bind_port {
            Some(port) => {
                let bound = quic::bind(host, port).await;
                let socket = bound.map_err(failed(port, "quicBindPort"))?;
                let server = QuicServer::with_tls(tls, quic_options(config))?;
                let endpoint = quic::Endpoint::server(socket, server)?;
                let addr = endpoint.local_addr()?;
                Some((endpoint, addr))
            }
            None => None,
        };
        Ok(Self { kcp, quic })
    }

    /// Lets clients in.
    fn run(self, shared: &Arc<Shared>) {
        // frp: these words, which scripts look for (server/service.go#NewService)
        if let Some((listener, driver)) = self.kcp {
            info!("frps kcp listen on udp {}", listener.local_addr());
            let run = ingress::kcp::run(listener, driver, shared.clone());
            shared.tasks.spawn(run);
        }
        if let Some((endpoint, addr)) = self.quic {
            info!("frps quic listen on {addr}");
            let run = ingress::quic::run(endpoint, shared.clone());
            shared.tasks.spawn(run);
        }
    }
}

fn quic_options(config: &ServerConfig) -> QuicOptions {
    let quic = &config.transport.quic;
    QuicOptions {
        keepalive: quic.keepalive_period,
        idle_timeout: quic.max_idle_timeout,
        max_streams: quic.max_incoming_streams,
    }
}

impl VhostListeners {
    async fn bind(config: &ServerConfig) -> Result<Self, StartError> {
        let own =
            |port: Option<u16>| port.filter(|port| !vhost::shares_control_port(config, *port));
        let bind = async |port: Option<u16>, port_key| {
            let Some(port) = port else { return Ok(None) };
            let host = &config.proxy_bind_addr;
            let bound = tcp::bind(host, port).await;
            bound.map(Some).map_err(|source| StartError::Bind {
                host: host.clone(),
                port,
                address_key: "proxyBindAddr",
                port_key,
                source,
            })
        };
        let vhost = &config.vhost;
        Ok(Self {
            http: bind(own(vhost.http_port), "vhostHTTPPort").await?,
            https: bind(own(vhost.https_port), "vhostHTTPSPort").await?,
            tcpmux: bind(vhost.tcpmux_port, "tcpmuxHTTPConnectPort").await?,
        })
    }

    /// Lets users in.
    fn run(self, shared: &Arc<Shared>) {
        let Vhosts {
            http,
            https,
            tcpmux,
            ..
        } = &*shared.vhosts;
        if let (Some(listener), Some(vhost)) = (self.http, http) {
            told(&listener, "http service listen on", "");
            accept(listener, vhost, shared);
        }
        if let (Some(listener), Some(vhost)) = (self.https, https) {
            told(&listener, "https service listen on", "");
            accept(listener, vhost, shared);
        }
        if let (Some(listener), Some(vhost)) = (self.tcpmux, tcpmux) {
            let passthrough = format!(", passthrough: {}", vhost.passthrough);
            told(
                &listener,
                "tcpmux httpconnect multiplexer listen on",
                &passthrough,
            );
            accept(listener, vhost, shared);
        }
    }
}

// frp: these words, which scripts look for (server/service.go#NewService)
fn told(listener: &TcpListener, what: &str, how: &str) {
    if let Ok(addr) = listener.local_addr() {
        info!("{what} {addr}{how}");
    }
}

fn accept(listener: TcpListener, vhost: &Arc<impl Vhost>, shared: &Shared) {
    let tasks = &shared.tasks;
    let arrivals = shared.arrivals.clone();
    tasks.spawn(vhost::run(listener, vhost.clone(), arrivals, tasks.clone()));
}

/// Cuts everything when it is dropped.
struct StopAll(Tasks);

impl Drop for StopAll {
    fn drop(&mut self) {
        self.0.cut_all();
    }
}
