//! The route that tells how the client is with its servers.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use mgrok_admin::{Answer, Method, Routes};
use mgrok_config::ClientConfig;
use serde::Serialize;
use tokio::sync::watch;

use crate::session_status::SessionStatus;
use crate::settings::LoginSettings;
use crate::store::StoreHandle;

/// What the route tells of.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    /// What the program has read its configuration from.
    pub(crate) file: Option<PathBuf>,
    /// A reload may change servers, and whether there is a store.
    pub(crate) settings: watch::Receiver<Arc<LoginSettings>>,
    pub(crate) store: StoreHandle,
    pub(crate) sessions: watch::Receiver<Vec<SessionStatus>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct State<'a> {
    program: &'static str,
    version: &'static str,
    started_at: u64,
    user: &'a str,
    config_file: Option<String>,
    store: bool,
    servers: Vec<Server>,
}

/// One server that is configured.
#[derive(Serialize)]
struct Server {
    address: String,
    connected: bool,
    since: Option<u64>,
    #[serde(rename = "runID")]
    run_id: Option<String>,
    transport: Option<String>,
    links: Option<usize>,
    multipath: Option<bool>,
    error: Option<String>,
}

/// Adds the route to `routes`.
pub(super) fn add_to(routes: Routes, told: Told) -> Routes {
    let started_at = SystemTime::now().duration_since(UNIX_EPOCH);
    let started_at = started_at.unwrap_or_default().as_secs();
    routes.with(Method::GET, "/api/v2/state", async move || {
        let config = told.settings.borrow().config.clone();
        Answer::data(&State {
            program: "mgrokc",
            version: env!("CARGO_PKG_VERSION"),
            started_at,
            user: &config.user,
            config_file: told.file.as_ref().map(|it| it.display().to_string()),
            store: told.store.now().is_some(),
            servers: told.servers(&config),
        })
    })
}

impl Told {
    /// Every server, with the session that its supervisor has, which is with one of its servers at a time.
    fn servers(&self, config: &ClientConfig) -> Vec<Server> {
        let statuses = self.sessions.borrow();
        let of = |place: usize| match config.connect_all {
            true => statuses.get(place),
            false => statuses.first(),
        };
        let servers = config.servers.iter().enumerate();
        servers
            .map(|(place, addr)| {
                let status = of(place);
                let session = status.and_then(|it| it.live.as_ref());
                let live = session.filter(|it| it.server == *addr);
                let error = status.and_then(|it| it.error.clone());
                Server {
                    address: addr.to_string(),
                    connected: live.is_some(),
                    since: live.map(|it| it.since),
                    run_id: live.map(|it| it.run_id.clone()),
                    transport: live.map(|it| it.transport.clone()),
                    links: live.map(|it| it.links.get()),
                    multipath: live.map(|it| it.multipath),
                    error: error.filter(|_| session.is_none()),
                }
            })
            .collect()
    }
}
