//! rathole: services by name in two files. Its TLS wants a key file in a format of its own, so it goes in the clear in every mode.

use std::fmt::Write as _;

use mgrok_lab::{Proxy, Role};

use super::{Links, Pair, Product, Task, free, write};

pub(super) fn set_up(product: Product, task: &Task<'_>, links: &mut Links) -> Pair {
    let bind = free();
    let via = links.to(bind);
    let mut server = format!("[server]\nbind_addr = \"{bind}\"\ndefault_token = \"bench\"\n");
    let mut client = format!("[client]\nremote_addr = \"{via}\"\ndefault_token = \"bench\"\n");
    for proxy in task.proxies {
        let Proxy {
            name, kind, local, ..
        } = proxy;
        let public = proxy.public();
        let _ = write!(
            server,
            "[server.services.{name}]\ntype = \"{kind}\"\nbind_addr = \"{public}\"\n",
        );
        let _ = write!(
            client,
            "[client.services.{name}]\ntype = \"{kind}\"\nlocal_addr = \"{local}\"\n",
        );
    }
    let server = write(task, "server.toml", &server);
    let client = write(task, "client.toml", &client);
    Pair {
        server: vec![product.command(Role::Server, ["--server".as_ref(), server.as_os_str()])],
        clients: vec![product.command(Role::Client, ["--client".as_ref(), client.as_os_str()])],
        bind,
    }
}
