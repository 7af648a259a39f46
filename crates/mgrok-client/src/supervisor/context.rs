//! What all supervisors of a client share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use mgrok_config::ClientConfig;
use mgrok_proto::cipher::CipherKey;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::credentials::Credentials;
use crate::handle::Sessions;
use crate::hole::Puncher;
use crate::metrics::Metrics;
use crate::progress::Progress;
use crate::session_status::SessionStatuses;
use crate::tasks::Tasks;

/// What all supervisors of a client share.
#[derive(Clone, Debug)]
pub(crate) struct SupervisorContext {
    pub(crate) config: Arc<ClientConfig>,
    pub(crate) credentials: Credentials,
    pub(crate) first_logins: Arc<FirstLogins>,
    pub(crate) key: CipherKey,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) progress: Progress,
    pub(crate) session_statuses: SessionStatuses,
    pub(crate) puncher: Puncher,
    pub(crate) sessions: watch::Sender<Sessions>,
    pub(crate) stopping: CancellationToken,
    pub(crate) tasks: Tasks,
}

/// Whether a client whose first logins fail is to give up, which it does when all its supervisors have failed.
#[derive(Debug)]
pub(crate) struct FirstLogins {
    give_up: bool,
    untried: AtomicUsize,
    worked: AtomicBool,
}

impl FirstLogins {
    /// For so many `supervisors`. They never give up unless that is wanted.
    pub(crate) fn new(supervisors: usize, give_up: bool) -> Self {
        Self {
            give_up,
            untried: AtomicUsize::new(supervisors),
            worked: AtomicBool::new(false),
        }
    }

    pub(super) fn worked(&self) {
        self.worked.store(true, Ordering::Relaxed);
    }

    /// Takes note of a supervisor's first failure; tells whether to give up.
    pub(super) fn failed(&self) -> bool {
        let is_last = self.untried.fetch_sub(1, Ordering::Relaxed) == 1;
        self.give_up && is_last && !self.worked.load(Ordering::Relaxed)
    }
}
