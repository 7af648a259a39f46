//! What runs on a server, and the order in which it stops: no newcomers, then no users, then no sessions, then nothing.

use std::future::Future;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::future::FutureExt as _;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, warn};

/// How long sessions and connections get to end once users are gone. They only
/// have to notice; whoever takes longer is dropped with the runtime.
const WIND_UP: Duration = Duration::from_secs(2);

/// All tasks of one server. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tasks {
    /// Everything but user connections.
    all: TaskTracker,
    users: TaskTracker,
    /// Cancelled when nobody else is let in.
    pub(crate) stop_listening: CancellationToken,
    /// Cancelled when users have had their time.
    cut_users: CancellationToken,
    /// Cancelled when sessions are to end.
    pub(crate) stop_sessions: CancellationToken,
    /// Cancelled when clients' connections are to end.
    pub(crate) stop_connections: CancellationToken,
}

impl Tasks {
    /// Runs something that knows by itself when to end.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        task: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.all.spawn(task)
    }

    /// Runs one user's connection, counted, in the current span, until it ends or users are cut.
    pub(crate) fn serve_user(&self, serve: impl Future<Output = ()> + Send + 'static) {
        self.users.spawn(self.until_cut(serve));
    }

    /// What [`serve_user`](Self::serve_user) runs. It holds `serve` once: a block that awaits a future which it was given
    /// holds it twice.
    pub(crate) fn until_cut<F: Future<Output = ()>>(
        &self,
        serve: F,
    ) -> impl Future<Output = Option<()>> + use<F> {
        let cut = self.cut_users.clone();
        serve.in_current_span().with_cancellation_token_owned(cut)
    }

    /// Lets nobody else in.
    pub(crate) fn stop_listening(&self) {
        self.stop_listening.cancel();
    }

    /// Ends everything in order, users after `grace`. Says how many of them were cut.
    pub(crate) async fn wind_up(&self, grace: Duration) -> usize {
        self.users.close();
        let cut = match timeout(grace, self.users.wait()).await {
            Ok(()) => 0,
            Err(_) => self.users.len(),
        };
        self.cut_all();
        self.all.close();
        if timeout(WIND_UP, self.all.wait()).await.is_err() {
            warn!("{} tasks did not end in time", self.all.len());
        }
        cut
    }

    /// Ends everything at once.
    pub(crate) fn cut_all(&self) {
        self.stop_listening.cancel();
        self.cut_users.cancel();
        self.stop_sessions.cancel();
        self.stop_connections.cancel();
    }
}
