//! How each supervisor's session is, for the admin port.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use mgrok_config::ServerAddr;
use tokio::sync::watch;

/// How many connections a session has. Clones are the same, and equal while the numbers are.
#[derive(Clone, Debug)]
pub(crate) struct LinkCount(Arc<AtomicUsize>);

impl LinkCount {
    /// One.
    pub(crate) fn one() -> Self {
        Self(Arc::new(AtomicUsize::new(1)))
    }

    /// One more.
    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// One less.
    pub(crate) fn remove(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// How many there are at this moment.
    pub(crate) fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl PartialEq for LinkCount {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl Eq for LinkCount {}

/// A session that lives.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct LiveSession {
    pub(crate) server: ServerAddr,
    /// When it logged in, in seconds since 1970.
    pub(crate) since: u64,
    pub(crate) run_id: String,
    pub(crate) transport: String,
    pub(crate) links: LinkCount,
    /// Whether the first of them goes by several paths at once.
    pub(crate) multipath: bool,
}

/// What one supervisor has.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct SessionStatus {
    pub(crate) live: Option<LiveSession>,
    /// Why there is none, or was none before this one.
    pub(crate) error: Option<String>,
}

/// Where supervisors say how their sessions are. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct SessionStatuses(watch::Sender<Vec<SessionStatus>>);

impl SessionStatuses {
    /// For so many supervisors.
    pub(crate) fn new(supervisors: usize) -> Self {
        Self(watch::Sender::new(vec![
            SessionStatus::default();
            supervisors
        ]))
    }

    /// The supervisor with this number has a session.
    pub(crate) fn logged_in(
        &self,
        number: usize,
        server: ServerAddr,
        run_id: String,
        transport: String,
        links: LinkCount,
        multipath: bool,
    ) {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        self.change(number, |status| {
            status.live = Some(LiveSession {
                server,
                since: since.unwrap_or_default().as_secs(),
                run_id,
                transport,
                links,
                multipath,
            });
        });
    }

    /// The supervisor with this number has none, for this reason.
    pub(crate) fn failed(&self, number: usize, why: String) {
        self.change(number, |status| {
            *status = SessionStatus {
                live: None,
                error: Some(why),
            };
        });
    }

    /// Follows them.
    pub(crate) fn watch(&self) -> watch::Receiver<Vec<SessionStatus>> {
        self.0.subscribe()
    }

    fn change(&self, number: usize, change: impl FnOnce(&mut SessionStatus)) {
        self.0.send_modify(|statuses| {
            if let Some(status) = statuses.get_mut(number) {
                change(status);
            }
        });
    }
}
