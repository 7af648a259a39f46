//! bore: no files, and a client for each service. Its server always listens on one port, so each server has an address of its own.

use std::{
    net::{Ipv4Addr, SocketAddr},
    process,
    sync::atomic::{AtomicU8, Ordering},
};

use mgrok_lab::Role;

use super::{Links, Pair, Product, Task};

/// The port that every server of bore listens on.
const PORT: u16 = 7835;

pub(super) fn set_up(product: Product, task: &Task<'_>, links: &mut Links) -> Pair {
    let bind = own_address();
    let via = links.between(own_address(), bind);
    let host = bind.ip().to_string();
    let server = [
        "server",
        "--bind-addr",
        &host,
        "--bind-tunnels",
        "127.0.0.1",
    ];
    let tcp = task.proxies.iter().filter(|proxy| proxy.kind == "tcp");
    Pair {
        server: vec![product.command(Role::Server, server)],
        clients: tcp
            .map(|proxy| {
                let (local, public) = (proxy.local, proxy.public());
                let args = [
                    "local".to_owned(),
                    local.port().to_string(),
                    "--local-host".to_owned(),
                    local.ip().to_string(),
                    "--to".to_owned(),
                    via.ip().to_string(),
                    "--port".to_owned(),
                    public.port().to_string(),
                ];
                product.command(Role::Client, args)
            })
            .collect(),
        bind,
    }
}

/// An address of loopback that nobody else has, in this process or another one that runs.
fn own_address() -> SocketAddr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    let [_, _, high, low] = process::id().to_be_bytes();
    // 127.0.0.1 is not among them, nor is what ends in 0.
    let ip = Ipv4Addr::new(127, 64 | (high & 63), low, next.max(1));
    SocketAddr::from((ip, PORT))
}
