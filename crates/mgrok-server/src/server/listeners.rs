//! Where a server listens besides the control port.

use std::{net::SocketAddr, sync::Arc};

use mgrok_config::ServerConfig;
use mgrok_net::{kcp, quic, tcp, tls::ServerTls};
use tokio::net::TcpListener;
use tracing::info;

use super::StartError;
use crate::{
    ingress,
    shared::Shared,
    vhost::{self, Vhost, Vhosts},
};

/// The transports over UDP on which clients come, if they are on.
#[derive(Debug)]
pub(super) struct UdpListeners {
    pub(super) kcp: Option<(kcp::Listener, kcp::ListenerDriver)>,
    pub(super) quic: Option<(quic::Endpoint, SocketAddr)>,
}

/// The listeners of the ports that many services share, unless the control port is one of them.
#[derive(Debug, Default)]
pub(super) struct VhostListeners {
    http: Option<TcpListener>,
    https: Option<TcpListener>,
    tcpmux: Option<TcpListener>,
}

impl UdpListeners {
    pub(super) async fn bind(config: &ServerConfig, tls: &ServerTls) -> Result<Self, StartError> {
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
                let server = ingress::quic::server(tls, config)?;
                let endpoint = quic::Endpoint::server(socket, server)?;
                let addr = endpoint.local_addr()?;
                Some((endpoint, addr))
            }
            None => None,
        };
        Ok(Self { kcp, quic })
    }

    /// Lets clients in.
    pub(super) fn run(self, shared: &Arc<Shared>) {
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

impl VhostListeners {
    pub(super) async fn bind(config: &ServerConfig) -> Result<Self, StartError> {
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
    pub(super) fn run(self, shared: &Arc<Shared>) {
        let Vhosts {
            http,
            https,
            tcpmux,
            ..
        } = &*shared.vhosts;
        if let (Some(listener), Some(vhost)) = (self.http, http) {
            log_listening(&listener, "http service listen on", "");
            accept(listener, vhost, shared);
        }
        if let (Some(listener), Some(vhost)) = (self.https, https) {
            log_listening(&listener, "https service listen on", "");
            accept(listener, vhost, shared);
        }
        if let (Some(listener), Some(vhost)) = (self.tcpmux, tcpmux) {
            let passthrough = format!(", passthrough: {}", vhost.passthrough);
            log_listening(
                &listener,
                "tcpmux httpconnect multiplexer listen on",
                &passthrough,
            );
            accept(listener, vhost, shared);
        }
    }
}

// frp: these words, which scripts look for (server/service.go#NewService)
fn log_listening(listener: &TcpListener, what: &str, how: &str) {
    if let Ok(addr) = listener.local_addr() {
        info!("{what} {addr}{how}");
    }
}

fn accept(listener: TcpListener, vhost: &Arc<impl Vhost>, shared: &Shared) {
    let tasks = &shared.tasks;
    let client_addrs = shared.client_addrs.clone();
    tasks.spawn(vhost::run(
        listener,
        vhost.clone(),
        client_addrs,
        tasks.clone(),
    ));
}
