//! What all visitors of a client share.

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::handle::Sessions;
use crate::hole::Puncher;
use crate::tasks::Tasks;
use crate::virtual_net::VirtualNetwork;

/// What all visitors of a client work with.
#[derive(Debug)]
pub(crate) struct VisitorContext {
    pub(crate) puncher: Puncher,
    /// The sessions there are.
    pub(crate) sessions: watch::Receiver<Sessions>,
    /// Cancelled when the client takes no more users.
    pub(crate) stopping: CancellationToken,
    pub(crate) tasks: Tasks,
    pub(crate) udp_packet_size: usize,
    pub(crate) user: String,
    /// What visitors with a plugin connect; `None` if the client has none.
    pub(crate) virtual_net: Option<VirtualNetwork>,
}
