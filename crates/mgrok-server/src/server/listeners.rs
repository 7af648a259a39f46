//! From an open socket to what takes connections from it.

use mgrok_admin::AdminPort;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::parts::Parts;
use crate::accept::{self, AcceptContext, UserService};
use crate::admin::{self, AdminContext};
use crate::exposition;
use crate::ingress;
use crate::sockets::{Socket, SocketKey};
use crate::ssh_gateway;

/// Serves whoever comes by `socket` until `stop` is cancelled.
pub(super) fn serve(
    key: SocketKey,
    socket: Socket,
    stop: CancellationToken,
    parts: &Parts,
) -> JoinHandle<()> {
    let Parts { tasks, vhosts, .. } = parts;
    let clients = || parts.control.clients.clone();
    // frp: these words, which scripts look for (server/service.go#NewService)
    match socket {
        Socket::Kcp(listener, driver) => {
            info!("frps kcp listen on udp {}", listener.local_addr());
            tasks.spawn(ingress::kcp::run(listener, driver, stop, clients()))
        }
        Socket::Quic(endpoint) => {
            if let Ok(addr) = endpoint.local_addr() {
                info!("frps quic listen on {addr}");
            }
            parts.quic.send_replace(Some(endpoint.clone()));
            tasks.spawn(ingress::quic::run(endpoint, stop, clients()))
        }
        Socket::Tcp(listener) => match key {
            SocketKey::VhostHttp => {
                log_listening(&listener, "http service listen on", "");
                accept(listener, &vhosts.http, stop, &parts.accept)
            }
            SocketKey::VhostHttps => {
                log_listening(&listener, "https service listen on", "");
                accept(listener, &vhosts.https, stop, &parts.accept)
            }
            SocketKey::TcpMux => {
                let passthrough = parts.policy.now().config.vhost.tcpmux_passthrough;
                let how = format!(", passthrough: {passthrough}");
                let what = "tcpmux httpconnect multiplexer listen on";
                log_listening(&listener, what, &how);
                accept(listener, &vhosts.tcpmux, stop, &parts.accept)
            }
            SocketKey::Admin => {
                log_listening(&listener, "dashboard listen on", "");
                let admin = AdminPort::new(listener, parts.admin_access.clone());
                let (stopping, directory) = (tasks.stop_listening.clone(), parts.directory.clone());
                let context = AdminContext {
                    directory: parts.directory.clone(),
                    policy: parts.policy.clone(),
                };
                let routes = parts.more_routes.add(admin::routes(&context));
                let routes = match parts.program.get() {
                    Some(program) => program.clone().add_to(routes),
                    None => routes,
                };
                let routes = routes.ready_when(move || {
                    match (stopping.is_cancelled(), directory.is_draining()) {
                        (true, _) => Err("stopping".to_owned()),
                        (false, true) => Err("draining".to_owned()),
                        (false, false) => Ok(()),
                    }
                });
                let routes = exposition::add_to(routes, &parts.policy, &parts.directory);
                tasks.spawn(admin.run(routes, stop))
            }
            SocketKey::Ssh => {
                if let Ok(addr) = listener.local_addr() {
                    info!("frps sshTunnelGateway listen on port {}", addr.port());
                }
                tasks.spawn(ssh_gateway::run(listener, stop, parts.ssh.clone()))
            }
            SocketKey::Control | SocketKey::Kcp | SocketKey::Quic => {
                log_listening(&listener, "frps tcp listen on", "");
                tasks.spawn(ingress::tcp::run(listener, stop, parts.control.clone()))
            }
        },
    }
}

fn log_listening(listener: &TcpListener, what: &str, how: &str) {
    if let Ok(addr) = listener.local_addr() {
        info!("{what} {addr}{how}");
    }
}

fn accept(
    listener: TcpListener,
    service: &(impl UserService + Sync),
    stop: CancellationToken,
    context: &AcceptContext,
) -> JoinHandle<()> {
    let (service, context) = (service.clone(), context.clone());
    let tasks = context.tasks.clone();
    tasks.spawn(async move {
        accept::run(&listener, service, context, stop).await;
    })
}
