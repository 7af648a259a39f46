//! The owner of a client's tasks.
//!
//! Most tasks beside the session's own are work connections. One waits for a user under its
//! session, and lives on as a user connection under the client: without multiplexing a user
//! connection survives the loss of the control connection. The others are health checks, which end
//! with their proxies, and visitors and their users.

use std::time::Instant;

use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// All tasks of a client. Dropping it cuts what still runs.
#[derive(Debug)]
pub(crate) struct TaskOwner {
    tasks: Tasks,
    _cut: DropGuard,
}

/// Where tasks are started. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Tasks {
    all: TaskTracker,
    users: TaskTracker,
    cut: CancellationToken,
}

impl TaskOwner {
    pub(crate) fn new() -> Self {
        let cut = CancellationToken::new();
        Self {
            tasks: Tasks {
                all: TaskTracker::new(),
                users: TaskTracker::new(),
                cut: cut.clone(),
            },
            _cut: cut.drop_guard(),
        }
    }

    /// Cuts the user connections that are left, and waits for all tasks.
    pub(crate) async fn finish(self) {
        self.tasks.cut.cancel();
        self.tasks.all.close();
        // Short: a cut task does nothing more than to drop what it holds.
        self.tasks.all.wait().await;
    }

    pub(crate) fn tasks(&self) -> &Tasks {
        &self.tasks
    }
}

impl Tasks {
    /// Starts a task. It must end soon after [`is_cut`](Self::is_cut) does.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        self.all.spawn(task)
    }

    /// Counts a user connection for as long as the value lives.
    pub(crate) fn user(&self) -> TaskTrackerToken {
        self.users.token()
    }

    /// Whether there are user connections.
    pub(crate) fn has_users(&self) -> bool {
        !self.users.is_empty()
    }

    /// A token for a part of the client, cancelled with the client at the latest.
    pub(crate) fn part(&self) -> CancellationToken {
        self.cut.child_token()
    }

    /// Waits until user connections are to be cut.
    pub(crate) async fn is_cut(&self) {
        self.cut.cancelled().await;
    }

    /// Waits until there is no user connection, at most until the `deadline`; says how many are
    /// left.
    pub(crate) async fn users_gone(&self, deadline: Instant) -> usize {
        self.users.close();
        // After a timeout as after the last user, what counts is the number left.
        let _ = tokio::time::timeout_at(deadline.into(), self.users.wait()).await;
        self.users.len()
    }
}
