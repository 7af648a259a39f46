//! The server as a whole: how it starts, how it changes while it runs, and how it stops.

mod certificate_watch;
mod listeners;
mod parts;
mod reload;

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use mgrok_admin::{AdminRequests, ProgramLink, Routes};
use mgrok_config::ServerConfig;
use tokio::net::TcpListener;
use tokio::sync::OwnedMutexGuard;
use tracing::{info, warn};

use self::parts::Parts;
use self::reload::{Next, State};
pub use self::reload::{ReloadError, ReloadReport, Reloader};
use crate::directory::Directory;
use crate::sockets::{Inherited, SocketKey};
use crate::start_error::StartError;
use crate::tasks::Tasks;

/// How a server stopped.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct StopReport {
    /// User connections that were cut because the grace period was over.
    pub cut: usize,
}

/// A server that listens on its ports and serves once it is [run](Server::run).
#[derive(Debug)]
pub struct Server {
    reloader: Reloader,
    parts: Arc<Parts>,
    /// What the first configuration opened. Reloads wait until it is served.
    first: Next,
    state: OwnedMutexGuard<State>,
}

impl Server {
    /// Listens on `bindAddr`:`bindPort`, and on the UDP, vhost and admin ports that are on.
    ///
    /// # Errors
    /// When a port cannot be bound or a TLS file cannot be used.
    pub async fn bind(config: ServerConfig) -> Result<Self, StartError> {
        Self::start(config, Inherited::default()).await
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
        let mut inherited = Inherited::default();
        inherited.add(SocketKey::Control, control);
        Self::start(config, inherited).await
    }

    /// As [`bind`](Self::bind), with sockets that are open already, such as the service manager passes. Each is for the port whose key in
    /// the configuration is its name, like `bindPort`; one with another name is for the port that it is bound to.
    ///
    /// # Errors
    /// As for [`bind`](Self::bind), and when there is a socket that the configuration has no use for: whoever connects there would
    /// wait for ever.
    pub async fn from_sockets(
        config: ServerConfig,
        sockets: impl IntoIterator<Item = (String, OwnedFd)>,
    ) -> Result<Self, StartError> {
        let inherited = Inherited::of(&config, sockets)?;
        Self::start(config, inherited).await
    }

    async fn start(config: ServerConfig, inherited: Inherited) -> Result<Self, StartError> {
        let (reloader, parts, state, first) = Reloader::start(config, inherited).await?;
        Ok(Self {
            reloader,
            parts,
            first,
            state,
        })
    }

    /// What changes the server's configuration while it runs.
    pub fn reloader(&self) -> Reloader {
        self.reloader.clone()
    }

    /// Who is here: sessions, proxies and connections of users, and how to act on them.
    pub fn directory(&self) -> Directory {
        self.parts.directory.clone()
    }

    /// Has `add` add to the routes of the admin port, for what the program knows and the server does not: its log, for example. Only
    /// the first call counts.
    pub fn add_admin_routes(&self, add: impl Fn(Routes) -> Routes + Send + Sync + 'static) {
        self.parts.more_routes.set(add);
    }

    /// Has the admin port take requests for what only the program can do: reading its configuration again, and the end. Without this
    /// call the admin port has no routes for that. Only the first call counts.
    pub fn admin_requests(&self) -> AdminRequests {
        let (program, requests) = ProgramLink::new();
        // Whoever asks first is the program.
        let _ = self.parts.program.set(program);
        requests
    }

    /// Where clients connect to.
    ///
    /// # Errors
    /// When the operating system does not say.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        let addr = self.first.addr(SocketKey::Control);
        addr.ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
    }

    /// The UDP address that clients connect to by KCP; `None` if that is off.
    pub fn kcp_addr(&self) -> Option<SocketAddr> {
        self.first.addr(SocketKey::Kcp)
    }

    /// The UDP address that clients connect to by QUIC; `None` if that is off.
    pub fn quic_addr(&self) -> Option<SocketAddr> {
        self.first.addr(SocketKey::Quic)
    }

    /// The address of the SSH gateway; `None` if that is off.
    pub fn ssh_addr(&self) -> Option<SocketAddr> {
        self.first.addr(SocketKey::Ssh)
    }

    /// Serves until `stop` resolves, then stops in order: no newcomers, users
    /// within the grace period, sessions, everything else.
    ///
    /// Dropping the future instead cuts everything at once.
    pub async fn run(self, stop: impl Future<Output = ()>) -> StopReport {
        let Self {
            reloader,
            parts,
            first,
            mut state,
        } = self;
        let tasks = &parts.tasks;
        // Whatever way this future ends, nothing that it started outlives it for long.
        let _cut = StopAll(tasks.clone());
        state.serve(first, &parts);
        drop(state);
        let stopping = tasks.stop_listening.clone();
        let watch = certificate_watch::run(parts.policy.clone(), parts.quic.subscribe(), stopping);
        tasks.spawn(watch);
        let (directory, stopping) = (parts.directory.clone(), tasks.stop_connections.clone());
        tasks.spawn(async move {
            tokio::select! {
                () = stopping.cancelled() => {}
                never = directory.keep_statistics() => match never {},
            }
        });
        // frp: scripts look for these words (server/service.go#Run)
        info!("frps started successfully");
        stop.await;
        info!("stopping: no new connections are taken");
        tasks.stop_listening();
        if let Some(ingress) = reloader.stop().await
            && ingress.await.is_err()
        {
            warn!("the accept loop of the control port had failed");
        }
        let grace = parts.policy.now().config.grace_period;
        let cut = tasks.wind_up(grace).await;
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
