//! The product from end to end, one file for each thing it does.
//!
//! Server and client run in this process where nothing has to be signalled, limited or killed;
//! users and local services are real sockets on loopback.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a panic is how tests fail"
)]

mod access;
mod access_log;
mod admin;
mod auth;
mod bandwidth;
mod bans;
mod client_users;
mod faults;
mod groups;
mod health;
mod http;
mod https;
mod inspector;
mod links;
mod metrics;
mod oidc;
mod outbound;
mod overload;
mod plugins;
mod pool;
mod ports;
mod private;
mod programs;
mod proxy_protocol;
mod reconnect;
mod reload;
mod several_servers;
mod silence;
mod ssh;
mod stop;
mod takeover;
mod tcp;
mod tcpmux;
mod tls;
mod transports;
mod udp;
mod xtcp;

use std::net::SocketAddr;

use mgrok_lab::{Client, Peer, Proxy, Server};

/// A server, a client, and one thing published.
struct Tunnel {
    server: Server,
    client: Client,
    public: SocketAddr,
}

impl Tunnel {
    /// One proxy through a server and a client with these settings.
    async fn with(for_server: &str, for_client: &str, proxy: Proxy) -> Self {
        let server = Server::start(Peer::Mgrok, for_server).await;
        let public = proxy.public();
        let client = Client::start(Peer::Mgrok, server.addr(), for_client, &[proxy]).await;
        Self {
            server,
            client,
            public,
        }
    }

    /// A tcp service, published with the settings that most users have: none.
    async fn tcp(local: SocketAddr) -> Self {
        Self::with("", "", Proxy::tcp("tcp", local)).await
    }

    /// A udp service, published likewise.
    async fn udp(local: SocketAddr) -> Self {
        Self::with("", "", Proxy::udp("udp", local)).await
    }
}

/// A server with a port that services share, and a client that publishes some there, told apart by their names.
struct Shared {
    server: Server,
    client: Client,
    at: SocketAddr,
}

impl Shared {
    /// `port_key` is the server's setting for the port, such as `vhostHTTPPort`.
    async fn with(port_key: &str, for_server: &str, proxies: &[Proxy]) -> Self {
        let port = mgrok_lab::ports::free();
        let for_server = format!("{port_key} = {port}\n{for_server}");
        let server = Server::start(Peer::Mgrok, &for_server).await;
        let client = Client::start(Peer::Mgrok, server.addr(), "", proxies).await;
        Self {
            server,
            client,
            at: ([127, 0, 0, 1], port).into(),
        }
    }

    /// Another client wants to publish `proxy` too, and hears why it may not.
    async fn refuses(&self, proxy: Proxy, why: &str) {
        refuses(&self.server, proxy, why).await;
    }
}

/// A proxy that is found by this domain.
fn named(kind: &'static str, name: &str, local: SocketAddr, domain: &str) -> Proxy {
    Proxy::new(kind, name, local).with(&format!("customDomains = [{domain:?}]"))
}

/// A client of `server` wants to publish `proxy`, and hears why it may not.
async fn refuses(server: &Server, proxy: Proxy, why: &str) {
    let line = format!("[{}] start error: {why}", proxy.name);
    let client = Client::launch(Peer::Mgrok, server.addr(), "", &[proxy]);
    client.log().wait_for(&line).await;
}
