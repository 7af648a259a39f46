//! What every connection of one server needs, as one value that is passed.

use std::sync::Arc;

use mgrok_config::ServerConfig;
use mgrok_net::tls::ServerTls;
use mgrok_proto::cipher::CipherKey;

use crate::{
    client_addr::ClientAddrResolver,
    clients::Clients,
    excerpt::Excerpt,
    hole_punch::HolePunchBroker,
    hooks::Hooks,
    per_source::{Limits, PerSource},
    ports::Ports,
    private::PrivateServices,
    public_endpoint::{AcceptContext, PublicEndpoints},
    registry::Registry,
    tasks::Tasks,
    vhost::Vhosts,
};

/// Connections by TCP of which nobody knows yet whose they are. One that stops within its TLS handshake holds up to 16 KiB, so all
/// of them 128 MiB; one that waits for its turn holds a socket and its task.
const OPENINGS: Limits = Limits {
    what: "connections to the control port",
    total: 8_192,
    per_source: 1_024,
    waiting: 32_768,
    waiting_per_source: 16_384,
};

/// Nothing of it is process-wide, so several servers can live in one process.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: ServerConfig,
    /// Derived once from the token; the control cipher and `useEncryption` use it.
    pub(crate) cipher_key: CipherKey,
    pub(crate) tls: ServerTls,
    pub(crate) hooks: Hooks,
    pub(crate) client_addrs: ClientAddrResolver,
    /// For connections by TCP that are not logged in.
    pub(crate) openings: PerSource,
    pub(crate) vhosts: Arc<Vhosts>,
    pub(crate) endpoints: PublicEndpoints,
    pub(crate) private: PrivateServices,
    pub(crate) holes: HolePunchBroker,
    pub(crate) registry: Registry,
    pub(crate) clients: Clients,
    pub(crate) tasks: Tasks,
}

impl Shared {
    /// The shared values of a server that has yet to start.
    pub(crate) fn new(
        config: ServerConfig,
        tls: ServerTls,
        hooks: Hooks,
        vhosts: Vhosts,
        tasks: Tasks,
    ) -> Self {
        let client_addrs = ClientAddrResolver::new(
            &config.accept_proxy_protocol_from,
            &config.vhost.trusted_proxies,
        );
        let vhosts = Arc::new(vhosts);
        Self {
            cipher_key: CipherKey::derive(&config.auth.token),
            tls,
            hooks,
            endpoints: PublicEndpoints {
                groups: Default::default(),
                ports: Ports::new(&config.proxy_bind_addr, config.allow_ports.clone()),
                vhosts: vhosts.clone(),
                accept_context: AcceptContext {
                    client_addrs: client_addrs.clone(),
                    tasks: tasks.clone(),
                },
            },
            client_addrs,
            openings: PerSource::new(OPENINGS),
            vhosts,
            private: PrivateServices::default(),
            holes: HolePunchBroker::new(config.nathole_analysis_data_reserve),
            registry: Registry::default(),
            clients: Clients::default(),
            tasks,
            config,
        }
    }

    /// What a client is told of an error: `detail`, or only `summary` if the
    /// operator does not want clients to know more.
    pub(crate) fn error_text(&self, detail: &str, summary: &str) -> String {
        if self.config.detailed_errors_to_client {
            Excerpt(detail).to_string()
        } else {
            summary.to_owned()
        }
    }
}
