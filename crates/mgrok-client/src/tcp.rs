//! A user connection of a TCP proxy: from its work connection to the local service.

use std::time::Duration;

use mgrok_net::conn::Conn;
use mgrok_net::relay::{HalfClose, relay};
use mgrok_net::tcp::{DialOptions, dial};
use tracing::{debug, error};

use crate::printable::Chain;
use crate::proxy::Proxy;

/// How the local service is dialled.
const LOCAL: DialOptions = DialOptions {
    // frp: the same (client/proxy/proxy.go#HandleTCPWorkConnection)
    timeout: Duration::from_secs(10),
    // A local service on another machine may vanish without a word; a minute of silence is soon
    // enough to ask, and rare enough to cost nothing with many idle users.
    keepalive: Some(Duration::from_secs(60)),
    local_ip: None,
};

/// Carries one user to the local service of `proxy`; ends when either of them does.
pub(crate) async fn serve(proxy: &Proxy, work: Conn) {
    let config = proxy.config();
    let local = match dial(&config.local_host, config.local_port, &LOCAL).await {
        Ok(stream) => Conn::from(stream),
        Err(e) => {
            error!(
                "connect to local service [{}:{}] error: {}",
                config.local_host,
                config.local_port,
                Chain(&e)
            );
            return;
        }
    };
    let work = proxy.layers().wrap(work);
    // A v1 server ends both directions with the first, so that a half-close cannot be carried.
    let end = relay(local, work, HalfClose::EndsBoth, proxy.traffic()).await;
    debug!(?end, "user connection ended");
}
