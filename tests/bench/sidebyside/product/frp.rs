//! What reads frp's files: mgrok, frp and NFrp.

use std::fmt::Write as _;

use mgrok_lab::{Role, client_toml, server_toml};

use super::{Links, Pair, Product, Task, free, write};

/// What one client publishes at most; mgrok's server takes 65,536 routes of one. All comparisons but those of very many domains need one
/// client alone.
const PROXIES_PER_CLIENT: usize = 600;

pub(super) fn set_up(product: Product, task: &Task<'_>, links: &mut Links) -> Pair {
    let bind = free();
    let mut proxies = task.proxies.to_vec();
    let mut settings = task.mode.settings(Role::Server, bind.port(), task.pool);
    if let Some(web) = task.web {
        proxies.extend(web.proxies());
        let _ = write!(settings, "\nvhostHTTPPort = {}", task.http_port);
    }
    let server = write(task, "server.toml", &server_toml(bind, &settings));
    // Links carry TCP alone.
    let via = if task.mode.is_tcp() {
        links.to(bind)
    } else {
        bind
    };
    let settings = task.mode.settings(Role::Client, bind.port(), task.pool);
    let clients = proxies.chunks(PROXIES_PER_CLIENT).enumerate();
    Pair {
        server: vec![product.command(Role::Server, ["-c".as_ref(), server.as_os_str()])],
        clients: clients
            .map(|(index, proxies)| {
                let toml = client_toml(via, &settings, proxies, &[]);
                let file = write(task, &format!("client-{index}.toml"), &toml);
                product.command(Role::Client, ["-c".as_ref(), file.as_os_str()])
            })
            .collect(),
        bind,
    }
}
