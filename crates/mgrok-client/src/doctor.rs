//! `doctor`: which layer fails between this host, the server, the local services and their users.
//!
//! Every step that a client takes is taken once, by the functions by which clients take it, and is told by a line of its own. Nothing is
//! disturbed: the login has a run id of its own and publishes nothing, so that a client of the same configuration, which may run, keeps all that
//! it has. What that client publishes is tried from outside.

mod http;
mod stranger;
mod trial;

mod running;

mod server_clock;

mod certificate;

mod reach;
mod token;

mod services;

mod access;

mod login;

mod servers;

mod visitors;

mod public;

use mgrok_config::{ClientConfig, Protocol};
use mgrok_doctor::{Examination, clock, open_files, outgoing_ports, udp_buffers};
use mgrok_net::resolver::Resolver;

use self::running::RunningClient;

/// How many files a user of a client takes at most: the connection to the local service, and one to the server where there is no multiplexer.
const FILES_PER_USER: u64 = 2;

/// The names of all checks, in the order in which they are made. They stay the same from version to version.
pub const CHECKS: &[&str] = &[
    "files",
    "ports",
    "clock",
    "buffers",
    "admin",
    "token",
    "dns",
    "route",
    "proxy",
    "tcp",
    "websocket",
    "udp",
    "tls",
    "certificate",
    "mtu",
    "mux",
    "wire",
    "login",
    "access",
    "client_id",
    "local",
    "health",
    "visitor",
    "public",
];

/// Looks into everything that a client of `config` needs.
pub async fn examine(config: &ClientConfig, examination: &mut Examination<'_>) {
    // Nothing needs these.
    let _ = examination.note("files", "", open_files(FILES_PER_USER));
    if let Some(ports) = outgoing_ports() {
        let _ = examination.note("ports", "", ports);
    }
    let _ = examination.note("clock", "this host", clock());
    if let Protocol::Auto | Protocol::Kcp | Protocol::Quic = config.transport.protocol
        && let Some(buffers) = udp_buffers()
    {
        let _ = examination.note("buffers", "", buffers);
    }
    let to_services = Resolver::new(config.dns_server);
    let running = RunningClient::ask(config, &to_services, examination).await;
    servers::examine(config, &running, examination).await;
    access::examine(config, examination);
    services::examine(config, &to_services, examination).await;
    visitors::examine(config, &running, examination).await;
    public::examine(config, &running, examination).await;
}
