//! What serving clients takes of the server.

use std::sync::Arc;

use crate::client_addr::ClientAddrResolver;
use crate::directory::Directory;
use crate::per_source::PerSource;
use crate::policy::CurrentPolicy;
use crate::session::SessionContext;
use crate::tasks::Tasks;
use crate::vhost::Vhosts;
use crate::visitor::VisitorContext;

/// For clients, however they come.
#[derive(Debug)]
pub(crate) struct ClientContext {
    pub(crate) policy: CurrentPolicy,
    pub(crate) directory: Directory,
    pub(crate) tasks: Tasks,
    pub(crate) sessions: Arc<SessionContext>,
    pub(crate) visitors: VisitorContext,
}

/// For the control port, where users of a vhost port may come as well.
#[derive(Debug)]
pub(crate) struct ControlContext {
    pub(crate) clients: Arc<ClientContext>,
    pub(crate) client_addrs: ClientAddrResolver,
    /// For connections that are not logged in.
    pub(crate) openings: PerSource,
    pub(crate) vhosts: Arc<Vhosts>,
}
