//! How each supervisor's session is, for the admin port.

use std::time::{SystemTime, UNIX_EPOCH};

use mgrok_config::ServerAddr;
use mgrok_net::mux_links::LinkCount;
use tokio::sync::watch;

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
