//! The product from end to end, one file for each thing it does.
//!
//! Server and client run in this process where nothing has to be signalled, limited or killed;
//! users and local services are real sockets on loopback.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a panic is how tests fail"
)]

mod admin;
mod auth;
mod bandwidth;
mod faults;
mod overload;
mod plugins;
mod pool;
mod ports;
mod programs;
mod silence;
mod stop;
mod takeover;
mod tcp;
mod tls;
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
