//! What a server is made of, put together. Each part is handed on to those alone that use it.

use std::fmt::{self, Debug, Formatter};
use std::sync::{Arc, OnceLock};

use mgrok_admin::{AdminAccess, ProgramLink, Routes};
use mgrok_net::quic::Endpoint;
use tokio::sync::watch;

use crate::accept::AcceptContext;
use crate::client_addr::ClientAddrResolver;
use crate::directory::Directory;
use crate::hole_punch::HolePunchBroker;
use crate::ingress::{self, ClientContext, ControlContext};
use crate::per_source::PerSource;
use crate::policy::{CurrentPolicy, Policy};
use crate::ports::Ports;
use crate::private::PrivateServices;
use crate::proxy::PublishContext;
use crate::public_endpoint::PublicEndpoints;
use crate::session::SessionContext;
use crate::ssh_gateway::{self, SshContext};
use crate::tasks::Tasks;
use crate::vhost::Vhosts;
use crate::visitor::VisitorContext;

/// The parts of one server. Nothing of them is process-wide, so several servers can live in one process.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) policy: CurrentPolicy,
    pub(super) directory: Directory,
    pub(super) tasks: Tasks,
    /// How users are accepted.
    pub(super) accept: AcceptContext,
    pub(super) vhosts: Arc<Vhosts>,
    pub(super) holes: HolePunchBroker,
    /// Where the admin port has what only the program can do; empty if the program does not.
    pub(super) program: OnceLock<ProgramLink>,
    /// Who is let in to the admin port.
    pub(super) admin_access: AdminAccess,
    /// What the program answers at the admin port besides.
    pub(super) more_routes: MoreRoutes,
    /// Where clients come by QUIC, if they do.
    pub(super) quic: watch::Sender<Option<Endpoint>>,
    /// What the control port needs, and in it what the other ports of clients do.
    pub(super) control: Arc<ControlContext>,
    /// What the port of the SSH gateway needs.
    pub(super) ssh: Arc<SshContext>,
}

/// What a program answers at the admin port besides the server itself.
#[derive(Default)]
pub(super) struct MoreRoutes(OnceLock<Box<dyn Fn(Routes) -> Routes + Send + Sync>>);

impl MoreRoutes {
    /// Has `add` add to the routes of each admin port that is opened from now on.
    pub(super) fn set(&self, add: impl Fn(Routes) -> Routes + Send + Sync + 'static) {
        // Those of the first call stay.
        let _ = self.0.set(Box::new(add));
    }

    /// `routes` and those.
    pub(super) fn add(&self, routes: Routes) -> Routes {
        match self.0.get() {
            Some(add) => add(routes),
            None => routes,
        }
    }
}

impl Debug for MoreRoutes {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MoreRoutes")
            .field(&self.0.get().is_some())
            .finish()
    }
}

impl Parts {
    /// The parts of a server that has yet to start.
    pub(super) fn new(policy: Arc<Policy>) -> Self {
        let config = &policy.config;
        let retention = config.nathole_analysis_data_reserve;
        let policy = CurrentPolicy::new(policy);
        let (directory, tasks) = (Directory::default(), Tasks::default());
        let private = PrivateServices::default();
        let holes = HolePunchBroker::new(private.clone(), retention);
        let vhosts = Arc::new(Vhosts::new(&policy, &directory, &tasks));
        let accept = AcceptContext {
            client_addrs: ClientAddrResolver::new(policy.clone()),
            tasks: tasks.clone(),
        };
        let publish = PublishContext {
            policy: policy.clone(),
            directory: directory.clone(),
            endpoints: PublicEndpoints {
                groups: Default::default(),
                ports: Ports::new(policy.clone()),
                vhosts: vhosts.clone(),
                accept_context: accept.clone(),
            },
            private: private.clone(),
            tasks: tasks.clone(),
        };
        let sessions = SessionContext {
            policy: policy.clone(),
            directory: directory.clone(),
            tasks: tasks.clone(),
            publish,
            holes: holes.clone(),
        };
        let visitors = VisitorContext {
            policy: policy.clone(),
            directory: directory.clone(),
            private,
            tasks: tasks.clone(),
        };
        let sessions = Arc::new(sessions);
        let ssh = SshContext {
            client_addrs: accept.client_addrs.clone(),
            sessions: sessions.clone(),
            openings: PerSource::new(ssh_gateway::OPENINGS, directory.metrics()),
        };
        let clients = ClientContext {
            policy: policy.clone(),
            directory: directory.clone(),
            tasks: tasks.clone(),
            sessions,
            visitors,
        };
        let control = ControlContext {
            clients: Arc::new(clients),
            client_addrs: accept.client_addrs.clone(),
            openings: PerSource::new(ingress::OPENINGS, directory.metrics()),
            vhosts: vhosts.clone(),
        };
        Self {
            policy,
            directory,
            tasks,
            accept,
            vhosts,
            holes,
            program: OnceLock::new(),
            admin_access: AdminAccess::default(),
            more_routes: MoreRoutes::default(),
            quic: watch::Sender::new(None),
            control: Arc::new(control),
            ssh: Arc::new(ssh),
        }
    }
}
