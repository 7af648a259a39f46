//! What every connection of one server needs, as one value that is passed.

use std::sync::Arc;

use mgrok_admin::AdminLogin;
use mgrok_net::quic::Endpoint;
use tokio::sync::watch;

use crate::accept::AcceptContext;
use crate::client_addr::ClientAddrResolver;
use crate::directory::Directory;
use crate::hole_punch::HolePunchBroker;
use crate::per_source::{Limits, PerSource};
use crate::policy::{CurrentPolicy, Policy};
use crate::ports::Ports;
use crate::private::PrivateServices;
use crate::public_endpoint::PublicEndpoints;
use crate::tasks::Tasks;
use crate::vhost::Vhosts;

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
    pub(crate) policy: CurrentPolicy,
    pub(crate) client_addrs: ClientAddrResolver,
    pub(crate) accept_context: AcceptContext,
    /// For connections by TCP that are not logged in.
    pub(crate) openings: PerSource,
    /// Where clients come by QUIC, if they do.
    pub(crate) quic: watch::Sender<Option<Endpoint>>,
    pub(crate) admin_login: AdminLogin,
    pub(crate) vhosts: Arc<Vhosts>,
    pub(crate) endpoints: PublicEndpoints,
    pub(crate) private: PrivateServices,
    pub(crate) holes: HolePunchBroker,
    pub(crate) directory: Directory,
    pub(crate) tasks: Tasks,
}

impl Shared {
    /// The shared values of a server that has yet to start.
    pub(crate) fn new(policy: Arc<Policy>) -> Self {
        let tasks = Tasks::default();
        let config = &policy.config;
        let retention = config.nathole_analysis_data_reserve;
        let web_server = config.web_server.clone().unwrap_or_default();
        let policy = CurrentPolicy::new(policy);
        let client_addrs = ClientAddrResolver::new(policy.clone());
        let vhosts = Arc::new(Vhosts::new(&policy, &tasks));
        let accept_context = AcceptContext {
            client_addrs: client_addrs.clone(),
            tasks: tasks.clone(),
        };
        Self {
            endpoints: PublicEndpoints {
                groups: Default::default(),
                ports: Ports::new(policy.clone()),
                vhosts: vhosts.clone(),
                accept_context: accept_context.clone(),
            },
            policy,
            client_addrs,
            accept_context,
            openings: PerSource::new(OPENINGS),
            quic: watch::Sender::new(None),
            admin_login: AdminLogin::new(&web_server),
            vhosts,
            private: PrivateServices::default(),
            holes: HolePunchBroker::new(retention),
            directory: Directory::default(),
            tasks,
        }
    }
}
